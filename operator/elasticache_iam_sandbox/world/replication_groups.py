"""Replication groups and their member clusters: endpoints, TLS, AUTH tokens, and which user group they use."""

from collections.abc import Iterable
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.elasticache import CacheChange, Region, ReplicationGroup, UserGroup
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    page,
    page_keys,
    request_tags_context,
    resource_tags_context,
)
from elasticache_iam_sandbox.world.slots import slot_range
from elasticache_iam_sandbox.world.user_groups import active_group, check_engine, group_grants, version_key
from elasticache_iam_sandbox.world.users import read_engine, read_id, read_page_size, read_tags

_AUTH_TOKEN_LENGTHS = range(16, 129)
_DEFAULT_VERSIONS = {"redis": "7.1", "valkey": "8.1"}
_CONDITION_KEYS = {
    "AtRestEncryptionEnabled": "elasticache:atrestencryptionenabled",
    "AutomaticFailoverEnabled": "elasticache:automaticfailoverenabled",
    "CacheNodeType": "elasticache:cachenodetype",
    "CacheParameterGroupName": "elasticache:cacheparametergroupname",
    "Engine": "elasticache:enginetype",
    "EngineVersion": "elasticache:engineversion",
    "MultiAZEnabled": "elasticache:multiazenabled",
    "NumNodeGroups": "elasticache:numnodegroups",
    "ReplicasPerNodeGroup": "elasticache:replicaspernodegroup",
    "TransitEncryptionEnabled": "elasticache:transitencryptionenabled",
}


def render_cache(cache: ReplicationGroup) -> Output:
    """Return a replication group as Describe tells it. The engine version is not there: ask a member cluster."""
    output: Output = {
        "ReplicationGroupId": cache.cache_id,
        "Description": cache.description,
        "Status": cache.status,
        "PendingModifiedValues": _render_pending(cache),
        "MemberClusters": cache.member_ids,
        "NodeGroups": _render_shards(cache) if cache.shards else [_render_node_group(cache)],
        "AutomaticFailover": "enabled" if cache.automatic_failover else "disabled",
        "MultiAZ": "enabled" if cache.multi_az else "disabled",
        "ClusterEnabled": cache.shards is not None,
        "ClusterMode": "disabled" if cache.shards is None else "enabled",
        "CacheNodeType": cache.node_type,
        "AuthTokenEnabled": bool(cache.auth_tokens),
        "TransitEncryptionEnabled": cache.tls,
        "AtRestEncryptionEnabled": cache.at_rest_encryption,
        "ARN": cache.arn,
        "UserGroupIds": [cache.group_id] if cache.group_id else [],
        "ReplicationGroupCreateTime": cache.created_at,
        "Engine": cache.engine,
    }
    if cache.shards is not None:
        output["ConfigurationEndpoint"] = {"Address": cache.host, "Port": cache.port}
    if cache.tls_mode is not None:
        output["TransitEncryptionMode"] = cache.tls_mode
    return output


def _render_node_group(cache: ReplicationGroup) -> Output:
    """Return the only node group of a cache with cluster mode disabled: clients use its endpoints."""
    primary = {"Address": cache.host, "Port": cache.port}
    output: Output = {
        "NodeGroupId": "0001",
        "Status": cache.status,
        "PrimaryEndpoint": primary,
        "NodeGroupMembers": [
            {
                "CacheClusterId": member_id,
                "CacheNodeId": "0001",
                "ReadEndpoint": primary,
                "CurrentRole": "replica" if number else "primary",
            }
            for number, member_id in enumerate(cache.member_ids)
        ],
    }
    if cache.reader_host:
        output["ReaderEndpoint"] = {"Address": cache.reader_host, "Port": cache.port}
    return output


