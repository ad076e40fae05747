import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, REGION, ROLE_ARN, Ground, allow, arn, trust_aws

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.views import CLOSED_DEFAULT_USER, OPEN_DEFAULT_USER

CACHE, USER = arn("serverlesscache", "carts"), arn("user", "app")


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def add(aws, name="carts", **options):
    defaults = {"engine": "valkey", "host": "127.0.0.1", "port": 6379}
    aws.world.add_serverless_cache(ACCOUNT, REGION, name, **{**defaults, **options})


def modify(aws, **parameters):
    return aws.ec("ModifyServerlessCache", ServerlessCacheName="carts", **parameters)["ServerlessCache"]


def describe(aws, name="carts"):
    return aws.ec("DescribeServerlessCaches", ServerlessCacheName=name)["ServerlessCaches"][0]


def view(aws, name="carts"):
    return aws.world.cache_view(ACCOUNT, REGION, name, kind="serverlesscache")


def attached(aws, *user_ids):
    add(aws)
    for user_id in user_ids:
        aws.user(user_id)
    aws.wait(10)
    aws.group(*user_ids)
    aws.wait(10)
    modify(aws, UserGroupId="orders")
    aws.wait(10)


def test_a_cache_put_there_is_available_and_tells_all_in_one_place(aws: Ground):
    add(aws, reader_host="127.0.0.2", reader_port=6380, full_engine_version="8.1")

    assert describe(aws) == {
        "ServerlessCacheName": "carts",
        "Description": "carts",
        "CreateTime": aws.at,
        "Status": "available",
        "Engine": "valkey",
        "MajorEngineVersion": "8",
        "FullEngineVersion": "8.1",
        "ARN": CACHE,
        "Endpoint": {"Address": "127.0.0.1", "Port": 6379},
        "ReaderEndpoint": {"Address": "127.0.0.2", "Port": 6380},
    }


def test_a_created_cache_has_no_endpoint_until_it_is_told_where_it_listens(slow_aws: Ground):
    created = slow_aws.ec("CreateServerlessCache", ServerlessCacheName="Carts", Engine="valkey")["ServerlessCache"]
    slow_aws.wait(10)
    slow_aws.world.set_endpoint(ACCOUNT, REGION, "carts", host="127.0.0.1", port=7000)

    assert (created["ServerlessCacheName"], created["Status"]) == ("carts", "creating")
    assert "Endpoint" not in created
    assert describe(slow_aws)["Endpoint"] == {"Address": "127.0.0.1", "Port": 7000}


def test_a_cache_without_a_group_lets_everybody_in(aws: Ground):
    add(aws)

    assert dict(view(aws).users) == {"default": OPEN_DEFAULT_USER}
    assert view(aws).serverless


def test_an_attached_group_decides_who_gets_in(aws: Ground):
    attached(aws, "app")

    assert describe(aws)["UserGroupId"] == "orders"
    assert aws.describe_group()["ServerlessCaches"] == ["carts"]
    assert set(view(aws).users) == {"app", "default"}
    assert view(aws).users["default"] == CLOSED_DEFAULT_USER


def test_attaching_takes_its_time(slow_aws: Ground):
    add(slow_aws)
    slow_aws.group()
    slow_aws.wait(10)

    modified = modify(slow_aws, UserGroupId="orders")

    assert (modified["Status"], modified.get("UserGroupId")) == ("modifying", None)
    slow_aws.wait(10)
    assert (describe(slow_aws)["Status"], describe(slow_aws)["UserGroupId"]) == ("available", "orders")


def test_another_group_replaces_the_one_there_is(aws: Ground):
    attached(aws)
    aws.group(group_id="second")

    modify(aws, UserGroupId="second")

    assert describe(aws)["UserGroupId"] == "second"
    assert aws.describe_group()["ServerlessCaches"] == []


def test_a_cache_whose_group_is_removed_is_open(aws: Ground):
    attached(aws, "app")

    modify(aws, RemoveUserGroup=True)

    assert "UserGroupId" not in describe(aws)
    assert dict(view(aws).users) == {"default": OPEN_DEFAULT_USER}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"UserGroupId": ""}, {"RemoveUserGroup": False}, {"UserGroupId": "orders"}],
    ids=["nothing", "empty-group", "no-removal", "the-group-it-has"],
)
def test_nothing_to_modify_is_an_invalid_combination(aws: Ground, parameters):
    attached(aws)

    with refused("InvalidParameterCombination", "No modifications were requested"):
        modify(aws, **parameters)


