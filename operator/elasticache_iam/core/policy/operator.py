"""The operator's own rights in AWS, generated from the calls it makes.

`CALLS` is the table: a call that isn't in it doesn't get a right, a right that no call needs isn't given (tests hold
both). A right is then fenced: creations, tagging and roles by the ARN prefix `<owner>-` and the owner's IAM path,
changes by the tags on the object. There is no Connect here, and nothing of STS: the operator can't log in to a cache,
and becomes a workload's role only with that workload's own token.
"""

from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.api.keys import TAG_ALLOW, TAG_KIND, TAG_NAME, TAG_NAMESPACE, TAG_OWNER, TAG_UID
from elasticache_iam.core.names import role_path
from elasticache_iam.core.policy.connect import POLICY_VERSION

_VIA_ELASTICACHE: Final = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
"""What ModifyReplicationGroup depends on. Source: service authorization reference, ElastiCache, dependent actions."""

_OWNERSHIP_KEYS: Final = (TAG_OWNER, TAG_KIND, TAG_NAMESPACE, TAG_NAME, TAG_UID)

CALLS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    # Calls are not actions: a creation with tags needs the right to tag as well.
    ("elasticache", "DescribeUsers"): ("elasticache:DescribeUsers",),
    ("elasticache", "DescribeUserGroups"): ("elasticache:DescribeUserGroups",),
    ("elasticache", "DescribeReplicationGroups"): ("elasticache:DescribeReplicationGroups",),
    ("elasticache", "DescribeCacheClusters"): ("elasticache:DescribeCacheClusters",),
    ("elasticache", "ListTagsForResource"): ("elasticache:ListTagsForResource",),
    ("elasticache", "AddTagsToResource"): ("elasticache:AddTagsToResource",),
    ("elasticache", "RemoveTagsFromResource"): ("elasticache:RemoveTagsFromResource",),
    ("elasticache", "CreateUser"): ("elasticache:CreateUser", "elasticache:AddTagsToResource"),
    ("elasticache", "ModifyUser"): ("elasticache:ModifyUser",),
    ("elasticache", "DeleteUser"): ("elasticache:DeleteUser",),
    ("elasticache", "CreateUserGroup"): ("elasticache:CreateUserGroup", "elasticache:AddTagsToResource"),
    ("elasticache", "ModifyUserGroup"): ("elasticache:ModifyUserGroup",),
    ("elasticache", "DeleteUserGroup"): ("elasticache:DeleteUserGroup",),
    ("elasticache", "ModifyReplicationGroup"): ("elasticache:ModifyReplicationGroup", *_VIA_ELASTICACHE),
    ("iam", "ListRoles"): ("iam:ListRoles",),
    ("iam", "GetAccountAuthorizationDetails"): ("iam:GetAccountAuthorizationDetails",),
    ("iam", "GetRole"): ("iam:GetRole",),
    ("iam", "GetRolePolicy"): ("iam:GetRolePolicy",),
    ("iam", "ListRolePolicies"): ("iam:ListRolePolicies",),
    ("iam", "CreateRole"): ("iam:CreateRole", "iam:TagRole"),
    ("iam", "TagRole"): ("iam:TagRole",),
    ("iam", "UntagRole"): ("iam:UntagRole",),
    ("iam", "UpdateRole"): ("iam:UpdateRole",),
    ("iam", "PutRolePermissionsBoundary"): ("iam:PutRolePermissionsBoundary",),
    ("iam", "DeleteRolePermissionsBoundary"): ("iam:DeleteRolePermissionsBoundary",),
    ("iam", "UpdateAssumeRolePolicy"): ("iam:UpdateAssumeRolePolicy",),
    ("iam", "PutRolePolicy"): ("iam:PutRolePolicy",),
    ("iam", "DeleteRolePolicy"): ("iam:DeleteRolePolicy",),
    ("iam", "DeleteRole"): ("iam:DeleteRole",),
    ("iam", "GetOpenIDConnectProvider"): ("iam:GetOpenIDConnectProvider",),
    ("resourcegroupstaggingapi", "GetResources"): ("tag:GetResources",),
    ("eks", "DescribeCluster"): ("eks:DescribeCluster",),
    # Needs no right; without a signature, or open to everybody with one.
    ("sts", "GetCallerIdentity"): (),
    ("sts", "AssumeRoleWithWebIdentity"): (),
}
"""botocore's service name and operation -> IAM actions."""