def _render_shards(cache: ReplicationGroup) -> list[Output]:
    """Return the shards of a cache in cluster mode: clients learn the nodes from the configuration endpoint."""
    ids = cache.member_ids
    return [
        {
            "NodeGroupId": f"{number + 1:04}",
            "Status": cache.status,
            "Slots": slot_range(number, len(ids)),
            "NodeGroupMembers": [{"CacheClusterId": member_id, "CacheNodeId": "0001"}],
        }
        for number, member_id in enumerate(ids)
    ]


def _render_pending(cache: ReplicationGroup) -> Output:
    change = _merge(cache.deferred, cache.pending)
    groups = {"UserGroupIdsToAdd": change.attach, "UserGroupIdsToRemove": change.detach}
    shown: Output = {}
    if change.attach or change.detach:
        shown["UserGroups"] = {name: [group_id] for name, group_id in groups.items() if group_id}
    if change.auth_tokens:
        shown["AuthTokenStatus"] = "ROTATING" if len(change.auth_tokens) > 1 else "SETTING"
    if change.tls is not None:
        shown["TransitEncryptionEnabled"] = change.tls
    if change.tls_mode is not None:
        shown["TransitEncryptionMode"] = change.tls_mode
    return shown


def _merge(earlier: CacheChange, later: CacheChange) -> CacheChange:
    newer = {field.name: getattr(later, field.name) for field in fields(later)}
    return replace(earlier, **{name: value for name, value in newer.items() if value is not None})


def put_cache(region: Region, cache: ReplicationGroup) -> None:
    """Put a new replication group there. Raises ReplicationGroupAlreadyExists."""
    if cache.cache_id in region.caches:
        raise AwsError("ReplicationGroupAlreadyExists", f"Replication group {cache.cache_id} already exists.")
    region.caches.add(cache.cache_id, cache)
    region.views.touch()


def digest_auth_token(auth_token: str) -> str:
    """Return what is kept of an AUTH token. Raises InvalidParameterValue."""
    if len(auth_token) not in _AUTH_TOKEN_LENGTHS or set(auth_token) & set('@"/ '):
        raise AwsError("InvalidParameterValue", 'The AUTH token must have 16 to 128 characters other than @, ", /.')
    return sha256(auth_token.encode()).hexdigest()


def create_replication_group(request: Request) -> Output:
    """CreateReplicationGroup: node-based, cluster mode disabled."""
    region = request.region
    cache_id = read_id(request["ReplicationGroupId"], "ReplicationGroupId")
    engine = read_engine(request.get("Engine", "redis"))
    tls = request.get("TransitEncryptionEnabled", engine == "valkey")
    tags = read_tags(request)
    if request.get("NumNodeGroups", 1) != 1:
        raise not_implemented("cluster mode (NumNodeGroups above 1)")
    members = request.get("NumCacheClusters", 1 + request.get("ReplicasPerNodeGroup", 0))
    cache = ReplicationGroup(
        cache_id=cache_id,
        arn=region.arn("replicationgroup", cache_id),
        description=request["ReplicationGroupDescription"],
        engine=engine,
        engine_version=request.get("EngineVersion", _DEFAULT_VERSIONS[engine]),
        lifecycle="creating",
        created_at=request.now,
        tls=tls,
        tls_mode=request.get("TransitEncryptionMode", "required" if tls else None),
        at_rest_encryption=request.get("AtRestEncryptionEnabled", engine == "valkey"),
        tags=tags,
        node_type=request.get("CacheNodeType", "cache.t4g.micro"),
        parameter_group=_parameter_group(request),
        members=members,
        automatic_failover=request.get("AutomaticFailoverEnabled", False),
        multi_az=request.get("MultiAZEnabled", False),
        port=request.get("Port", 0),
    )
    auth_token = request.get("AuthToken")
    if auth_token is not None:
        if not tls:
            raise AwsError("InvalidParameterCombination", "AUTH tokens require encryption-in-transit to be enabled.")
        cache.auth_tokens = (digest_auth_token(auth_token),)
    group = _read_group_to_attach(request, "UserGroupIds")
    if group is not None:
        if auth_token is not None:
            raise AwsError("InvalidParameterCombination", "AuthToken and UserGroupIds can't be used together.")
        _check_attach(region, cache, group)
    put_cache(region, cache)
    if group is not None:
        cache.group_id = group.group_id
        group.cache_ids.add(cache_id)

    def done() -> None:
        cache.lifecycle = "available"

    request.later(done)
    return {"ReplicationGroup": render_cache(cache)}