def test_properties_are_modified_one_at_a_time(aws: Ground):
    add(aws)
    aws.group()

    with refused("InvalidParameterCombination", "one property"):
        modify(aws, UserGroupId="orders", Description="new")


def test_a_busy_cache_cannot_be_modified(slow_aws: Ground):
    add(slow_aws)
    slow_aws.group()
    slow_aws.wait(10)
    modify(slow_aws, UserGroupId="orders")

    with refused("InvalidServerlessCacheStateFault"):
        modify(slow_aws, RemoveUserGroup=True)


def test_a_modified_user_makes_its_cache_busy(slow_aws: Ground):
    attached(slow_aws, "app")

    slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")

    assert describe(slow_aws)["Status"] == "modifying"


def test_who_leaves_the_group_is_gone_from_the_cache(slow_aws: Ground):
    attached(slow_aws, "app", "other")
    slow_aws.ec("ModifyUserGroup", UserGroupId="orders", UserIdsToRemove=["app"])

    before = set(view(slow_aws).users)
    slow_aws.wait(10)

    assert before == {"app", "other", "default"}
    assert set(view(slow_aws).users) == {"other", "default"}


def test_a_redis_cache_takes_no_valkey_group(aws: Ground):
    add(aws, engine="redis")
    aws.group()

    with refused("InvalidParameterCombination", "valkey"):
        modify(aws, UserGroupId="orders")


def test_a_group_used_by_a_redis_cache_cannot_become_valkey_before_the_cache(aws: Ground):
    add(aws, engine="redis")
    aws.default_user()
    aws.group("closed", engine="redis")
    modify(aws, UserGroupId="orders")

    with refused("InvalidParameterValue", "carts has engine redis"):
        aws.ec("ModifyUserGroup", UserGroupId="orders", Engine="valkey")
    modify(aws, Engine="valkey", MajorEngineVersion="8")
    aws.ec("ModifyUserGroup", UserGroupId="orders", Engine="valkey")

    assert (describe(aws)["Engine"], describe(aws)["FullEngineVersion"]) == ("valkey", "8.1")
    assert aws.describe_group()["Engine"] == "valkey"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Engine": "redis", "MajorEngineVersion": "7"}, "InvalidParameterValue"),
        ({"MajorEngineVersion": "7"}, "InvalidParameterValue"),
        ({"Engine": "valkey"}, "InvalidParameterCombination"),
        ({"UserGroupId": "nothing"}, "UserGroupNotFound"),
    ],
)
def test_a_bad_modification_is_refused_with_its_code(aws: Ground, parameters, code: str):
    add(aws)

    with refused(code):
        modify(aws, **parameters)


def test_an_attached_group_cannot_be_deleted(aws: Ground):
    attached(aws)

    with refused("InvalidUserGroupState", "serverless caches: carts"):
        aws.ec("DeleteUserGroup", UserGroupId="orders")


def test_a_group_that_is_just_being_attached_cannot_be_deleted(slow_aws: Ground):
    add(slow_aws)
    slow_aws.group()
    slow_aws.wait(10)
    modify(slow_aws, UserGroupId="orders")

    with refused("InvalidUserGroupState"):
        slow_aws.ec("DeleteUserGroup", UserGroupId="orders")


def test_a_deleted_cache_frees_its_group(slow_aws: Ground):
    attached(slow_aws)

    deleted = slow_aws.ec("DeleteServerlessCache", ServerlessCacheName="carts")["ServerlessCache"]
    slow_aws.wait(10)

    assert deleted["Status"] == "deleting"
    assert slow_aws.describe_group()["ServerlessCaches"] == []
    assert view(slow_aws) is None
    with refused("ServerlessCacheNotFoundFault"):
        describe(slow_aws)


def test_the_test_ground_takes_a_cache_away_at_once(slow_aws: Ground):
    attached(slow_aws)

    slow_aws.world.remove_serverless_cache(ACCOUNT, REGION, "carts")

    assert view(slow_aws) is None
    assert slow_aws.describe_group()["ServerlessCaches"] == []


def test_a_name_is_taken_once_but_a_replication_group_may_have_it_too(aws: Ground):
    add(aws)
    aws.cache("carts")

    with refused("ServerlessCacheAlreadyExistsFault"):
        aws.ec("CreateServerlessCache", ServerlessCacheName="carts", Engine="valkey")
    assert not aws.world.cache_view(ACCOUNT, REGION, "carts").serverless
    assert view(aws).serverless


