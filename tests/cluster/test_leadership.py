"""Two replicas, one leader."""

import time
from datetime import UTC, datetime

import pytest
from tests.cluster.ground import LEASE_S, note_measured, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def orphan(new_ground):
    """A standby whose leader was killed before the first test here: it waits while the others run."""
    with new_ground() as ground:
        ground.add_cache()
        leader = ground.start_operator()
        ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
        ground.wait_until_ready()
        ground.start_operator(lead=False)
        ground.killed_at = datetime.now(UTC)
        leader.kill()
        yield ground


@pytest.fixture
def pair(orders):
    """A leader and a standby."""
    orders.standby = orders.start_operator(lead=False)
    return orders


def mints_anew(ground):
    """Ask for a new token and return how long it took."""
    before, begin = ground.secret()["password"], time.monotonic()
    ground.annotate("checkout", refresh=str(begin))
    wait_for(lambda: ground.secret()["password"] != before, what="a new token")
    return time.monotonic() - begin


def test_a_standby_writes_nothing_and_takes_over_after_a_clean_stop_without_waiting_for_the_lease(pair):
    assert pair.standby.probe("/readyz")[0] == 200
    assert "elasticache_iam_leader 0.0" in pair.standby.probe("/metrics")[1]
    before = len(pair.writes())
    mints_anew(pair)
    written = [event["objectRef"]["resource"] for event in pair.writes()[before:]]
    assert written.count("secrets") == 1  # one of the two
    assert not pair.standby.said("elected")

    pair.operator.stop()
    begin = time.monotonic()
    pair.standby.wait_until_leading()

    took_s = time.monotonic() - begin
    note_measured(took_s)
    assert took_s < LEASE_S
    mints_anew(pair)


def test_a_leader_whose_lease_was_taken_ends_at_once(orders):
    lease = orders.lease()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{orders.namespaces['operators']}/leases/elasticache-iam-operator"
    merge = "application/merge-patch+json"

    orders.control_plane.request("PATCH", path, {"spec": {"holderIdentity": "somebody"}}, content_type=merge)

    assert lease["holderIdentity"] != "somebody"
    assert orders.operator.process.wait(30) == 3


def test_when_the_leader_was_killed_the_standby_takes_over_once_the_lease_has_ended(orphan):
    (standby,) = orphan.operators[1:]

    standby.wait_until_leading()

    (elected,) = standby.said("elected")
    took_s = (datetime.fromisoformat(elected["ts"]) - orphan.killed_at).total_seconds()
    note_measured(took_s)
    assert took_s < 2 * LEASE_S
    mints_anew(orphan)
    orphan.wait_until_ready()
