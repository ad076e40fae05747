from hashlib import sha256

import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, PASSWORD, REGION, Ground, arn

from elasticache_iam_sandbox.world.call import AwsError, EngineUser
from elasticache_iam_sandbox.world.elasticache import CLOSED_DEFAULT_USER, OPEN_DEFAULT_USER

TOKEN = "an-auth-token-of-old"


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def modify(aws, **parameters):
    return aws.ec(
        "ModifyReplicationGroup", **{"ReplicationGroupId": "orders-prod", "ApplyImmediately": True, **parameters}
    )["ReplicationGroup"]


def attached(aws, *user_ids, **options):
    aws.cache(**options)
    for user_id in user_ids:
        aws.user(user_id)
    aws.wait(10)
    aws.group(*user_ids)
    aws.wait(10)
    aws.attach()
    aws.wait(10)


def test_a_cache_put_there_is_available_and_shows_its_endpoints(aws: Ground):
    aws.cache(reader_host="reader.local")

    cache = aws.describe_cache()
    (shard,) = cache["NodeGroups"]

    assert (cache["Status"], cache["Engine"], cache["ARN"]) == (
        "available",
        "valkey",
        arn("replicationgroup", "orders-prod"),
    )
    assert shard["PrimaryEndpoint"] == {"Address": "127.0.0.1", "Port": 6379}
    assert shard["ReaderEndpoint"] == {"Address": "reader.local", "Port": 6379}


def test_only_a_member_cluster_tells_the_engine_version(aws: Ground):
    aws.cache()

    assert "EngineVersion" not in aws.describe_cache()
    (member,) = aws.describe_cache()["MemberClusters"]
    (cluster,) = aws.ec("DescribeCacheClusters", CacheClusterId=member, ShowCacheNodeInfo=True)["CacheClusters"]
    assert (cluster["EngineVersion"], cluster["ReplicationGroupId"]) == ("8.1", "orders-prod")
    assert cluster["CacheNodes"][0]["Endpoint"] == {"Address": "127.0.0.1", "Port": 6379}


def test_cache_clusters_are_answered_in_pages(aws: Ground):
    for number in range(21):
        aws.cache(f"c{number:02}")

    first = aws.ec("DescribeCacheClusters", MaxRecords=20)
    second = aws.ec("DescribeCacheClusters", MaxRecords=20, Marker=first["Marker"])

    assert [cluster["CacheClusterId"] for cluster in second["CacheClusters"]] == ["c20-001"]
    assert aws.ec("DescribeCacheClusters", ShowCacheClustersNotInReplicationGroups=True) == {"CacheClusters": []}


def test_a_missing_cache_cluster_is_not_found(aws: Ground):
    with refused("CacheClusterNotFound"):
        aws.ec("DescribeCacheClusters", CacheClusterId="nothing")


def test_a_created_cache_has_no_port_until_it_is_told_where_it_listens(slow_aws: Ground):
    created = slow_aws.ec(
        "CreateReplicationGroup",
        ReplicationGroupId="Made",
        ReplicationGroupDescription="made",
        Engine="valkey",
        Tags=[{"Key": "a", "Value": "b"}],
    )["ReplicationGroup"]
    slow_aws.wait(10)
    slow_aws.world.set_endpoint(ACCOUNT, REGION, "made", host="127.0.0.2", port=7000)

    assert (created["Status"], created["ReplicationGroupId"]) == ("creating", "made")
    assert created["NodeGroups"][0]["PrimaryEndpoint"] == {"Address": "127.0.0.1", "Port": 0}
    made = slow_aws.describe_cache("made")
    assert made["Status"] == "available"
    assert made["NodeGroups"][0]["PrimaryEndpoint"] == {"Address": "127.0.0.2", "Port": 7000}


