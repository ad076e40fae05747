"""The operator's own rights: what its calls need, fenced, and nothing else."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest

from elasticache_iam.core.policy import CALLS, compact_json, operator_policy

BOUNDARY = "arn:aws:iam::111122223333:policy/boundary"
ELASTICACHE = "arn:aws:elasticache:eu-west-1:111122223333"
MEMORYDB = "arn:aws:memorydb:eu-west-1:111122223333"
ELSEWHERE = "arn:aws:iam::444455556666:role/elasticache-iam"
ROLES = "arn:aws:iam::111122223333:role"


def prod(**changes: Any) -> dict[str, Any]:
    arguments = {"owner": "prod", "partition": "aws", "account": "111122223333", "region": "eu-west-1"}
    return operator_policy(**{**arguments, **changes})


def granting(policy: dict[str, Any], action: str, resource: str) -> Iterator[dict[str, Any]]:
    """Yield the conditions under which the policy allows an action on a resource."""
    for statement in policy["Statement"]:
        if action in statement["Action"] and any(fnmatchcase(resource, arn) for arn in statement["Resource"]):
            yield statement.get("Condition", {})


def actions(policy: dict[str, Any]) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def test_the_policy_gives_the_rights_of_the_table_and_no_others():
    granted = actions(prod(existing_roles=True, pod_identity_cluster="main"))
    granted |= actions(prod(boundary=BOUNDARY, roles_elsewhere=(ELSEWHERE,)))

    assert granted == {action for needed in CALLS.values() for action in needed}


@pytest.mark.parametrize(("service", "operation"), CALLS)
def test_every_call_is_in_aws_model(service: str, operation: str):
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")

    assert operation in client.meta.service_model.operation_names


def test_nobody_logs_in_or_becomes_another_with_it():
    everything = actions(prod(existing_roles=True))

    assert not [action for action in everything if action.endswith(":Connect") or action.startswith("sts:")]


def test_no_action_has_a_wildcard():
    assert not [action for action in actions(prod()) if "*" in action]


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("elasticache:CreateUser", f"{ELASTICACHE}:user:prod2-x"),
        ("elasticache:CreateUserGroup", f"{ELASTICACHE}:usergroup:other"),
        ("elasticache:CreateUser", f"{ELASTICACHE}:user:preprod-x"),
        ("iam:CreateRole", f"{ROLES}/prod-x"),
        ("iam:CreateRole", f"{ROLES}/elasticache-iam/dev/prod-x"),
        ("iam:PutRolePolicy", f"{ROLES}/admin"),
        ("iam:UpdateAssumeRolePolicy", f"{ROLES}/elasticache-iam/prod/other-x"),
        ("iam:DeleteRole", f"{ROLES}/admin"),
        ("iam:TagRole", f"{ROLES}/admin"),
        ("elasticache:AddTagsToResource", f"{ELASTICACHE}:replicationgroup:orders"),
        ("elasticache:DeleteUser", "arn:aws:elasticache:eu-west-1:999999999999:user:prod-x"),
        ("elasticache:DeleteUser", "arn:aws:elasticache:us-east-1:111122223333:user:prod-x"),
        ("memorydb:CreateUser", f"{MEMORYDB}:user/prod2-x"),
        ("memorydb:CreateACL", f"{MEMORYDB}:acl/other"),
        ("memorydb:TagResource", f"{MEMORYDB}:cluster/orders"),
        ("memorydb:UntagResource", f"{MEMORYDB}:cluster/orders"),
        ("elasticache:RemoveTagsFromResource", f"{ELASTICACHE}:replicationgroup:orders"),
        ("elasticache:AddTagsToResource", f"{ELASTICACHE}:serverlesscache:orders"),
        ("iam:UpdateRole", f"{ROLES}/admin"),
        ("iam:UntagRole", f"{ROLES}/admin"),
        ("iam:PutRolePermissionsBoundary", f"{ROLES}/elasticache-iam/prod/prod-x"),
        ("iam:DeleteRolePermissionsBoundary", f"{ROLES}/elasticache-iam/prod/prod-x"),
    ],
)
def test_what_is_outside_the_fence_is_not_allowed(action: str, resource: str):
    assert list(granting(prod(), action, resource)) == []


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("elasticache:ModifyUser", f"{ELASTICACHE}:user:prod-x"),
        ("elasticache:DeleteUser", f"{ELASTICACHE}:user:adopted"),
        ("elasticache:DeleteUserGroup", f"{ELASTICACHE}:usergroup:prod-x"),
        ("memorydb:UpdateUser", f"{MEMORYDB}:user/prod-x"),
        ("memorydb:DeleteUser", f"{MEMORYDB}:user/adopted"),
        ("memorydb:DeleteACL", f"{MEMORYDB}:acl/prod-x"),
        ("memorydb:UpdateCluster", f"{MEMORYDB}:acl/prod-x"),
        ("elasticache:ModifyServerlessCache", f"{ELASTICACHE}:usergroup:prod-x"),
    ],
)
def test_only_what_carries_our_tag_is_changed(action: str, resource: str):
    assert list(granting(prod(), action, resource)) == [
        {"StringEquals": {"aws:ResourceTag/elasticache-iam.dev/owner": "prod"}}
    ]


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("elasticache:ModifyReplicationGroup", f"{ELASTICACHE}:replicationgroup:orders"),
        ("elasticache:ModifyServerlessCache", f"{ELASTICACHE}:serverlesscache:orders"),
        ("elasticache:AddTagsToResource", f"{ELASTICACHE}:user:made-by-terraform"),
        ("memorydb:UpdateCluster", f"{MEMORYDB}:cluster/orders"),
        ("memorydb:TagResource", f"{MEMORYDB}:acl/made-by-terraform"),
        ("iam:PutRolePolicy", f"{ROLES}/workload"),
    ],
)
@pytest.mark.parametrize(
    ("tag", "allowed"),
    [
        ("prod", True),
        ("prod/shop", True),
        ("dev prod", True),
        ("dev/a prod/shop dev/b", True),
        ("preprod", False),
        ("prod2", False),
        ("dev/prod", False),
        ("", False),
    ],
)
def test_others_objects_are_changed_only_with_their_owners_consent(
    action: str,
    resource: str,
    tag: str,
    allowed: bool,  # noqa: FBT001  # a parameter
):
    ours = {"StringEquals": {"aws:ResourceTag/elasticache-iam.dev/owner": "prod"}}
    with_all = prod(existing_roles=True)
    (condition,) = (condition for condition in granting(with_all, action, resource) if condition != ours)

    patterns = condition["StringLike"]["aws:ResourceTag/elasticache-iam.dev/allow"]
    assert any(fnmatchcase(tag, pattern) for pattern in patterns) is allowed


def test_a_trusted_cache_is_attached_without_a_tag():
    cache = f"{ELASTICACHE}:replicationgroup:trusted"

    assert {} in list(granting(prod(trusted_caches=(cache,)), "elasticache:ModifyReplicationGroup", cache))


def test_trust_in_one_cache_is_no_trust_in_another():
    trusted, other = f"{ELASTICACHE}:replicationgroup:trusted", f"{ELASTICACHE}:replicationgroup:other"

    assert {} not in list(granting(prod(trusted_caches=(trusted,)), "elasticache:ModifyReplicationGroup", other))


@pytest.mark.parametrize("action", ["iam:CreateRole", "iam:PutRolePolicy"])
def test_with_a_boundary_a_role_without_it_gets_nothing(action: str):
    role = f"{ROLES}/elasticache-iam/prod/prod-x"

    assert list(granting(prod(boundary=BOUNDARY), action, role)) == [
        {"StringEquals": {"iam:PermissionsBoundary": BOUNDARY}}
    ]


def test_with_a_boundary_only_that_one_is_put_on_and_none_taken_off():
    role, policy = f"{ROLES}/elasticache-iam/prod/prod-x", prod(boundary=BOUNDARY)

    assert list(granting(policy, "iam:PutRolePermissionsBoundary", role)) == [
        {"StringEquals": {"iam:PermissionsBoundary": BOUNDARY}}
    ]
    assert "iam:DeleteRolePermissionsBoundary" not in actions(policy)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("elasticache:RemoveTagsFromResource", f"{ELASTICACHE}:user:prod-x"),
        ("memorydb:UntagResource", f"{MEMORYDB}:acl/prod-x"),
        ("iam:UntagRole", f"{ROLES}/elasticache-iam/prod/prod-x"),
    ],
)
def test_tags_that_say_whose_it_is_stay(action: str, resource: str):
    (condition,) = granting(prod(), action, resource)

    assert condition["ForAllValues:StringNotEquals"] == {
        "aws:TagKeys": [f"elasticache-iam.dev/{name}" for name in ("owner", "kind", "namespace", "name", "uid")]
    }


def test_what_is_not_used_is_not_granted():
    policy = prod(memorydb=False)

    assert not [action for action in actions(policy) if action.startswith("memorydb:")]
    assert "memorydb" not in compact_json(policy)
    assert list(granting(policy, "iam:PutRolePolicy", f"{ROLES}/workload")) == []


def test_roles_in_other_accounts_are_assumed_by_exact_arn():
    policy = prod(roles_elsewhere=(ELSEWHERE,))

    assert [statement["Resource"] for statement in policy["Statement"] if "sts:AssumeRole" in statement["Action"]] == [
        [ELSEWHERE]
    ]


def test_signing_as_the_operator_reaches_its_own_roles_and_no_others():
    policy = prod(assume_role_signing=True, roles_elsewhere=(ELSEWHERE,))

    assert list(granting(policy, "sts:AssumeRole", f"{ROLES}/elasticache-iam/prod/prod-x")) == [{}]
    assert list(granting(policy, "sts:AssumeRole", ELSEWHERE.replace("role/", "role/elasticache-iam/prod/prod-"))) == [
        {}
    ]
    for role in (f"{ROLES}/admin", f"{ROLES}/elasticache-iam/dev/dev-x", f"{ROLES}/elasticache-iam/prod/other"):
        assert list(granting(policy, "sts:AssumeRole", role)) == []


def test_pod_identity_reaches_associations_and_roles_of_ours_only():
    policy = prod(pod_identity_cluster="main")
    eks = "arn:aws:eks:eu-west-1:111122223333"
    association = f"{eks}:podidentityassociation/main/a-1"

    assert list(granting(policy, "iam:PassRole", f"{ROLES}/elasticache-iam/prod/prod-x")) == [
        {"StringEquals": {"iam:PassedToService": "pods.eks.amazonaws.com"}}
    ]
    assert list(granting(policy, "iam:PassRole", f"{ROLES}/admin")) == []
    for action in ("eks:UpdatePodIdentityAssociation", "eks:DeletePodIdentityAssociation"):
        assert list(granting(policy, action, association)) == [
            {"StringEquals": {"aws:ResourceTag/elasticache-iam.dev/owner": "prod"}}
        ]
        assert list(granting(policy, action, association.replace("main", "other"))) == []
    assert list(granting(policy, "eks:CreatePodIdentityAssociation", f"{eks}:cluster/other")) == []


def test_in_another_account_nobody_is_assumed_and_no_cluster_looked_up():
    policy = prod(is_home=False, roles_elsewhere=(ELSEWHERE,), assume_role_signing=True, pod_identity_cluster="main")

    assert actions(policy) & {"sts:AssumeRole", "eks:DescribeCluster", "iam:PassRole"} == set()
    assert "elasticache:CreateUser" in actions(policy)


def test_more_regions_are_the_named_ones():
    policy = prod(more_regions=("us-east-1",))

    for region in ("eu-west-1", "us-east-1"):
        (condition, *_) = granting(
            policy, "elasticache:DeleteUser", f"arn:aws:elasticache:{region}:111122223333:user:prod-x"
        )
        assert condition["StringEquals"] == {
            "aws:ResourceTag/elasticache-iam.dev/owner": "prod",
            "aws:RequestedRegion": ["eu-west-1", "us-east-1"],
        }


def test_every_change_of_several_regions_is_held_to_them():
    changing = [
        statement
        for statement in prod(more_regions=("us-east-1",), existing_roles=True)["Statement"]
        if statement["Sid"] not in {"List", "Read"} and statement["Action"][0].startswith(("elasticache", "memorydb"))
    ]

    assert len(changing) > 7
    assert {"aws:RequestedRegion" in statement["Condition"]["StringEquals"] for statement in changing} == {True}


def test_statements_have_names_of_their_own():
    policy = prod(existing_roles=True, roles_elsewhere=(ELSEWHERE,), trusted_caches=(f"{ELASTICACHE}:user:x",))

    names = [statement["Sid"] for statement in policy["Statement"]]
    assert len(names) == len(set(names))
    assert all(name.isalnum() for name in names)


def test_ec2_rights_work_only_through_aws_services():
    (condition,) = granting(prod(), "ec2:CreateNetworkInterface", "*")

    assert condition == {"Bool": {"aws:ViaAWSService": "true"}}


def test_the_policy_fits_a_managed_one():
    """IAM takes 6144 characters in a managed policy."""
    policy = prod(region="ap-southeast-2", boundary=BOUNDARY.replace("boundary", "elasticache-iam-boundary"))

    assert len(compact_json(policy)) <= 6144


def test_with_all_there_is_it_fits_an_inline_one():
    """IAM takes 10240 characters in all inline policies of a role."""
    policy = prod(
        owner="abcdefghij",
        partition="aws-us-gov",
        region="us-gov-west-1",
        more_regions=("us-gov-east-1",),
        boundary=BOUNDARY,
        existing_roles=True,
        roles_elsewhere=(ELSEWHERE,) * 5,
        trusted_caches=tuple(f"{ELASTICACHE}:replicationgroup:orders-{number}" for number in range(16)),
        assume_role_signing=True,
        pod_identity_cluster="production",
    )

    assert len(compact_json(policy)) <= 10240


def test_arns_are_in_the_given_partition():
    text = compact_json(prod(partition="aws-cn", region="cn-north-1"))

    assert "arn:aws:" not in text
    assert "arn:aws-cn:elasticache:cn-north-1:" in text
    assert "arn:aws-cn:memorydb:cn-north-1:" in text