def test_a_cache_can_be_put_there_with_its_group(aws: Ground):
    aws.user()
    aws.group("app")

    add(aws, user_group_id="orders")

    assert describe(aws)["UserGroupId"] == "orders"
    assert set(view(aws).users) == {"app", "default"}


def test_caches_are_answered_fifty_at_a_time(aws: Ground):
    for number in range(51):
        add(aws, f"c{number:02}")

    first = aws.ec("DescribeServerlessCaches")
    second = aws.ec("DescribeServerlessCaches", NextToken=first["NextToken"])

    assert len(first["ServerlessCaches"]) == 50
    assert [cache["ServerlessCacheName"] for cache in second["ServerlessCaches"]] == ["c50"]
    assert "NextToken" not in second


def test_tags_are_listed_changed_and_found(aws: Ground):
    add(aws, tags={"a": "1"})

    aws.ec("AddTagsToResource", ResourceName=CACHE, Tags=[{"Key": "b", "Value": "2"}])
    aws.ec("RemoveTagsFromResource", ResourceName=CACHE, TagKeys=["a"])

    assert aws.ec("ListTagsForResource", ResourceName=CACHE)["TagList"] == [{"Key": "b", "Value": "2"}]
    found = aws.call("resourcegroupstaggingapi", "GetResources", ResourceTypeFilters=["elasticache:serverlesscache"])
    assert [entry["ResourceARN"] for entry in found["ResourceTagMappingList"]] == [CACHE]


def test_a_busy_cache_cannot_be_tagged(slow_aws: Ground):
    attached(slow_aws, "app")
    slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")

    with refused("InvalidServerlessCacheStateFault"):
        slow_aws.ec("AddTagsToResource", ResourceName=CACHE, Tags=[{"Key": "b", "Value": "2"}])


def test_modifying_is_allowed_by_the_tags_of_the_cache(aws: Ground):
    add(aws, tags={"allow": "demo"})
    add(aws, "other")
    aws.group()
    key = aws.limited_key(
        allow(
            "elasticache:ModifyServerlessCache",
            arn("serverlesscache", "*"),
            Condition={"StringEquals": {"aws:ResourceTag/allow": "demo"}},
        ),
        allow("elasticache:ModifyServerlessCache", arn("usergroup", "orders")),
    )

    modify(aws, key=key, UserGroupId="orders")

    assert describe(aws)["UserGroupId"] == "orders"
    with refused("AccessDenied", "serverlesscache:other"):
        aws.ec("ModifyServerlessCache", key=key, ServerlessCacheName="other", UserGroupId="orders")


def connect(aws, *statements):
    aws.user(Tags=[{"Key": "stage", "Value": "prod"}])
    add(aws, tags={"stage": "prod"})
    aws.role(trust=trust_aws(ACCOUNT), statements=statements)
    session = aws.sts("AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="session")["Credentials"]["AccessKeyId"]
    identity = aws.world.signing_identity(session)
    return aws.world.decide_connect(identity, view(aws), "app", source_ip="127.0.0.1")


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"IpAddress": {"aws:VpcSourceIp": "127.0.0.0/8"}},
        {"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}},
        {"NumericGreaterThan": {"aws:EpochTime": "1"}},
        {"StringEquals": {"aws:ResourceTag/stage": "prod"}},
    ],
    ids=["none", "address", "time", "epoch", "tag"],
)
def test_connect_is_allowed_on_both_arns_under_conditions_that_serverless_caches_know(aws: Ground, condition):
    assert connect(aws, allow("elasticache:Connect", [CACHE, USER], Condition=condition)).allowed


@pytest.mark.parametrize(
    ("resources", "missing"), [([USER], f"the cache {CACHE}"), ([CACHE], f"the user {USER}")], ids=["user", "cache"]
)
def test_connect_on_one_arn_is_not_enough(aws: Ground, resources, missing: str):
    assert connect(aws, allow("elasticache:Connect", resources)).reason.endswith(missing)


def test_a_replication_groups_arn_does_not_open_the_serverless_cache_of_its_name(aws: Ground):
    aws.cache("carts")

    assert not connect(aws, allow("elasticache:Connect", [arn("replicationgroup", "carts"), USER])).allowed


def test_a_serverless_cache_knows_no_source_ip(aws: Ground):
    condition = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}

    assert not connect(aws, allow("elasticache:Connect", [CACHE, USER], Condition=condition)).allowed
