import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, IAM, PASSWORD, REGION, ROLE_ARN, Ground, allow, trust_aws

from elasticache_iam_sandbox.world.call import AwsError, EngineUser
from elasticache_iam_sandbox.world.views import CLOSED_DEFAULT_USER


def arn(kind: str, name: str) -> str:
    return f"arn:aws:memorydb:{REGION}:{ACCOUNT}:{kind}/{name}"


CLUSTER, USER, ACL = arn("cluster", "carts"), arn("user", "app"), arn("acl", "orders")


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def mdb(aws, operation, **parameters):
    return aws.call("memorydb", operation, **parameters)


def user(aws, name="app", **options):
    defaults = {"AccessString": "on ~* &* +@all", "AuthenticationMode": IAM}
    return mdb(aws, "CreateUser", UserName=name, **{**defaults, **options})["User"]


def acl(aws, *names, name="orders", **options):
    members = {"UserNames": list(names)} if names else {}
    return mdb(aws, "CreateACL", ACLName=name, **members, **options)["ACL"]


def change_acl(aws, add=(), remove=(), name="orders"):
    lists = {"UserNamesToAdd": list(add), "UserNamesToRemove": list(remove)}
    return mdb(aws, "UpdateACL", ACLName=name, **{k: v for k, v in lists.items() if v})["ACL"]


def add(aws, name="carts", **options):
    defaults = {"engine": "valkey", "host": "127.0.0.1", "port": 6379}
    aws.world.add_memorydb_cluster(ACCOUNT, REGION, name, **{**defaults, **options})


def update(aws, **parameters):
    return mdb(aws, "UpdateCluster", ClusterName="carts", **parameters)["Cluster"]


def describe_user(aws, name="app"):
    return mdb(aws, "DescribeUsers", UserName=name)["Users"][0]


def describe_acl(aws, name="orders"):
    return mdb(aws, "DescribeACLs", ACLName=name)["ACLs"][0]


def describe_cluster(aws, name="carts", **options):
    return mdb(aws, "DescribeClusters", ClusterName=name, **options)["Clusters"][0]


def view(aws, name="carts"):
    return aws.world.cache_view(ACCOUNT, REGION, name, kind="cluster")


def served(aws, *names):
    """Put an ACL with these users onto a cluster."""
    add(aws)
    for name in names:
        user(aws, name)
    aws.wait(10)
    acl(aws, *names)
    aws.wait(10)
    update(aws, ACLName="orders")
    aws.wait(10)


def tags(**pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


# -- users ---------------------------------------------------------------------------------------------------------


def test_a_user_has_a_name_and_neither_id_nor_engine(slow_aws: Ground):
    created = user(slow_aws, "App")
    slow_aws.wait(10)

    assert created["Status"] == "creating"
    assert describe_user(slow_aws) == {
        "Name": "app",
        "Status": "active",
        "AccessString": "on ~* &* +@all",
        "ACLNames": [],
        "MinimumEngineVersion": "7.0",
        "Authentication": {"Type": "iam"},
        "ARN": USER,
    }


def test_of_passwords_only_their_number_is_told(aws: Ground):
    created = user(aws, AuthenticationMode=PASSWORD)

    assert created["Authentication"] == {"Type": "password", "PasswordCount": 1}
    assert created["MinimumEngineVersion"] == "6.2"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("on ~* &* +@read", "on ~* &* -@all +@read"),
        ("~objects:* ~items:* ~public:*", "off ~objects:* ~items:* ~public:* resetchannels -@all"),
        ("on ~* +@all", "on ~* resetchannels +@all"),
        ("on ~* resetchannels &news +get", "on ~* resetchannels &news -@all +get"),
        ("on allkeys allchannels allcommands", "on ~* &* +@all"),
    ],
)
def test_an_access_string_is_answered_in_another_form(aws: Ground, sent: str, answered: str):
    assert user(aws, AccessString=sent)["AccessString"] == answered


