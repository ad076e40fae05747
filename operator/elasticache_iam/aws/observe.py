"""AWS's answers as `core.state` values. Pure; fields that AWS leaves out get their documented default."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from elasticache_iam.core.state import (
    CacheKind,
    CacheRef,
    ObservedCache,
    ObservedGroup,
    ObservedRole,
    ObservedUser,
    SimulatedConnect,
)

OPEN_ACCESS: Final = "open-access"
"""MemoryDB's own ACL, which lets everybody in and can't be changed. A cluster always has some ACL."""
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
        minimum_engine_version=user.get("MinimumEngineVersion", ""),
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
        minimum_engine_version=group.get("MinimumEngineVersion", ""),
    )


def observe_replication_group(group: Answer, member: Answer) -> ObservedCache:
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
        at_rest_encryption=group.get("AtRestEncryptionEnabled"),
        transit_mode=group.get("TransitEncryptionMode", "required"),
    )


def observe_serverless_cache(cache: Answer) -> ObservedCache:
    """Return a serverless cache of DescribeServerlessCaches. It is always encrypted, in transit and at rest.

    A reader endpoint on a port of its own is left out: who gets one port would try it with that.
    """
    endpoint, reader = cache.get("Endpoint", {}), cache.get("ReaderEndpoint", {})
    return ObservedCache(
        ref=CacheRef(CacheKind.SERVERLESS_CACHE, cache["ServerlessCacheName"]),
        arn=cache.get("ARN", ""),
        status=cache.get("Status", "").lower(),
        engine=cache.get("Engine", "").lower(),
        engine_version=cache.get("FullEngineVersion") or cache.get("MajorEngineVersion", ""),
        tls=True,
        auth_token_enabled=False,
        group_ids=_one(cache.get("UserGroupId")),
        pending_group_ids=frozenset(),
        host=endpoint.get("Address", ""),
        port=endpoint.get("Port") or _REDIS_PORT,
        reader_host=reader.get("Address", "") if reader.get("Port") == endpoint.get("Port") else "",
        at_rest_encryption=True,
    )


def observe_memorydb_user(user: Answer) -> ObservedUser:
    """Return a user of MemoryDB's DescribeUsers, CreateUser or UpdateUser: its name is its id."""
    return ObservedUser(
        user_id=user["Name"],
        user_name=user["Name"],
        arn=user.get("ARN", ""),
        engine="",
        status=user.get("Status", "").lower(),
        access_string=user.get("AccessString", ""),
        auth_mode=user.get("Authentication", {}).get("Type", ""),
        minimum_engine_version=user.get("MinimumEngineVersion", ""),
        group_ids=frozenset(user.get("ACLNames", ())),
    )


def observe_acl(acl: Answer) -> ObservedGroup:
    """Return an ACL of MemoryDB's DescribeACLs, CreateACL or UpdateACL."""
    pending = acl.get("PendingChanges", {})
    return ObservedGroup(
        group_id=acl["Name"],
        arn=acl.get("ARN", ""),
        engine="",
        status=acl.get("Status", "").lower(),
        user_ids=frozenset(acl.get("UserNames", ())),
        pending_add=frozenset(pending.get("UserNamesToAdd", ())),
        pending_remove=frozenset(pending.get("UserNamesToRemove", ())),
        cluster_names=frozenset(acl.get("Clusters", ())),
        minimum_engine_version=acl.get("MinimumEngineVersion", ""),
    )


def observe_cluster(cluster: Answer) -> ObservedCache:
    """Return a cluster of MemoryDB's DescribeClusters. It is always encrypted at rest."""
    endpoint = cluster.get("ClusterEndpoint", {})
    return ObservedCache(
        ref=CacheRef(CacheKind.MEMORYDB_CLUSTER, cluster["Name"]),
        arn=cluster.get("ARN", ""),
        status=cluster.get("Status", "").lower(),
        engine=cluster.get("Engine", "redis").lower(),  # the only one before the field came
        engine_version=cluster.get("EngineVersion", ""),
        tls=bool(cluster.get("TLSEnabled")),
        auth_token_enabled=False,
        group_ids=_one(cluster.get("ACLName")),
        pending_group_ids=_one(cluster.get("PendingUpdates", {}).get("ACLs", {}).get("ACLToApply")),
        host=endpoint.get("Address", ""),
        port=endpoint.get("Port") or _REDIS_PORT,
        at_rest_encryption=True,
    )


def _one(group_id: str | None) -> frozenset[str]:
    """Return the one group or ACL that a cache has; `open-access` is as good as none."""
    return frozenset({group_id} if group_id and group_id != OPEN_ACCESS else ())


def first_member(group: Answer) -> str:
    """Return the cache cluster that tells a replication group's engine version; "" while there is none."""
    return str(next(iter(group.get("MemberClusters", ())), ""))


def observe_role(
    role: Answer,
    *,
    policies: Mapping[str, Answer] | None = None,
    managed_policies: frozenset[str] | None = None,
    is_whole: bool = False,
) -> ObservedRole:
    """Return a role of ListRoles, GetRole, CreateRole or GetAccountAuthorizationDetails.

    Args:
        role: The answer's object.
        policies: Its inline policies, where they are known.
        managed_policies: ARNs of those attached to it, where they are known.
        is_whole: Whether the answer tells boundary and tags: then missing ones mean none. ListRoles doesn't.
    """
    return ObservedRole(
        name=role["RoleName"],
        arn=role["Arn"],
        path=role.get("Path", "/"),
        trust=role.get("AssumeRolePolicyDocument", {}),
        max_session_s=int(role.get("MaxSessionDuration") or _DEFAULT_SESSION_S),
        unique_id=role.get("RoleId", ""),
        created_at=role.get("CreateDate"),
        policies=policies,
        boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") if is_whole else None,
        tags=read_tags(role.get("Tags", ())) if is_whole else None,
        managed_policies=managed_policies,
    )


def read_tags(tags: Iterable[Answer]) -> dict[str, str]:
    """Return a list of Key/Value pairs as a mapping."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a mapping as AWS's list of Key/Value pairs, in a stable order."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def observe_simulation(result: Answer) -> SimulatedConnect:
    """Return one result of SimulatePrincipalPolicy.

    A refusal for want of a condition's value proves nothing: at a real login the value is there.
    """
    decision = result["EvalDecision"]
    is_told = decision != "implicitDeny" or not result.get("MissingContextValues")
    return SimulatedConnect(
        allowed=decision == "allowed" if is_told else None,
        is_explicit=decision == "explicitDeny",
        within_boundary=result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary"),
        within_organization=result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations"),
    )