def operator_policy(
    *,
    owner: str,
    partition: str,
    account: str,
    region: str,
    boundary: str | None = None,
    trusted_caches: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the identity policy of the operator's role, for one account and region.

    Args:
        owner: This installation's owner, `[a-z][a-z0-9]{0,9}`.
        partition: As in `core.names.partition_of`.
        account: The account id.
        region: The caches' region.
        boundary: The permissions boundary that every role made by the operator must have.
        trusted_caches: ARNs of caches that count as consenting without a tag (operator configuration).
    """
    elasticache = f"arn:{partition}:elasticache:{region}:{account}"
    iam = f"arn:{partition}:iam::{account}"
    our_users, all_users = f"{elasticache}:user:{owner}-*", f"{elasticache}:user:*"
    our_groups, all_groups = f"{elasticache}:usergroup:{owner}-*", f"{elasticache}:usergroup:*"
    our_roles = f"{iam}:role{role_path(owner)}{owner}-*"
    is_ours = {"StringEquals": {f"aws:ResourceTag/{TAG_OWNER}": owner}}
    has_consent = {"StringLike": {f"aws:ResourceTag/{TAG_ALLOW}": _consent_patterns(owner)}}
    has_boundary = {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else {}
    keeps_ownership = {"ForAllValues:StringNotEquals": {"aws:TagKeys": list(_OWNERSHIP_KEYS)}}
    statements = [
        # Lists: AWS offers no finer fence for most of them. They show no secret.
        _allow(
            "List",
            [
                "elasticache:DescribeUsers",
                "elasticache:DescribeUserGroups",
                "elasticache:DescribeReplicationGroups",
                "elasticache:DescribeCacheClusters",
                "iam:ListRoles",
                "iam:GetAccountAuthorizationDetails",
                "tag:GetResources",
            ],
            ["*"],
        ),
        # Tags, roles (of any path: others' roles are checked, never written) and the cluster's issuer.
        _allow(
            "Read",
            [
                "elasticache:ListTagsForResource",
                "iam:GetRole",
                "iam:GetRolePolicy",
                "iam:ListRolePolicies",
                "iam:GetOpenIDConnectProvider",
                "eks:DescribeCluster",
            ],
            [
                f"{elasticache}:*",
                f"{iam}:role/*",
                f"{iam}:oidc-provider/*",
                f"arn:{partition}:eks:{region}:{account}:cluster/*",
            ],
        ),
        # By name: who may tag anything could make anything its own and pass every fence by tag below.
        _allow(
            "CreateUsersAndGroups",
            ["elasticache:CreateUser", "elasticache:CreateUserGroup", "elasticache:AddTagsToResource"],
            [our_users, our_groups],
        ),
        # Adoption of users and groups made by others starts with our tags; their owner said yes by a tag of theirs.
        _allow("AdoptUsersAndGroups", ["elasticache:AddTagsToResource"], [all_users, all_groups], has_consent),
        _allow(
            "ChangeOurUsersAndGroups",
            [
                "elasticache:ModifyUser",
                "elasticache:DeleteUser",
                "elasticache:ModifyUserGroup",
                "elasticache:DeleteUserGroup",
                "elasticache:AddTagsToResource",
            ],
            [all_users, all_groups],
            is_ours,
        ),
        # Never those that say whose it is: what has lost them can't be found again, and nobody may touch it.
        _allow(
            "RemoveTags",
            ["elasticache:RemoveTagsFromResource"],
            [all_users, all_groups],
            {**is_ours, **keeps_ownership},
        ),
        # Groups of others (adoption: Reference): members only, never deleted, and only where their owner said yes.
        _allow("ChangeMembersOfOthersGroups", ["elasticache:ModifyUserGroup"], [all_groups], has_consent),
        # AWS asks for both actions on each member too. Naming a member changes nothing about the user itself; which
        # group it is put into is what the fences above hold.
        _allow("NameMembers", ["elasticache:CreateUserGroup", "elasticache:ModifyUserGroup"], [all_users]),
        # Attaching locks out whoever isn't in the group, so the cache's owner must have said yes ...
        _allow(
            "AttachToCaches", ["elasticache:ModifyReplicationGroup"], [f"{elasticache}:replicationgroup:*"], has_consent
        ),
        # ... and only groups of ours are attached.
        _allow("AttachOurGroups", ["elasticache:ModifyReplicationGroup"], [all_groups], is_ours),
        # ElastiCache's own doing on our behalf: none of these works when we call EC2 ourselves.
        _allow("ElastiCacheNeedsNetwork", [*_VIA_ELASTICACHE], ["*"], {"Bool": {"aws:ViaAWSService": "true"}}),
        # Roles by path and prefix. With a boundary configured, a role without it can't be made nor given a policy.
        _allow("CreateRoles", ["iam:CreateRole", "iam:PutRolePolicy"], [our_roles], has_boundary),
        # No boundary key exists for the trust, tags and the deletion: the path is the fence.
        _allow(
            "ChangeOurRoles",
            [
                "iam:TagRole",
                "iam:UpdateRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:DeleteRolePolicy",
                "iam:DeleteRole",
            ],
            [our_roles],
        ),
        _allow("UntagOurRoles", ["iam:UntagRole"], [our_roles], keeps_ownership),
        # With a boundary configured only that one is put on, and none is taken off.
        _allow(
            "SetBoundary",
            ["iam:PutRolePermissionsBoundary" if boundary else "iam:DeleteRolePermissionsBoundary"],
            [our_roles],
            has_boundary,
        ),
    ]
    if trusted_caches:
        # The operator's configuration says yes in the owner's place: exact caches, no tag asked.
        statements.append(
            _allow("AttachToTrustedCaches", ["elasticache:ModifyReplicationGroup"], sorted(set(trusted_caches)))
        )
    return {"Version": POLICY_VERSION, "Statement": statements}


def _allow(
    sid: str, actions: list[str], resources: list[str], condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    if condition:
        statement["Condition"] = dict(condition)
    return statement


def _consent_patterns(owner: str) -> list[str]:
    """Return what the consent tag looks like when it names the owner as a word, alone or before a slash.

    `*<owner>*` would also match an owner whose name contains this one. Which namespace is meant stays the operator's
    own check: AWS can't know who asks.
    """
    return [f"{start}{owner}{end}" for start in ("", "* ") for end in ("", " *", "/*")]
