import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, IAM, NO_PASSWORD, PASSWORD, REGION, Ground, arn

from elasticache_iam_sandbox.world.call import AwsError


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def test_a_new_user_is_creating_and_then_active(slow_aws: Ground):
    created = slow_aws.user()
    slow_aws.wait(10)

    assert created["Status"] == "creating"
    assert slow_aws.describe_user()["Status"] == "active"


def test_the_answer_is_the_bare_user_without_tags(aws: Ground):
    created = aws.user(Tags=[{"Key": "team", "Value": "shop"}], AccessString="on ~app:* +@read")

    assert created == {
        "UserId": "app",
        "UserName": "app",
        "Status": "creating",
        "Engine": "valkey",
        "MinimumEngineVersion": "7.2",
        "AccessString": "on ~app:* -@all +@read",
        "UserGroupIds": [],
        "Authentication": {"Type": "iam"},
        "ARN": arn("user", "app"),
    }


def test_ids_are_stored_in_lower_case(aws: Ground):
    created = aws.user("App")

    assert (created["UserId"], created["ARN"]) == ("app", arn("user", "app"))


def test_two_ids_that_differ_in_case_collide(aws: Ground):
    aws.user("app")

    with refused("UserAlreadyExists"):
        aws.user("APP")


@pytest.mark.parametrize("user_id", ["1app", "app-", "a--b", "a.b", "a" * 41, "a_b"])
def test_an_id_outside_the_rules_is_refused(aws: Ground, user_id: str):
    with refused("InvalidParameterValue"):
        aws.user(user_id)


def test_an_iam_user_must_be_named_as_its_id(aws: Ground):
    with refused("InvalidParameterCombination", "User Id and User name must be same for authentication type: iam"):
        aws.user("app", UserName="other")


def test_no_password_required_is_read_back_as_no_password(aws: Ground):
    assert aws.user(AuthenticationMode=NO_PASSWORD)["Authentication"] == {"Type": "no-password"}


def test_passwords_are_counted_but_never_shown(aws: Ground):
    assert aws.user(AuthenticationMode=PASSWORD)["Authentication"] == {"Type": "password", "PasswordCount": 1}


def test_the_legacy_password_parameters_still_work(aws: Ground):
    assert (
        aws.ec(
            "CreateUser", UserId="old", UserName="old", Engine="redis", AccessString="on ~* +@all", Passwords=["x" * 16]
        )["Authentication"]["Type"]
        == "password"
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"AuthenticationMode": None}, "InvalidParameterCombination"),
        ({"NoPasswordRequired": True}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "password"}}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "iam", "Passwords": ["x" * 16]}}, "InvalidParameterCombination"),
        ({"AuthenticationMode": {"Type": "password", "Passwords": ["short"]}}, "InvalidParameterValue"),
        ({"AuthenticationMode": {"Type": "password", "Passwords": ["x" * 16] * 3}}, "InvalidParameterValue"),
        ({"AuthenticationMode": {"Type": "no-password"}}, "InvalidParameterValue"),
        ({"Engine": "memcached"}, "InvalidParameterValue"),
        ({"UserName": "with space"}, "InvalidParameterValue"),
        ({"AccessString": "on >password ~* +@all"}, "InvalidParameterValue"),
        ({"Tags": [{"Key": "aws:x", "Value": ""}]}, "InvalidParameterValue"),
        ({"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}, "TagQuotaPerResourceExceeded"),
    ],
)
def test_a_bad_creation_is_refused_with_its_code(aws: Ground, options, code: str):
    with refused(code):
        aws.user(**options)


def test_engines_are_answered_in_lower_case(aws: Ground):
    assert aws.user(Engine="REDIS")["Engine"] == "redis"


def test_the_quota_of_users_is_kept():
    aws = Ground(users=1)
    aws.user("one")

    with refused("UserQuotaExceeded"):
        aws.user("two")


def test_every_region_has_the_built_in_default_user(aws: Ground):
    (default,) = aws.ec("DescribeUsers", region="us-west-2")["Users"]

    assert default["UserId"] == default["UserName"] == "default"
    assert default["AccessString"] == "on ~* +@all"
    assert default["Authentication"] == {"Type": "no-password"}
    assert default["ARN"] == f"arn:aws:elasticache:us-west-2:{ACCOUNT}:user:default"


@pytest.mark.parametrize("operation", ["ModifyUser", "DeleteUser"])
def test_the_built_in_default_user_cannot_be_changed(aws: Ground, operation: str):
    more = {"AccessString": "off"} if operation == "ModifyUser" else {}

    with refused("InvalidParameterValue"):
        aws.ec(operation, UserId="default", **more)


