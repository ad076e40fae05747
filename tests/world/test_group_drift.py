"""What somebody changes about a group or its caches is put back once, and named; an open cache waits for nothing."""

from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground, Operator, ground

from elasticache_iam.core import names
from elasticache_iam.core.plan.group import DEFAULT_USER_ACCESS
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID = names.default_user_id(OWNER, GROUP_ID)
USER_ID = names.default_id(OWNER, "shop", "checkout")
ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:usergroup:{GROUP_ID}"
DEFAULT_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:{DEFAULT_ID}"
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4, "allowedTagKeys": ["team"]}


async def settle(world: Ground, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest(**spec), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)
    return operator


async def settle_tags(world: Ground, **spec: Any) -> Operator:
    """Settle, and let AWS's index of tags be read: until it has what we sent, that is believed instead."""
    operator = await settle(world, **spec)
    reads = world.calls("GetResources")
    await world.until(lambda: world.calls("GetResources") >= reads + 2)
    return operator


def events(world: Ground, reason: str) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == reason]


def detach(world: Ground) -> None:
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToRemove=[GROUP_ID], ApplyImmediately=True
    )


def attached(world: Ground) -> str | None:
    group_id: str | None = world.in_aws()["caches"]["orders-prod"][1]
    return group_id


async def stays_quiet(world: Ground, operator: Operator, repairs: int) -> None:
    """Let passes go by: nothing more is written, and nothing more was repaired."""
    await world.until_quiet(operator)
    before, passes = len(operator.tap.writes), operator.passes
    await world.until(lambda: operator.passes >= passes + 6)
    assert operator.tap.writes[before:] == []
    assert len(events(world, "DriftRepaired")) == repairs


# -- members and default user -----------------------------------------------------------------------------------------


async def test_a_member_that_somebody_took_out_is_back_once_and_named(world: Ground):
    operator = await settle(world)

    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToRemove=[USER_ID])

    await world.until(lambda: events(world, "DriftRepaired"))
    await world.until(lambda: USER_ID in world.in_aws()["groups"][GROUP_ID][2])
    assert f"{USER_ID} was taken out" in events(world, "DriftRepaired")[0]
    await world.until_ready()
    await stays_quiet(world, operator, 1)


async def test_joining_and_leaving_by_edits_is_no_drift(world: Ground):
    operator = await settle(world)

    world.apply(user_manifest("second"))
    await world.until_ready(name="second")
    world.apply(user_manifest("second", suspend=True))
    await world.until_reason("Suspended", of=(USERS, "shop", "second"))
    world.apply(user_manifest("second"))
    await world.until_ready(name="second")
    world.kube.delete(USERS, "shop", "second")
    await world.until(lambda: world.kube.get(USERS, "shop", "second") is None)

    await stays_quiet(world, operator, 0)


async def test_a_default_user_that_somebody_enabled_can_do_nothing_again(world: Ground):
    operator = await settle(world)

    world.elasticache.modify_user(UserId=DEFAULT_ID, AccessString="on ~* +@all")

    await world.until(lambda: world.in_aws()["users"][DEFAULT_ID][3] == DEFAULT_USER_ACCESS)
    (note,) = events(world, "DriftRepaired")
    assert DEFAULT_ID in note
    await stays_quiet(world, operator, 1)


async def test_the_built_in_default_user_goes_again_when_somebody_swaps_it_in(world: Ground):
    operator = await settle(world)

    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToAdd=["default"], UserIdsToRemove=[DEFAULT_ID])

    await world.until(lambda: events(world, "DriftRepaired"))
    await world.until(lambda: sorted(world.in_aws()["groups"][GROUP_ID][2]) == sorted([DEFAULT_ID, USER_ID]))
    await stays_quiet(world, operator, 1)


# -- tags -------------------------------------------------------------------------------------------------------------


def tag(world: Ground, arn: str, **tags: str) -> None:
    world.elasticache.add_tags_to_resource(
        ResourceName=arn, Tags=[{"Key": key.replace("__", "/"), "Value": value} for key, value in tags.items()]
    )


@pytest.mark.parametrize("arn", [ARN, DEFAULT_ARN], ids=["group", "default-user"])
async def test_tags_that_somebody_changed_are_put_back(world: Ground, arn: str):
    operator = await settle_tags(world, tags={"team": "orders"})

    tag(world, arn, team="other", theirs="stays")

    def tags() -> dict[str, str]:
        found = world.elasticache.list_tags_for_resource(ResourceName=arn)["TagList"]
        return {tag["Key"]: tag["Value"] for tag in found}

    await world.until(lambda: tags()["team"] == "orders")
    assert tags()["theirs"] == "stays"
    (note,) = events(world, "DriftRepaired")
    assert "team" in note
    await stays_quiet(world, operator, 1)


