"""Writes to AWS in its APIs' own words: what a plan shows, and what anybody could type into the AWS CLI.

The adapters send the same (tests/world/test_plan_calls.py compares them, call by call).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.api.group import Service
from elasticache_iam.core.plan.group import DEFAULT_USER_ACCESS
from elasticache_iam.core.policy import compact_json
from elasticache_iam.core.state import CacheKind, CacheRef, Place

RANDOM_PASSWORD: Final = "(random)"  # noqa: S105  # what is shown in a password's place
"""What a plan shows of the disabled default user's password, which nobody keeps."""

_DELETING: Final = ("Delete", "Remove", "Untag")
_CREATING: Final = ("Create",)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes something.

    Attributes:
        service: botocore's name of it: elasticache.
        operation: As in the API model: CreateUser.
        parameters: As boto3 takes them; no secret among them.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]

    @property
    def mark(self) -> str:
        """`+` makes something, `-` takes something away, `~` changes it."""
        if self.operation.startswith(_DELETING):
            return "-"
        return "+" if self.operation.startswith(_CREATING) else "~"


def create_user(place: Place, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]) -> Call:
    """Create an IAM-mode user."""
    mode = {"AuthenticationMode": {"Type": "iam"}, "Tags": _tags(tags)}
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "CreateUser", {"UserName": user_id, "AccessString": access_string, **mode})
    return Call(
        "elasticache",
        "CreateUser",
        {"UserId": user_id, "UserName": user_id, "Engine": engine, "AccessString": access_string, **mode},
    )


def create_default_user(user_id: str, *, engine: str, tags: Mapping[str, str]) -> Call:
    """Create the disabled user named default, which ElastiCache alone knows."""
    return Call(
        "elasticache",
        "CreateUser",
        {
            "UserId": user_id,
            "UserName": "default",
            "Engine": engine,
            "AccessString": DEFAULT_USER_ACCESS,
            "AuthenticationMode": {"Type": "password", "Passwords": [RANDOM_PASSWORD]},
            "Tags": _tags(tags),
        },
    )


def set_access_string(place: Place, user_id: str, access_string: str) -> Call:
    """Replace a user's access string."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "UpdateUser", {"UserName": user_id, "AccessString": access_string})
    return Call("elasticache", "ModifyUser", {"UserId": user_id, "AccessString": access_string})


def set_iam_mode(place: Place, user_id: str) -> Call:
    """Make a user log in by IAM again."""
    mode = {"Type": "iam"}
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "UpdateUser", {"UserName": user_id, "AuthenticationMode": mode})
    return Call("elasticache", "ModifyUser", {"UserId": user_id, "AuthenticationMode": mode})


def delete_user(place: Place, user_id: str) -> Call:
    """Delete a user."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "DeleteUser", {"UserName": user_id})
    return Call("elasticache", "DeleteUser", {"UserId": user_id})


def create_group(
    place: Place, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
) -> Call:
    """Create a user group or an ACL."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "CreateACL", {"ACLName": group_id, **_ids("UserNames", user_ids), "Tags": _tags(tags)})
    return Call(
        "elasticache",
        "CreateUserGroup",
        {"UserGroupId": group_id, "Engine": engine, **_ids("UserIds", user_ids), "Tags": _tags(tags)},
    )


def modify_group(place: Place, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> Call:
    """Change who is in."""
    if place.service is Service.MEMORYDB:
        changes = {**_ids("UserNamesToAdd", add), **_ids("UserNamesToRemove", remove)}
        return Call("memorydb", "UpdateACL", {"ACLName": group_id, **changes})
    changes = {**_ids("UserIdsToAdd", add), **_ids("UserIdsToRemove", remove)}
    return Call("elasticache", "ModifyUserGroup", {"UserGroupId": group_id, **changes})


def set_group_engine(group_id: str, engine: str) -> Call:
    """Make a redis group a valkey one; MemoryDB's have no engine."""
    return Call("elasticache", "ModifyUserGroup", {"UserGroupId": group_id, "Engine": engine})


def delete_group(place: Place, group_id: str) -> Call:
    """Delete a user group or an ACL."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "DeleteACL", {"ACLName": group_id})
    return Call("elasticache", "DeleteUserGroup", {"UserGroupId": group_id})


def attach_group(cache: CacheRef, group_id: str) -> Call:
    """Attach a group to a cache."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return Call(
                "elasticache",
                "ModifyReplicationGroup",
                {"ReplicationGroupId": cache.id, "UserGroupIdsToAdd": [group_id], "ApplyImmediately": True},
            )
        case CacheKind.SERVERLESS_CACHE:
            return Call(
                "elasticache", "ModifyServerlessCache", {"ServerlessCacheName": cache.id, "UserGroupId": group_id}
            )
        case CacheKind.MEMORYDB_CLUSTER:
            return Call("memorydb", "UpdateCluster", {"ClusterName": cache.id, "ACLName": group_id})


