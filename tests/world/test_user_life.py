"""What befalls a user between its creation and its end: restored clusters, lost notes, moved caches, others' hands."""

import json
from typing import Any

import pytest
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground, Operator, ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

USER = (USERS, "shop", "checkout")
GROUP = (GROUPS, "platform", "orders")
USER_ID = names.default_id(OWNER, "shop", "checkout")
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
UID = "elasticache-iam.dev/uid"
ORPHANED = "elasticache-iam.dev/orphaned"


def events(world: Ground, reason: str) -> list[Any]:
    return [event for event in world.kube.events if event["reason"] == reason]


def tags(world: Ground) -> dict[str, str]:
    (user,) = world.elasticache.describe_users(UserId=USER_ID)["Users"]
    listed = world.elasticache.list_tags_for_resource(ResourceName=user["ARN"])["TagList"]
    return {tag["Key"]: tag["Value"] for tag in listed}


def role_tags(world: Ground) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in world.iam.get_role(RoleName=USER_ID)["Role"]["Tags"]}


def set_tags(world: Ground, **new: str) -> None:
    (user,) = world.elasticache.describe_users(UserId=USER_ID)["Users"]
    listed = [{"Key": key, "Value": value} for key, value in new.items()]
    world.elasticache.add_tags_to_resource(ResourceName=user["ARN"], Tags=listed)


def access_string_returned(world: Ground) -> str:
    body = world.kube.get(*USER) or {}
    return str(body["status"]["accessString"].get("returned", "+@write"))


def policy(world: Ground) -> str:
    return json.dumps(world.in_aws()["roles"][USER_ID][1])


