"""The operator dies at each of its writes, one after the other; its successor ends where no crash would have."""

import asyncio
from typing import Any

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, Tap, ground

from elasticache_iam.reconcile.queue import GROUPS, USERS

CREATION = range(1, 20)
DELETION = range(1, 22)
"""Numbers of the writes to die at. A test holds that the stories have no more."""
MANIFESTS = (group_manifest(deletionPolicy="Delete"), user_manifest())


@pytest.fixture
async def clean() -> dict[str, Any]:
    """What both stories leave when nobody dies, and how many writes they take."""
    return await _clean()


_kept: dict[str, Any] = {}


async def _clean() -> dict[str, Any]:
    if not _kept:
        async with ground() as world:
            world.add_cache()
            tap = Tap()
            operator = await world.start(tap=tap)
            world.apply(*MANIFESTS)
            await world.until_ready()
            await world.until_quiet(operator)
            _kept.update(aws=world.in_aws(), kubernetes=world.in_kubernetes(), creation=list(tap.writes))
            tap.arm(0, carried_out=True)
            await _delete(world)
            await _until_gone(world)
            _kept.update(deletion=list(tap.writes), nothing=world.in_aws())
    return _kept


async def test_every_write_of_the_stories_is_died_at(clean: dict[str, Any]):
    assert len(clean["creation"]) <= max(CREATION)
    assert len(clean["deletion"]) <= max(DELETION)
    assert clean["nothing"]["groups"] == clean["nothing"]["roles"] == {}
    assert list(clean["nothing"]["users"]) == ["default"]


@pytest.mark.parametrize("carried_out", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", CREATION)
async def test_a_crash_at_any_write_of_a_creation_changes_nothing_in_the_end(
    clean: dict[str, Any], number: int, *, carried_out: bool
):
    async with ground() as world:
        world.add_cache()
        first = await world.start(tap=Tap(number, carried_out=carried_out))
        world.apply(*MANIFESTS)
        await world.until(lambda: first.tap.died.is_set() or world.is_ready())
        await first.kill()

        second = await world.start()
        await world.until_ready(GROUPS, "platform", "orders")
        await world.until_ready()
        await world.until_quiet(second)

        assert world.in_aws() == clean["aws"]
        assert world.in_kubernetes() == clean["kubernetes"]
        user = world.kube.get(USERS, "shop", "checkout")
        secret = world.kube.get("secrets", "shop", "checkout")
        assert user is not None
        assert secret is not None
        assert user["status"]["caches"][0]["secret"]["uid"] == secret["metadata"]["uid"]


@pytest.mark.parametrize("carried_out", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", DELETION)
async def test_a_crash_at_any_write_of_a_deletion_leaves_nothing_in_the_end(
    clean: dict[str, Any], number: int, *, carried_out: bool
):
    async with ground() as world:
        world.add_cache()
        first = await world.start()
        world.apply(*MANIFESTS)
        await world.until_ready()
        await world.until_quiet(first)
        first.tap.arm(number, carried_out=carried_out)
        story = asyncio.create_task(_delete(world))
        await world.until(lambda: first.tap.died.is_set() or story.done())
        await first.kill()

        await world.start()
        await story
        await _until_gone(world)

        assert world.in_aws() == clean["nothing"]
        assert world.in_kubernetes() == {}


async def _delete(world: Ground) -> None:
    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    world.kube.delete(GROUPS, "platform", "orders")


async def _until_gone(world: Ground) -> None:
    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)