def test_an_answered_access_string_is_answered_as_it_is(aws: Ground):
    once = user(aws, AccessString="~a +@read")["AccessString"]

    assert user(aws, "other", AccessString=once)["AccessString"] == once


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"UserName": "a--b"}, "InvalidParameterValueException"),
        ({"UserName": "default"}, "UserAlreadyExistsFault"),
        ({"UserName": "TAKEN"}, "UserAlreadyExistsFault"),
        ({"AccessString": "on >secret"}, "InvalidParameterValueException"),
        ({"AuthenticationMode": {"Type": "no-password-required"}}, "InvalidParameterValueException"),
        ({"AuthenticationMode": {"Type": "password"}}, "InvalidParameterCombinationException"),
        ({"AuthenticationMode": {"Type": "iam", "Passwords": ["x" * 16]}}, "InvalidParameterCombinationException"),
        ({"AuthenticationMode": {"Type": "password", "Passwords": ["short"]}}, "InvalidParameterValueException"),
        ({"Tags": tags(**{"aws:x": "1"})}, "InvalidParameterValueException"),
        ({"Tags": tags(**{f"k{n}": "" for n in range(51)})}, "TagQuotaPerResourceExceeded"),
    ],
)
def test_a_bad_user_is_refused_with_the_whole_name_of_the_shape(aws: Ground, parameters, code: str):
    user(aws, "taken")

    with refused(code):
        mdb(aws, "CreateUser", **{"UserName": "app", "AccessString": "on", "AuthenticationMode": IAM, **parameters})


def test_a_refused_access_string_is_not_repeated(aws: Ground):
    with pytest.raises(AwsError) as caught:
        user(aws, AccessString="on >s3cr3t")

    assert "s3cr3t" not in str(caught.value)


def test_the_quota_of_users_leaves_the_built_in_one_out():
    aws = Ground(memorydb_users=1)
    user(aws)

    with refused("UserQuotaExceededFault"):
        user(aws, "second")


def test_an_updated_user_takes_its_time_and_its_acl_and_cluster_with_it(slow_aws: Ground):
    served(slow_aws, "app")

    updated = mdb(slow_aws, "UpdateUser", UserName="app", AccessString="off -@all")["User"]

    assert (updated["Status"], updated["AccessString"]) == ("modifying", "off resetchannels -@all")
    assert describe_acl(slow_aws)["Status"] == "modifying"
    assert describe_cluster(slow_aws)["Status"] == "updating"
    assert view(slow_aws).users["app"].access_string == "on ~* &* +@all"
    slow_aws.wait(10)
    assert describe_cluster(slow_aws)["Status"] == "available"
    assert view(slow_aws).users["app"].access_string == "off resetchannels -@all"


def test_a_user_changes_to_iam(aws: Ground):
    user(aws, AuthenticationMode=PASSWORD)

    mdb(aws, "UpdateUser", UserName="app", AuthenticationMode=IAM)

    assert describe_user(aws)["Authentication"] == {"Type": "iam"}


def test_an_update_that_says_nothing_is_refused(aws: Ground):
    user(aws)

    with refused("InvalidParameterCombinationException", "No modifications were requested"):
        mdb(aws, "UpdateUser", UserName="app")


@pytest.mark.parametrize("operation", ["UpdateUser", "DeleteUser"])
def test_a_busy_user_can_be_neither_updated_nor_deleted(slow_aws: Ground, operation: str):
    user(slow_aws)

    with refused("InvalidUserStateFault", "status creating"):
        mdb(slow_aws, operation, UserName="app", **({"AccessString": "off"} if operation == "UpdateUser" else {}))


@pytest.mark.parametrize("operation", ["UpdateUser", "DeleteUser"])
def test_the_default_user_is_awss(aws: Ground, operation: str):
    with refused("InvalidParameterValueException"):
        mdb(aws, operation, UserName="default", **({"AccessString": "off"} if operation == "UpdateUser" else {}))


def test_a_deleted_user_leaves_its_acls_and_clusters(slow_aws: Ground):
    served(slow_aws, "app", "stays")

    mdb(slow_aws, "DeleteUser", UserName="app")
    pending = describe_acl(slow_aws)["PendingChanges"]
    slow_aws.wait(10)

    assert pending == {"UserNamesToRemove": ["app"]}
    assert describe_acl(slow_aws)["UserNames"] == ["stays"]
    assert set(view(slow_aws).users) == {"stays", "default"}
    with refused("UserNotFoundFault"):
        describe_user(slow_aws)


