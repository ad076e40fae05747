"""Whatever calls come in whatever order: MemoryDB's users, ACLs and clusters agree with each other."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sandbox.world.ground import ACCOUNT, IAM, REGION, Ground

from elasticache_iam_sandbox.world.call import AwsError

USERS, ACLS, CLUSTERS = ("u1", "u2", "u3"), ("a1", "a2"), ("c1", "c2")
SOME_USERS = st.lists(st.sampled_from((*USERS, "default")), min_size=1, max_size=2, unique=True)
ANY_ACL = st.sampled_from((*ACLS, "open-access"))

steps = st.one_of(
    st.tuples(st.just("CreateUser"), st.sampled_from(USERS)),
    st.tuples(st.just("UpdateUser"), st.sampled_from(USERS)),
    st.tuples(st.just("DeleteUser"), st.sampled_from(USERS)),
    st.tuples(st.just("CreateACL"), st.sampled_from(ACLS), SOME_USERS),
    st.tuples(st.just("add"), ANY_ACL, SOME_USERS),
    st.tuples(st.just("remove"), ANY_ACL, SOME_USERS),
    st.tuples(st.just("DeleteACL"), ANY_ACL),
    st.tuples(st.just("use"), st.sampled_from(CLUSTERS), ANY_ACL),
    st.tuples(st.just("DeleteCluster"), st.just("c1")),
    st.tuples(st.just("wait"), st.sampled_from([3, 6, 10])),
    st.tuples(st.just("wait"), st.just(10)),
)


def perform(aws: Ground, step: tuple) -> None:
    match step:
        case ("wait", seconds):
            aws.wait(seconds)
        case ("CreateUser", name):
            aws.call("memorydb", "CreateUser", UserName=name, AccessString="on", AuthenticationMode=IAM)
        case ("UpdateUser", name):
            aws.call("memorydb", "UpdateUser", UserName=name, AccessString="off")
        case ("CreateACL", name, user_names):
            aws.call("memorydb", "CreateACL", ACLName=name, UserNames=user_names)
        case ("add", name, user_names):
            aws.call("memorydb", "UpdateACL", ACLName=name, UserNamesToAdd=user_names)
        case ("remove", name, user_names):
            aws.call("memorydb", "UpdateACL", ACLName=name, UserNamesToRemove=user_names)
        case ("use", name, acl_name):
            aws.call("memorydb", "UpdateCluster", ClusterName=name, ACLName=acl_name)
        case (operation, name):
            parameter = {"DeleteUser": "UserName", "DeleteACL": "ACLName", "DeleteCluster": "ClusterName"}[operation]
            aws.call("memorydb", operation, **{parameter: name})
        case _:
            raise AssertionError(step)


def settled() -> Ground:
    """Return a slow world with two ACLs, each used by a cluster, and a user that is in neither."""
    aws = Ground()
    for name in USERS:
        perform(aws, ("CreateUser", name))
    perform(aws, ("CreateACL", "a1", ["u1", "u2"]))
    perform(aws, ("CreateACL", "a2", ["u2"]))
    for name, acl_name in zip(CLUSTERS, ACLS, strict=True):
        aws.world.add_memorydb_cluster(
            ACCOUNT, REGION, name, engine="valkey", host="127.0.0.1", port=6379, acl=acl_name
        )
    aws.settings.transition_s = 10.0
    return aws


def described(aws: Ground) -> tuple[list, list, list]:
    return (
        aws.call("memorydb", "DescribeUsers")["Users"],
        aws.call("memorydb", "DescribeACLs")["ACLs"],
        aws.call("memorydb", "DescribeClusters")["Clusters"],
    )


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=50))
def test_both_sides_of_every_relation_agree_and_everything_comes_to_rest(steps):
    aws = settled()

    for step in steps:
        with suppress(AwsError):
            perform(aws, step)
        users, acls, clusters = described(aws)
        assert {(acl, user["Name"]) for user in users for acl in user["ACLNames"]} == {
            (acl["Name"], name) for acl in acls for name in acl["UserNames"]
        }
        assert {(cluster["ACLName"], cluster["Name"]) for cluster in clusters} == {
            (acl["Name"], name) for acl in acls for name in acl["Clusters"]
        }
        assert all(aws.world.cache_view(ACCOUNT, REGION, cluster["Name"]).users for cluster in clusters)

    aws.wait(10)
    users, acls, clusters = described(aws)
    assert {thing["Status"] for things in (users, acls, clusters) for thing in things} <= {"active", "available"}
    assert not any("PendingChanges" in acl for acl in acls)
    assert not any("PendingUpdates" in cluster for cluster in clusters)
    assert next(acl for acl in acls if acl["Name"] == "open-access")["UserNames"] == ["default"]