def test_a_cache_can_be_created_with_its_group(aws: Ground):
    aws.group()

    aws.ec(
        "CreateReplicationGroup",
        ReplicationGroupId="made",
        ReplicationGroupDescription="made",
        Engine="valkey",
        UserGroupIds=["orders"],
    )

    assert aws.describe_cache("made")["UserGroupIds"] == ["orders"]
    assert aws.describe_group()["ReplicationGroups"] == ["made"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"UserGroupIds": ["nothing"]}, "UserGroupNotFound"),
        ({"UserGroupIds": ["orders"], "AuthToken": TOKEN}, "InvalidParameterCombination"),
        ({"UserGroupIds": ["orders"], "TransitEncryptionEnabled": False}, "InvalidParameterCombination"),
        ({"AuthToken": TOKEN, "TransitEncryptionEnabled": False}, "InvalidParameterCombination"),
        ({"AuthToken": "short"}, "InvalidParameterValue"),
        ({"NumNodeGroups": 3}, "NotImplementedInSandbox"),
        ({"SnapshotName": "x"}, "NotImplementedInSandbox"),
        ({"ReplicationGroupId": "orders-prod"}, "ReplicationGroupAlreadyExists"),
    ],
)
def test_a_bad_creation_is_refused_with_its_code(aws: Ground, parameters, code: str):
    aws.cache()
    aws.group()

    with refused(code):
        aws.ec(
            "CreateReplicationGroup",
            **{"ReplicationGroupId": "made", "ReplicationGroupDescription": "x", "Engine": "valkey", **parameters},
        )