def test_only_active_users_can_be_modified(slow_aws: Ground):
    slow_aws.user()

    with refused("InvalidUserState", "User app has status creating. Only active users can be modified"):
        slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")


def test_a_modified_user_is_modifying_and_then_active(slow_aws: Ground):
    slow_aws.user()
    slow_aws.wait(10)

    modified = slow_aws.ec("ModifyUser", UserId="app", AccessString="off ~x +get")
    slow_aws.wait(10)

    assert (modified["Status"], slow_aws.describe_user()["Status"]) == ("modifying", "active")
    assert slow_aws.describe_user()["AccessString"] == "off ~x -@all +get"


def test_modifying_a_user_keeps_its_groups_and_their_caches_busy(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.user()
    slow_aws.wait(10)
    slow_aws.group("app")
    slow_aws.wait(10)
    slow_aws.attach()
    slow_aws.wait(10)

    slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")
    busy = (slow_aws.describe_group()["Status"], slow_aws.describe_cache()["Status"])
    slow_aws.wait(10)

    assert busy == ("modifying", "modifying")
    assert (slow_aws.describe_group()["Status"], slow_aws.describe_cache()["Status"]) == ("active", "available")


def test_a_user_with_another_name_cannot_become_iam(aws: Ground):
    aws.default_user()

    with refused("InvalidParameterCombination", "must be same"):
        aws.ec("ModifyUser", UserId="closed", AuthenticationMode=IAM)


def test_a_password_user_can_become_iam(aws: Ground):
    aws.user(AuthenticationMode=PASSWORD)

    aws.ec("ModifyUser", UserId="app", AuthenticationMode=IAM)

    assert aws.describe_user()["Authentication"] == {"Type": "iam"}


def test_a_modification_that_says_nothing_is_refused(aws: Ground):
    aws.user()

    with refused("InvalidParameterCombination", "No modifications were requested"):
        aws.ec("ModifyUser", UserId="app")


def test_a_redis_user_can_become_a_valkey_user_but_not_back(aws: Ground):
    aws.user(Engine="redis")
    aws.ec("ModifyUser", UserId="app", Engine="valkey")

    assert aws.describe_user()["Engine"] == "valkey"
    with refused("InvalidParameterValue"):
        aws.ec("ModifyUser", UserId="app", Engine="redis")


def test_a_user_of_a_redis_group_cannot_become_a_valkey_user(aws: Ground):
    aws.user(Engine="redis")
    aws.group("app", "default", engine="redis")

    with refused("InvalidParameterValue"):
        aws.ec("ModifyUser", UserId="app", Engine="valkey")


def test_a_user_of_a_valkey_group_cannot_lose_its_authentication(aws: Ground):
    aws.user()
    aws.group("app")

    with refused("InvalidParameterValue"):
        aws.ec("ModifyUser", UserId="app", AuthenticationMode=NO_PASSWORD)


def test_append_access_string_is_refused_loudly(aws: Ground):
    aws.user()

    with refused("NotImplementedInSandbox", "AppendAccessString"):
        aws.ec("ModifyUser", UserId="app", AppendAccessString="+get")


def test_a_deleted_user_is_deleting_and_then_not_found(slow_aws: Ground):
    slow_aws.user()
    slow_aws.wait(10)

    assert slow_aws.ec("DeleteUser", UserId="app")["Status"] == "deleting"
    slow_aws.wait(10)
    with refused("UserNotFound"):
        slow_aws.describe_user()


def test_deleting_a_user_takes_it_out_of_its_groups(aws: Ground):
    aws.user("one")
    aws.user("two")
    aws.group("one", "two")

    aws.ec("DeleteUser", UserId="one")

    assert aws.describe_group()["UserIds"] == ["two"]
    assert "PendingChanges" not in aws.describe_group()


def test_a_user_that_leaves_by_deletion_shows_in_the_groups_pending_changes(slow_aws: Ground):
    slow_aws.user()
    slow_aws.wait(10)
    slow_aws.group("app")
    slow_aws.wait(10)

    slow_aws.ec("DeleteUser", UserId="app")

    assert slow_aws.describe_group()["UserIds"] == ["app"]
    assert slow_aws.describe_group()["PendingChanges"] == {"UserIdsToRemove": ["app"]}


def test_a_default_user_in_a_group_cannot_be_deleted(aws: Ground):
    aws.default_user()
    aws.group("closed", engine="redis")

    with refused("DefaultUserAssociatedToUserGroup"):
        aws.ec("DeleteUser", UserId="closed")


def test_a_deleting_user_cannot_be_deleted_again(slow_aws: Ground):
    slow_aws.user()
    slow_aws.wait(10)
    slow_aws.ec("DeleteUser", UserId="app")

    with refused("InvalidUserState"):
        slow_aws.ec("DeleteUser", UserId="app")


@pytest.mark.parametrize("operation", ["DescribeUsers", "ModifyUser", "DeleteUser"])
def test_a_missing_user_is_not_found(aws: Ground, operation: str):
    with pytest.raises(AwsError) as caught:
        aws.ec(operation, UserId="nobody", **({"AccessString": "off"} if operation == "ModifyUser" else {}))

    assert (caught.value.code, caught.value.http_status) == ("UserNotFound", 404)


def test_describe_answers_in_pages(aws: Ground):
    for number in range(45):
        aws.user(f"u{number:02}")

    first = aws.ec("DescribeUsers", MaxRecords=20)
    second = aws.ec("DescribeUsers", MaxRecords=20, Marker=first["Marker"])
    third = aws.ec("DescribeUsers", MaxRecords=20, Marker=second["Marker"])

    ids = [user["UserId"] for answer in (first, second, third) for user in answer["Users"]]
    assert sorted(ids) == sorted(["default", *(f"u{number:02}" for number in range(45))])
    assert "Marker" not in third


@pytest.mark.parametrize("size", [0, 19, 101])
def test_a_page_size_out_of_range_is_refused(aws: Ground, size: int):
    with refused("InvalidParameterValue", "MaxRecords"):
        aws.ec("DescribeUsers", MaxRecords=size)


def test_a_foreign_marker_is_refused(aws: Ground):
    with refused("InvalidParameterValue"):
        aws.ec("DescribeUsers", Marker="bm9uc2Vuc2U=")


def test_users_can_be_filtered_by_engine_and_id(aws: Ground):
    aws.user("one")
    aws.user("two")

    by_engine = aws.ec("DescribeUsers", Engine="redis")["Users"]
    by_id = aws.ec("DescribeUsers", Filters=[{"Name": "user-id", "Values": ["two"]}])["Users"]

    assert [user["UserId"] for user in by_engine] == ["default"]
    assert [user["UserId"] for user in by_id] == ["two"]


def test_an_unknown_filter_is_refused_loudly(aws: Ground):
    with refused("NotImplementedInSandbox"):
        aws.ec("DescribeUsers", Filters=[{"Name": "status", "Values": ["active"]}])


def test_regions_do_not_share_users(aws: Ground):
    aws.user()

    with refused("UserNotFound"):
        aws.ec("DescribeUsers", UserId="app", region="us-west-2")
    assert aws.ec("DescribeUsers", UserId="app", region=REGION)["Users"]


def test_filtered_users_are_answered_in_pages_too(aws: Ground):
    for number in range(21):
        aws.user(f"u{number:02}")

    first = aws.ec("DescribeUsers", Engine="valkey", MaxRecords=20)
    second = aws.ec("DescribeUsers", Engine="valkey", MaxRecords=20, Marker=first["Marker"])

    assert [user["UserId"] for user in second["Users"]] == ["u20"]


@pytest.fixture
def managed() -> Ground:
    return Ground(managed_iam_user=True)


def test_awss_own_iam_user_and_group_are_there_if_the_setting_says_so(managed: Ground):
    assert managed.describe_user("default.iam-user")["UserGroupIds"] == ["default.iam-user-group"]
    assert managed.describe_group("default.iam-user-group")["UserIds"] == ["default.iam-user"]
    with refused("UserNotFound"):
        Ground().describe_user("default.iam-user")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("ModifyUser", {"UserId": "default.iam-user", "AccessString": "off"}),
        ("DeleteUser", {"UserId": "default.iam-user"}),
        ("ModifyUserGroup", {"UserGroupId": "default.iam-user-group", "UserIdsToAdd": ["app"]}),
        ("DeleteUserGroup", {"UserGroupId": "default.iam-user-group"}),
        ("ModifyUserGroup", {"UserGroupId": "orders", "UserIdsToAdd": ["default.iam-user"]}),
        (
            "ModifyReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "UserGroupIdsToAdd": ["default.iam-user-group"]},
        ),
        ("CreateUserGroup", {"UserGroupId": "second", "Engine": "valkey", "UserIds": ["default.iam-user"]}),
        ("CreateUserGroup", {"UserGroupId": "default.mine", "Engine": "valkey"}),
    ],
)
def test_nobody_changes_or_uses_what_aws_manages(managed: Ground, operation: str, parameters):
    managed.user()
    managed.group()
    managed.cache()

    with refused("InvalidParameterValue"):
        managed.ec(operation, **parameters)


def test_what_aws_manages_counts_for_no_quota():
    aws = Ground(managed_iam_user=True, users=1, groups=1)
    aws.user()
    aws.group("app")

    with refused("UserQuotaExceeded"):
        aws.user("second")
    with refused("UserGroupQuotaExceeded"):
        aws.group(group_id="second")
