"""What once went wrong, each by the test that showed it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest
from botocore.parsers import ResponseParserError
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground
from tests.world.virtual import play, virtual_ground

from elasticache_iam.core import names
from elasticache_iam.core.errors import UnavailableError
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.runtime.edge import resync_forever
from elasticache_iam_sandbox.world.call import Call

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

    await world.later(lambda: DEFAULT_ID in members(world) and "open" not in members(world))


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
    await world.until_reason("MembersMissing", of=GROUP)
    assert f"another member is named {USER_ID}" in world.condition(*GROUP, "GroupSynced")["message"]

    world.apply(user_manifest("good", suspend=True))

    await world.until(lambda: names.default_id(OWNER, "shop", "good") not in members(world))
    assert "twin" in members(world)


async def test_a_new_engine_that_aws_can_not_do_yet_does_not_keep_anybody_in(world: Ground):
    await settle(world, user_manifest())
    world.apply(group_manifest(engine="valkey"))
    await world.until_reason("EngineMismatch", of=GROUP)

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


# -- users ------------------------------------------------------------------------------------------------------------


async def test_a_resource_with_another_ones_id_gets_no_role_that_could_connect_as_it(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest(namespace="platform", id="demo-victim"))
    await world.until_ready(USERS, "platform", "checkout")

    world.apply(user_manifest("thief", namespace="platform", id="demo-victim"))
    await world.until_reason("NotOwned", of=(USERS, "platform", "thief"))
    await world.until_quiet(operator)

    assert names.role_name(OWNER, "platform", "thief") not in world.in_aws()["roles"]


async def test_a_user_without_a_group_can_be_suspended(world: Ground):
    await settle(world, user_manifest())
    world.kube._remove(GROUP)

    world.apply(user_manifest(suspend=True))

    await world.until(lambda: world.kube.secret_names() == [])
    await world.until_reason("Suspended")


async def test_a_user_that_changes_groups_leaves_the_first_at_once(world: Ground):
    world.add_cache("second")
    await settle(world, user_manifest())
    world.apply(group_manifest("other", caches=("second",)))

    world.apply(user_manifest(group="other"))

    await world.until(lambda: USER_ID not in members(world))


async def test_a_group_that_is_not_worked_on_does_not_hold_up_a_users_deletion(world: Ground):
    operator = await settle(world, user_manifest())
    world.apply(group_manifest(tags={"team": "unknown"}))
    await world.until(lambda: not world.is_ready(*GROUP))
    await world.until_quiet(operator)

    world.kube.delete(*USER)

    await world.until(lambda: world.kube.get(*USER) is None)
    assert USER_ID not in world.in_aws()["users"]


async def test_a_user_that_was_given_away_is_not_deleted(world: Ground):
    await settle(world, user_manifest())
    arn = world.elasticache.describe_users(UserId=USER_ID)["Users"][0]["ARN"]
    rival = [{"Key": "elasticache-iam.dev/name", "Value": "another"}]
    world.elasticache.add_tags_to_resource(ResourceName=arn, Tags=rival)

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert USER_ID in world.in_aws()["users"]


async def test_a_first_token_on_its_way_is_taken_back_with_the_others(world: Ground):
    operator = await settle(world)
    create = world.kube.create_secret
    asked, go = asyncio.Event(), asyncio.Event()

    async def create_slowly(namespace: str, body: Any) -> str:
        asked.set()
        await go.wait()
        return await create(namespace, body)

    with patch.object(world.kube, "create_secret", create_slowly):
        world.apply(user_manifest())
        await asyncio.wait_for(asked.wait(), 8)
        world.apply(user_manifest(suspend=True))
        await world.until(lambda: operator.tokens._stopped)
        go.set()
        await world.until_reason("Suspended")

    assert world.kube.secret_names() == []


async def test_tokens_come_back_though_their_end_could_not_be_written_down(world: Ground):
    await settle(world, user_manifest())
    world.kube.fail_next("patch_status", UnavailableError("the API server is away"), times=2)
    world.apply(group_manifest(admits=()))
    await world.until(lambda: world.kube.secret_names() == [])

    world.apply(group_manifest())

    await world.later(lambda: world.kube.secret_names() == [("shop", "checkout")], step_s=15)


# -- the watch --------------------------------------------------------------------------------------------------------


async def test_a_listing_does_not_undo_what_the_watch_has_brought(world: Ground):
    operator = await settle(world, user_manifest())
    listing = world.kube.list_resources

    async def list_slowly(plural: str) -> AsyncIterator[Any]:
        bodies = [body async for body in listing(plural)]
        if plural == USERS:
            world.apply(user_manifest(suspend=True), user_manifest("new"))
            await world.until(lambda: operator.plane.store.body(Key(USERS, "shop", "new")))
        for body in bodies:
            yield body

    with patch.object(world.kube, "list_resources", list_slowly):
        await operator.edge.resync()

    user = operator.plane.store.user(Key(*USER))
    assert user is not None
    assert user.spec.suspend
    assert operator.plane.store.body(Key(USERS, "shop", "new")) is not None


async def test_a_listing_that_fails_does_not_end_the_operator(world: Ground):
    operator = await settle(world)
    heard = asyncio.Event()
    world.kube.fail_next("list_resources", UnavailableError("the API server is away"))

    resync = asyncio.create_task(resync_forever(operator.edge, interval_s=0.01, report=lambda *_: heard.set()))
    await asyncio.wait({resync, asyncio.create_task(heard.wait())}, return_when=asyncio.FIRST_COMPLETED)

    assert not resync.done()
    resync.cancel()


# -- a group on its way out -------------------------------------------------------------------------------------------


async def test_a_user_is_suspended_though_its_group_is_being_deleted(world: Ground):
    await settle(world, user_manifest(), user_manifest("stays"))
    world.kube.delete(*GROUP)
    await world.until_reason("MembersRemain", of=GROUP)

    world.apply(user_manifest(suspend=True))

    await world.until(lambda: USER_ID not in members(world))
    await world.until(lambda: world.kube.secret_names() == [("shop", "stays")])


async def test_admission_is_withdrawn_though_the_group_is_being_deleted(world: Ground):
    await settle(world, user_manifest())
    world.kube.delete(*GROUP)
    await world.until_reason("MembersRemain", of=GROUP)
    body = world.kube.get(*GROUP) or {}
    body["spec"]["admission"] = []

    world.kube.put(body)

    await world.until(lambda: world.kube.secret_names() == [])
    await world.until(lambda: USER_ID not in members(world))
    await world.until(lambda: world.kube.get(*GROUP) is None)


async def test_a_group_that_its_cache_does_not_admit_keeps_no_other_from_it(world: Ground):
    world.add_cache(allow=f"{OWNER}/platform")
    await world.start()
    world.apply(group_manifest("older", "elsewhere"))
    await world.until_reason("ConsentMissing", of=(GROUPS, "elsewhere", "older"))
    await asyncio.sleep(1.1)  # creation times have whole seconds

    world.apply(group_manifest())

    await world.until_ready(*GROUP)


# -- a role that can't be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arn",
    ["ø\U00081383\x15", "arn:aws:iam::111122223333:role/ø\U00081383\x15", "arn:aws:iam::111122223333:role/"],
    ids=["no-arn", "no-name-that-iam-takes", "no-name"],
)
def test_a_role_in_a_status_that_cannot_be_one_is_not_asked_for(arn: str):
    async def story() -> tuple[list[str], int]:
        async with virtual_ground() as world:
            world.add_cache()
            world.apply(group_manifest(), {**user_manifest(), "status": {"role": {"arn": arn}}})
            await world.start()
            await world.until_ready()
            asked = world.calls("GetRole")
            world.apply({**user_manifest(), "status": {"role": {"arn": arn}}})
            world.kube.delete(*USER)
            await world.until(lambda: world.kube.get(*USER) is None)
            return world.failures(), asked

    failures, asked = play(story())

    assert failures == []
    assert asked == 0


def test_an_answer_that_cannot_be_read_is_asked_for_again():
    async def story() -> tuple[list[str], set[str]]:
        async with virtual_ground() as world:
            world.add_cache()
            unreadable = [ResponseParserError("Unable to parse response: <html>")] * 2
            dispatch = world.world.dispatch

            def answer(call: Call) -> Any:
                if call.operation == "CreateRole" and unreadable:
                    raise unreadable.pop()
                return dispatch(call)

            world.world.dispatch = answer  # type: ignore[method-assign]
            await world.start()
            world.apply(group_manifest(), user_manifest())
            await world.until_ready()
            return world.failures(), {reason for _, reason, _ in world.shown}

    failures, reasons = play(story())

    assert failures == []
    assert "Unavailable" in reasons
