"""How a UserGroup ends: never under a cache, never with members, and never in the way of a namespace."""

from typing import Any

import pytest
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID = names.default_user_id(OWNER, GROUP_ID)
ORPHANED = "elasticache-iam.dev/orphaned"
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def events(world: Ground, reason: str) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == reason]


def mark(world: Ground, group_id: str = GROUP_ID) -> str | None:
    found: str | None = world.in_aws()["groups"][group_id][3].get(ORPHANED)
    return found


async def settle(world: Ground, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest(**{"deletionPolicy": "Delete", **spec}))
    await world.until_ready(*GROUP)
    return operator


async def test_a_namespace_that_ends_leaves_the_group_with_a_mark(world: Ground):
    await settle(world)

    world.kube.terminate_namespace("platform")
    await world.until(lambda: world.kube.get(*GROUP) is None)
    await world.until(lambda: mark(world))
    await world.until(lambda: ORPHANED in world.in_aws()["users"][DEFAULT_ID][5])

    assert str(mark(world)).endswith("Z")
    assert world.in_aws()["caches"]["orders-prod"][1] == GROUP_ID


async def test_a_resource_of_the_same_name_takes_an_orphaned_group_over(world: Ground):
    operator = await settle(world)
    world.kube.terminate_namespace("platform")
    await world.until(lambda: mark(world))
    await world.until(lambda: world.kube.get(*GROUP) is None)
    world.kube._remove(("namespaces", "", "platform"))

    world.apply(group_manifest())
    await world.until_ready(*GROUP)

    await world.until(lambda: mark(world) is None and ORPHANED not in world.in_aws()["users"][DEFAULT_ID][5])
    await world.until_quiet(operator)
    assert events(world, "DriftRepaired") == []


async def test_a_missing_right_to_tag_holds_up_no_namespace(world: Ground):
    await settle(world)
    world.fault("elasticache", "AddTagsToResource", "AccessDenied")

    world.kube.terminate_namespace("platform")

    await world.until(lambda: world.kube.get(*GROUP) is None)
    assert mark(world) is None


async def test_a_group_that_is_gone_in_aws_holds_up_no_namespace(world: Ground):
    operator = await settle(world, caches=())
    await operator.kill()
    world.elasticache.delete_user_group(UserGroupId=GROUP_ID)
    world.kube.terminate_namespace("platform")

    await world.start(QUICK)

    await world.until(lambda: world.kube.get(*GROUP) is None)


async def test_a_namespace_that_ended_while_the_operator_was_down_is_let_go(world: Ground):
    operator = await settle(world)
    await operator.kill()
    world.kube.terminate_namespace("platform")

    await world.start(QUICK)

    await world.until(lambda: world.kube.get(*GROUP) is None)
    await world.until(lambda: mark(world))


async def test_a_group_that_is_kept_gets_no_mark(world: Ground):
    await settle(world, deletionPolicy="Retain")

    world.kube.terminate_namespace("platform")
    await world.until(lambda: world.kube.get(*GROUP) is None)

    assert mark(world) is None


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_members_hold_up_the_deletion(world: Ground, policy: str):
    await settle(world, deletionPolicy=policy)
    world.apply(user_manifest())
    await world.until_ready()

    world.kube.delete(*GROUP)
    await world.until_reason("MembersRemain", of=GROUP)
    assert "shop/checkout" in world.condition(*GROUP, "Ready")["message"]

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)
    if policy == "Delete":
        await world.until_reason("StillAttached", of=GROUP)
        assert "--user-group-ids-to-add OTHER" in world.condition(*GROUP, "Ready")["message"]
    else:
        await world.later(lambda: world.kube.get(*GROUP) is None, step_s=10)
    assert world.in_aws()["caches"]["orders-prod"][1] == GROUP_ID