def test_users_are_answered_in_pages(aws: Ground):
    for number in range(3):
        user(aws, f"u{number}")

    first = mdb(aws, "DescribeUsers", MaxResults=3)
    second = mdb(aws, "DescribeUsers", MaxResults=3, NextToken=first["NextToken"])

    assert [found["Name"] for found in first["Users"]] == ["default", "u0", "u1"]
    assert [found["Name"] for found in second["Users"]] == ["u2"]
    assert "NextToken" not in second


def test_users_are_filtered_by_name(aws: Ground):
    user(aws)

    found = mdb(aws, "DescribeUsers", Filters=[{"Name": "user-name", "Values": ["app", "nobody"]}])["Users"]

    assert [one["Name"] for one in found] == ["app"]


@pytest.mark.parametrize("parameters", [{"MaxResults": 0}, {"MaxResults": 101}, {"NextToken": "bm9uc2Vuc2U="}])
def test_bad_paging_is_an_invalid_parameter(aws: Ground, parameters):
    with refused("InvalidParameterValueException"):
        mdb(aws, "DescribeUsers", **parameters)


# -- ACLs ----------------------------------------------------------------------------------------------------------


def test_an_acl_is_creating_and_then_active(slow_aws: Ground):
    created = acl(slow_aws)
    slow_aws.wait(10)

    assert created["Status"] == "creating"
    assert describe_acl(slow_aws) == {
        "Name": "orders",
        "Status": "active",
        "UserNames": [],
        "MinimumEngineVersion": "6.2",
        "Clusters": [],
        "ARN": ACL,
    }


def test_open_access_is_there_with_the_default_user(aws: Ground):
    (found,) = mdb(aws, "DescribeACLs")["ACLs"]

    assert (found["Name"], found["UserNames"], found["Status"]) == ("open-access", ["default"], "active")
    assert describe_user(aws, "default")["ACLNames"] == ["open-access"]
    assert describe_user(aws, "default")["Authentication"] == {"Type": "no-password"}


def test_open_access_can_be_neither_updated_nor_deleted(aws: Ground):
    user(aws)

    with refused("InvalidParameterValueException"):
        change_acl(aws, add=["app"], name="open-access")
    with refused("InvalidParameterValueException"):
        mdb(aws, "DeleteACL", ACLName="open-access")


def test_the_default_user_joins_no_other_acl(aws: Ground):
    acl(aws)

    with refused("InvalidParameterValueException", "open-access"):
        acl(aws, "default", name="second")
    with refused("InvalidParameterValueException", "open-access"):
        change_acl(aws, add=["default"])


@pytest.mark.parametrize(
    ("names", "code"),
    [(["nobody"], "UserNotFoundFault"), (["app", "APP"], "DuplicateUserNameFault")],
)
def test_a_bad_membership_is_refused_with_its_code(aws: Ground, names, code: str):
    user(aws)

    with refused(code):
        acl(aws, *names)


def test_a_user_must_be_active_before_it_joins(slow_aws: Ground):
    user(slow_aws)

    with refused("InvalidUserStateFault", "app has status creating"):
        acl(slow_aws, "app")


def test_an_acls_name_is_taken_once(aws: Ground):
    acl(aws)

    with refused("ACLAlreadyExistsFault"):
        acl(aws, name="ORDERS")


def test_the_quota_of_acls_leaves_open_access_out():
    aws = Ground(memorydb_acls=1)
    acl(aws)

    with refused("ACLQuotaExceededFault"):
        acl(aws, name="second")


def test_the_quota_of_users_in_an_acl_counts_who_leaves():
    aws = Ground(memorydb_users_per_acl=1)
    user(aws, "one")
    user(aws, "two")
    acl(aws, "one")

    with refused("ACLQuotaExceededFault"):
        change_acl(aws, add=["two"])
    change_acl(aws, add=["two"], remove=["one"])

    assert describe_acl(aws)["UserNames"] == ["two"]


