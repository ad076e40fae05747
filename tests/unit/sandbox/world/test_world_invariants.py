"""Whatever calls come in whatever order: the world refuses in AWS's codes, and its objects agree with each other."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sandbox.world.ground import IAM, Ground

from elasticache_iam_sandbox.world.call import AwsError

USERS, GROUPS, CACHES = ("closed", "u1", "u2", "u3"), ("g1", "g2"), ("c1", "c2")
DEFAULTS = ("closed", "default")
ENGINES = st.sampled_from(["redis", "valkey"])
SOME_USERS = st.lists(st.sampled_from((*USERS, "default")), min_size=1, max_size=3, unique=True)

user_calls = st.one_of(
    st.tuples(st.just("user"), st.sampled_from(USERS[1:]), ENGINES),
    st.tuples(st.just("DeleteUser"), st.sampled_from(USERS)),
    st.tuples(st.just("upgrade"), st.sampled_from(USERS)),
    st.tuples(st.just("ModifyUser"), st.sampled_from(USERS), st.sampled_from(["on ~a +get", "off"])),
)
group_calls = st.one_of(
    st.tuples(st.just("swap"), st.just("g2"), st.sampled_from(DEFAULTS), st.sampled_from(DEFAULTS)),
    st.tuples(st.just("group"), st.sampled_from(GROUPS), ENGINES, SOME_USERS),
    st.tuples(st.just("add"), st.sampled_from(GROUPS), SOME_USERS),
    st.tuples(st.just("remove"), st.sampled_from(GROUPS), SOME_USERS),
    st.tuples(st.just("DeleteUserGroup"), st.sampled_from(GROUPS)),
)
cache_calls = st.one_of(
    st.tuples(st.just("attach"), st.sampled_from(CACHES), st.sampled_from(GROUPS)),
    st.tuples(st.just("detach"), st.sampled_from(CACHES)),
    st.tuples(st.just("DeleteReplicationGroup"), st.just("c1")),
)
waits = st.tuples(st.just("wait"), st.sampled_from([3, 6, 10]))


def perform(aws: Ground, step: tuple) -> None:  # noqa: C901, PLR0912  # one case a call
    match step:
        case ("wait", seconds):
            aws.wait(seconds)
        case ("user", user_id, engine):
            aws.user(user_id, Engine=engine, AuthenticationMode=IAM)
        case ("DeleteUser", user_id):
            aws.ec("DeleteUser", UserId=user_id)
        case ("ModifyUser", user_id, access_string):
            aws.ec("ModifyUser", UserId=user_id, AccessString=access_string)
        case ("upgrade", user_id):
            aws.ec("ModifyUser", UserId=user_id, Engine="valkey")
        case ("swap", group_id, new, old):
            aws.ec("ModifyUserGroup", UserGroupId=group_id, UserIdsToAdd=[new], UserIdsToRemove=[old])
        case ("group", group_id, engine, user_ids):
            aws.group(*user_ids, group_id=group_id, engine=engine)
        case ("add", group_id, user_ids):
            aws.ec("ModifyUserGroup", UserGroupId=group_id, UserIdsToAdd=user_ids)
        case ("remove", group_id, user_ids):
            aws.ec("ModifyUserGroup", UserGroupId=group_id, UserIdsToRemove=user_ids)
        case ("DeleteUserGroup", group_id):
            aws.ec("DeleteUserGroup", UserGroupId=group_id)
        case ("attach", cache_id, group_id):
            aws.attach(group_id, cache_id)
        case ("detach", cache_id):
            aws.ec("ModifyReplicationGroup", ReplicationGroupId=cache_id, RemoveUserGroups=True, ApplyImmediately=True)
        case ("DeleteReplicationGroup", cache_id):
            aws.ec("DeleteReplicationGroup", ReplicationGroupId=cache_id)
        case _:
            raise AssertionError(step)


def settled() -> Ground:
    """Return a slow world with two groups, each attached to a cache, and a user that is in neither."""
    aws = Ground()
    aws.cache("c1")
    aws.cache("c2", engine="redis", engine_version="7.1")
    aws.default_user()
    for user_id, engine in (("u1", "valkey"), ("u2", "redis"), ("u3", "redis")):
        aws.user(user_id, Engine=engine)
    aws.group("u1", "u2", group_id="g1")
    aws.group("closed", "u2", group_id="g2", engine="redis")
    aws.attach("g1", "c1")
    aws.attach("g2", "c2")
    aws.settings.transition_s = 10.0
    return aws


def memberships(aws: Ground) -> tuple[set, set]:
    users, groups = aws.ec("DescribeUsers")["Users"], aws.ec("DescribeUserGroups")["UserGroups"]
    return (
        {(group_id, user["UserId"]) for user in users for group_id in user["UserGroupIds"]},
        {(group["UserGroupId"], user_id) for group in groups for user_id in group["UserIds"]},
    )


def attachments(aws: Ground) -> tuple[set, set]:
    caches = aws.ec("DescribeReplicationGroups")["ReplicationGroups"]
    groups = aws.ec("DescribeUserGroups")["UserGroups"]
    return (
        {(group_id, cache["ReplicationGroupId"]) for cache in caches for group_id in cache["UserGroupIds"]},
        {(group["UserGroupId"], cache_id) for group in groups for cache_id in group["ReplicationGroups"]},
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(user_calls, group_calls, cache_calls, waits, waits, waits), max_size=60))
def test_both_sides_of_every_relation_agree_and_everything_comes_to_rest(steps):
    aws = settled()

    for step in steps:
        with suppress(AwsError):
            perform(aws, step)
        from_users, from_groups = memberships(aws)
        assert from_users == from_groups
        from_caches, from_groups = attachments(aws)
        assert from_caches == from_groups
        assert all(aws.view(cache_id) is None or aws.view(cache_id).users for cache_id in CACHES)

    aws.wait(10)
    described = (
        aws.ec("DescribeUsers")["Users"],
        aws.ec("DescribeUserGroups")["UserGroups"],
        aws.ec("DescribeReplicationGroups")["ReplicationGroups"],
    )
    assert {thing["Status"] for things in described for thing in things} <= {"active", "available"}
    assert not any("PendingChanges" in group for group in described[1])
    named_default = {user["UserId"] for user in described[0] if user["UserName"] == "default"}
    redis_users = {user["UserId"] for user in described[0] if user["Engine"] == "redis"}
    for group in described[1]:
        if group["Engine"] == "redis":
            assert named_default & set(group["UserIds"])
            assert set(group["UserIds"]) <= redis_users
