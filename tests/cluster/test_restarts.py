"""An operator that dies, at any moment, and is started again."""

import time
from contextlib import contextmanager

import pytest
from tests.cluster.ground import GROUPS, USERS, Hold
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

STAGES = (
    ("elasticache", "CreateUser"),
    ("elasticache", "CreateUserGroup"),
    ("elasticache", "ModifyReplicationGroup"),
    ("iam", "CreateRole"),
    ("iam", "PutRolePolicy"),
    ("sts", "AssumeRoleWithWebIdentity"),
)
"""In this order; what runs at the same time may be done before its turn comes."""


@contextmanager
def held(ground, *operations):
    """Hold calls of some operations back until each has come; they are then carried out, and nobody hears of it."""
    holds = [Hold(*operation) for operation in operations]
    ground.sandbox.settings.faults.extend(holds)

    def wait_until_all_came():
        for hold in holds:
            assert hold.arrived.wait(60), f"no call of {hold.operation}: {ground.operators[-1].text()}"

    try:
        yield wait_until_all_came
    finally:
        ground.sandbox.settings.faults.clear()


def kill(ground, operator):
    operator.kill()
    time.sleep(0.5)  # calls that were held take effect
    ground.end_lease()


def count_calls(ground, call):
    return ground.sandbox.run(lambda world: world.call_counts().get(call, 0))


def test_killed_in_the_middle_of_every_stage_it_ends_ready(ground):
    ground.add_cache()
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    before = {stage: count_calls(ground, stage) for stage in STAGES}
    for stage in STAGES:
        if count_calls(ground, stage) > before[stage]:
            continue  # there may be no other
        with held(ground, stage) as wait_until_it_came:
            operator = ground.start_operator()
            wait_until_it_came()
            kill(ground, operator)
    operator = ground.start_operator()
    wait_for(ground.secret, what="the Secret")
    kill(ground, operator)  # between the Secret and the note of it

    ground.start_operator()
    ground.wait_until_ready()

    with ground.login(ground.secret()) as client:
        assert client.set("orders:1", "x")
    kinds = sorted(line.split()[0] for line in ground.aws_listing())
    assert kinds == ["group", "role", "user", "user"]  # nothing twice


def test_killed_in_the_middle_of_a_deletion_it_leaves_nothing(orders):
    operator = orders.operator
    for operation in (("elasticache", "ModifyUserGroup"), ("iam", "DeleteRole"), ("elasticache", "DeleteUser")):
        with held(orders, operation) as wait_until_it_came:
            if operator is orders.operator:
                orders.delete(USERS, "checkout")
            wait_until_it_came()
            kill(orders, operator)
        # Until here nobody knows that the call was carried out.
        operator = orders.start_operator()

    orders.wait_until_gone(USERS, "checkout")

    assert not [line for line in orders.aws_listing() if "checkout" in line]
    assert orders.secret() is None


@pytest.fixture(scope="module")
def settled(new_ground):
    """Ready, and nothing left to write; each test leaves an operator that leads."""
    with new_ground() as ground:
        ground.add_cache()
        ground.start_operator()
        ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
        ground.wait_until_ready()
        ground.wait_until_ready("orders", plural=GROUPS, namespace="platform")
        time.sleep(0.5)
        yield ground


def test_a_clean_restart_writes_nothing_and_mints_nothing(settled):
    settled.operators[-1].stop()
    before, calls = len(settled.writes()), settled.sts_calls()
    secret = settled.get("secrets", "checkout")

    settled.start_operator()
    time.sleep(1.0)

    # Sessions live in memory only: one is fetched ahead of the refresh that will need it.
    written = [(event["verb"], event["objectRef"]["resource"]) for event in settled.writes()[before:]]
    assert written in ([], [("create", "serviceaccounts")])
    assert settled.sts_calls() <= calls + 1
    assert settled.get("secrets", "checkout") == secret


def test_a_crash_costs_one_early_refresh_at_most(settled):
    """The checkpoint is written once a minute and at a clean end: what it doesn't know is replaced early."""
    kill(settled, settled.operators[-1])
    before = len(settled.writes())

    settled.start_operator()
    time.sleep(1.0)

    written = [(event["verb"], event["objectRef"]["resource"]) for event in settled.writes()[before:]]
    refresh = [("create", "serviceaccounts"), ("update", "secrets")]
    assert written == refresh[: len(written)]


def test_after_a_crash_without_a_checkpoint_the_token_is_replaced_at_once(settled):
    kill(settled, settled.operators[-1])
    path = f"/api/v1/namespaces/{settled.namespaces['operators']}/configmaps/elasticache-iam-operator-checkpoint"
    settled.control_plane.request("DELETE", path)
    before = settled.secret()

    settled.start_operator()

    wait_for(lambda: settled.secret() != before, what="a new token")
    settled.wait_until_ready()