def _parameter_group(request: Request) -> str:
    engine = request.get("Engine", "redis").lower()
    version = request.get("EngineVersion", _DEFAULT_VERSIONS.get(engine, ""))
    named: str = request.get("CacheParameterGroupName", f"default.{engine}{version.split('.')[0]}")
    return named


def _read_group_to_attach(request: Request, parameter: str) -> UserGroup | None:
    group_ids = request.get(parameter)
    if group_ids is None:
        return None
    if len(group_ids) != 1:
        raise AwsError("InvalidParameterValue", "A replication group uses exactly one user group.")
    return active_group(request.region, group_ids[0])


def _check_attach(region: Region, cache: ReplicationGroup, group: UserGroup) -> None:
    if not cache.tls:
        raise AwsError(
            "InvalidParameterCombination",
            "User group based access control requires encryption-in-transit to be enabled",
        )
    check_engine(region, group, cache.engine, cache.engine_version)


def modify_replication_group(request: Request) -> Output:
    """ModifyReplicationGroup: user group, AUTH token, TLS, engine; the description at once."""
    region = request.region
    cache = region.cache(request["ReplicationGroupId"])
    change = CacheChange()
    for plan in (_plan_group, _plan_auth_token, _plan_tls, _plan_engine):
        change = plan(request, cache, change)
    description = request.get("ReplicationGroupDescription", cache.description)
    if change == CacheChange() == cache.deferred and description == cache.description:
        raise AwsError("InvalidParameterCombination", "No modifications were requested")
    if cache.status != "available":
        raise AwsError(
            "InvalidReplicationGroupState",
            f"Replication group {cache.cache_id} has status {cache.status} and can't be modified.",
        )
    cache.description = description
    region.views.touch()
    merged = _merge(cache.deferred, change)
    if not request.get("ApplyImmediately", False):
        cache.deferred = merged
    elif merged != CacheChange():
        _start(request, cache, merged)
    return {"ReplicationGroup": render_cache(cache)}


def _start(request: Request, cache: ReplicationGroup, change: CacheChange) -> None:
    region = request.region
    cache.deferred, cache.pending = CacheChange(), change
    cache.changes_in_flight += 1
    if change.attach:
        region.groups[change.attach].attaching_cache_ids.add(cache.cache_id)

    def done() -> None:
        _apply(region, cache, change)
        cache.pending = CacheChange()
        cache.changes_in_flight -= 1

    request.later(done)


def _apply(region: Region, cache: ReplicationGroup, change: CacheChange) -> None:
    if change.detach:
        region.groups[change.detach].cache_ids.discard(cache.cache_id)
        cache.group_id = None
    if change.attach:
        group = region.groups[change.attach]
        group.attaching_cache_ids.discard(cache.cache_id)
        group.cache_ids.add(cache.cache_id)
        cache.group_id = group.group_id
    if change.auth_tokens is not None:
        cache.auth_tokens = change.auth_tokens
    cache.engine = change.engine or cache.engine
    cache.engine_version = change.engine_version or cache.engine_version
    if change.tls is not None:
        cache.tls = change.tls
        cache.tls_mode = cache.tls_mode if change.tls else None
    cache.tls_mode = change.tls_mode or cache.tls_mode


def _plan_group(request: Request, cache: ReplicationGroup, change: CacheChange) -> CacheChange:
    detach = _read_detach(request, cache)
    group = _read_group_to_attach(request, "UserGroupIdsToAdd")
    if group is not None and group.group_id != cache.group_id:
        if cache.group_id is not None and detach is None:
            raise AwsError(
                "InvalidParameterCombination",
                f"Replication group {cache.cache_id} already uses user group {cache.group_id}; remove it first.",
            )
        if cache.auth_tokens and request.get("AuthTokenUpdateStrategy") != "DELETE":
            raise AwsError(
                "InvalidParameterCombination",
                "User group can't be associated with auth token enabled. Pass AuthStrategy delete to proceed",
            )
        _check_attach(request.region, cache, group)
        change = replace(change, attach=group.group_id)
    return replace(change, detach=detach)


