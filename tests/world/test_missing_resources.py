"""Members whose resources aren't there: a restored cluster, a narrower watch, a listing that lacks them."""

import asyncio
from typing import Any

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.reconcile.queue import GROUPS, USERS, Key

OPERATOR_NAMESPACE = "elasticache-iam"
CONFIRM = "elasticache-iam.dev/confirm-deletions"
NAMES = [f"app-{number}" for number in range(8)]
GROUP = (GROUPS, "platform", "orders")
GRACE_S = 1800.0


@pytest.fixture
async def operator(world: Ground) -> Operator:
    """Eight users in a group."""
    world.add_cache()
    world.kube.put_namespace(OPERATOR_NAMESPACE)
    operator = await world.start()
    world.apply(group_manifest(), *(user_manifest(name=name) for name in NAMES))
    for name in NAMES:
        await world.until_ready(name=name)
    return operator


def members(world: Ground) -> int:
    (group,) = world.in_aws()["groups"].values()
    return sum(1 for user_id in group[2] if "-app-" in user_id)


def lose(world: Ground, names: list[str]) -> None:
    """Have resources vanish as if they had never been, which nobody sees."""
    for name in names:
        world.kube._objects.pop((USERS, "shop", name), None)
        world.kube._objects.pop(("secrets", "shop", name), None)


def said(world: Ground) -> Any:
    return world.condition(*GROUP, "GroupSynced")


async def restart(world: Ground, operator: Operator, config: Any = None) -> Operator:
    await operator.kill()
    return await world.start(config)


async def after_a_pass(world: Ground, operator: Operator, *, seconds: float = 301.0) -> None:
    world.pass_time(seconds)
    await world.until_quiet(operator)


async def rebuild(world: Ground, operator: Operator) -> Operator:
    """Begin anew with an empty cluster, to which the UserGroup alone is applied so far."""
    await operator.kill()
    lose(world, NAMES)
    world.kube._objects.pop(GROUP)
    successor = await world.start()
    world.apply(group_manifest())
    await world.until_reason("MembersWithoutResource", of=GROUP)
    return successor


async def test_a_group_restored_before_its_users_keeps_them(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)

    await after_a_pass(world, successor)
    await after_a_pass(world, successor, seconds=2 * GRACE_S)

    assert members(world) == len(NAMES)
    assert world.conditions(*GROUP)["CachesAttached"][0] == "True"
    assert "shop/app-0" in said(world)["message"]
    assert "kubectl annotate" in said(world)["message"]


async def test_users_restored_later_are_at_home_again(world: Ground, operator: Operator):
    await rebuild(world, operator)
    before = world.calls("ModifyUserGroup")

    world.apply(*(user_manifest(name=name) for name in NAMES))
    for name in NAMES:
        await world.until_ready(name=name)

    await world.later(lambda: world.is_ready(*GROUP))
    assert world.calls("ModifyUserGroup") == before
    assert members(world) == len(NAMES)


async def test_a_restart_amid_a_restore_cuts_nobody_off(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)
    world.apply(*(user_manifest(name=name) for name in NAMES[:4]))
    for name in NAMES[:4]:
        await world.until_ready(name=name)

    third = await restart(world, successor)
    await after_a_pass(world, third)

    assert members(world) == len(NAMES)
    assert world.conditions(*GROUP)["Ready"] == ("False", "MembersWithoutResource")


async def test_waiting_for_resources_asks_aws_and_the_cluster_nothing_more(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)
    await world.until_quiet(successor)
    before, writes = world.world.call_counts(), list(successor.tap.writes)

    world.pass_time(90.0)
    await world.until_quiet(successor)

    assert world.world.call_counts() == before
    assert successor.tap.writes == writes


async def test_a_confirmation_lets_many_go(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)
    await after_a_pass(world, successor, seconds=GRACE_S + 1)

    world.kube.annotate_namespace(OPERATOR_NAMESPACE, {CONFIRM: world.clock.now().isoformat()})

    await world.later(lambda: members(world) == 0, step_s=61.0)
    await world.later(lambda: world.is_ready(*GROUP))


async def test_a_few_stay_for_half_an_hour_and_go(world: Ground, operator: Operator):
    await operator.kill()
    lose(world, NAMES[:2])
    successor = await world.start()
    await world.until_reason("MembersWithoutResource", of=GROUP)

    await after_a_pass(world, successor, seconds=GRACE_S - 60.0)
    assert members(world) == len(NAMES)
    await after_a_pass(world, successor, seconds=120.0)

    await world.later(lambda: members(world) == len(NAMES) - 2)
    await world.later(lambda: world.is_ready(*GROUP))


async def test_a_listing_that_lacks_users_cuts_nobody_off(world: Ground, operator: Operator):
    lose(world, NAMES)

    await operator.edge.resync()
    await world.until_reason("MembersWithoutResource", of=GROUP)
    await after_a_pass(world, operator)

    assert members(world) == len(NAMES)


async def test_namespaces_that_are_not_watched_any_more_keep_their_members(world: Ground, operator: Operator):
    await operator.kill()
    lose(world, NAMES)
    successor = await world.start({"namespaces": ["platform", OPERATOR_NAMESPACE]})
    await world.until_quiet(successor)

    await after_a_pass(world, successor, seconds=2 * GRACE_S)

    assert members(world) == len(NAMES)
    assert world.is_ready(*GROUP)
    assert "8 member(s) of namespaces that aren't watched" in said(world)["message"]


async def test_a_rule_that_goes_takes_members_out_whose_resource_is_missing(world: Ground, operator: Operator):
    await rebuild(world, operator)

    world.apply(group_manifest(admits=("elsewhere",)))

    await world.until(lambda: members(world) == 0)


async def test_an_authoritative_group_keeps_them_too(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)
    world.apply(group_manifest(membership="Authoritative"))

    await after_a_pass(world, successor)

    assert members(world) == len(NAMES)


async def test_a_group_is_not_let_go_while_members_have_no_resource(world: Ground, operator: Operator):
    successor = await rebuild(world, operator)

    world.kube.delete(*GROUP)
    await world.until_quiet(successor)

    assert members(world) == len(NAMES)
    assert world.conditions(*GROUP)["Ready"] == ("False", "MembersWithoutResource")


async def test_who_is_deleted_leaves_at_once(world: Ground, operator: Operator):
    world.kube.delete(USERS, "shop", "app-0")

    await world.until(lambda: members(world) == len(NAMES) - 1)


async def test_who_is_retained_in_aws_leaves_the_group_at_once(world: Ground, operator: Operator):
    world.apply(user_manifest(name="app-0", deletionPolicy="Retain"))
    await world.until_ready(name="app-0")

    world.kube.delete(USERS, "shop", "app-0")

    await world.until(lambda: members(world) == len(NAMES) - 1)
    assert sum(1 for user_id in world.in_aws()["users"] if "-app-" in user_id) == len(NAMES)


async def test_whose_finalizer_somebody_took_off_leaves_at_once(world: Ground, operator: Operator):
    lose(world, ["app-0"])
    body = operator.plane.store.body(Key(USERS, "shop", "app-0"))

    operator.edge.see(USERS, "DELETED", body or {})
    await asyncio.sleep(0)

    await world.until(lambda: members(world) == len(NAMES) - 1)
