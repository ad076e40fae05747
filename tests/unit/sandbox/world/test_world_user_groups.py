import pytest
from tests.unit.sandbox.world.ground import NO_PASSWORD, PASSWORD, Ground, arn

from elasticache_iam_sandbox.world.call import AwsError


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def modify(aws, add=(), remove=(), group_id="orders", **options):
    lists = {"UserIdsToAdd": list(add), "UserIdsToRemove": list(remove)}
    return aws.ec("ModifyUserGroup", UserGroupId=group_id, **{k: v for k, v in lists.items() if v}, **options)


def ready_group(aws, *user_ids):
    for user_id in user_ids:
        aws.user(user_id)
    aws.wait(10)
    aws.group(*user_ids)
    aws.wait(10)


def test_a_new_group_is_creating_and_then_active(slow_aws: Ground):
    created = slow_aws.group()
    slow_aws.wait(10)

    assert created["Status"] == "creating"
    assert slow_aws.describe_group() == {
        "UserGroupId": "orders",
        "Status": "active",
        "Engine": "valkey",
        "UserIds": [],
        "MinimumEngineVersion": "7.2",
        "ReplicationGroups": [],
        "ServerlessCaches": [],
        "ARN": arn("usergroup", "orders"),
    }


def test_a_user_must_be_active_before_it_joins(slow_aws: Ground):
    slow_aws.user()

    with refused("InvalidUserState", "app has status creating"):
        slow_aws.group("app")


def test_a_member_tells_its_groups(aws: Ground):
    aws.user()
    aws.group("app")

    assert aws.describe_user()["UserGroupIds"] == ["orders"]


def test_a_redis_group_needs_a_user_named_default(aws: Ground):
    aws.user(Engine="redis")

    with refused("DefaultUserRequired", "User group needs to contain a user with the user name default"):
        aws.group("app", engine="redis")


@pytest.mark.parametrize("default", ["default", "closed"])
def test_the_built_in_default_user_or_a_replacement_will_do(aws: Ground, default: str):
    aws.default_user()

    assert aws.group(default, engine="redis")["UserIds"] == [default]


def test_two_users_of_one_name_do_not_fit_into_a_group(aws: Ground):
    aws.default_user()

    with refused("DuplicateUserName"):
        aws.group("default", "closed", engine="redis")


def test_a_redis_group_takes_no_valkey_user(aws: Ground):
    aws.user(Engine="valkey")

    with refused("InvalidParameterValue", "valkey"):
        aws.group("app", "default", engine="redis")


def test_a_valkey_group_takes_redis_users_with_authentication(aws: Ground):
    aws.user("one", Engine="redis")
    aws.user("two", Engine="redis", AuthenticationMode=PASSWORD)

    assert aws.group("one", "two")["UserIds"] == ["one", "two"]


def test_a_valkey_group_takes_nobody_without_a_password(aws: Ground):
    aws.user(AuthenticationMode=NO_PASSWORD)

    with refused("InvalidParameterValue"):
        aws.group("app")


def test_a_missing_member_is_user_not_found(aws: Ground):
    with refused("UserNotFound"):
        aws.group("nobody")


def test_a_group_id_is_taken_whatever_its_case(aws: Ground):
    aws.group()

    with refused("UserGroupAlreadyExists"):
        aws.group(group_id="ORDERS")


def test_the_quota_of_groups_is_kept():
    aws = Ground(groups=1)
    aws.group()

    with refused("UserGroupQuotaExceeded"):
        aws.group(group_id="second")


def test_the_quota_of_users_in_a_group_has_the_same_code():
    aws = Ground(users_per_group=1)
    aws.user("one")
    aws.user("two")

    with refused("UserGroupQuotaExceeded"):
        aws.group("one", "two")


def test_an_empty_list_of_users_is_refused(aws: Ground):
    with refused("InvalidParameterValue"):
        aws.ec("CreateUserGroup", UserGroupId="orders", Engine="valkey", UserIds=[])


def test_while_modifying_the_old_membership_shows_and_the_future_is_pending(slow_aws: Ground):
    slow_aws.user("late")
    ready_group(slow_aws, "old", "stays")

    modified = modify(slow_aws, add=["late"], remove=["old"])

    assert modified == slow_aws.describe_group()
    assert modified["Status"] == "modifying"
    assert modified["UserIds"] == ["old", "stays"]
    assert modified["PendingChanges"] == {"UserIdsToAdd": ["late"], "UserIdsToRemove": ["old"]}
    assert slow_aws.describe_user("late")["UserGroupIds"] == []


def test_when_the_change_is_done_the_membership_is_the_new_one(slow_aws: Ground):
    slow_aws.user("late")
    ready_group(slow_aws, "old", "stays")
    modify(slow_aws, add=["late"], remove=["old"])
    slow_aws.wait(10)

    assert slow_aws.describe_group()["UserIds"] == ["stays", "late"]
    assert "PendingChanges" not in slow_aws.describe_group()
    assert slow_aws.describe_user("late")["UserGroupIds"] == ["orders"]
    assert slow_aws.describe_user("old")["UserGroupIds"] == []


def test_there_is_one_change_in_flight_per_group(slow_aws: Ground):
    slow_aws.user("late")
    ready_group(slow_aws, "old")
    modify(slow_aws, add=["late"])

    with refused("InvalidUserGroupState", "orders has status modifying. Only active user groups can be modified"):
        modify(slow_aws, remove=["old"])