async def test_an_edit_of_the_tags_is_applied_and_no_drift(world: Ground):
    operator = await settle(world, tags={"team": "orders"})

    world.apply(group_manifest(tags={"team": "stock"}))

    await world.until(lambda: world.in_aws()["groups"][GROUP_ID][3].get("team") == "stock")
    await world.until_ready(*GROUP)
    await stays_quiet(world, operator, 0)


async def test_a_group_whose_owner_tag_is_gone_is_not_touched_any_more(world: Ground):
    await settle_tags(world)

    tag(world, ARN, **{"elasticache-iam.dev__owner": "rival"})
    await world.until_reason("NotOwned", of=GROUP)
    before = world.in_aws()["groups"]
    detach(world)
    world.apply(user_manifest("second"))
    await world.until(lambda: "UserSynced" in world.conditions(USERS, "shop", "second"))

    assert world.in_aws()["groups"] == before


# -- caches left open -------------------------------------------------------------------------------------------------


async def test_a_cache_left_open_is_closed_while_the_members_fail(world: Ground):
    await settle(world)
    world.fault("elasticache", "ModifyUserGroup", "InvalidParameterValue")
    world.apply(user_manifest("second"))
    await world.until_reason("InvalidSpec", of=GROUP)

    detach(world)

    await world.until(lambda: attached(world) == GROUP_ID)
    await world.until(lambda: events(world, "CacheOpen"))


async def test_a_cache_left_open_that_is_busy_is_closed_after_that_whatever_the_policy(world: Ground):
    operator = await settle(world)
    world.apply(group_manifest(attach=False))
    await world.until_quiet(operator)
    detach(world)
    refusal = world.fault("elasticache", "ModifyReplicationGroup", "InvalidReplicationGroupState")
    await world.until(lambda: world.conditions(*GROUP)["CachesAttached"][0] == "False")
    passes = operator.passes
    await world.until(lambda: operator.passes > passes + 4)

    world.settings.faults.remove(refusal)

    await world.until(lambda: attached(world) == GROUP_ID)
    assert len(events(world, "CacheOpen")) >= 1


async def test_a_fight_over_an_attachment_never_leaves_the_cache_open(world: Ground):
    await settle(world)

    for _ in range(6):
        await world.until(lambda: attached(world) == GROUP_ID)
        await world.until_ready(*GROUP)
        detach(world)

    await world.until(lambda: attached(world) == GROUP_ID)
    assert any("somebody else manages it" in note for note in events(world, "CacheOpen"))


async def test_attaching_waits_for_members_so_that_nobody_is_locked_out(world: Ground):
    world.add_cache()
    refusal = world.fault("elasticache", "ModifyUserGroup", "InvalidParameterValue")
    operator = await world.start(QUICK)
    world.apply(group_manifest(caches=()))
    await world.until_ready(*GROUP)
    world.apply(group_manifest(), user_manifest())
    await world.until(lambda: world.conditions(*GROUP)["GroupSynced"][1] == "InvalidSpec")
    await world.until_quiet(operator)

    world.settings.faults.remove(refusal)
    await world.later(lambda: world.is_ready(*GROUP), step_s=100)
    assert attached(world) == GROUP_ID


# -- caches that come and go ------------------------------------------------------------------------------------------


async def test_a_cache_that_is_gone_is_told_and_one_of_its_name_is_judged_anew(world: Ground):
    operator = await settle(world)
    world.apply(group_manifest(attach=False))
    await world.until_quiet(operator)

    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    await world.until_reason("CacheNotFound", of=GROUP)
    world.add_cache()

    await world.until_reason("AttachmentRefused", of=GROUP)
    assert attached(world) is None


async def test_a_cache_that_takes_clear_text_clients_is_noted(world: Ground):
    await settle(world)
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", TransitEncryptionMode="preferred", ApplyImmediately=True
    )

    await world.until(lambda: "without TLS" in world.condition(*GROUP, "CachesAttached")["message"])

    assert world.is_ready(*GROUP)


async def test_a_cache_that_is_not_encrypted_at_rest_is_noted(world: Ground):
    world.add_cache(at_rest_encryption=False)
    await world.start(QUICK)

    world.apply(group_manifest())

    await world.until_ready(*GROUP)
    assert "isn't encrypted at rest" in world.condition(*GROUP, "CachesAttached")["message"]


async def test_a_busy_cache_is_attached_after_that():
    async with ground(transition_s=0.3) as world:
        world.add_cache(engine="redis", engine_version="7.0.7")
        world.elasticache.modify_replication_group(
            ReplicationGroupId="orders-prod", EngineVersion="7.1", ApplyImmediately=True
        )
        await world.start(QUICK)

        world.apply(group_manifest())

        await world.until_ready(*GROUP)
        assert attached(world) == GROUP_ID
