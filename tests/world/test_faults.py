"""AWS and the API server fail at each operation once: the pass tells it, and comes right by itself."""

from typing import Any

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.disturbances import rehearse, troubles_of
from tests.world.harness import Ground, ground
from tests.world.scenarios import SCENARIOS, Scenario, deliver, gone
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.core.errors import AccessDeniedError, ThrottledError, UnavailableError
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
MANIFESTS = (group_manifest(deletionPolicy="Delete"), user_manifest())

CREATING = (
    ("elasticache", "CreateUser"),
    ("elasticache", "CreateUserGroup"),
    ("elasticache", "ModifyReplicationGroup"),
    ("iam", "CreateRole"),
    ("iam", "PutRolePolicy"),
)
CHANGING = (("elasticache", "ModifyUser"), ("elasticache", "ModifyUserGroup"))
DELETING = (
    ("elasticache", "ModifyUserGroup"),
    ("elasticache", "DeleteUser"),
    ("elasticache", "DeleteUserGroup"),
    ("iam", "DeleteRolePolicy"),
    ("iam", "DeleteRole"),
)
READING = (
    ("elasticache", "DescribeUsers"),
    ("elasticache", "DescribeUserGroups"),
    ("elasticache", "DescribeReplicationGroups"),
    ("elasticache", "DescribeCacheClusters"),
    ("elasticache", "ListTagsForResource"),
    ("iam", "ListRoles"),
    ("iam", "GetAccountAuthorizationDetails"),
    ("iam", "GetOpenIDConnectProvider"),
    ("resourcegroupstaggingapi", "GetResources"),
)
ERRORS = {
    "Throttling": ("Throttled", "Rate exceeded"),
    "AccessDenied": ("AccessDenied", "AccessDenied"),
    "Outage": ("Unavailable", "no answer"),
    "InternalFailure": ("Unavailable", "InternalFailure"),
    "SomethingNew": ("UnexpectedAwsError", "SomethingNew"),
}
USUAL_ERRORS = ("Throttling", "AccessDenied", "Outage")
TRIES = 3
"""botocore's own, for what it retries."""
EVERY = 151
"""Of the failures of a story, all of which tests/soak plays."""


def by_operation(operations: tuple[tuple[str, str], ...]) -> Any:
    return pytest.mark.parametrize(("service", "operation"), operations, ids=[name for _, name in operations])


@by_operation(CREATING)
@pytest.mark.parametrize("times", [1, TRIES], ids=["one-answer", "all-answers-of-a-call"])
async def test_a_lost_answer_to_a_creation_makes_nothing_twice(world: Ground, service: str, operation: str, times: int):
    world.add_cache()
    await world.start()
    world.fault(service, operation, "LostAnswer", times=times)

    world.apply(*MANIFESTS)
    await _until_ready(world, *MANIFESTS)

    there = world.in_aws()
    assert len(there["users"]) == 3
    assert len(there["groups"]) == len(there["roles"]) == 1
    ((_, _, members, _),) = there["groups"].values()
    assert len(members) == 2


@by_operation(CHANGING)
async def test_a_lost_answer_to_a_change_changes_it_once(world: Ground, service: str, operation: str):
    world.add_cache()
    operator = await world.start()
    world.apply(*MANIFESTS)
    await world.until_ready()
    await world.until_quiet(operator)
    world.fault(service, operation, "LostAnswer", times=TRIES)

    more = user_manifest("billing")
    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*"]}), more)
    await world.until_ready(USERS, "shop", "billing")
    await world.until(lambda: _observed(world, USER) and world.is_ready())

    there = world.in_aws()
    assert any("-@all +@read +@connection" in user[3] and "@write" not in user[3] for user in there["users"].values())
    ((_, _, members, _),) = there["groups"].values()
    assert len(members) == 3


@by_operation(DELETING)
async def test_a_lost_answer_to_a_deletion_still_ends_in_nothing(world: Ground, service: str, operation: str):
    world.add_cache()
    operator = await world.start()
    world.apply(*MANIFESTS)
    await world.until_ready()
    await world.until_quiet(operator)
    world.fault(service, operation, "LostAnswer", times=TRIES)

    await _delete_all(world)

    there = world.in_aws()
    assert list(there["users"]) == ["default"]
    assert there["groups"] == there["roles"] == {}


def test_a_role_that_is_gone_already_is_not_mistaken_for_a_missing_right():
    async def story() -> VirtualGround:
        async with virtual_ground() as world:
            world.add_cache()
            await deliver(world)
            await world.start()
            world.fault("iam", "DeleteRole", "LostAnswer", times=1)
            world.kube.delete(*USER)
            await gone(world, USER)
            return world

    world = play(story())

    assert "AccessDenied" not in {reason for _, reason, _ in world.shown}


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        *((service, operation, code) for service, operation in (*CREATING, *READING) for code in USUAL_ERRORS),
        ("elasticache", "CreateUser", "InternalFailure"),
        ("elasticache", "CreateUser", "SomethingNew"),
    ],
)
async def test_a_failure_is_told_by_its_code_and_heals(world: Ground, service: str, operation: str, code: str):
    reason, words = ERRORS[code]
    world.add_cache()
    fault = world.fault(service, operation, code)
    await world.start()

    world.apply(*MANIFESTS)
    told = await world.until(lambda: _told(world, reason))
    world.settings.faults.remove(fault)
    await _until_ready(world, *MANIFESTS)

    assert operation in told
    assert words in told


