"""Replication groups, serverless caches, MemoryDB clusters; and groups that change their engine."""

from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID = names.default_user_id(OWNER, GROUP_ID)
USER_ID = names.default_id(OWNER, "shop", "checkout")
ALLOW = {"elasticache-iam.dev/allow": OWNER}
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def add_serverless(world: Ground, name: str = "orders-now", **options: Any) -> None:
    defaults = {"engine": "valkey", "host": "127.0.0.1", "port": 6379, "tags": ALLOW}
    world.world.add_serverless_cache(ACCOUNT, REGION, name, **{**defaults, **options})


def add_cluster(world: Ground, name: str = "orders-db", **options: Any) -> None:
    defaults = {"engine": "valkey", "host": "127.0.0.1", "port": 6379, "tags": ALLOW}
    world.world.add_memorydb_cluster(ACCOUNT, REGION, name, **{**defaults, **options})


def on(*caches: dict[str, str], **spec: Any) -> dict[str, Any]:
    named = [{"name": f"cache{number}" if number else "main", **cache} for number, cache in enumerate(caches)]
    manifest = group_manifest(**{"engine": "valkey", **spec})
    return {**manifest, "spec": {**manifest["spec"], "caches": named}}


def memorydb(**spec: Any) -> dict[str, Any]:
    return on({"memoryDBCluster": "orders-db"}, service="MemoryDB", **spec)


def serverless(world: Ground, name: str = "orders-now") -> Any:
    (cache,) = world.elasticache.describe_serverless_caches(ServerlessCacheName=name)["ServerlessCaches"]
    return cache


def cluster(world: Ground) -> Any:
    (found,) = world.admin.client("memorydb").describe_clusters(ClusterName="orders-db")["Clusters"]
    return found


def acls(world: Ground) -> dict[str, Any]:
    found = world.admin.client("memorydb").describe_acls()["ACLs"]
    return {acl["Name"]: acl for acl in found if acl["Name"] != "open-access"}


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    """Let passes go by and see that they write nothing."""
    await world.until_quiet(operator)
    before, passes = len(operator.tap.writes), operator.passes
    await world.until(lambda: operator.passes >= passes + 6)
    assert operator.tap.writes[before:] == []


# -- serverless -------------------------------------------------------------------------------------------------------


async def test_a_serverless_cache_gets_its_group_and_its_user(world: Ground):
    add_serverless(world)
    operator = await world.start(QUICK)

    world.apply(on({"serverlessCache": "orders-now"}), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)

    assert serverless(world)["UserGroupId"] == GROUP_ID
    status = (world.kube.get(*GROUP) or {})["status"]["caches"][0]
    assert status["engineVersion"] == serverless(world)["FullEngineVersion"]
    await writes_nothing_more(world, operator)


async def test_a_serverless_cache_left_open_is_closed_again(world: Ground):
    add_serverless(world)
    await world.start(QUICK)
    world.apply(on({"serverlessCache": "orders-now"}))
    await world.until_ready(*GROUP)

    world.elasticache.modify_serverless_cache(ServerlessCacheName="orders-now", RemoveUserGroup=True)

    await world.until(lambda: serverless(world).get("UserGroupId") == GROUP_ID)
    await world.until(lambda: any(event["reason"] == "CacheOpen" for event in world.kube.events))


async def test_one_group_is_on_caches_of_several_kinds_and_engines(world: Ground):
    world.add_cache()
    world.add_cache("stock", engine="valkey", engine_version="8.0")
    add_serverless(world)
    await world.start()

    caches = ({"replicationGroup": "orders-prod"}, {"replicationGroup": "stock"}, {"serverlessCache": "orders-now"})
    world.apply(on(*caches, engine="redis"), user_manifest())
    await world.until_ready(*GROUP)
    await world.until_ready()

    assert {cache[1] for cache in world.in_aws()["caches"].values()} == {GROUP_ID}
    assert serverless(world)["UserGroupId"] == GROUP_ID
    assert world.kube.secret_names() == [("shop", "checkout"), ("shop", "checkout.cache1"), ("shop", "checkout.cache2")]


async def test_a_cache_of_another_kind_by_that_name_is_pointed_out(world: Ground):
    add_serverless(world)
    await world.start()

    world.apply(on({"replicationGroup": "orders-now"}))
    await world.until_reason("CacheNotFound", of=GROUP)

    assert "there is a serverlessCache of that name" in world.condition(*GROUP, "Ready")["message"]


async def test_a_serverless_cache_holds_up_the_deletion_of_its_group(world: Ground):
    add_serverless(world)
    await world.start()
    world.apply(on({"serverlessCache": "orders-now"}, deletionPolicy="Delete"))
    await world.until_ready(*GROUP)

    world.kube.delete(*GROUP)
    await world.until_reason("StillAttached", of=GROUP)
    assert "aws elasticache modify-serverless-cache" in world.condition(*GROUP, "Ready")["message"]

    world.elasticache.delete_serverless_cache(ServerlessCacheName="orders-now")
    await world.later(lambda: world.kube.get(*GROUP) is None, step_s=5)
    assert world.in_aws()["groups"] == {}


# -- MemoryDB ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["redis", "valkey"])
async def test_a_cluster_gets_its_acl_and_its_user(world: Ground, engine: str):
    add_cluster(world, engine=engine)
    operator = await world.start(QUICK)

    world.apply(memorydb(engine=engine), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)

    assert cluster(world)["ACLName"] == GROUP_ID
    assert acls(world)[GROUP_ID]["UserNames"] == [USER_ID]
    assert world.conditions(*GROUP)["DefaultUserHardened"] == ("True", "NotNeeded")
    assert DEFAULT_ID not in world.in_aws()["users"]
    await writes_nothing_more(world, operator)


