"""The operator's own rights in AWS, generated from the calls it makes.

`CALLS` is the table: a call that isn't in it doesn't get a right, a right that no call needs isn't given (tests hold
both). A right is then fenced: creations, tagging and roles by the ARN prefix `<owner>-` and the owner's IAM path,
changes by the tags on the object. There is no Connect here: the operator can't log in to a cache, and becomes a
workload's role only with that workload's own token, unless it was installed with `signing: AssumeRole`. (Roles in other
accounts that it becomes are its own.)
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.api.keys import TAG_ALLOW, TAG_KIND, TAG_NAME, TAG_NAMESPACE, TAG_OWNER, TAG_UID
from elasticache_iam.core.names import role_path
from elasticache_iam.core.policy.connect import POLICY_VERSION
from elasticache_iam.core.policy.evaluate import unnamed_actions
from elasticache_iam.core.policy.trust import POD_IDENTITY

_VIA_ELASTICACHE: Final = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
"""What ModifyReplicationGroup depends on. Source: service authorization reference, ElastiCache, dependent actions."""

_VIA_SERVERLESS: Final = ("ec2:DescribeSecurityGroups", "ec2:DescribeTags")
"""The same for ModifyServerlessCache."""
_ACCOUNT: Final = 4
"""Of an ARN."""
_OWNERSHIP_KEYS: Final = (TAG_OWNER, TAG_KIND, TAG_NAMESPACE, TAG_NAME, TAG_UID)

CALLS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    # Calls are not actions: a creation with tags needs the right to tag as well.
    ("elasticache", "DescribeUsers"): ("elasticache:DescribeUsers",),
    ("elasticache", "DescribeUserGroups"): ("elasticache:DescribeUserGroups",),
    ("elasticache", "DescribeReplicationGroups"): ("elasticache:DescribeReplicationGroups",),
    ("elasticache", "DescribeCacheClusters"): ("elasticache:DescribeCacheClusters",),
    ("elasticache", "DescribeServerlessCaches"): ("elasticache:DescribeServerlessCaches",),
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
    ("elasticache", "ModifyServerlessCache"): ("elasticache:ModifyServerlessCache", *_VIA_SERVERLESS),
    ("memorydb", "DescribeUsers"): ("memorydb:DescribeUsers",),
    ("memorydb", "DescribeACLs"): ("memorydb:DescribeACLs",),
    ("memorydb", "DescribeClusters"): ("memorydb:DescribeClusters",),
    ("memorydb", "ListTags"): ("memorydb:ListTags",),
    ("memorydb", "TagResource"): ("memorydb:TagResource",),
    ("memorydb", "UntagResource"): ("memorydb:UntagResource",),
    ("memorydb", "CreateUser"): ("memorydb:CreateUser", "memorydb:TagResource"),
    ("memorydb", "UpdateUser"): ("memorydb:UpdateUser",),
    ("memorydb", "DeleteUser"): ("memorydb:DeleteUser",),
    ("memorydb", "CreateACL"): ("memorydb:CreateACL", "memorydb:TagResource"),
    ("memorydb", "UpdateACL"): ("memorydb:UpdateACL",),
    ("memorydb", "DeleteACL"): ("memorydb:DeleteACL",),
    ("memorydb", "UpdateCluster"): ("memorydb:UpdateCluster",),
    ("iam", "ListRoles"): ("iam:ListRoles",),
    ("iam", "GetAccountAuthorizationDetails"): ("iam:GetAccountAuthorizationDetails",),
    ("iam", "GetRole"): ("iam:GetRole",),
    ("iam", "GetRolePolicy"): ("iam:GetRolePolicy",),
    ("iam", "ListRolePolicies"): ("iam:ListRolePolicies",),
    ("iam", "ListAttachedRolePolicies"): ("iam:ListAttachedRolePolicies",),
    ("iam", "SimulatePrincipalPolicy"): ("iam:SimulatePrincipalPolicy",),
    ("iam", "CreateRole"): ("iam:CreateRole", "iam:TagRole"),
    ("iam", "TagRole"): ("iam:TagRole",),
    ("iam", "UntagRole"): ("iam:UntagRole",),
    ("iam", "UpdateRole"): ("iam:UpdateRole",),
    ("iam", "PutRolePermissionsBoundary"): ("iam:PutRolePermissionsBoundary",),
    ("iam", "UpdateAssumeRolePolicy"): ("iam:UpdateAssumeRolePolicy",),
    ("iam", "PutRolePolicy"): ("iam:PutRolePolicy",),
    ("iam", "DeleteRolePolicy"): ("iam:DeleteRolePolicy",),
    ("iam", "DeleteRole"): ("iam:DeleteRole",),
    ("iam", "GetOpenIDConnectProvider"): ("iam:GetOpenIDConnectProvider",),
    ("resourcegroupstaggingapi", "GetResources"): ("tag:GetResources",),
    ("eks", "DescribeCluster"): ("eks:DescribeCluster",),
    ("eks", "DescribeAddon"): ("eks:DescribeAddon",),
    ("eks", "ListPodIdentityAssociations"): ("eks:ListPodIdentityAssociations",),
    ("eks", "DescribePodIdentityAssociation"): ("eks:DescribePodIdentityAssociation",),
    ("eks", "CreatePodIdentityAssociation"): (
        "eks:CreatePodIdentityAssociation",
        "eks:TagResource",
        "iam:PassRole",
    ),
    ("eks", "UpdatePodIdentityAssociation"): ("eks:UpdatePodIdentityAssociation", "iam:PassRole"),
    ("eks", "DeletePodIdentityAssociation"): ("eks:DeletePodIdentityAssociation",),
    # Needs no right; without a signature, or open to everybody with one.
    ("sts", "GetCallerIdentity"): (),
    ("sts", "AssumeRoleWithWebIdentity"): (),
    ("sts", "AssumeRole"): ("sts:AssumeRole",),
}
"""botocore's service name and operation -> IAM actions."""

