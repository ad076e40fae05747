"""A tenant that may write ElastiCacheIAMUsers in `shop`, and wants more than the platform team admits."""

import asyncio
from typing import Any

import pytest
from tests.builders import ACCOUNT, group_manifest, user_manifest
from tests.world.harness import Ground, ground
from tests.world.virtual import play, virtual_ground

from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.reconcile.queue import GROUPS

ORDERS_LIMIT = [
    {"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadWrite", "keys": ["orders:*"]}},
]
PACES = (10.0, 15.0)
"""Calls a second, as an operator keeps them."""
WITHIN = {"accessString": "on ~orders:* -@all +@read -@dangerous -function"}


@pytest.fixture
async def world():
    """Two groups: in `dev` the tenant may do all, in `orders` it may read and write `orders:*`."""
    async with ground() as made:
        made.add_cache("orders-prod")
        made.add_cache("dev-cache")
        await made.start()
        made.apply(group_manifest("orders", caches=("orders-prod",), admission=ORDERS_LIMIT))
        made.apply(group_manifest("dev", caches=("dev-cache",)))
        yield made


def user_id_of(world: Ground, name: str = "checkout") -> str:
    return str(world.kube.get("elasticacheiamusers", "shop", name)["status"]["id"])  # type: ignore[index]


def access_in_aws(world: Ground, name: str = "checkout") -> str:
    return str(world.elasticache.describe_users(UserId=user_id_of(world, name))["Users"][0]["AccessString"])


def groups_in_aws(world: Ground, name: str = "checkout") -> list[str]:
    return list(world.elasticache.describe_users(UserId=user_id_of(world, name))["Users"][0]["UserGroupIds"])


def group_id(world: Ground, name: str) -> str:
    return str(world.kube.get(GROUPS, "platform", name)["status"]["id"])  # type: ignore[index]