async def test_a_cluster_with_open_access_is_not_closed_unasked(world: Ground):
    add_cluster(world)
    await world.start()

    world.apply(memorydb(attachment={"policy": "Refuse"}))
    await world.until_reason("AttachmentRefused", of=GROUP)

    assert cluster(world)["ACLName"] == "open-access"


async def test_a_cluster_without_tls_is_refused(world: Ground):
    add_cluster(world, tls=False)
    await world.start()

    world.apply(memorydb())

    await world.until_reason("TLSRequired", of=GROUP)


async def test_a_cluster_without_consent_is_told_with_its_own_command(world: Ground):
    add_cluster(world, tags={})
    await world.start()

    world.apply(memorydb())
    await world.until_reason("ConsentMissing", of=GROUP)

    message = world.condition(*GROUP, "Ready")["message"]
    assert "aws memorydb tag-resource --region eu-central-1 --resource-arn" in message
    assert cluster(world)["ACLName"] == "open-access"


async def test_a_clusters_foreign_acl_is_never_replaced(world: Ground):
    add_cluster(world)
    client = world.admin.client("memorydb")
    client.create_acl(ACLName="theirs")
    client.update_cluster(ClusterName="orders-db", ACLName="theirs")
    await world.start()

    world.apply(memorydb())
    await world.until_reason("ForeignGroup", of=GROUP)

    assert cluster(world)["ACLName"] == "theirs"


async def test_a_cluster_set_to_open_access_is_closed_again(world: Ground):
    add_cluster(world)
    await world.start(QUICK)
    world.apply(memorydb())
    await world.until_ready(*GROUP)

    world.admin.client("memorydb").update_cluster(ClusterName="orders-db", ACLName="open-access")

    await world.until(lambda: cluster(world)["ACLName"] == GROUP_ID)


async def test_an_acl_is_deleted_once_no_cluster_uses_it(world: Ground):
    add_cluster(world)
    await world.start()
    world.apply(memorydb(deletionPolicy="Delete"), user_manifest())
    await world.until_ready()
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    world.kube.delete(*GROUP)
    await world.until_reason("StillAttached", of=GROUP)
    assert "aws memorydb update-cluster" in world.condition(*GROUP, "Ready")["message"]
    world.admin.client("memorydb").delete_cluster(ClusterName="orders-db")

    await world.later(lambda: world.kube.get(*GROUP) is None, step_s=5)
    assert acls(world) == {}


# -- redis -> valkey --------------------------------------------------------------------------------------------------


def engine(world: Ground) -> str:
    return str(world.in_aws()["groups"][GROUP_ID][0])


async def test_a_redis_group_becomes_a_valkey_group_with_its_members(world: Ground):
    world.add_cache(engine="valkey", engine_version="8.0")
    operator = await world.start(QUICK)
    world.apply(group_manifest(engine="redis"), user_manifest())
    await world.until_ready()

    world.apply(group_manifest(engine="valkey"), user_manifest("second"))
    await world.until(lambda: engine(world) == "valkey")
    await world.until_ready(*GROUP)
    await world.until_ready(name="second")

    there = world.in_aws()
    assert there["users"][USER_ID][1] == "redis"
    assert there["users"][names.default_id(OWNER, "shop", "second")][1] == "valkey"
    assert USER_ID in there["groups"][GROUP_ID][2]
    assert world.conditions(*GROUP)["DefaultUserHardened"] == ("True", "NotNeeded")
    assert world.is_ready()
    await writes_nothing_more(world, operator)


async def test_an_unmanaged_default_user_is_swapped_before_the_upgrade(world: Ground):
    world.add_cache(engine="valkey", engine_version="8.0")
    await world.start(QUICK)
    world.apply(group_manifest(engine="redis", defaultUser="Unmanaged"))
    await world.until_ready(*GROUP)

    world.apply(group_manifest(engine="valkey"))

    await world.until(lambda: engine(world) == "valkey")
    assert world.in_aws()["groups"][GROUP_ID][2] == [DEFAULT_ID]


async def test_an_upgrade_waits_for_the_cache_and_names_it(world: Ground):
    world.add_cache()
    await world.start(QUICK)
    world.apply(group_manifest(engine="redis"), user_manifest())
    await world.until_ready()

    world.apply(group_manifest(engine="valkey"))
    await world.until_reason("EngineMismatch", of=GROUP)
    assert "redis cache orders-prod" in world.condition(*GROUP, "GroupSynced")["message"]
    assert engine(world) == "redis"
    assert world.kube.secret_names() == [("shop", "checkout")]

    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", Engine="valkey", EngineVersion="8.0", ApplyImmediately=True
    )
    await world.later(lambda: engine(world) == "valkey", step_s=100)
    await world.until_ready(*GROUP)


async def test_an_upgrade_waits_for_a_user_without_password(world: Ground):
    world.add_cache(engine="valkey", engine_version="8.0")
    world.elasticache.create_user(
        UserId="batch", UserName="batch", Engine="redis", AccessString="on ~* +@read", NoPasswordRequired=True
    )
    await world.start(QUICK)
    world.apply(group_manifest(engine="redis", members=["batch"]))
    await world.until_ready(*GROUP)

    world.apply(group_manifest(engine="valkey", members=["batch"]))
    await world.until_reason("PasswordlessMember", of=GROUP)

    assert "batch" in world.condition(*GROUP, "GroupSynced")["message"]
    assert engine(world) == "redis"