def _read_detach(request: Request, cache: ReplicationGroup) -> str | None:
    named = request.get("UserGroupIdsToRemove")
    if request.get("RemoveUserGroups", False):
        if named is not None:
            raise AwsError(
                "InvalidParameterCombination", "RemoveUserGroups and UserGroupIdsToRemove can't be used together."
            )
        return cache.group_id
    if named is None:
        return None
    if [group_id.lower() for group_id in named] != [cache.group_id]:
        raise AwsError(
            "InvalidParameterValue",
            f"User groups {', '.join(named)} are not associated with replication group {cache.cache_id}.",
        )
    return cache.group_id


def _plan_auth_token(request: Request, cache: ReplicationGroup, change: CacheChange) -> CacheChange:
    auth_token, strategy = request.get("AuthToken"), request.get("AuthTokenUpdateStrategy")
    if strategy == "DELETE":
        if auth_token is not None:
            raise AwsError(
                "InvalidParameterCombination", "AuthToken can't be used with AuthTokenUpdateStrategy DELETE."
            )
        if not cache.auth_tokens or change.attach is None:
            raise AwsError("InvalidParameterValue", "Auth token update strategy delete is not supported currently")
        return replace(change, auth_tokens=())
    if auth_token is None:
        if strategy is not None:
            raise AwsError("InvalidParameterCombination", "AuthTokenUpdateStrategy requires AuthToken.")
        return change
    if change.attach is not None or (cache.group_id is not None and change.detach is None):
        raise AwsError(
            "InvalidParameterCombination",
            "Auth tokens can't be enabled with a user group already associated. Pass RemoveUserGroups to proceed.",
        )
    if not cache.tls:
        raise AwsError("InvalidParameterCombination", "AUTH tokens require encryption-in-transit to be enabled.")
    digest = digest_auth_token(auth_token)
    if strategy == "SET":
        return replace(change, auth_tokens=(digest,))
    if not cache.auth_tokens:
        raise not_implemented("AuthTokenUpdateStrategy ROTATE on a cache that has no AUTH token")
    return replace(change, auth_tokens=(cache.auth_tokens[-1], digest))


def _plan_tls(request: Request, cache: ReplicationGroup, change: CacheChange) -> CacheChange:
    tls, mode = request.get("TransitEncryptionEnabled"), request.get("TransitEncryptionMode")
    if mode is not None and mode not in {"preferred", "required"}:
        raise AwsError("InvalidParameterValue", "TransitEncryptionMode must be preferred or required.")
    if tls is True and not cache.tls and mode != "preferred":
        raise AwsError(
            "InvalidParameterCombination",
            "Encryption-in-transit is enabled in two steps: TransitEncryptionMode preferred first, then required.",
        )
    if tls is False and cache.tls and (cache.tls_mode != "preferred" or cache.group_id or cache.auth_tokens):
        raise AwsError(
            "InvalidParameterCombination",
            "Encryption-in-transit can be disabled only in mode preferred, without user group and AUTH token.",
        )
    if mode is not None and not cache.tls and not tls:
        raise AwsError("InvalidParameterCombination", "TransitEncryptionMode requires TransitEncryptionEnabled.")
    return replace(
        change,
        tls=tls if tls is not None and tls != cache.tls else None,
        tls_mode=mode if mode != cache.tls_mode else None,
    )


