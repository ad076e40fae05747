"""What is told before AWS refuses it: quotas near their end, and caches that are somewhere else."""

from tests.builders import ACCOUNT, REGION, group_manifest
from tests.world.harness import Ground

from elasticache_iam.reconcile.queue import GROUPS

GROUP = (GROUPS, "platform", "orders")
OTHER = (GROUPS, "platform", "stock")
ELSEWHERE = "us-east-1"
QUICK = {"driftInterval": 1.0}


def make_groups(world: Ground, count: int) -> None:
    for number in range(count):
        world.elasticache.create_user_group(UserGroupId=f"theirs-{number}", Engine="valkey")


def quota_events(world: Ground) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == "QuotaNearlyUsed"]


async def test_a_quota_near_its_end_is_told_in_one_event_and_in_each_group(world: Ground):
    make_groups(world, 90)
    world.add_cache()
    operator = await world.start(QUICK)

    world.apply(group_manifest(), group_manifest(name="stock", caches=[]))
    await world.until_ready(*GROUP)
    await world.until_ready(*OTHER)
    await world.until_quiet(operator)

    for group in (GROUP, OTHER):
        assert "at least 90 % of the 100 user groups" in world.condition(*group, "GroupSynced")["message"]
    (note,) = quota_events(world)
    assert REGION in note


async def test_a_quota_is_not_told_again_after_a_restart(world: Ground):
    make_groups(world, 90)
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest())
    await world.until_ready(*GROUP)
    await operator.kill()

    again = await world.start(QUICK)
    await world.until_quiet(again)

    assert len(quota_events(world)) == 1


async def test_a_cache_in_another_region_is_named_once_that_is_known(world: Ground):
    world.world.add_replication_group(
        ACCOUNT, ELSEWHERE, "orders-prod", tags={}, engine="redis", engine_version="7.1.0", host="127.0.0.1", port=6379
    )
    await world.start(QUICK)
    world.apply(group_manifest(name="stock", caches=[], region=ELSEWHERE))
    await world.until_reason("AccessDenied", of=OTHER)  # it may read there, and write nothing

    world.apply(group_manifest())
    await world.until_reason("CacheNotFound", of=GROUP)

    message = world.condition(*GROUP, "CachesAttached")["message"]
    assert f"there is a replicationGroup of that name in {ELSEWHERE} of account {ACCOUNT}" in message
    assert f'spec.region: "{ELSEWHERE}"' in message