async def watch_that_never(world: Ground, wrong, *, seconds: float) -> None:
    """Look all the while whether something is in AWS that must never be."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        assert not wrong()
        await asyncio.sleep(0.01)


async def test_wide_rights_do_not_come_along_into_a_group_that_limits_them(world: Ground):
    world.apply(user_manifest(group="dev", access={"preset": "Admin"}))
    await world.until_ready()
    orders = group_id(world, "orders")
    world.fault("elasticache", "ModifyUser", "InvalidParameterValue")

    world.apply(user_manifest(group="orders", access=WITHIN))
    await watch_that_never(world, lambda: orders in groups_in_aws(world) and "~*" in access_in_aws(world), seconds=1.5)

    assert orders not in groups_in_aws(world)
    policies = world.iam.get_role_policy(RoleName=user_id_of(world), PolicyName="elasticache-iam-connect")
    assert "orders-prod" not in str(policies["PolicyDocument"])


async def test_a_user_that_changes_groups_leaves_before_it_gets_the_new_rights(world: Ground):
    world.apply(user_manifest(group="orders"))
    await world.until_ready()
    orders, dev = group_id(world, "orders"), group_id(world, "dev")
    world.settings.transition_s = 0.2

    world.apply(user_manifest(group="dev", access={"preset": "Admin"}))
    await watch_that_never(world, lambda: orders in groups_in_aws(world) and "~*" in access_in_aws(world), seconds=0.5)
    await world.until(lambda: dev in groups_in_aws(world))

    assert groups_in_aws(world) == [dev]
    await world.until(lambda: "~*" in access_in_aws(world))


async def test_pausing_does_not_save_rights_from_a_limit_that_was_tightened(world: Ground):
    world.apply(user_manifest(group="dev", access={"preset": "Admin"}))
    await world.until_ready()
    dev = group_id(world, "dev")
    paused = user_manifest(group="dev", access={"preset": "ReadOnly", "keys": ["dev:*"]})
    paused["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}
    world.apply(paused)

    limit = [{"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadOnly", "keys": ["dev:*"]}}]
    world.apply(group_manifest("dev", caches=("dev-cache",), admission=limit))
    await world.until(lambda: dev not in groups_in_aws(world))

    assert "~*" in access_in_aws(world)


async def test_a_narrower_access_that_aws_is_slow_to_take_cuts_nobody_off(world: Ground):
    world.apply(user_manifest(group="orders"))
    await world.until_ready()
    orders = group_id(world, "orders")
    world.fault("elasticache", "ModifyUser", "Throttling", times=6)

    world.apply(user_manifest(group="orders", access={"preset": "ReadOnly", "keys": ["orders:*"]}))
    await watch_that_never(world, lambda: orders not in groups_in_aws(world), seconds=0.7)


async def test_a_refused_user_is_told_to_be_in_as_long_as_it_is(world: Ground):
    world.apply(user_manifest(group="orders"))
    await world.until_ready()
    world.fault("elasticache", "ModifyUserGroup", "InvalidParameterValue")

    world.apply(user_manifest(group="orders", suspend=True))
    await world.until_reason("Suspended")
    await world.until(
        lambda: "still leaving" in world.condition("elasticacheiamusers", "shop", "checkout", "Ready")["message"]
    )
    world.settings.faults.clear()

    await world.later(lambda: groups_in_aws(world) == [])
    await world.later(
        lambda: "still leaving" not in world.condition("elasticacheiamusers", "shop", "checkout", "Ready")["message"]
    )


async def test_pausing_does_not_wedge_a_namespace_that_ends(world: Ground):
    paused = user_manifest(group="orders")
    world.apply(paused)
    await world.until_ready()
    paused["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}
    world.apply(paused)

    world.kube.terminate_namespace("shop")

    await world.later(lambda: world.kube.get("elasticacheiamusers", "shop", "checkout") is None)
    assert [
        user["UserId"] for user in world.elasticache.describe_users()["Users"] if "checkout" in user["UserId"]
    ] == []


async def test_a_group_on_a_cache_does_not_wedge_a_namespace_that_ends(world: Ground):
    world.apply(group_manifest("orders", caches=("orders-prod",), admission=ORDERS_LIMIT, deletionPolicy="Delete"))
    await world.until_ready(GROUPS, "platform", "orders")
    orders = group_id(world, "orders")

    world.kube.terminate_namespace("platform")

    await world.later(lambda: world.kube.get(GROUPS, "platform", "orders") is None)
    attached = world.elasticache.describe_replication_groups(ReplicationGroupId="orders-prod")["ReplicationGroups"][0]
    assert attached["UserGroupIds"] == [orders]


async def test_ready_waits_for_a_login_after_the_user_was_let_in_again(world: Ground):
    world.apply(user_manifest(group="orders"))
    await world.until_ready()
    world.apply(group_manifest("orders", caches=("orders-prod",), admits=()))
    await world.until_reason("NotAdmitted")
    world.probe.result = LoginResult(LoginOutcome.REFUSED, "WRONGPASS")

    world.apply(group_manifest("orders", caches=("orders-prod",), admission=ORDERS_LIMIT))

    await watch_that_never(world, world.is_ready, seconds=0.7)


def test_whatever_one_tenant_edits_all_the_time_another_namespaces_new_user_is_served():
    """Each edit of a user whose role isn't there asks IAM: a namespace can ask for more passes than there are."""

    async def edit_without_end(world: Ground, names: list[str]) -> None:
        number = 0
        while True:
            number += 1
            for name in names:
                world.apply(mischief(name, number))
            await asyncio.sleep(0.5)

    def mischief(name: str, edit: int = 0) -> dict[str, Any]:
        arn = f"arn:aws:iam::{ACCOUNT}:role/no-{name}"
        manifest = user_manifest(name, "web", role={"mode": "External", "arn": arn})
        manifest["metadata"]["annotations"] = {"example.org/edit": str(edit)}
        return manifest

    async def story() -> float:
        async with virtual_ground() as world:
            world.add_cache()
            await world.start(paces=PACES)
            world.apply(group_manifest(admits=("shop", "web")))
            names = [f"mischief-{number}" for number in range(20)]
            for name in names:
                world.kube.put_service_account("web", name)
                world.apply(mischief(name))
            await asyncio.sleep(30)
            edits = asyncio.create_task(edit_without_end(world, names))
            await asyncio.sleep(10)
            began = asyncio.get_running_loop().time()

            world.kube.put_service_account("shop", "checkout")
            world.apply(user_manifest())
            await world.until(lambda: world.kube.secret("shop", "checkout"), timeout_s=60.0)

            edits.cancel()
            return asyncio.get_running_loop().time() - began

    assert play(story()) < 10.0