def test_while_modifying_the_old_membership_shows_and_the_future_is_pending(slow_aws: Ground):
    user(slow_aws, "late")
    served(slow_aws, "old", "stays")

    modified = change_acl(slow_aws, add=["late"], remove=["old"])

    assert modified == describe_acl(slow_aws)
    assert (modified["Status"], modified["UserNames"]) == ("modifying", ["old", "stays"])
    assert modified["PendingChanges"] == {"UserNamesToAdd": ["late"], "UserNamesToRemove": ["old"]}
    assert set(view(slow_aws).users) == {"old", "stays", "default"}


def test_when_the_change_is_done_the_servers_have_the_new_membership(slow_aws: Ground):
    user(slow_aws, "late")
    served(slow_aws, "old", "stays")
    change_acl(slow_aws, add=["late"], remove=["old"])
    slow_aws.wait(10)

    assert "PendingChanges" not in describe_acl(slow_aws)
    assert set(view(slow_aws).users) == {"stays", "late", "default"}
    assert describe_user(slow_aws, "old")["ACLNames"] == []


def test_there_is_one_change_in_flight_per_acl(slow_aws: Ground):
    served(slow_aws, "one", "two")
    change_acl(slow_aws, remove=["one"])

    with refused("InvalidACLStateFault", "orders has status modifying"):
        change_acl(slow_aws, remove=["two"])


def test_a_change_is_all_or_nothing(aws: Ground):
    user(aws, "one")
    user(aws, "two")
    acl(aws, "one")

    with refused("InvalidParameterValueException", "gone is not a member of ACL orders"):
        change_acl(aws, add=["two"], remove=["gone"])

    assert (describe_acl(aws)["UserNames"], describe_acl(aws)["Status"]) == (["one"], "active")


@pytest.mark.parametrize(
    ("lists", "code"),
    [
        ({}, "InvalidParameterCombinationException"),
        ({"UserNamesToAdd": []}, "InvalidParameterValueException"),
        ({"UserNamesToAdd": ["app"]}, "InvalidParameterValueException"),
        ({"UserNamesToAdd": ["app"], "UserNamesToRemove": ["app"]}, "InvalidParameterCombinationException"),
    ],
    ids=["nothing", "empty", "member-already", "added-and-removed"],
)
def test_a_senseless_change_is_refused(aws: Ground, lists, code: str):
    user(aws)
    acl(aws, "app")

    with refused(code):
        mdb(aws, "UpdateACL", ACLName="orders", **lists)


def test_an_acl_in_use_cannot_be_deleted(aws: Ground):
    served(aws)

    with refused("InvalidACLStateFault", "carts"):
        mdb(aws, "DeleteACL", ACLName="orders")


def test_an_acl_that_is_just_being_applied_cannot_be_deleted(slow_aws: Ground):
    add(slow_aws)
    acl(slow_aws)
    slow_aws.wait(10)
    update(slow_aws, ACLName="orders")

    with refused("InvalidACLStateFault", "carts"):
        mdb(slow_aws, "DeleteACL", ACLName="orders")


def test_a_deleted_acl_lets_its_users_go(slow_aws: Ground):
    served(slow_aws, "app")
    update(slow_aws, ACLName="open-access")
    slow_aws.wait(10)

    assert mdb(slow_aws, "DeleteACL", ACLName="orders")["ACL"]["Status"] == "deleting"
    slow_aws.wait(10)
    assert describe_user(slow_aws)["ACLNames"] == []
    with refused("ACLNotFoundFault"):
        describe_acl(slow_aws)


# -- clusters ------------------------------------------------------------------------------------------------------


def test_a_cluster_put_there_is_available_and_open(aws: Ground):
    add(aws, engine_version="7.3")

    found = describe_cluster(aws)

    assert found | {"Description": ""} == {
        "Name": "carts",
        "Description": "",
        "Status": "available",
        "NumberOfShards": 1,
        "AvailabilityMode": "singleaz",
        "NodeType": "db.t4g.small",
        "Engine": "valkey",
        "EngineVersion": "7.3",
        "EnginePatchVersion": "7.3.1",
        "TLSEnabled": True,
        "ARN": CLUSTER,
        "ACLName": "open-access",
        "ClusterEndpoint": {"Address": "127.0.0.1", "Port": 6379},
    }
    assert dict(view(aws).users) == {"default": EngineUser("default", "default", "on ~* &* +@all", "no-password")}
    assert (view(aws).service, view(aws).serverless) == ("memorydb", False)


