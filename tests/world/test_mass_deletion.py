"""A wrongly pruned folder: deletions of many users at once wait for a person, and nobody is logged out meanwhile."""

from typing import Any

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.reconcile.queue import USERS

OPERATOR_NAMESPACE = "elasticache-iam"
CONFIRM = "elasticache-iam.dev/confirm-deletions"
NAMES = [f"app-{number}" for number in range(8)]
FEW = 5
"""So many are never held back."""


@pytest.fixture
async def operator(world: Ground) -> Any:
    """Eight users with tokens, in a group that lets any namespace in."""
    world.add_cache()
    world.kube.put_namespace(OPERATOR_NAMESPACE)
    operator = await world.start()
    world.apply(group_manifest(), *(user_manifest(name=name) for name in NAMES))
    for name in NAMES:
        await world.until_ready(name=name)
    return operator


def delete(world: Ground, names: list[str]) -> None:
    """Delete users all at once: the operator sees none of it before all of it is done."""
    for name in names:
        world.kube.delete(USERS, "shop", name)


def held(world: Ground) -> list[str]:
    return [name for name in NAMES if world.conditions(USERS, "shop", name).get("Ready") == ("False", "DeletionsHeld")]


def users_in_aws(world: Ground) -> int:
    return sum(1 for user_id in world.in_aws()["users"] if "-app-" in user_id)


def secrets(world: Ground) -> int:
    return sum(1 for plural, _, _ in world.kube._objects if plural == "secrets")


async def test_many_deletions_at_once_are_held_back_and_tokens_stay(world: Ground, operator: Any):
    delete(world, NAMES)

    await world.until(lambda: held(world) == NAMES)
    await world.until_quiet(operator)

    assert users_in_aws(world) == len(NAMES)
    assert secrets(world) == len(NAMES)


async def test_the_held_back_are_refreshed_like_all_others(world: Ground, operator: Any):
    delete(world, NAMES)
    await world.until(lambda: held(world) == NAMES)
    before = [world.kube.get("secrets", "shop", name) for name in NAMES]

    world.pass_time(600.0)
    await world.until(
        lambda: all(world.kube.get("secrets", "shop", name) != old for name, old in zip(NAMES, before, strict=True))
    )

    assert held(world) == NAMES


async def test_a_confirmation_lets_them_go(world: Ground, operator: Any):
    delete(world, NAMES)
    await world.until(lambda: held(world) == NAMES)

    world.kube.annotate_namespace(OPERATOR_NAMESPACE, {CONFIRM: world.clock.now().isoformat()})

    await world.later(lambda: users_in_aws(world) == 0, step_s=15.0)
    assert secrets(world) == 0


async def test_an_old_confirmation_confirms_nothing(world: Ground, operator: Any):
    world.kube.annotate_namespace(OPERATOR_NAMESPACE, {CONFIRM: "2020-01-01T00:00:00Z"})

    delete(world, NAMES)

    await world.until(lambda: held(world) == NAMES)


async def test_being_held_back_does_not_end_by_itself(world: Ground, operator: Any):
    delete(world, NAMES)
    await world.until(lambda: held(world) == NAMES)

    world.pass_time(800.0)
    await world.until_quiet(operator)

    assert held(world) == NAMES
    assert users_in_aws(world) == len(NAMES)


async def test_a_restart_holds_them_still(world: Ground, operator: Any):
    delete(world, NAMES)
    await world.until(lambda: held(world) == NAMES)
    await operator.kill()

    world.pass_time(800.0)
    successor = await world.start()
    await world.until_quiet(successor)

    assert users_in_aws(world) == len(NAMES)


async def test_a_few_deletions_go_at_once(world: Ground, operator: Any):
    delete(world, NAMES[:FEW])

    await world.until(lambda: users_in_aws(world) == len(NAMES) - FEW)


async def test_a_namespace_that_ends_waits_for_nobody(world: Ground, operator: Any):
    world.kube.terminate_namespace("shop")

    await world.later(lambda: not any(plural == USERS for plural, _, _ in world.kube._objects), step_s=15.0)

    assert users_in_aws(world) == len(NAMES)  # retained, with our tags


async def test_a_confirmation_is_asked_for_by_the_group_that_loses_its_users(world: Ground, operator: Any):
    world.add_cache("items-prod")
    world.apply(group_manifest("items", caches=("items-prod",)))
    others = [f"item-{number}" for number in range(60)]
    world.apply(*(user_manifest(name=name, group="items") for name in others))
    for name in others:
        await world.until_ready(name=name)

    delete(world, NAMES[:6])  # few of all 68, most of their own group's

    await world.until(lambda: held(world) == NAMES[:6])
    condition = world.condition(USERS, "shop", NAMES[0], "UserSynced")
    assert "6 of 8 users of UserGroup platform/orders" in condition["message"]


# -- what has nothing in AWS -------------------------------------------------------------------------------------------


def stranger(number: int) -> Any:
    """Return a user that no group admits, with a finalizer of its author's, and with ours."""
    manifest = user_manifest(name=f"stranger-{number}", namespace="evil")
    manifest["metadata"]["finalizers"] = ["example.com/mine", "elasticache-iam.dev/aws"]
    return manifest


async def test_deletions_of_what_nobody_admitted_hold_up_nobody(world: Ground, operator: Any):
    world.apply(*(stranger(number) for number in range(FEW + 3)))
    await world.until_quiet(operator)
    for number in range(FEW + 3):
        world.kube.delete(USERS, "evil", f"stranger-{number}")
    await world.until_quiet(operator)

    delete(world, NAMES[:1])

    await world.until(lambda: world.kube.get(USERS, "shop", NAMES[0]) is None)
    assert users_in_aws(world) == len(NAMES) - 1


async def test_a_crowd_is_not_made_small_by_what_nobody_admitted(world: Ground, operator: Any):
    world.apply(*(stranger(number) for number in range(100)))
    await world.until_quiet(operator)

    delete(world, NAMES)

    await world.until(lambda: held(world) == NAMES)
    assert users_in_aws(world) == len(NAMES)