def test_while_attaching_the_group_is_pending(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.group()
    slow_aws.wait(10)

    modified = slow_aws.attach()["ReplicationGroup"]

    assert modified["Status"] == "modifying"
    assert modified["UserGroupIds"] == []
    assert modified["PendingModifiedValues"] == {"UserGroups": {"UserGroupIdsToAdd": ["orders"]}}
    assert slow_aws.describe_group()["ReplicationGroups"] == []


def test_when_attached_both_sides_show_it(slow_aws: Ground):
    attached(slow_aws)

    assert slow_aws.describe_cache()["UserGroupIds"] == ["orders"]
    assert slow_aws.describe_cache()["PendingModifiedValues"] == {}
    assert slow_aws.describe_group()["ReplicationGroups"] == ["orders-prod"]


def test_attaching_what_is_attached_is_no_modification(aws: Ground):
    attached(aws)

    with refused("InvalidParameterCombination", "No modifications were requested"):
        aws.attach()


def test_without_apply_immediately_a_change_waits(aws: Ground):
    aws.cache()
    aws.group()

    modify(aws, UserGroupIdsToAdd=["orders"], ApplyImmediately=False)

    assert aws.describe_cache()["UserGroupIds"] == []
    assert aws.describe_cache()["Status"] == "available"
    assert aws.describe_cache()["PendingModifiedValues"] == {"UserGroups": {"UserGroupIdsToAdd": ["orders"]}}


def test_apply_immediately_carries_out_what_waits(aws: Ground):
    aws.cache()
    aws.group()
    modify(aws, UserGroupIdsToAdd=["orders"], ApplyImmediately=False)

    modify(aws)

    assert aws.describe_cache()["UserGroupIds"] == ["orders"]


def test_a_cache_uses_one_group(aws: Ground):
    attached(aws)
    aws.group(group_id="second")

    with refused("InvalidParameterCombination", "already uses"):
        modify(aws, UserGroupIdsToAdd=["second"])


def test_a_group_is_replaced_in_one_call(aws: Ground):
    attached(aws)
    aws.group(group_id="second")

    modify(aws, UserGroupIdsToAdd=["second"], UserGroupIdsToRemove=["orders"])

    assert aws.describe_cache()["UserGroupIds"] == ["second"]
    assert aws.describe_group()["ReplicationGroups"] == []


def test_a_group_needs_tls(aws: Ground):
    aws.cache(tls=False)
    aws.group()

    with refused(
        "InvalidParameterCombination", "User group based access control requires encryption-in-transit to be enabled"
    ):
        aws.attach()


def test_tls_and_a_group_cannot_be_switched_on_in_one_call(aws: Ground):
    aws.cache(tls=False)
    aws.group()

    with refused("InvalidParameterCombination", "encryption-in-transit"):
        aws.attach(TransitEncryptionEnabled=True, TransitEncryptionMode="preferred")


def test_tls_is_switched_on_in_two_steps(aws: Ground):
    aws.cache(tls=False)

    with refused("InvalidParameterCombination"):
        modify(aws, TransitEncryptionEnabled=True, TransitEncryptionMode="required")
    modify(aws, TransitEncryptionEnabled=True, TransitEncryptionMode="preferred")
    modify(aws, TransitEncryptionMode="required")

    cache = aws.describe_cache()
    assert (cache["TransitEncryptionEnabled"], cache["TransitEncryptionMode"]) == (True, "required")


def test_tls_of_a_cache_with_a_group_cannot_be_switched_off(aws: Ground):
    attached(aws)

    with refused("InvalidParameterCombination"):
        modify(aws, TransitEncryptionEnabled=False)


def test_a_valkey_group_does_not_fit_a_redis_cache(aws: Ground):
    aws.cache(engine="redis", engine_version="7.1")
    aws.group()

    with refused("InvalidParameterCombination"):
        aws.attach()


def test_a_redis_group_fits_a_valkey_cache(aws: Ground):
    aws.cache()
    aws.group("default", engine="redis")
    aws.attach()

    assert aws.describe_cache()["UserGroupIds"] == ["orders"]


def test_iam_users_need_redis_7(aws: Ground):
    aws.cache(engine="redis", engine_version="6.2")
    aws.user(Engine="redis")
    aws.group("app", "default", engine="redis")

    with refused("InvalidParameterCombination", "requires engine version 7.0"):
        aws.attach()


def test_a_cache_with_an_auth_token_takes_a_group_only_with_delete(aws: Ground):
    aws.cache(auth_token=TOKEN)
    aws.group()

    with refused("InvalidParameterCombination", "User group can't be associated with auth token enabled"):
        aws.attach()
    aws.attach(AuthTokenUpdateStrategy="DELETE")

    assert aws.describe_cache()["AuthTokenEnabled"] is False
    assert aws.describe_cache()["UserGroupIds"] == ["orders"]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_delete_is_refused_outside_that_transition(aws: Ground, token: str | None):
    aws.cache(auth_token=token)
    aws.group()
    more = {} if token else {"UserGroupIdsToAdd": ["orders"]}

    with refused("InvalidParameterValue", "Auth token update strategy delete is not supported currently"):
        modify(aws, AuthTokenUpdateStrategy="DELETE", **more)


def test_an_auth_token_is_refused_while_a_group_is_attached(aws: Ground):
    attached(aws)

    with refused("InvalidParameterCombination", "Auth tokens can't be enabled with a user group already associated"):
        modify(aws, AuthToken=TOKEN, AuthTokenUpdateStrategy="SET")


def test_one_call_leads_back_to_the_auth_token(aws: Ground):
    attached(aws)

    modify(aws, RemoveUserGroups=True, AuthToken=TOKEN, AuthTokenUpdateStrategy="SET")

    assert aws.describe_cache()["UserGroupIds"] == []
    assert aws.describe_cache()["AuthTokenEnabled"] is True


def test_a_rotated_auth_token_leaves_the_old_one_valid(aws: Ground):
    aws.cache(auth_token=TOKEN)

    modify(aws, AuthToken="another-auth-token", AuthTokenUpdateStrategy="ROTATE")

    digests = tuple(sha256(token.encode()).hexdigest() for token in (TOKEN, "another-auth-token"))
    assert aws.view().users["default"].password_sha256 == digests


def test_a_busy_cache_refuses_changes(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.group()
    slow_aws.wait(10)
    slow_aws.attach()

    with refused("InvalidReplicationGroupState"):
        modify(slow_aws, RemoveUserGroups=False, EngineVersion="8.2")
    with refused("InvalidReplicationGroupState"):
        slow_aws.ec("DeleteReplicationGroup", ReplicationGroupId="orders-prod")


def test_a_group_that_is_not_active_cannot_be_attached(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.group()

    with refused("InvalidUserGroupState"):
        slow_aws.attach()


def test_a_group_that_is_not_attached_cannot_be_removed(aws: Ground):
    attached(aws)

    with refused("InvalidParameterValue"):
        modify(aws, UserGroupIdsToRemove=["other"])


def test_a_redis_cache_can_become_valkey(aws: Ground):
    aws.cache(engine="redis", engine_version="7.1")

    modify(aws, Engine="valkey", EngineVersion="8.0")

    assert aws.describe_cache()["Engine"] == "valkey"
    with refused("InvalidParameterValue"):
        modify(aws, Engine="redis", EngineVersion="7.1")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("DescribeReplicationGroups", {}),
        ("ModifyReplicationGroup", {"RemoveUserGroups": True}),
        ("DeleteReplicationGroup", {}),
    ],
)
def test_a_missing_cache_is_not_found_with_the_fault_suffix(aws: Ground, operation: str, parameters):
    with pytest.raises(AwsError) as caught:
        aws.ec(operation, ReplicationGroupId="nothing", **parameters)

    assert (caught.value.code, caught.value.http_status) == ("ReplicationGroupNotFoundFault", 404)


def test_a_deleted_cache_frees_its_group(slow_aws: Ground):
    attached(slow_aws)

    slow_aws.ec("DeleteReplicationGroup", ReplicationGroupId="orders-prod")
    still_there = slow_aws.view()
    slow_aws.wait(10)

    assert still_there.status == "deleting"
    assert slow_aws.view() is None
    assert slow_aws.describe_group()["ReplicationGroups"] == []


def test_there_are_no_serverless_caches_yet(aws: Ground):
    assert aws.ec("DescribeServerlessCaches") == {"ServerlessCaches": []}
    with refused("ServerlessCacheNotFoundFault"):
        aws.ec("DescribeServerlessCaches", ServerlessCacheName="x")


def test_the_view_of_an_open_cache_lets_everybody_in(aws: Ground):
    aws.cache()

    assert dict(aws.view().users) == {"default": OPEN_DEFAULT_USER}


def test_the_view_of_a_cache_with_an_auth_token_asks_for_it(aws: Ground):
    aws.cache(auth_token=TOKEN)

    default = aws.view().users["default"]

    assert default.auth_mode == "password"
    assert default.password_sha256 == (sha256(TOKEN.encode()).hexdigest(),)


def test_the_view_of_a_valkey_group_switches_the_default_user_off(aws: Ground):
    attached(aws, "app")

    assert dict(aws.view().users) == {
        "app": EngineUser("app", "app", "on ~* +@all", "iam"),
        "default": CLOSED_DEFAULT_USER,
    }


def test_the_view_of_a_redis_group_has_its_own_default_user(aws: Ground):
    aws.cache(engine="redis", engine_version="7.1")
    aws.default_user()
    aws.group("closed", engine="redis")
    aws.attach()

    default = aws.view().users["default"]

    assert (default.user_id, default.access_string) == ("closed", "off ~* -@all")
    assert default.password_sha256 == (sha256(PASSWORD["Passwords"][0].encode()).hexdigest(),)


def test_a_removed_member_leaves_the_view_exactly_when_the_change_is_done(slow_aws: Ground):
    attached(slow_aws, "stays", "leaves")
    slow_aws.ec("ModifyUserGroup", UserGroupId="orders", UserIdsToRemove=["leaves"])

    slow_aws.wait(9.9)
    before = set(slow_aws.view().users)
    slow_aws.wait(0.1)

    assert before == {"stays", "leaves", "default"}
    assert set(slow_aws.view().users) == {"stays", "default"}


def test_a_deleted_user_leaves_the_view(slow_aws: Ground):
    attached(slow_aws, "app")
    slow_aws.ec("DeleteUser", UserId="app")

    slow_aws.wait(10)

    assert set(slow_aws.view().users) == {"default"}


def test_an_access_string_reaches_the_servers_when_the_user_is_active_again(slow_aws: Ground):
    attached(slow_aws, "app")
    slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")

    before = slow_aws.view().users["app"].access_string
    slow_aws.wait(10)

    assert (before, slow_aws.view().users["app"].access_string) == ("on ~* +@all", "off -@all")


def test_detaching_leaves_the_cache_open(slow_aws: Ground):
    attached(slow_aws, "app")
    slow_aws.ec(
        "ModifyReplicationGroup",
        ReplicationGroupId="orders-prod",
        UserGroupIdsToRemove=["orders"],
        ApplyImmediately=True,
    )

    before = set(slow_aws.view().users)
    slow_aws.wait(10)

    assert before == {"app", "default"}
    assert dict(slow_aws.view().users) == {"default": OPEN_DEFAULT_USER}


def test_a_view_stays_the_same_object_while_nothing_in_it_changes(aws: Ground):
    attached(aws, "app")
    before = aws.view()

    aws.user("unrelated")

    assert aws.view() is before


def test_an_unknown_cache_has_no_view(aws: Ground):
    assert aws.view("nothing") is None
    assert aws.world.cache_view("000000000000", REGION, "nothing") is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"RemoveUserGroups": True, "UserGroupIdsToRemove": ["orders"]}, "InvalidParameterCombination"),
        ({"UserGroupIdsToAdd": ["orders", "second"]}, "InvalidParameterValue"),
        ({"AuthTokenUpdateStrategy": "SET"}, "InvalidParameterCombination"),
        ({"AuthToken": TOKEN, "AuthTokenUpdateStrategy": "DELETE"}, "InvalidParameterCombination"),
        ({"AuthToken": TOKEN, "AuthTokenUpdateStrategy": "ROTATE"}, "InvalidParameterCombination"),
        ({"TransitEncryptionMode": "sometimes"}, "InvalidParameterValue"),
        ({"EngineVersion": "7.2"}, "InvalidParameterValue"),
        ({"Engine": "redis", "EngineVersion": "7.1"}, "InvalidParameterValue"),
        ({"Engine": "memcached"}, "InvalidParameterValue"),
        ({"CacheNodeType": "cache.r7g.large"}, "NotImplementedInSandbox"),
        ({}, "InvalidParameterCombination"),
    ],
)
def test_a_bad_modification_is_refused_with_its_code(aws: Ground, parameters, code: str):
    attached(aws)

    with refused(code):
        modify(aws, **parameters)


