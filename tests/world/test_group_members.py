"""Who is in a group: everybody who is admitted, as far as there is room, and with Authoritative nobody else."""

from dataclasses import replace
from typing import Any

from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.plan.group import MAX_MEMBERS
from elasticache_iam.core.state import Inventory
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID = names.default_user_id(OWNER, GROUP_ID)
USER_ID = names.default_id(OWNER, "shop", "checkout")
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def make_users(world: Ground, *user_ids: str) -> None:
    for user_id in user_ids:
        world.elasticache.create_user(
            UserId=user_id, UserName=user_id, Engine="redis", AccessString="off", AuthenticationMode={"Type": "iam"}
        )


def members(world: Ground) -> set[str]:
    return set(world.in_aws()["groups"][GROUP_ID][2])


def events(world: Ground, reason: str) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == reason]


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    """Let passes go by and see that they write nothing."""
    await world.until_quiet(operator)
    before, passes = len(operator.tap.writes), operator.passes
    await world.until(lambda: operator.passes >= passes + 6)
    assert operator.tap.writes[before:] == []


async def settle(world: Ground, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest(**spec), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)
    return operator


# -- authoritative ----------------------------------------------------------------------------------------------------


async def test_an_authoritative_group_loses_whom_nobody_asked_for_and_says_who(world: Ground):
    make_users(world, "legacy", "batch")
    operator = await settle(world, members=["batch"])
    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToAdd=["legacy"])
    await world.until(lambda: "legacy" in members(world))

    world.apply(group_manifest(members=["batch"], membership="Authoritative"))
    await world.until(lambda: members(world) == {DEFAULT_ID, USER_ID, "batch"})

    await world.until(lambda: events(world, "MembersRemoved"))
    (note,) = events(world, "MembersRemoved")
    assert "taking legacy out" in note
    await writes_nothing_more(world, operator)


async def test_a_member_that_somebody_puts_into_an_authoritative_group_is_taken_out(world: Ground):
    make_users(world, "legacy")
    await settle(world, membership="Authoritative")

    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToAdd=["legacy"])

    await world.until(lambda: events(world, "DriftRepaired"))
    await world.until(lambda: members(world) == {DEFAULT_ID, USER_ID})
    assert "legacy was put in" in events(world, "DriftRepaired")[0]


async def test_a_fight_over_a_member_is_noticed_and_our_own_stay_in(world: Ground):
    make_users(world, "legacy")
    await settle(world, membership="Authoritative")

    def puts_it_back() -> bool:
        if "legacy" not in members(world):
            world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToAdd=["legacy"])
        return world.conditions(*GROUP)["GroupSynced"][1] == "Contested"

    await world.until(puts_it_back)

    assert USER_ID in members(world)
    assert world.is_ready()
    assert "legacy was put in" in world.condition(*GROUP, "GroupSynced")["message"]


async def test_a_member_stays_in_an_authoritative_group_while_the_tag_index_knows_nothing_of_it(world: Ground):
    operator = await settle(world, membership="Authoritative")
    await operator.kill()
    second = await world.start(QUICK)  # knows no tags from writes of its own
    aws = second.plane.aws(second.plane.installation.home)
    get_inventory = aws.get_inventory

    async def get_old_inventory(**ages: float) -> Inventory:
        inventory = await get_inventory(**ages)
        tags = {arn: tags for arn, tags in inventory.tags.items() if not arn.endswith(f"user:{USER_ID}")}
        return replace(inventory, tags=tags)

    aws.get_inventory = get_old_inventory  # type: ignore[method-assign]
    await world.until(lambda: second.passes >= 8)

    assert USER_ID in members(world)
    assert events(world, "MembersRemoved") == []


# -- members that can't join ------------------------------------------------------------------------------------------


async def test_a_member_that_is_not_there_is_named_and_joins_when_it_comes(world: Ground):
    world.add_cache()
    await world.start(QUICK)
    world.apply(group_manifest(members=["batch"]), user_manifest())
    await world.until_reason("MembersMissing", of=GROUP)
    await world.until_ready()
    assert "batch: there is no such user" in world.condition(*GROUP, "GroupSynced")["message"]

    make_users(world, "batch")

    await world.later(lambda: world.is_ready(*GROUP), step_s=1)
    assert "batch" in members(world)
    assert events(world, "DriftRepaired") == []


async def test_one_that_aws_refuses_for_a_reason_of_its_own_keeps_nobody_else_out(world: Ground):
    make_users(world, "a-batch", "b-batch")
    await settle(world)
    world.fault("elasticache", "ModifyUserGroup", "InvalidParameterValue", times=2)

    world.apply(group_manifest(members=["a-batch", "b-batch"]))

    await world.later(lambda: {"a-batch", "b-batch"} <= members(world), step_s=100)


# -- a full group -----------------------------------------------------------------------------------------------------


async def test_a_full_group_takes_the_oldest_and_tells_the_others(world: Ground):
    crowd = [f"m{number:03}" for number in range(MAX_MEMBERS - 2)]
    make_users(world, *crowd)
    operator = await settle(world, members=crowd)
    assert len(members(world)) == MAX_MEMBERS
    assert "100 of 100 members" in world.condition(*GROUP, "GroupSynced")["message"]

    world.apply(user_manifest("second"))
    await world.until_reason("GroupFull", of=(USERS, "shop", "second"))
    await world.until_reason("GroupFull", of=GROUP)
    second = names.default_id(OWNER, "shop", "second")
    assert second in world.condition(*GROUP, "GroupSynced")["message"]
    assert world.is_ready()
    await writes_nothing_more(world, operator)

    world.apply(group_manifest(members=crowd[1:]), user_manifest("third"))
    world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToRemove=[crowd[0]])
    await world.later(lambda: world.is_ready(name="second"), step_s=100)
    assert names.default_id(OWNER, "shop", "third") not in members(world)


# -- reserved ids -----------------------------------------------------------------------------------------------------


async def test_nobody_gets_the_id_of_a_disabled_default_user(world: Ground):
    world.add_cache()
    await world.start(QUICK)

    world.apply(group_manifest(), user_manifest(namespace="platform", id=DEFAULT_ID))
    await world.until_reason("NotAdmitted", of=(USERS, "platform", "checkout"))
    await world.until_ready(*GROUP)

    assert members(world) == {DEFAULT_ID}
    assert "disabled default users" in world.condition(USERS, "platform", "checkout", "Ready")["message"]