_CREATE, _OTHERS_ROLES, _ASSOCIATE = "CreateUsersAndGroups", "PolicyOfOthersRoles", "MakeAssociations"
"""Names of statements (Sid) by which an operator's policy, and what it was made with, is known again."""


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """What an operator's policy is made with that its configuration doesn't say; as in `operator_policy`."""

    memorydb: bool = True
    existing_roles: bool = False
    more_regions: tuple[str, ...] = ()
    pod_identity_cluster: str | None = None


def is_operator_policy(document: Mapping[str, Any]) -> bool:
    """Whether a document was made by some version's `operator_policy`."""
    return _CREATE in dict(_by_sid([document]))


def options_of(documents: Iterable[Mapping[str, Any]]) -> OperatorOptions:
    """Return what an operator's policies were made with, as far as they tell; of whichever version they are."""
    held = list(documents)
    named = dict(_by_sid(held))
    asked = named.get(_CREATE, {}).get("Condition", {}).get("StringEquals", {}).get("aws:RequestedRegion", ())
    clusters = named.get(_ASSOCIATE, {}).get("Resource", ())
    return OperatorOptions(
        memorydb=_names_any(held, "memorydb") or not _names_any(held, "elasticache"),
        existing_roles=_OTHERS_ROLES in named,
        more_regions=tuple(_listed(asked)),
        pod_identity_cluster=next((arn.rpartition("/")[2] for arn in _listed(clusters)), None),
    )


