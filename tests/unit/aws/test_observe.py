"""AWS's answers as values."""

import pytest

from elasticache_iam.aws.observe import (
    observe_acl,
    observe_cluster,
    observe_group,
    observe_memorydb_user,
    observe_replication_group,
    observe_role,
    observe_serverless_cache,
    observe_user,
    read_tags,
    write_tags,
)
from elasticache_iam.core.state import CacheKind, CacheRef


def replication_group(**changes):
    return {
        "ReplicationGroupId": "orders-prod",
        "ARN": "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
        "Status": "available",
        "Engine": "valkey",
        "ClusterEnabled": False,
        "TransitEncryptionEnabled": True,
        "AuthTokenEnabled": False,
        "MemberClusters": ["orders-prod-001"],
        "NodeGroups": [
            {
                "PrimaryEndpoint": {"Address": "primary.example", "Port": 6380},
                "ReaderEndpoint": {"Address": "reader.example", "Port": 6380},
            }
        ],
        **changes,
    }


MEMBER = {"Engine": "redis", "EngineVersion": "7.1"}


def test_statuses_and_engines_are_lower_case():
    user = observe_user({"UserId": "demo-a", "Status": "Active", "Engine": "REDIS"})
    group = observe_group({"UserGroupId": "demo-g", "Status": "Active", "Engine": "Valkey"})

    assert (user.status, user.engine, user.is_active) == ("active", "redis", True)
    assert (group.status, group.engine, group.is_active) == ("active", "valkey", True)


def test_a_group_tells_its_future_members():
    group = observe_group(
        {
            "UserGroupId": "demo-g",
            "UserIds": ["a", "b"],
            "PendingChanges": {"UserIdsToAdd": ["c"], "UserIdsToRemove": ["a"]},
        }
    )

    assert group.future_user_ids == {"b", "c"}


def test_the_version_is_the_members():
    cache = observe_replication_group(replication_group(), MEMBER)

    assert (cache.engine, cache.engine_version) == ("valkey", "7.1")


def test_an_old_answer_without_engine_takes_the_members():
    answer = replication_group()
    del answer["Engine"]

    assert observe_replication_group(answer, MEMBER).engine == "redis"


def test_without_cluster_mode_the_endpoints_are_the_node_groups():
    cache = observe_replication_group(replication_group(), MEMBER)

    assert (cache.host, cache.port, cache.reader_host) == ("primary.example", 6380, "reader.example")


def test_with_cluster_mode_the_endpoint_is_the_configurations():
    answer = replication_group(ClusterEnabled=True, ConfigurationEndpoint={"Address": "cfg.example", "Port": 6379})

    cache = observe_replication_group(answer, MEMBER)

    assert (cache.host, cache.port, cache.reader_host) == ("cfg.example", 6379, "")


def test_a_cache_being_created_has_no_endpoint_yet():
    cache = observe_replication_group({"ReplicationGroupId": "new", "Status": "creating"}, {})

    assert (cache.ref, cache.host, cache.port) == (CacheRef(CacheKind.REPLICATION_GROUP, "new"), "", 6379)
    assert not cache.is_available


def test_a_group_that_is_being_attached_counts():
    answer = replication_group(
        UserGroupIds=["old"], PendingModifiedValues={"UserGroups": {"UserGroupIdsToAdd": ["new"]}}
    )

    cache = observe_replication_group(answer, MEMBER)

    assert cache.group_ids == {"old"}
    assert cache.future_group_ids == {"old", "new"}


def test_encryption_and_its_mode_are_told():
    cache = observe_replication_group(
        replication_group(AtRestEncryptionEnabled=True, TransitEncryptionMode="preferred"), MEMBER
    )

    assert (cache.at_rest_encryption, cache.transit_mode) == (True, "preferred")


def test_what_aws_does_not_say_of_encryption_is_not_known():
    cache = observe_replication_group(replication_group(), MEMBER)

    assert (cache.at_rest_encryption, cache.transit_mode) == (None, "required")


def test_users_and_groups_tell_which_engine_they_need():
    user = observe_user({"UserId": "demo-a", "MinimumEngineVersion": "7.0"})
    group = observe_group({"UserGroupId": "demo-g", "MinimumEngineVersion": "6.2"})

    assert (user.minimum_engine_version, group.minimum_engine_version) == ("7.0", "6.2")


def test_a_serverless_cache_being_created_has_no_endpoint_yet():
    cache = observe_serverless_cache({"ServerlessCacheName": "new", "Status": "CREATING", "MajorEngineVersion": "8"})

    assert (cache.status, cache.host, cache.port, cache.engine_version) == ("creating", "", 6379, "8")


def test_a_serverless_reader_is_told_where_it_has_the_same_port():
    endpoint = {"Address": "w.example", "Port": 6379}

    cache = observe_serverless_cache(
        {"ServerlessCacheName": "new", "Endpoint": endpoint, "ReaderEndpoint": {"Address": "r.example", "Port": 6379}}
    )

    assert cache.reader_host == "r.example"


def test_an_acl_tells_its_future_members():
    acl = observe_acl(
        {
            "Name": "demo-g",
            "UserNames": ["a", "b"],
            "PendingChanges": {"UserNamesToAdd": ["c"], "UserNamesToRemove": ["a"]},
            "Clusters": ["orders"],
        }
    )

    assert acl.future_user_ids == {"b", "c"}
    assert acl.cache_refs == {CacheRef(CacheKind.MEMORYDB_CLUSTER, "orders")}


def test_a_memorydb_users_name_is_its_id():
    user = observe_memorydb_user({"Name": "demo-a", "Status": "active", "ACLNames": ["demo-g"]})

    assert (user.user_id, user.user_name, user.engine, user.group_ids) == ("demo-a", "demo-a", "", {"demo-g"})


@pytest.mark.parametrize(
    ("acl", "pending", "expected"),
    [
        pytest.param("open-access", None, (set(), set()), id="open-access-is-no-group"),
        pytest.param("open-access", "demo-g", (set(), {"demo-g"}), id="an-acl-to-come"),
        pytest.param("demo-g", None, ({"demo-g"}, {"demo-g"}), id="an-acl"),
        pytest.param("demo-g", "open-access", ({"demo-g"}, {"demo-g"}), id="an-acl-that-goes"),
    ],
)
def test_a_cluster_has_at_most_one_group(acl, pending, expected):
    updates = {"PendingUpdates": {"ACLs": {"ACLToApply": pending}}} if pending else {}

    cluster = observe_cluster({"Name": "orders", "ACLName": acl, **updates})

    assert (cluster.group_ids, cluster.future_group_ids) == expected


ROLE = {"RoleName": "demo-a", "Arn": "arn:aws:iam::111122223333:role/demo-a", "AssumeRolePolicyDocument": {}}


def test_a_listed_role_tells_nothing_about_tags_and_policies():
    role = observe_role(ROLE)

    assert (role.tags, role.policies, role.boundary) == (None, None, None)


def test_a_whole_role_without_tags_has_none():
    role = observe_role(ROLE, policies={}, is_whole=True)

    assert (role.tags, role.policies) == ({}, {})


def test_a_role_without_a_readable_session_length_has_an_hour():
    assert observe_role(ROLE).max_session_s == 3600


@pytest.mark.parametrize("tags", [{}, {"a": "1"}, {"b": "2", "a": ""}])
def test_tags_survive_the_way_there_and_back(tags):
    assert read_tags(write_tags(tags)) == tags