def test_shards_are_shown_when_asked_for(aws: Ground):
    add(aws, shards=3, nodes=[("127.0.0.1", 7001), ("127.0.0.1", 7002), ("127.0.0.1", 7003)])

    shards = describe_cluster(aws, ShowShardDetails=True)["Shards"]

    assert [shard["Slots"] for shard in shards] == ["0-5460", "5461-10921", "10922-16383"]
    assert [shard["Nodes"][0]["Endpoint"]["Port"] for shard in shards] == [7001, 7002, 7003]
    assert "Shards" not in describe_cluster(aws)


def test_a_created_cluster_is_told_where_it_listens(slow_aws: Ground):
    created = mdb(slow_aws, "CreateCluster", ClusterName="Carts", NodeType="db.t4g.small", ACLName="open-access")
    slow_aws.wait(10)
    slow_aws.world.set_endpoint(ACCOUNT, REGION, "carts", host="127.0.0.1", port=7000)

    assert (created["Cluster"]["Status"], created["Cluster"]["Name"]) == ("creating", "carts")
    assert "ClusterEndpoint" not in created["Cluster"]
    assert describe_cluster(slow_aws)["ClusterEndpoint"] == {"Address": "127.0.0.1", "Port": 7000}


def test_an_acl_replaces_the_one_there_is_and_switches_the_default_user_off(aws: Ground):
    served(aws, "app")

    assert describe_cluster(aws)["ACLName"] == "orders"
    assert describe_acl(aws)["Clusters"] == ["carts"]
    assert describe_acl(aws, "open-access")["Clusters"] == []
    assert view(aws).users["default"] == CLOSED_DEFAULT_USER
    assert view(aws).users["app"].auth_mode == "iam"


def test_an_empty_acl_lets_nobody_in(aws: Ground):
    served(aws)

    assert dict(view(aws).users) == {"default": CLOSED_DEFAULT_USER}


def test_while_updating_the_new_acl_is_pending(slow_aws: Ground):
    add(slow_aws)
    acl(slow_aws)
    slow_aws.wait(10)

    updated = update(slow_aws, ACLName="orders")

    assert (updated["Status"], updated["ACLName"]) == ("updating", "open-access")
    assert updated["PendingUpdates"] == {"ACLs": {"ACLToApply": "orders"}}
    slow_aws.wait(10)
    assert describe_cluster(slow_aws)["ACLName"] == "orders"
    assert "PendingUpdates" not in describe_cluster(slow_aws)


@pytest.mark.parametrize("parameters", [{}, {"ACLName": "open-access"}], ids=["nothing", "the-acl-it-has"])
def test_an_update_without_a_change_is_no_operation(aws: Ground, parameters):
    add(aws)

    with refused("NoOperationFault"):
        update(aws, **parameters)


def test_a_busy_cluster_cannot_be_updated(slow_aws: Ground):
    add(slow_aws)
    acl(slow_aws)
    slow_aws.wait(10)
    update(slow_aws, ACLName="orders")

    with refused("InvalidClusterStateFault"):
        update(slow_aws, Description="new")


def test_a_busy_acl_cannot_be_applied(slow_aws: Ground):
    add(slow_aws)
    acl(slow_aws)

    with refused("InvalidACLStateFault", "status creating"):
        update(slow_aws, ACLName="orders")


def test_a_cluster_without_tls_can_only_use_open_access(aws: Ground):
    add(aws, tls=False)
    acl(aws)

    with refused("InvalidParameterCombinationException", "TLS"):
        update(aws, ACLName="orders")
    with refused("InvalidParameterCombinationException", "TLS"):
        mdb(aws, "CreateCluster", ClusterName="second", NodeType="db.t4g.small", ACLName="orders", TLSEnabled=False)


def test_a_cluster_older_than_iam_takes_no_iam_users(aws: Ground):
    add(aws, engine="redis", engine_version="6.2")
    user(aws)
    acl(aws, "app")

    with refused("InvalidParameterCombinationException", "7.0"):
        update(aws, ACLName="orders")