async def start(world: Ground, config: dict[str, Any] | None = None, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start({**QUICK, **(config or {})})
    world.apply(group_manifest(), user_manifest(**spec))
    await world.until_ready()
    return operator


async def test_tags_that_somebody_changes_are_put_back(world: Ground):
    await start(world, {"allowedTagKeys": ["team"]}, tags={"team": "a"})

    set_tags(world, team="b", cost="1")

    await world.later(lambda: (tags(world)["team"], tags(world)["cost"]) == ("a", "1"))
    assert "team" in events(world, "DriftRepaired")[0]["note"]


async def test_an_access_string_that_was_put_back_is_told_and_an_edit_is_not(world: Ground):
    await start(world)
    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*"]}))
    await world.until(lambda: "+@write" not in access_string_returned(world))
    assert events(world, "DriftRepaired") == []
    before = world.in_aws()["users"][USER_ID]

    world.elasticache.modify_user(UserId=USER_ID, AccessString="on ~* +@all")

    await world.until(lambda: world.in_aws()["users"][USER_ID] == before)
    (event,) = events(world, "DriftRepaired")
    assert "on ~* +@all" in event["note"]


async def test_who_keeps_changing_an_access_string_is_told_of_and_met_less_often(world: Ground):
    await start(world, {"driftInterval": 0.2})

    async def fight() -> None:
        world.elasticache.modify_user(UserId=USER_ID, AccessString="on ~* +@all")
        await world.until(lambda: "~orders:*" in world.in_aws()["users"][USER_ID][3])

    for _ in range(3):
        await fight()
    world.elasticache.modify_user(UserId=USER_ID, AccessString="on ~* +@all")

    await world.until(lambda: world.conditions(*USER)["UserSynced"] == ("False", "Contested"))


async def test_a_user_in_a_cluster_restored_from_a_backup_keeps_what_it_has(world: Ground):
    operator = await start(world)
    await operator.kill()
    body = world.kube.get(*USER)
    assert body is not None
    before, old_uid = world.in_aws(), tags(world)[UID]
    world.kube._objects.pop(("elasticacheiamusers", "shop", "checkout"))
    world.kube._objects.pop(("secrets", "shop", "checkout"))
    world.kube.put({**user_manifest(), "status": body["status"]})

    await world.start(QUICK)
    await world.until(lambda: tags(world)[UID] != old_uid)
    await world.until(lambda: role_tags(world)[UID] == tags(world)[UID])
    await world.until(lambda: world.kube.secret("shop", "checkout"))

    assert world.in_aws() == before
    assert events(world, "DriftRepaired") == []


async def test_an_aws_user_that_is_somebody_elses_now_ends_the_tokens(world: Ground):
    await start(world)

    set_tags(world, **{"elasticache-iam.dev/owner": "rival"})

    await world.later(lambda: world.conditions(*USER)["UserSynced"] == ("False", "NotOwned"))
    await world.until(lambda: world.kube.secret_names() == [])
    assert world.conditions(*USER)["TokenDelivered"] == ("False", "NotOwned")


async def test_a_secret_that_nobody_noted_goes_when_its_user_is_suspended(world: Ground):
    operator = await start(world)
    await operator.kill()
    body = world.kube.get(*USER)
    assert body is not None
    del body["status"]["caches"][0]["secret"]
    world.kube._objects["elasticacheiamusers", "shop", "checkout"]["status"] = body["status"]
    world.kube.put(user_manifest(suspend=True))

    await world.start(QUICK)

    await world.until(lambda: world.kube.secret_names() == [])


async def test_a_secret_of_somebody_else_stays_when_a_user_is_suspended(world: Ground):
    operator = await start(world)
    await operator.kill()
    body = world.kube.get(*USER)
    assert body is not None
    del body["status"]["caches"][0]["secret"]
    world.kube._objects["elasticacheiamusers", "shop", "checkout"]["status"] = body["status"]
    secret = world.kube._objects["secrets", "shop", "checkout"]
    secret["metadata"]["ownerReferences"][0]["uid"] = "another"
    world.kube.put(user_manifest(suspend=True))

    await world.start(QUICK)
    await world.until(lambda: world.conditions(*USER)["Ready"] == ("False", "Suspended"))

    assert world.kube.get("secrets", "shop", "checkout") == secret


@pytest.mark.parametrize("consents", [True, False])
async def test_an_alias_that_moves_keeps_its_old_right_until_the_new_cache_is_ready(world: Ground, consents: bool):  # noqa: FBT001
    await start(world)
    world.add_cache("orders-new", allow="demo" if consents else None)

    world.apply(group_manifest(caches=("orders-new",), attach=False))
    reason = "WaitingForCache" if consents else "ConsentMissing"
    await world.until(lambda: world.conditions(*USER)["MembershipSynced"] == ("False", reason))
    await world.until(lambda: ("orders-new" in policy(world)) == consents)

    assert "orders-prod" in policy(world)
    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    assert secret["password"].startswith("orders-prod/")


async def test_an_alias_that_has_moved_loses_its_old_right(world: Ground):
    await start(world)
    world.add_cache("orders-new")

    world.apply(group_manifest(caches=("orders-new",)))
    await world.until(lambda: (world.kube.secret("shop", "checkout") or {})["password"].startswith("orders-new/"))

    await world.until(lambda: "orders-prod" not in policy(world))


async def test_another_authentication_mode_is_put_back(world: Ground):
    await start(world)

    world.elasticache.modify_user(
        UserId=USER_ID, AuthenticationMode={"Type": "password", "Passwords": ["sixteen-characters-or-more"]}
    )

    await world.until(lambda: world.in_aws()["users"][USER_ID][4] == "iam")
    await world.until(lambda: any(USER_ID in group[2] for group in world.in_aws()["groups"].values()))
    await world.until_ready()


async def test_what_stays_in_aws_when_a_namespace_ends_says_so(world: Ground):
    await start(world)
    world.fault("elasticache", "DeleteUser", "AccessDenied")

    world.kube.terminate_namespace("shop")
    await world.later(lambda: world.kube.get(*USER) is None, step_s=20)

    await world.until(lambda: tags(world).get(ORPHANED, "").endswith("Z"))


async def test_an_orphan_that_is_taken_over_is_none_any_more(world: Ground):
    await start(world)

    set_tags(world, **{ORPHANED: "2026-11-21T09:00:00Z"})

    await world.later(lambda: ORPHANED not in tags(world))


async def test_a_deletion_without_the_rights_waits_and_says_so(world: Ground):
    await start(world)
    fault = world.fault("iam", "DeleteRole", "AccessDenied")

    world.kube.delete(*USER)
    await world.until(lambda: world.conditions(*USER)["UserSynced"] == ("False", "AccessDenied"))
    assert world.kube.secret_names() == []
    world.settings.faults.remove(fault)

    await world.later(lambda: world.kube.get(*USER) is None, step_s=60)
    assert world.in_aws()["roles"] == {}


async def test_what_is_gone_from_aws_holds_up_no_deletion(world: Ground):
    operator = await start(world)
    await operator.kill()
    world.elasticache.delete_user(UserId=USER_ID)
    (name,) = world.iam.list_role_policies(RoleName=USER_ID)["PolicyNames"]
    world.iam.delete_role_policy(RoleName=USER_ID, PolicyName=name)
    world.iam.delete_role(RoleName=USER_ID)
    world.kube.delete(*USER)

    await world.start(QUICK)

    await world.until(lambda: world.kube.get(*USER) is None)


async def test_a_role_that_iam_tells_late_of_is_said_to_be_on_its_way():
    async with ground(iam_propagation_s=100) as world:
        world.add_cache()
        await world.start()
        world.apply(group_manifest(), user_manifest())

        await world.later(lambda: events(world, "Propagating"), step_s=4)
        await world.later(world.is_ready, step_s=4)

        assert events(world, "AccessDenied") == []
