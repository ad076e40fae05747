"""Caches that their owner makes, replaces and takes away while a group and its users stay."""

import pytest
from redis.cluster import RedisCluster
from tests.builders import group_manifest, user_manifest
from tests.cluster.ground import GROUPS, USERS
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

GROUP, USER = "travel", "traveller"
HUB, SPOKE = "travel-hub", "travel-spoke"
KEYS = [f"orders:{number}" for number in range(32)]
"""Of both shards."""


def make_spoke(ground):
    """Make the second cache as Terraform does, and return where it listens."""
    ground.elasticache.create_replication_group(
        ReplicationGroupId=SPOKE,
        ReplicationGroupDescription="made by Terraform",
        Engine="valkey",
        TransitEncryptionEnabled=True,
        Tags=[{"Key": key, "Value": value} for key, value in ground.consent.items()],
    )
    ground.sandbox.settle()
    (cache,) = [cache for cache in ground.sandbox.caches() if cache.id == SPOKE]
    return cache.port


def drop_spoke(ground):
    ground.elasticache.delete_replication_group(ReplicationGroupId=SPOKE)
    ground.wait_for_condition(GROUPS, GROUP, "CachesAttached", namespace="platform", reason="CacheNotFound")


def use_hub(ground):
    """Write and read on all shards of the first cache, from its Secret."""
    secret = ground.secret(USER)
    with RedisCluster(
        host=secret["host"],
        port=int(secret["port"]),
        username=secret["username"],
        password=secret["password"],
        ssl=True,
        ssl_ca_data=secret["ca.crt"],
    ) as client:
        for key in KEYS:
            client.set(key, key)
        assert [client.get(key) for key in KEYS] == [key.encode() for key in KEYS]
        return {client.get_node_from_key(key).name for key in KEYS}


def use_spoke(ground):
    with ground.login(ground.secret(f"{USER}.spoke")) as client:
        assert client.set("orders:1", "x")


@pytest.fixture(scope="module")
def travel(attentive):
    """A group on a cache in cluster mode, and on one that isn't there yet."""
    attentive.add_cache(HUB, engine="valkey", kind="cluster")
    caches = [{"name": "main", "replicationGroup": HUB}, {"name": "spoke", "replicationGroup": SPOKE}]
    attentive.apply(
        group_manifest(GROUP, engine="valkey") | {"spec": group_manifest(engine="valkey")["spec"] | {"caches": caches}}
    )
    attentive.apply(user_manifest(USER, group=GROUP))
    return attentive


def test_caches_come_and_go(travel):
    # The one that is there doesn't wait for the one that isn't.
    travel.wait_for_condition(GROUPS, GROUP, "CachesAttached", namespace="platform", reason="CacheNotFound")
    wait_for(lambda: travel.secret(USER), what="the first cache's Secret")
    travel.wait_for_condition(USERS, USER, "MembershipSynced", reason="WaitingForCache")
    assert len(use_hub(travel)) == 2
    assert travel.secret(f"{USER}.spoke") is None

    # It appears.
    first_port = make_spoke(travel)
    travel.wait_until_ready(USER)
    assert travel.secret(f"{USER}.spoke")["port"] == str(first_port)
    use_spoke(travel)

    # It is replaced, and listens elsewhere.
    drop_spoke(travel)
    second_port = make_spoke(travel)
    assert second_port != first_port
    wait_for(lambda: travel.secret(f"{USER}.spoke")["port"] == str(second_port), what="the new endpoint")
    travel.wait_until_ready(GROUP, plural=GROUPS, namespace="platform")
    travel.wait_until_ready(USER)
    use_spoke(travel)

    # It is gone for good; the other one's tokens go on.
    drop_spoke(travel)
    before = travel.secret(USER)["password"]
    travel.annotate(USER, refresh="while the spoke is away")
    wait_for(lambda: travel.secret(USER)["password"] != before, what="a new token")
    assert len(use_hub(travel)) == 2

    # Taken off the list, it leaves no Secret.
    caches = [{"name": "main", "replicationGroup": HUB}]
    travel.patch(GROUPS, GROUP, {"spec": {"caches": caches}}, "platform")
    travel.wait_until_ready(GROUP, plural=GROUPS, namespace="platform")
    travel.wait_until_ready(USER)
    wait_for(lambda: travel.secret(f"{USER}.spoke") is None, what="the Secret to go")
    assert len(use_hub(travel)) == 2