@by_operation(DELETING)
@pytest.mark.parametrize("code", USUAL_ERRORS)
async def test_a_failed_deletion_is_told_and_heals(world: Ground, service: str, operation: str, code: str):
    reason, words = ERRORS[code]
    world.add_cache()
    operator = await world.start()
    world.apply(*MANIFESTS)
    await world.until_ready()
    await world.until_quiet(operator)
    fault = world.fault(service, operation, code)

    world.kube.delete(*USER)
    if operation == "DeleteUserGroup":
        await world.until(lambda: world.kube.get(*USER) is None)
        world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
        world.kube.delete(*GROUP)
    told = await world.later(lambda: _told(world, reason))
    world.settings.faults.remove(fault)
    await world.later(lambda: world.kube.get(*USER) is None)
    if world.kube.get(*GROUP) is not None and operation != "DeleteUserGroup":
        world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
        world.kube.delete(*GROUP)
    await world.later(lambda: world.kube.get(*GROUP) is None)

    assert operation in told
    assert words in told
    assert list(world.in_aws()["users"]) == ["default"]


@pytest.mark.parametrize("code", ["AccessDenied", "IDPCommunicationError", "Outage", "InvalidIdentityToken"])
async def test_a_failing_sts_is_told_and_heals(world: Ground, code: str):
    world.add_cache()
    fault = world.fault("sts", "AssumeRoleWithWebIdentity", code)
    await world.start()

    world.apply(*MANIFESTS)
    condition = await world.later(lambda: _token_trouble(world), step_s=2.0)
    world.settings.faults.remove(fault)
    await _until_ready(world, *MANIFESTS)

    assert "AssumeRoleWithWebIdentity" in condition["message"]
    assert world.kube.secret("shop", "checkout") is not None


@pytest.mark.parametrize(
    "method",
    [
        "create_secret",
        "request_token",
        "patch_status",
        "set_finalizers",
        "get_service_account_annotations",
        "create_event",
    ],
)
@pytest.mark.parametrize(
    "error",
    [UnavailableError("down"), ThrottledError("slow down"), AccessDeniedError("forbidden")],
    ids=["unavailable", "throttled", "forbidden"],
)
async def test_a_failing_call_to_the_api_server_heals(world: Ground, method: str, error: Any):
    world.add_cache()
    await world.start()
    world.kube.fail_next(method, error, times=2)

    world.apply(*MANIFESTS)

    await _until_ready(world, *MANIFESTS)
    assert len(world.in_aws()["roles"]) == 1


async def test_an_api_server_that_is_away_for_a_while_is_survived():
    async with ground() as world:
        world.add_cache()
        await world.start()
        world.kube.down = UnavailableError("no route to host")
        world.apply(*MANIFESTS)
        await world.until(lambda: len(world.kube.calls) > 3)

        world.kube.down = None
        await _until_ready(world, *MANIFESTS)

        assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_quota_that_is_used_up_is_told_and_heals_when_it_is_raised():
    async with ground(users=1) as world:
        world.add_cache()
        await world.start()
        world.apply(*MANIFESTS)
        await world.until(lambda: _told(world, "QuotaExceeded"))

        world.settings.users = 100

        await _until_ready(world, *MANIFESTS)


async def test_a_missing_right_of_the_operator_is_named(world: Ground):
    world.add_cache(allow=None)
    world.elasticache.add_tags_to_resource(
        ResourceName=_cache_arn(world), Tags=[{"Key": "elasticache-iam.dev/allow", "Value": "other"}]
    )
    await world.start({"trustedCaches": [_cache_arn(world)]})

    world.apply(*MANIFESTS)

    told = await world.until(lambda: _told(world, "AccessDenied"))
    assert "elasticache:ModifyReplicationGroup" in told


def _cache_arn(world: Ground) -> str:
    (cache,) = world.elasticache.describe_replication_groups()["ReplicationGroups"]
    return str(cache["ARN"])


def _told(world: Ground, reason: str) -> str:
    """Return the messages of all conditions with a reason."""
    bodies = [world.kube.get(*kind) or {} for kind in (USER, GROUP)]
    conditions = [c for body in bodies for c in body.get("status", {}).get("conditions", ())]
    return "; ".join(c["message"] for c in conditions if c["reason"] == reason)


def _token_trouble(world: Ground) -> Any:
    condition = world.condition(*USER, "TokenDelivered")
    quiet = {"Signing", "Pending", "Delivered"}
    return condition if condition is not None and condition["reason"] not in quiet else None


def _observed(world: Ground, kind: tuple[str, str, str]) -> bool:
    body = world.kube.get(*kind) or {}
    return bool(body["status"]["observedGeneration"] == body["metadata"]["generation"])


async def _until_ready(world: Ground, *manifests: Any) -> None:
    plurals = {"UserGroup": GROUPS, "ElastiCacheIAMUser": USERS}
    for manifest in manifests:
        meta = manifest["metadata"]
        key = (plurals[manifest["kind"]], meta["namespace"], meta["name"])
        await world.later(lambda key=key: world.is_ready(*key))  # type: ignore[misc]  # bound at once


async def _delete_all(world: Ground) -> None:
    world.kube.delete(*USER)
    await world.later(lambda: world.kube.get(*USER) is None)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    world.kube.delete(*GROUP)
    await world.later(lambda: world.kube.get(*GROUP) is None)


@pytest.mark.parametrize(("number", "scenario"), list(enumerate(SCENARIOS.values())), ids=SCENARIOS)
def test_a_failure_at_any_call_of_any_story_changes_nothing_in_the_end(number: int, scenario: Scenario):
    rehearsal = rehearse(scenario)
    failures = list(rehearsal.failures())[number % EVERY :: EVERY]

    found = {str(failure): troubles_of(scenario, failure, rehearsal) for failure in failures}

    assert found
    assert {failure: troubles for failure, troubles in found.items() if troubles} == {}