def _plan_engine(request: Request, cache: ReplicationGroup, change: CacheChange) -> CacheChange:
    engine = read_engine(request.get("Engine", cache.engine))
    version = request.get("EngineVersion", cache.engine_version)
    if cache.engine == "valkey" and engine == "redis":
        raise AwsError("InvalidParameterValue", "A cache can't be changed from valkey to redis.")
    if engine != cache.engine and request.get("EngineVersion") is None:
        raise AwsError("InvalidParameterCombination", "A change of engine requires EngineVersion.")
    if engine == cache.engine and version_key(version) < version_key(cache.engine_version):
        raise AwsError("InvalidParameterValue", "Engine versions can't be downgraded.")
    return replace(
        change,
        engine=engine if engine != cache.engine else None,
        engine_version=version if version != cache.engine_version else None,
    )


def delete_replication_group(request: Request) -> Output:
    """DeleteReplicationGroup."""
    region = request.region
    cache = region.cache(request["ReplicationGroupId"])
    if cache.status != "available":
        raise AwsError(
            "InvalidReplicationGroupState",
            f"Replication group {cache.cache_id} has status {cache.status} and can't be deleted.",
        )
    cache.lifecycle = "deleting"

    def done() -> None:
        if cache.group_id is not None:
            region.groups[cache.group_id].cache_ids.discard(cache.cache_id)
        region.caches.remove(cache.cache_id)

    request.later(done)
    return {"ReplicationGroup": render_cache(cache)}


def describe_replication_groups(request: Request) -> Output:
    """DescribeReplicationGroups. A missing id is an error, not an empty list."""
    region = request.region
    size = read_page_size(request)
    if request.get("ReplicationGroupId") is not None:
        return {"ReplicationGroups": [render_cache(region.cache(request["ReplicationGroupId"]))]}
    caches, marker = page(region.caches, request.get("Marker"), size)
    output: Output = {"ReplicationGroups": [render_cache(cache) for cache in caches]}
    if marker is not None:
        output["Marker"] = marker
    return output


def describe_cache_clusters(request: Request) -> Output:
    """DescribeCacheClusters: the members of replication groups, and the only place that tells engine versions."""
    region = request.region
    size = read_page_size(request)
    if request.get("ShowCacheClustersNotInReplicationGroups", False):
        return {"CacheClusters": []}
    nodes = request.get("ShowCacheNodeInfo", False)
    members = {member_id: cache for cache in region.caches.values() for member_id in cache.member_ids}
    wanted = request.get("CacheClusterId")
    if wanted is not None:
        if wanted.lower() not in members:
            raise AwsError("CacheClusterNotFound", f"CacheCluster not found: {wanted}", 404)
        return {"CacheClusters": [_render_cluster(region, wanted.lower(), members[wanted.lower()], nodes=nodes)]}
    keys, marker = page_keys(sorted(members), request.get("Marker"), size, invalid="InvalidParameterValue")
    output: Output = {"CacheClusters": [_render_cluster(region, key, members[key], nodes=nodes) for key in keys]}
    if marker is not None:
        output["Marker"] = marker
    return output


def _render_cluster(region: Region, member_id: str, cache: ReplicationGroup, *, nodes: bool) -> Output:
    output: Output = {
        "CacheClusterId": member_id,
        "CacheNodeType": cache.node_type,
        "Engine": cache.engine,
        "EngineVersion": cache.engine_version,
        "CacheClusterStatus": cache.status,
        "NumCacheNodes": 1,
        "CacheClusterCreateTime": cache.created_at,
        "PendingModifiedValues": {},
        "CacheParameterGroup": {
            "CacheParameterGroupName": cache.parameter_group,
            "ParameterApplyStatus": "in-sync",
            "CacheNodeIdsToReboot": [],
        },
        "ReplicationGroupId": cache.cache_id,
        "AuthTokenEnabled": bool(cache.auth_tokens),
        "TransitEncryptionEnabled": cache.tls,
        "AtRestEncryptionEnabled": cache.at_rest_encryption,
        "ARN": region.arn("cluster", member_id),
    }
    if nodes:
        at = cache.member_ids.index(member_id)
        host, port = cache.nodes[at] if at < len(cache.nodes) else (cache.host, cache.port)
        output["CacheNodes"] = [
            {
                "CacheNodeId": "0001",
                "CacheNodeStatus": cache.status,
                "CacheNodeCreateTime": cache.created_at,
                "Endpoint": {"Address": host, "Port": port},
            }
        ]
    return output


