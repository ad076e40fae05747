"""AWS's answers as `core.state` values. Pure; fields that AWS leaves out get their documented default."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from elasticache_iam.core.state import CacheKind, CacheRef, ObservedCache, ObservedGroup, ObservedRole, ObservedUser

_REDIS_PORT: Final = 6379
_DEFAULT_SESSION_S: Final = 3600
"""IAM's MaxSessionDuration where none is told."""

Answer = Mapping[str, Any]
"""An object in an API answer."""


def observe_user(user: Answer) -> ObservedUser:
    """Return a user of DescribeUsers, CreateUser or ModifyUser."""
    return ObservedUser(
        user_id=user["UserId"],
        user_name=user.get("UserName", ""),
        arn=user.get("ARN", ""),
        engine=user.get("Engine", "").lower(),
        status=user.get("Status", "").lower(),
        access_string=user.get("AccessString", ""),
        auth_mode=user.get("Authentication", {}).get("Type", ""),
        group_ids=frozenset(user.get("UserGroupIds", ())),
    )


def observe_group(group: Answer) -> ObservedGroup:
    """Return a group of DescribeUserGroups, CreateUserGroup or ModifyUserGroup."""
    pending = group.get("PendingChanges", {})
    return ObservedGroup(
        group_id=group["UserGroupId"],
        arn=group.get("ARN", ""),
        engine=group.get("Engine", "").lower(),
        status=group.get("Status", "").lower(),
        user_ids=frozenset(group.get("UserIds", ())),
        pending_add=frozenset(pending.get("UserIdsToAdd", ())),
        pending_remove=frozenset(pending.get("UserIdsToRemove", ())),
        replication_group_ids=frozenset(group.get("ReplicationGroups", ())),
        serverless_cache_names=frozenset(group.get("ServerlessCaches", ())),
    )


def observe_cache(group: Answer, member: Answer) -> ObservedCache:
    """Return a replication group.

    Args:
        group: Of DescribeReplicationGroups. It tells no engine version, and old ones no engine.
        member: Its first member of DescribeCacheClusters; empty if that isn't known.
    """
    nodes: Answer = next(iter(group.get("NodeGroups", ())), {})
    clustered = bool(group.get("ClusterEnabled"))
    primary = group.get("ConfigurationEndpoint", {}) if clustered else nodes.get("PrimaryEndpoint", {})
    reader = {} if clustered else nodes.get("ReaderEndpoint", {})
    pending = group.get("PendingModifiedValues", {}).get("UserGroups", {})
    return ObservedCache(
        ref=CacheRef(CacheKind.REPLICATION_GROUP, group["ReplicationGroupId"]),
        arn=group.get("ARN", ""),
        status=group.get("Status", "").lower(),
        engine=(group.get("Engine") or member.get("Engine") or "").lower(),
        engine_version=member.get("EngineVersion", ""),
        tls=bool(group.get("TransitEncryptionEnabled")),
        auth_token_enabled=bool(group.get("AuthTokenEnabled")),
        group_ids=frozenset(group.get("UserGroupIds", ())),
        pending_group_ids=frozenset(pending.get("UserGroupIdsToAdd", ())),
        host=primary.get("Address", ""),
        port=primary.get("Port") or _REDIS_PORT,
        reader_host=reader.get("Address", ""),
    )


def first_member(group: Answer) -> str:
    """Return the cache cluster that tells a replication group's engine version; "" while there is none."""
    return str(next(iter(group.get("MemberClusters", ())), ""))


def observe_role(role: Answer, *, policies: Mapping[str, Answer] | None = None, is_whole: bool = False) -> ObservedRole:
    """Return a role of ListRoles, GetRole, CreateRole or GetAccountAuthorizationDetails.

    Args:
        role: The answer's object.
        policies: Its inline policies, where they are known.
        is_whole: Whether the answer tells boundary and tags: then missing ones mean none. ListRoles doesn't.
    """
    return ObservedRole(
        name=role["RoleName"],
        arn=role["Arn"],
        path=role.get("Path", "/"),
        trust=role.get("AssumeRolePolicyDocument", {}),
        max_session_s=int(role.get("MaxSessionDuration") or _DEFAULT_SESSION_S),
        created_at=role.get("CreateDate"),
        policies=policies,
        boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") if is_whole else None,
        tags=read_tags(role.get("Tags", ())) if is_whole else None,
    )


def read_tags(tags: Iterable[Answer]) -> dict[str, str]:
    """Return a list of Key/Value pairs as a mapping."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a mapping as AWS's list of Key/Value pairs, in a stable order."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]