def test_a_cluster_becomes_valkey_and_never_redis_again(aws: Ground):
    add(aws, engine="redis")

    update(aws, Engine="valkey")

    assert (describe_cluster(aws)["Engine"], describe_cluster(aws)["EngineVersion"]) == ("valkey", "7.3")
    with refused("InvalidParameterValueException"):
        update(aws, Engine="redis")


def test_a_deleted_cluster_frees_its_acl(slow_aws: Ground):
    served(slow_aws)

    deleted = mdb(slow_aws, "DeleteCluster", ClusterName="carts")["Cluster"]
    slow_aws.wait(10)

    assert deleted["Status"] == "deleting"
    assert describe_acl(slow_aws)["Clusters"] == []
    assert view(slow_aws) is None
    with refused("ClusterNotFoundFault"):
        describe_cluster(slow_aws)


def test_the_test_ground_takes_a_cluster_away_at_once(slow_aws: Ground):
    served(slow_aws)

    slow_aws.world.remove_memorydb_cluster(ACCOUNT, REGION, "carts")

    assert view(slow_aws) is None
    assert describe_acl(slow_aws)["Clusters"] == []


def test_the_world_lists_caches_of_every_kind(aws: Ground):
    add(aws)
    aws.cache("carts")
    aws.world.add_serverless_cache(ACCOUNT, REGION, "carts", engine="valkey", host="127.0.0.1", port=1)

    assert {(found.service, found.serverless) for found in aws.world.caches()} == {
        ("elasticache", False),
        ("elasticache", True),
        ("memorydb", False),
    }


# -- tags and authorization ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", [USER, ACL, CLUSTER], ids=["user", "acl", "cluster"])
def test_tags_are_listed_changed_and_found(aws: Ground, resource: str):
    user(aws, Tags=tags(a="1"))
    acl(aws, Tags=tags(a="1"))
    add(aws, tags={"a": "1"})

    added = mdb(aws, "TagResource", ResourceArn=resource, Tags=tags(b="2"))["TagList"]
    mdb(aws, "UntagResource", ResourceArn=resource, TagKeys=["a"])

    assert added == tags(a="1", b="2")
    assert mdb(aws, "ListTags", ResourceArn=resource)["TagList"] == tags(b="2")
    kind = resource.split(":")[5].partition("/")[0]
    found = aws.call("resourcegroupstaggingapi", "GetResources", ResourceTypeFilters=[f"memorydb:{kind}"])
    assert found["ResourceTagMappingList"] == [{"ResourceARN": resource, "Tags": tags(b="2")}]


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (arn("user", "nobody"), "UserNotFoundFault"),
        (arn("acl", "nothing"), "ACLNotFoundFault"),
        (arn("cluster", "nothing"), "ClusterNotFoundFault"),
        (arn("snapshot", "x"), "NotImplementedInSandbox"),
        (USER.replace("user/", "user:"), "InvalidARNFault"),
        (USER.replace(REGION, "us-west-2"), "InvalidARNFault"),
        ("nonsense", "InvalidARNFault"),
    ],
)
def test_a_wrong_arn_is_refused_with_its_code(aws: Ground, resource: str, code: str):
    with refused(code):
        mdb(aws, "ListTags", ResourceArn=resource)


def test_a_tag_that_is_not_there_cannot_be_removed(aws: Ground):
    user(aws)

    with refused("TagNotFoundFault"):
        mdb(aws, "UntagResource", ResourceArn=USER, TagKeys=["a"])


def test_a_busy_cluster_cannot_be_tagged(slow_aws: Ground):
    served(slow_aws, "app")
    mdb(slow_aws, "UpdateUser", UserName="app", AccessString="off")

    with refused("InvalidClusterStateFault"):
        mdb(slow_aws, "TagResource", ResourceArn=CLUSTER, Tags=tags(a="1"))


def test_a_creation_with_tags_needs_the_tagging_action_too(aws: Ground):
    key = aws.limited_key(allow(["memorydb:CreateUser", "memorydb:CreateACL"]))

    user(aws, "plain", key=key)
    for create in (user, acl):
        with refused("AccessDeniedException", "memorydb:TagResource"):
            create(aws, key=key, Tags=tags(a="1"))