def _by_sid(documents: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for document in documents:
        statements = document.get("Statement", ())
        for statement in [statements] if isinstance(statements, Mapping) else statements:
            yield statement.get("Sid", ""), statement


def _names_any(documents: list[Mapping[str, Any]], service: str) -> bool:
    actions = {action for actions in CALLS.values() for action in actions if action.startswith(f"{service}:")}
    return len(unnamed_actions(documents, actions)) < len(actions)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def operator_policy(
    *,
    owner: str,
    partition: str,
    account: str,
    region: str,
    more_regions: tuple[str, ...] = (),
    boundary: str | None = None,
    trusted_caches: tuple[str, ...] = (),
    memorydb: bool = True,
    existing_roles: bool = False,
    is_home: bool = True,
    roles_elsewhere: tuple[str, ...] = (),
    assume_role_signing: bool = False,
    pod_identity_cluster: str | None = None,
) -> dict[str, Any]:
    """Return the identity policy of the operator's role in one account.

    In an account other than its own that is the role of the configuration's `accounts`, which it becomes.

    Args:
        owner: This installation's owner, `[a-z][a-z0-9]{0,9}`.
        partition: As in `core.names.partition_of`.
        account: The account id.
        region: The caches' region.
        more_regions: Others that UserGroups name in `spec.region`.
        boundary: The permissions boundary that every role made by the operator there must have.
        trusted_caches: ARNs of caches that count as consenting without a tag (operator configuration).
        memorydb: Whether there are UserGroups with `service: MemoryDB`.
        existing_roles: Whether there are users with `role.mode: Existing`, whose roles get an inline policy.
        is_home: Whether it is the operator's own account.
        roles_elsewhere: ARNs of the roles that the operator becomes in other accounts (`accounts[].roleArn`).
        assume_role_signing: Whether it signs as `signing: AssumeRole`, by becoming the roles that it has made.
        pod_identity_cluster: The EKS cluster (`clusterName`) where users have `role.binding: PodIdentity`.
    """
    regions = sorted({region, *more_regions})
    several = len(regions) > 1
    place = f"{'*' if several else region}:{account}"
    in_regions = {"StringEquals": {"aws:RequestedRegion": regions}} if several else {}
    elasticache, memory_db = f"arn:{partition}:elasticache:{place}", f"arn:{partition}:memorydb:{place}"
    iam = f"arn:{partition}:iam::{account}"
    our_roles, all_roles = _roles_of(owner, partition, account), f"{iam}:role/*"
    is_ours = {"StringEquals": {f"aws:ResourceTag/{TAG_OWNER}": owner}}
    has_consent = {"StringLike": {f"aws:ResourceTag/{TAG_ALLOW}": _consent_patterns(owner)}}
    has_boundary = {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else {}
    keeps_ownership = {"ForAllValues:StringNotEquals": {"aws:TagKeys": list(_OWNERSHIP_KEYS)}}
    statements: list[dict[str, Any]] = []

    def allow(sid: str, actions: Iterable[str], resources: Iterable[str], *conditions: Mapping[str, Any]) -> None:
        statements.append(_allow(sid, list(actions), list(resources), conditions))

    def allow_there(sid: str, actions: Iterable[str], resources: Iterable[str], *conditions: Mapping[str, Any]) -> None:
        """Allow what has a region."""
        allow(sid, actions, resources, *conditions, in_regions)

    def actions(of_elasticache: str, of_memorydb: str) -> list[str]:
        """Return both services' actions: an action never applies to the other one's objects."""
        named = [f"elasticache:{name}" for name in of_elasticache.split()]
        return named + [f"memorydb:{name}" for name in of_memorydb.split() if memorydb]

    def objects(of_elasticache: str, of_memorydb: str, name: str = "*") -> list[str]:
        """Return the ARNs of both services' objects: a colon before the id, or a slash."""
        arns = [f"{elasticache}:{kind}:{name}" for kind in of_elasticache.split()]
        return arns + [f"{memory_db}:{kind}/{name}" for kind in of_memorydb.split() if memorydb]

    users, groups = objects("user", "user"), objects("usergroup", "acl")
    # Lists: AWS offers no finer fence for most of them. They show no secret.
    allow(
        "List",
        [
            *actions(
                "DescribeUsers DescribeUserGroups DescribeReplicationGroups DescribeCacheClusters "
                "DescribeServerlessCaches",
                "DescribeUsers DescribeACLs DescribeClusters",
            ),
            "iam:ListRoles",
            "iam:GetAccountAuthorizationDetails",
            "tag:GetResources",
        ],
        ["*"],
    )
    # Tags, roles (of any path: others' roles are checked) and the cluster's issuer.
    allow(
        "Read",
        [
            *actions("ListTagsForResource", "ListTags"),
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListRolePolicies",
            "iam:ListAttachedRolePolicies",
            "iam:SimulatePrincipalPolicy",
            "iam:GetOpenIDConnectProvider",
            *(["eks:DescribeCluster"] if is_home else []),
        ],
        [
            f"{elasticache}:*",
            *([f"{memory_db}:*"] if memorydb else []),
            all_roles,
            f"{iam}:oidc-provider/*",
            *([f"arn:{partition}:eks:{place}:cluster/*"] if is_home else []),
        ],
    )
    # By name: who may tag anything could make anything its own and pass every fence by tag below.
    allow_there(
        _CREATE,
        actions("CreateUser CreateUserGroup AddTagsToResource", "CreateUser CreateACL TagResource"),
        objects("user usergroup", "user acl", f"{owner}-*"),
    )
    # Adoption of users and groups made by others starts with our tags; their owner said yes by a tag of theirs.
    allow_there("Adopt", actions("AddTagsToResource", "TagResource"), [*users, *groups], has_consent)
    allow_there(
        "ChangeOurs",
        actions(
            "ModifyUser DeleteUser ModifyUserGroup DeleteUserGroup AddTagsToResource",
            "UpdateUser DeleteUser UpdateACL DeleteACL TagResource",
        ),
        [*users, *groups],
        is_ours,
    )
    # Never those that say whose it is: what has lost them can't be found again, and nobody may touch it.
    allow_there(
        "RemoveTags",
        actions("RemoveTagsFromResource", "UntagResource"),
        [*users, *groups],
        is_ours,
        keeps_ownership,
    )
    # Groups of others (adoption: Reference): members only, never deleted, and only where their owner said yes.
    allow_there("ChangeMembersOfOthersGroups", actions("ModifyUserGroup", "UpdateACL"), groups, has_consent)
    # AWS asks for both actions on each member too. Naming a member changes nothing about the user itself; which group
    # it is put into is what the fences above hold.
    allow_there("NameMembers", actions("CreateUserGroup ModifyUserGroup", "CreateACL UpdateACL"), users)
    # Attaching locks out whoever isn't in the group, so the cache's owner must have said yes ...
    attaching = actions("ModifyReplicationGroup ModifyServerlessCache", "UpdateCluster")
    allow_there("AttachToCaches", attaching, objects("replicationgroup serverlesscache", "cluster"), has_consent)
    # ... and only groups of ours are attached.
    allow_there("AttachOurGroups", attaching, groups, is_ours)
    if trusted_caches:
        # The operator's configuration says yes in the owner's place: exact caches, no tag asked.
        allow_there("AttachToTrustedCaches", attaching, sorted(set(trusted_caches)))
    # ElastiCache's own doing on our behalf: none of these works when we call EC2 ourselves.
    allow("ViaElastiCache", [*_VIA_ELASTICACHE, *_VIA_SERVERLESS], ["*"], {"Bool": {"aws:ViaAWSService": "true"}})
    # Roles by path and prefix. With a boundary configured, a role without it can't be made nor given a policy.
    allow("CreateRoles", ["iam:CreateRole", "iam:PutRolePolicy"], [our_roles], has_boundary)
    # No boundary key exists for the trust, tags, session length and the deletion: the path is the fence.
    allow(
        "ChangeOurRoles",
        ["iam:TagRole", "iam:UpdateRole", "iam:UpdateAssumeRolePolicy", "iam:DeleteRolePolicy", "iam:DeleteRole"],
        [our_roles],
    )
    allow("UntagOurRoles", ["iam:UntagRole"], [our_roles], keeps_ownership)
    if boundary:
        # Only that one is put on. None is ever taken off.
        allow("SetBoundary", ["iam:PutRolePermissionsBoundary"], [our_roles], has_boundary)
    if existing_roles:
        # Roles of others whose owner said yes: the inline policy, nothing else of them.
        allow(_OTHERS_ROLES, ["iam:PutRolePolicy", "iam:DeleteRolePolicy"], [all_roles], has_consent)
    if is_home:
        accounts = {account, *(arn.split(":")[_ACCOUNT] for arn in roles_elsewhere)} if assume_role_signing else ()
        statements += _becoming(
            sorted(set(roles_elsewhere)), sorted(_roles_of(owner, partition, one) for one in accounts)
        )
        statements += _pod_identity(f"arn:{partition}:eks:{region}:{account}", pod_identity_cluster, owner, our_roles)
    return {"Version": POLICY_VERSION, "Statement": statements}


def _becoming(roles_elsewhere: list[str], signing: list[str]) -> list[dict[str, Any]]:
    """Return what lets the operator become its roles in other accounts, and those that it signs tokens with.

    The latter are its own only, in all accounts; each asks for its user's external id on top.
    """
    asked = (("BecomeRolesElsewhere", roles_elsewhere), ("SignAsWorkloads", signing))
    return [_allow(sid, ["sts:AssumeRole"], roles, ()) for sid, roles in asked if roles]


def _roles_of(owner: str, partition: str, account: str) -> str:
    """Return the ARN of all roles that the operator makes in an account."""
    return f"arn:{partition}:iam::{account}:role{role_path(owner)}{owner}-*"


def _pod_identity(eks: str, cluster_name: str | None, owner: str, our_roles: str) -> list[dict[str, Any]]:
    """Return what EKS Pod Identity takes: associations of ours, for roles of ours, in one cluster (None: in none)."""
    if cluster_name is None:
        return []
    cluster, associations = f"{eks}:cluster/{cluster_name}", f"{eks}:podidentityassociation/{cluster_name}/*"
    asks_our_tag = {"StringEquals": {f"aws:RequestTag/{TAG_OWNER}": owner}}
    is_ours = {"StringEquals": {f"aws:ResourceTag/{TAG_OWNER}": owner}}
    for_pods = {"StringEquals": {"iam:PassedToService": POD_IDENTITY}}
    reads = ["eks:ListPodIdentityAssociations", "eks:DescribePodIdentityAssociation", "eks:DescribeAddon"]
    return [
        _allow("ReadAssociations", reads, [cluster, associations, f"{eks}:addon/{cluster_name}/*"], ()),
        _allow(_ASSOCIATE, ["eks:CreatePodIdentityAssociation"], [cluster], [asks_our_tag]),
        # A creation with tags needs it, and AWS has no key that tells the new association from those of others.
        _allow("TagAssociations", ["eks:TagResource"], [associations], [asks_our_tag]),
        _allow(
            "ChangeOurAssociations",
            ["eks:UpdatePodIdentityAssociation", "eks:DeletePodIdentityAssociation"],
            [associations],
            [is_ours],
        ),
        # Never roles of others: whoever may hand those to a pod of their choice has their rights.
        _allow("HandOurRolesToPods", ["iam:PassRole"], [our_roles], [for_pods]),
    ]


def _allow(
    sid: str, actions: list[str], resources: list[str], conditions: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a statement; all conditions must hold."""
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    merged: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        for operator, keys in condition.items():
            merged.setdefault(operator, {}).update(keys)
    if merged:
        statement["Condition"] = merged
    return statement


def _consent_patterns(owner: str) -> list[str]:
    """Return what the consent tag looks like when it names the owner as a word, alone or before a slash.

    `*<owner>*` would also match an owner whose name contains this one. Which namespace is meant stays the operator's
    own check: AWS can't know who asks.
    """
    return [f"{start}{owner}{end}" for start in ("", "* ") for end in ("", " *", "/*")]