def test_a_change_is_all_or_nothing(aws: Ground):
    aws.user("one")
    aws.user("two")
    aws.group("one")

    with refused("InvalidParameterValue", "gone is not a member of user group orders"):
        modify(aws, add=["two"], remove=["gone"])

    assert aws.describe_group()["UserIds"] == ["one"]
    assert aws.describe_group()["Status"] == "active"


def test_a_member_cannot_be_added_again(aws: Ground):
    aws.user()
    aws.group("app")

    with refused("InvalidParameterValue", "already a member"):
        modify(aws, add=["app"])


def test_nothing_to_modify_is_an_invalid_combination(aws: Ground):
    aws.group()

    with refused("InvalidParameterCombination", "No modifications were requested"):
        modify(aws)


def test_the_same_user_cannot_be_added_and_removed(aws: Ground):
    aws.user()
    aws.group("app")

    with refused("InvalidParameterCombination"):
        modify(aws, add=["app"], remove=["app"])


def test_the_default_user_is_swapped_in_one_call(aws: Ground):
    aws.default_user()
    aws.group("default", engine="redis")

    modify(aws, add=["closed"], remove=["default"])

    assert aws.describe_group()["UserIds"] == ["closed"]


def test_the_default_user_of_a_redis_group_cannot_just_be_removed(aws: Ground):
    aws.group("default", engine="redis")

    with refused("DefaultUserRequired"):
        modify(aws, remove=["default"])


def test_a_redis_group_becomes_valkey_when_all_its_users_have_authentication(aws: Ground):
    aws.default_user()
    aws.group("closed", engine="redis")

    modify(aws, Engine="valkey")

    assert aws.describe_group()["Engine"] == "valkey"


@pytest.mark.parametrize("engine", ["redis", "valkey"])
def test_the_open_default_user_keeps_a_group_from_becoming_valkey_and_nothing_goes_back(aws: Ground, engine: str):
    aws.group(*(["default"] if engine == "redis" else []), engine=engine)

    with refused("InvalidParameterValue"):
        modify(aws, Engine="valkey" if engine == "redis" else "redis")


def test_a_group_used_by_a_redis_cache_cannot_become_valkey(aws: Ground):
    aws.default_user()
    aws.group("closed", engine="redis")
    aws.cache(engine="redis", engine_version="7.1")
    aws.attach()

    with refused("InvalidParameterValue"):
        modify(aws, Engine="valkey")


def test_a_user_deleted_while_it_joins_does_not_come_back(slow_aws: Ground):
    ready_group(slow_aws, "stays")
    slow_aws.user("late")
    slow_aws.wait(10)
    slow_aws.ec("DeleteUser", UserId="late")

    with refused("InvalidUserState"):
        modify(slow_aws, add=["late"])


def test_a_user_that_starts_to_be_deleted_after_its_removal_did_is_gone_from_the_group(slow_aws: Ground):
    ready_group(slow_aws, "old", "stays")
    modify(slow_aws, remove=["old"])
    slow_aws.wait(5)
    slow_aws.ec("DeleteUser", UserId="old")
    slow_aws.wait(10)

    assert slow_aws.describe_group()["UserIds"] == ["stays"]
    assert slow_aws.describe_group()["Status"] == "active"


def test_a_deleted_group_lets_its_users_go(slow_aws: Ground):
    ready_group(slow_aws, "app")

    assert slow_aws.ec("DeleteUserGroup", UserGroupId="orders")["Status"] == "deleting"
    slow_aws.wait(10)
    assert slow_aws.describe_user()["UserGroupIds"] == []
    with refused("UserGroupNotFound"):
        slow_aws.describe_group()


def test_an_attached_group_cannot_be_deleted(aws: Ground):
    aws.cache()
    aws.group()
    aws.attach()

    with refused("InvalidUserGroupState", "orders-prod"):
        aws.ec("DeleteUserGroup", UserGroupId="orders")


def test_a_group_that_is_just_being_attached_cannot_be_deleted(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.group()
    slow_aws.wait(10)
    slow_aws.attach()

    with refused("InvalidUserGroupState"):
        slow_aws.ec("DeleteUserGroup", UserGroupId="orders")


@pytest.mark.parametrize("operation", ["DescribeUserGroups", "ModifyUserGroup", "DeleteUserGroup"])
def test_a_missing_group_is_not_found(aws: Ground, operation: str):
    with pytest.raises(AwsError) as caught:
        aws.ec(operation, UserGroupId="nothing", **({"Engine": "valkey"} if operation == "ModifyUserGroup" else {}))

    assert (caught.value.code, caught.value.http_status) == ("UserGroupNotFound", 404)


def test_groups_are_answered_in_pages(aws: Ground):
    for number in range(21):
        aws.group(group_id=f"g{number:02}")

    first = aws.ec("DescribeUserGroups", MaxRecords=20)
    second = aws.ec("DescribeUserGroups", MaxRecords=20, Marker=first["Marker"])

    assert [group["UserGroupId"] for group in second["UserGroups"]] == ["g20"]


@pytest.mark.parametrize(
    ("engine", "mode", "version"),
    [("redis", "password", "6.0"), ("redis", "iam", "7.0"), ("valkey", "iam", "7.2")],
)
def test_a_group_needs_the_engine_version_of_its_most_demanding_user(aws: Ground, engine, mode, version):
    aws.user(Engine=engine, **({"AuthenticationMode": PASSWORD} if mode == "password" else {}))
    aws.group("app", *(["default"] if engine == "redis" else []), engine=engine)

    assert aws.describe_group()["MinimumEngineVersion"] == version
