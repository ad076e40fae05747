"""From two resources to a Secret and back to nothing."""

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, ground

from elasticache_iam.reconcile.queue import GROUPS, USERS


@pytest.fixture
async def world():
    async with ground() as made:
        yield made


async def test_two_resources_become_a_secret(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    assert set(secret) == {"type", "provider", "host", "port", "username", "password", "ssl", "uri", "expires-at"}
    assert world.conditions(GROUPS, "platform", "orders")["Ready"][0] == "True"


async def test_a_second_pass_over_an_unchanged_world_writes_nothing(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    writes = len(world.kube.writes)
    world.world.reset_call_counts()

    for key in operator.plane.store.all_keys():
        await operator.work(key)

    assert len(world.kube.writes) == writes
    assert world.world.call_counts() == {}


async def test_deleting_leaves_nothing_in_aws(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(deletionPolicy="Delete"), user_manifest())
    await world.until_ready()

    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)
    world.kube.delete(GROUPS, "platform", "orders")
    await world.until(lambda: world.conditions(GROUPS, "platform", "orders")["Ready"][1] == "StillAttached")
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)

    assert [user["UserId"] for user in world.elasticache.describe_users()["Users"]] == ["default"]
    assert world.elasticache.describe_user_groups()["UserGroups"] == []
    assert world.iam.list_roles()["Roles"] == []
    assert world.kube.secret_names() == []
