"""What once went wrong, each by the test that showed it."""

import asyncio
from typing import Any

from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID = names.default_user_id(OWNER, GROUP_ID)


def members(world: Ground, group_id: str = GROUP_ID) -> list[str]:
    """Return who is in a group."""
    return list(world.in_aws()["groups"][group_id][2])


async def settle(world: Ground, *manifests: dict[str, Any]) -> Any:
    """Return an operator that has done all for a cache with a group and what else is given."""
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), *manifests)
    for manifest in manifests:
        metadata = manifest["metadata"]
        await world.until_ready(USERS, metadata["namespace"], metadata["name"])
    await world.until_ready(*GROUP)
    return operator


# -- the default user -------------------------------------------------------------------------------------------------


async def test_somebody_elses_user_with_the_default_users_id_is_no_protection(world: Ground):
    world.add_cache()
    world.elasticache.create_user(
        UserId=DEFAULT_ID,
        UserName="default",
        Engine="redis",
        AccessString="on ~* +@all",
        Passwords=["known-to-a-thief"],
    )
    await world.start()

    world.apply(group_manifest())
    await world.until_reason("NotOwned", of=GROUP)

    assert world.in_aws()["groups"] == {}


async def test_a_default_user_that_was_switched_on_is_switched_off_again(world: Ground):
    await settle(world, user_manifest())
    world.elasticache.modify_user(UserId=DEFAULT_ID, AccessString="on ~* +@all")

    world.pass_time(400)

    await world.until(lambda: "off" in world.in_aws()["users"][DEFAULT_ID][3].split())


async def test_a_default_user_that_took_our_ones_place_is_swapped_out(world: Ground):
    await settle(world, user_manifest())
    world.elasticache.create_user(
        UserId="open", UserName="default", Engine="redis", AccessString="on ~* +@all", NoPasswordRequired=True
    )
    with world.aws.lock:
        world.world.advance()
    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToAdd=["open"], UserIdsToRemove=[DEFAULT_ID])

    world.pass_time(400)

    await world.until(lambda: DEFAULT_ID in members(world) and "open" not in members(world))


# -- who has to go ----------------------------------------------------------------------------------------------------


async def test_a_user_of_a_wrong_engine_does_not_keep_others_in(world: Ground):
    world.add_cache("second", engine="valkey", engine_version="8.0")
    operator = await settle(world, user_manifest("good"))
    world.apply(group_manifest("other", caches=("second",), engine="valkey"), user_manifest(group="other"))
    await world.until_ready()
    world.apply(user_manifest(group="orders"))
    await world.until_quiet(operator)

    world.apply(user_manifest("good", suspend=True))

    await world.until(lambda: names.default_id(OWNER, "shop", "good") not in members(world))


async def test_a_newcomer_that_aws_refuses_does_not_keep_others_in(world: Ground):
    world.elasticache.create_user(
        UserId="twin", UserName=USER_ID, Engine="redis", AccessString="on ~* +@all", NoPasswordRequired=True
    )
    world.add_cache()
    await world.start()
    world.apply(group_manifest(members=["twin"]), user_manifest("good"))
    await world.until_ready(name="good")
    world.apply(user_manifest())
    await world.until_reason("InvalidSpec", of=GROUP)

    world.apply(user_manifest("good", suspend=True))

    await world.until(lambda: names.default_id(OWNER, "shop", "good") not in members(world))
    assert "twin" in members(world)


async def test_a_new_engine_that_we_can_not_do_yet_does_not_keep_anybody_in(world: Ground):
    await settle(world, user_manifest())
    world.apply(group_manifest(engine="valkey"))
    await world.until_reason("InvalidSpec", of=GROUP)

    world.apply(user_manifest(suspend=True))

    await world.until(lambda: USER_ID not in members(world))
    assert DEFAULT_ID in members(world)


async def test_our_default_user_stays_when_it_is_managed_no_longer(world: Ground):
    operator = await settle(world, user_manifest())
    world.apply(group_manifest(defaultUser="Unmanaged"))
    await world.until_quiet(operator)

    world.apply(user_manifest(suspend=True))

    await world.until(lambda: USER_ID not in members(world))
    assert DEFAULT_ID in members(world)


async def test_a_list_of_members_does_not_keep_a_suspended_user_in(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(members=[USER_ID]), user_manifest())
    await world.until_ready()

    world.apply(user_manifest(suspend=True))

    await world.until(lambda: USER_ID not in members(world))


async def test_a_resource_with_another_ones_id_does_not_hold_up_its_group(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.elasticache.create_user(
        UserId="legacy",
        UserName="legacy",
        Engine="redis",
        AccessString="on ~* +@all",
        AuthenticationMode={"Type": "iam"},
    )
    world.apply(group_manifest(members=["legacy"]))
    await world.until_ready(*GROUP)
    world.apply(user_manifest("mean", namespace="elsewhere", id="legacy"))
    await world.until_quiet(operator)

    world.kube.delete(*GROUP)

    await world.until(lambda: world.kube.get(*GROUP) is None)


# -- caches -----------------------------------------------------------------------------------------------------------


async def test_another_cache_under_an_attached_ones_alias_is_asked_for_anew(world: Ground):
    world.add_cache("second")
    operator = await settle(world, user_manifest())
    world.apply(group_manifest(attach=False))
    await world.until_quiet(operator)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")

    world.apply(group_manifest(caches=("second",), attach=False))
    world.pass_time(400)
    await world.until_reason("AttachmentRefused", of=GROUP)

    assert world.in_aws()["caches"]["second"][1] is None


async def test_a_cache_off_the_list_does_not_hold_up_the_others(world: Ground):
    world.add_cache("second")
    await settle(world)

    world.apply(group_manifest(caches=("second",)))

    await world.until(lambda: world.in_aws()["caches"]["second"][1] == GROUP_ID)
    await world.until_reason("StillAttached", of=GROUP)


async def test_an_older_group_does_not_take_a_cache_by_naming_it(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest("older", caches=()))
    await world.until_ready(GROUPS, "platform", "older")
    await asyncio.sleep(1.1)  # creation times have whole seconds
    world.apply(group_manifest())
    await world.until_ready(*GROUP)

    world.apply(group_manifest("older"))
    await world.until_reason("ForeignGroup", of=(GROUPS, "platform", "older"))
    world.pass_time(400)
    await world.until_quiet(operator)

    assert world.is_ready(*GROUP)