def set_tags(place: Place, arn: str, tags: Mapping[str, str]) -> Call:
    """Tag a user or group."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "TagResource", {"ResourceArn": arn, "Tags": _tags(tags)})
    return Call("elasticache", "AddTagsToResource", {"ResourceName": arn, "Tags": _tags(tags)})


def remove_tags(place: Place, arn: str, keys: frozenset[str]) -> Call:
    """Take tags off a user or group."""
    if place.service is Service.MEMORYDB:
        return Call("memorydb", "UntagResource", {"ResourceArn": arn, "TagKeys": sorted(keys)})
    return Call("elasticache", "RemoveTagsFromResource", {"ResourceName": arn, "TagKeys": sorted(keys)})


def create_role(
    name: str,
    *,
    path: str,
    trust: Mapping[str, Any],
    tags: Mapping[str, str],
    boundary: str | None,
    max_session_s: int,
    description: str,
) -> Call:
    """Create a role, without a policy yet."""
    return _role(
        "CreateRole",
        name,
        Path=path,
        AssumeRolePolicyDocument=compact_json(trust),
        Description=description,
        MaxSessionDuration=max_session_s,
        Tags=_tags(tags),
        **({"PermissionsBoundary": boundary} if boundary else {}),
    )


def set_trust(role_name: str, trust: Mapping[str, Any]) -> Call:
    """Replace a role's trust policy."""
    return _role("UpdateAssumeRolePolicy", role_name, PolicyDocument=compact_json(trust))


def put_role_policy(role_name: str, policy_name: str, document: Mapping[str, Any]) -> Call:
    """Write an inline policy."""
    return _role("PutRolePolicy", role_name, PolicyName=policy_name, PolicyDocument=compact_json(document))


def delete_role_policy(role_name: str, policy_name: str) -> Call:
    """Delete an inline policy."""
    return _role("DeleteRolePolicy", role_name, PolicyName=policy_name)


def set_boundary(role_name: str, boundary: str) -> Call:
    """Put a permissions boundary on a role."""
    return _role("PutRolePermissionsBoundary", role_name, PermissionsBoundary=boundary)


def set_max_session(role_name: str, max_session_s: int) -> Call:
    """Set how long a role's sessions may last."""
    return _role("UpdateRole", role_name, MaxSessionDuration=max_session_s)


def tag_role(role_name: str, tags: Mapping[str, str]) -> Call:
    """Tag a role."""
    return _role("TagRole", role_name, Tags=_tags(tags))


def untag_role(role_name: str, keys: frozenset[str]) -> Call:
    """Take tags off a role."""
    return _role("UntagRole", role_name, TagKeys=sorted(keys))


def delete_role(role_name: str) -> Call:
    """Delete a role that has no inline policy any more."""
    return _role("DeleteRole", role_name)


def _role(operation: str, name: str, **parameters: Any) -> Call:
    return Call("iam", operation, {"RoleName": name, **parameters})


def create_association(
    cluster_name: str, namespace: str, service_account: str, *, role_arn: str, tags: Mapping[str, str]
) -> Call:
    """Give a ServiceAccount's pods a role by EKS Pod Identity."""
    return Call(
        "eks",
        "CreatePodIdentityAssociation",
        {
            "clusterName": cluster_name,
            "namespace": namespace,
            "serviceAccount": service_account,
            "roleArn": role_arn,
            "tags": dict(tags),
        },
    )


def set_association_role(cluster_name: str, association_id: str, role_arn: str) -> Call:
    """Give them another one."""
    named = {"clusterName": cluster_name, "associationId": association_id}
    return Call("eks", "UpdatePodIdentityAssociation", {**named, "roleArn": role_arn})


def delete_association(cluster_name: str, association_id: str) -> Call:
    """Take it from them."""
    return Call("eks", "DeletePodIdentityAssociation", {"clusterName": cluster_name, "associationId": association_id})


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def _ids(parameter: str, ids: frozenset[str]) -> dict[str, list[str]]:
    """Return a parameter with ids, or nothing: AWS refuses empty lists."""
    return {parameter: sorted(ids)} if ids else {}