def test_creations_are_fenced_by_the_tags_of_the_request(aws: Ground):
    key = aws.limited_key(allow("memorydb:*", Condition={"StringEquals": {"aws:RequestTag/owner": "demo"}}))

    assert user(aws, key=key, Tags=tags(owner="demo"))["Name"] == "app"
    with refused("AccessDeniedException", "memorydb:CreateUser"):
        user(aws, "other", key=key, Tags=tags(owner="other"))


def test_changes_are_fenced_by_the_tags_of_the_resource(aws: Ground):
    user(aws, Tags=tags(owner="demo"))
    user(aws, "foreign")
    key = aws.limited_key(allow("memorydb:*", Condition={"StringEquals": {"aws:ResourceTag/owner": "demo"}}))

    mdb(aws, "UpdateUser", key=key, UserName="app", AccessString="off")
    for operation in ("UpdateUser", "DeleteUser"):
        more = {"AccessString": "off"} if operation == "UpdateUser" else {}
        with refused("AccessDeniedException", "user/foreign"):
            mdb(aws, operation, key=key, UserName="foreign", **more)


def test_updating_a_cluster_needs_the_right_on_cluster_and_acl(aws: Ground):
    add(aws)
    acl(aws)

    with refused("AccessDeniedException", "acl/orders"):
        update(aws, key=aws.limited_key(allow("memorydb:UpdateCluster", CLUSTER), user_name="half"), ACLName="orders")
    update(aws, key=aws.limited_key(allow("memorydb:UpdateCluster", [CLUSTER, ACL])), ACLName="orders")

    assert describe_cluster(aws)["ACLName"] == "orders"


def test_changing_an_acl_needs_the_right_on_its_users_too(aws: Ground):
    user(aws)
    acl(aws)

    with refused("AccessDeniedException", "user/app"):
        mdb(
            aws,
            "UpdateACL",
            key=aws.limited_key(allow("memorydb:UpdateACL", ACL)),
            ACLName="orders",
            UserNamesToAdd=["app"],
        )


def test_the_mode_of_a_user_is_a_condition_key(aws: Ground):
    condition = {"StringEquals": {"memorydb:UserAuthenticationMode": "iam"}}
    key = aws.limited_key(allow("memorydb:CreateUser", Condition=condition))

    user(aws, key=key)
    with refused("AccessDeniedException"):
        user(aws, "other", key=key, AuthenticationMode=PASSWORD)


# -- Connect -------------------------------------------------------------------------------------------------------


def connect(aws, *statements):
    served(aws, "app")
    aws.role(trust=trust_aws(ACCOUNT), statements=statements)
    session = aws.sts("AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="session")["Credentials"]["AccessKeyId"]
    identity = aws.world.signing_identity(session)
    return aws.world.decide_connect(identity, view(aws), "app", source_ip="127.0.0.1")


@pytest.mark.parametrize("action", ["memorydb:Connect", "memorydb:connect", "memorydb:*"])
def test_connect_is_allowed_on_both_arns(aws: Ground, action: str):
    assert connect(aws, allow(action, [CLUSTER, USER])).allowed


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        (allow("memorydb:Connect", USER), f"on the cache {CLUSTER}"),
        (allow("memorydb:Connect", CLUSTER), f"on the user {USER}"),
        (allow("elasticache:Connect"), f"memorydb:Connect on the cache {CLUSTER}"),
    ],
    ids=["cluster", "user", "action"],
)
def test_a_refusal_names_the_broken_link(aws: Ground, statement, missing: str):
    assert connect(aws, statement).reason.endswith(missing)


def test_elasticaches_objects_of_the_same_name_are_others(aws: Ground):
    aws.user()
    aws.cache("carts")
    served(aws, "app")

    assert aws.world.cache_view(ACCOUNT, REGION, "carts").service == "elasticache"
    assert aws.describe_user()["ARN"] != describe_user(aws)["ARN"]
    assert dict(aws.view("carts").users) == {
        "default": EngineUser("default", "default", "on ~* &* +@all", "no-password")
    }
