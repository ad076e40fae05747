"""What the watch of Secrets sets off in the token plane, and that a deleted Secret comes back without it, too."""

from typing import Any

from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, Operator

KEY = ("shop", "checkout")


def uid_of(world: Ground, name: str = "checkout") -> str:
    return str((world.kube.get("secrets", "shop", name) or {"metadata": {"uid": ""}})["metadata"]["uid"])


def status_uids(world: Ground) -> list[str]:
    caches: list[Any] = (world.kube.get("elasticacheiamusers", *KEY) or {})["status"]["caches"]
    return [cache["secret"]["uid"] for cache in caches]


async def start(world: Ground) -> Operator:
    world.add_cache("orders-prod")
    world.add_cache("orders-eu")
    operator = await world.start()
    world.apply(group_manifest(caches=("orders-prod", "orders-eu")), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    return operator


async def test_the_plane_knows_whose_each_secret_is(world: Ground):
    operator = await start(world)

    assert operator.tokens.delivered() == {uid_of(world): KEY, uid_of(world, "checkout.cache2"): KEY}


async def test_a_deleted_secret_is_made_anew_and_the_status_follows(world: Ground):
    operator = await start(world)
    before = uid_of(world)

    world.kube.delete("secrets", *KEY)
    operator.tokens.restore(KEY, before)
    await world.until(lambda: world.kube.secret(*KEY))

    assert uid_of(world) != before
    await world.until(lambda: status_uids(world) == [uid_of(world), uid_of(world, "checkout.cache2")])


async def test_a_changed_secret_is_put_back_and_no_other_is_touched(world: Ground):
    operator = await start(world)
    world.kube.put({**(world.kube.get("secrets", *KEY) or {}), "data": {"password": "eA=="}})
    other = (world.kube.get("secrets", "shop", "checkout.cache2") or {})["metadata"]["resourceVersion"]

    operator.tokens.restore(KEY, uid_of(world))
    await world.until(lambda: "expires-at" in (world.kube.secret(*KEY) or {}))

    assert (world.kube.get("secrets", "shop", "checkout.cache2") or {})["metadata"]["resourceVersion"] == other


async def test_a_secret_that_is_no_users_any_more_is_no_news(world: Ground):
    operator = await start(world)
    writes = len(world.kube.writes)

    operator.tokens.restore(KEY, "an-earlier-one")
    operator.tokens.restore(("shop", "nobody"), uid_of(world))
    await world.until_quiet(operator)

    assert len(world.kube.writes) == writes


async def test_of_a_suspended_user_nothing_is_restored(world: Ground):
    operator = await start(world)
    uid = uid_of(world)
    world.apply(user_manifest(suspend=True))
    await world.until_reason("Suspended")

    operator.tokens.restore(KEY, uid)
    await world.until_quiet(operator)

    assert world.kube.secret_names() == []