def _cache_grant(action: str, request: Request, cache_id: str, context: dict[str, tuple[str, ...]]) -> Grant:
    region = request.region
    cache = region.caches.get(cache_id.lower())
    tags = resource_tags_context(cache.tags) if cache else {}
    return Grant(action, region.arn("replicationgroup", cache_id.lower()), {**tags, **context})


def _parameter_context(request: Request) -> dict[str, tuple[str, ...]]:
    context: dict[str, tuple[str, ...]] = {
        key: (_text(request[name]),) for name, key in _CONDITION_KEYS.items() if request.get(name) is not None
    }
    if request.get("AuthToken") is not None:
        context["elasticache:authtokenenabled"] = ("true",)
    return context


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _create_grants(request: Request) -> Iterable[Grant]:
    action = "elasticache:CreateReplicationGroup"
    context = request_tags_context(request.tags) | _parameter_context(request)
    grant = _cache_grant(action, request, request["ReplicationGroupId"], context)
    yield grant
    yield Grant(action, request.region.arn("parametergroup", _parameter_group(request)), context)
    yield from group_grants(action, request, request.get("UserGroupIds", []))
    if request.tags:
        yield Grant("elasticache:AddTagsToResource", grant.resource, grant.context)


def _modify_grants(request: Request) -> Iterable[Grant]:
    action = "elasticache:ModifyReplicationGroup"
    yield _cache_grant(action, request, request["ReplicationGroupId"], _parameter_context(request))
    named = [*request.get("UserGroupIdsToAdd", []), *request.get("UserGroupIdsToRemove", [])]
    yield from group_grants(action, request, named)


OPERATIONS = (
    operation(
        "elasticache",
        "CreateReplicationGroup",
        create_replication_group,
        _create_grants,
        required="ReplicationGroupId ReplicationGroupDescription",
        optional="Engine EngineVersion CacheNodeType CacheParameterGroupName NumCacheClusters NumNodeGroups "
        "ReplicasPerNodeGroup AutomaticFailoverEnabled MultiAZEnabled AuthToken TransitEncryptionEnabled "
        "TransitEncryptionMode AtRestEncryptionEnabled UserGroupIds Port Tags",
    ),
    operation(
        "elasticache",
        "ModifyReplicationGroup",
        modify_replication_group,
        _modify_grants,
        required="ReplicationGroupId",
        optional="ReplicationGroupDescription ApplyImmediately UserGroupIdsToAdd UserGroupIdsToRemove "
        "RemoveUserGroups AuthToken AuthTokenUpdateStrategy TransitEncryptionEnabled TransitEncryptionMode "
        "Engine EngineVersion",
    ),
    operation(
        "elasticache",
        "DeleteReplicationGroup",
        delete_replication_group,
        lambda request: [
            _cache_grant("elasticache:DeleteReplicationGroup", request, request["ReplicationGroupId"], {})
        ],
        required="ReplicationGroupId",
    ),
    operation(
        "elasticache",
        "DescribeReplicationGroups",
        describe_replication_groups,
        lambda request: [
            _cache_grant("elasticache:DescribeReplicationGroups", request, request.get("ReplicationGroupId", "*"), {})
        ],
        optional="ReplicationGroupId MaxRecords Marker",
    ),
    operation(
        "elasticache",
        "DescribeCacheClusters",
        describe_cache_clusters,
        lambda request: [
            Grant(
                "elasticache:DescribeCacheClusters",
                request.region.arn("cluster", request.get("CacheClusterId", "*").lower()),
            )
        ],
        optional="CacheClusterId MaxRecords Marker ShowCacheNodeInfo ShowCacheClustersNotInReplicationGroups",
    ),
)
