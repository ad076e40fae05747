"""Two replicas, one leader."""

import os
import signal
import time
from datetime import UTC, datetime

import pytest
from tests.cluster.ground import LEASE_S, note_measured
from tests.waiting import wait_for

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
    assert written.count("secrets") == 1, pair.writes()[before:]  # one of the two
    assert not pair.standby.said("elected")

    pair.operator.stop()
    begin = time.monotonic()
    pair.standby.wait_until_leading()

    took_s = time.monotonic() - begin
    note_measured(took_s, "clean stop, until the other leads")
    assert took_s < LEASE_S, pair.operator.said("could not release the lease")
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
    note_measured(took_s, "kill -9, until the other leads")
    assert took_s < 2 * LEASE_S
    mints_anew(orphan)
    orphan.wait_until_ready()


@pytest.fixture
def impatient(ground):
    """A leader and a standby with a short Lease, and a token that is replaced every four seconds."""
    ground.add_cache()
    settings = {"tokenSeconds": 10, "leaseSeconds": 4, "leaseRenewDeadline": 3, "leaseRetry": 0.5}
    ground.operator = ground.start_operator(**settings)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()
    ground.standby = ground.start_operator(lead=False, **settings)
    return ground


def test_a_leader_that_was_paused_past_its_lease_writes_nothing_when_it_wakes_and_ends(impatient):
    leader, standby = impatient.operator, impatient.standby
    os.kill(leader.process.pid, signal.SIGSTOP)
    standby.wait_until_leading()
    token = impatient.secret()["password"]
    wait_for(lambda: impatient.secret()["password"] != token, what="the other's token")  # so one was due for both
    impatient.annotate("checkout", refresh="now")  # the leader will read of it as it wakes

    woken_at = datetime.now(UTC)
    os.kill(leader.process.pid, signal.SIGCONT)

    assert leader.process.wait(30) == 3
    note_measured((datetime.now(UTC) - woken_at).total_seconds(), "paused leader, from waking to its end")
    written = [
        (event["verb"], event["objectRef"]["resource"], event["requestReceivedTimestamp"])
        for event in impatient.audit_of(leader)
        if event["verb"] not in {"get", "list", "watch"}
    ]
    assert written  # it did write, before
    assert [write for write in written if datetime.fromisoformat(write[2]) > standby.elected_at] == []