@pytest.mark.parametrize(
    ("options", "parameters", "code"),
    [
        ({"tls": False}, {"AuthToken": TOKEN, "AuthTokenUpdateStrategy": "SET"}, "InvalidParameterCombination"),
        ({}, {"AuthToken": TOKEN, "AuthTokenUpdateStrategy": "ROTATE"}, "NotImplementedInSandbox"),
        ({"tls": False}, {"TransitEncryptionMode": "preferred"}, "InvalidParameterCombination"),
        ({"engine": "redis", "engine_version": "7.1"}, {"Engine": "valkey"}, "InvalidParameterCombination"),
    ],
)
def test_a_bad_modification_of_an_open_cache_is_refused_with_its_code(aws: Ground, options, parameters, code: str):
    aws.cache(**options)

    with refused(code):
        modify(aws, **parameters)


def test_a_description_changes_at_once(slow_aws: Ground):
    slow_aws.cache()

    modify(slow_aws, ReplicationGroupDescription="new")

    assert (slow_aws.describe_cache()["Description"], slow_aws.describe_cache()["Status"]) == ("new", "available")


def test_caches_are_answered_in_pages(aws: Ground):
    for number in range(21):
        aws.cache(f"c{number:02}")

    first = aws.ec("DescribeReplicationGroups", MaxRecords=20)
    second = aws.ec("DescribeReplicationGroups", MaxRecords=20, Marker=first["Marker"])

    assert [cache["ReplicationGroupId"] for cache in second["ReplicationGroups"]] == ["c20"]


def test_a_cache_in_cluster_mode_tells_its_configuration_endpoint_and_shards(aws: Ground):
    aws.cache(shards=2)
    aws.world.set_endpoint(
        ACCOUNT, REGION, "orders-prod", host="127.0.0.1", port=7000, nodes=[("127.0.0.1", 7001), ("127.0.0.1", 7002)]
    )

    cache = aws.describe_cache()
    clusters = aws.ec("DescribeCacheClusters", ShowCacheNodeInfo=True)["CacheClusters"]

    assert (cache["ClusterEnabled"], cache["ClusterMode"]) == (True, "enabled")
    assert cache["ConfigurationEndpoint"] == {"Address": "127.0.0.1", "Port": 7000}
    assert [shard["Slots"] for shard in cache["NodeGroups"]] == ["0-8191", "8192-16383"]
    assert not any("PrimaryEndpoint" in shard for shard in cache["NodeGroups"])
    assert cache["MemberClusters"] == ["orders-prod-0001-001", "orders-prod-0002-001"]
    assert [cluster["CacheNodes"][0]["Endpoint"]["Port"] for cluster in clusters] == [7001, 7002]
