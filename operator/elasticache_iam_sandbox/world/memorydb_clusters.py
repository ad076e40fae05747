"""MemoryDB's clusters: endpoints, engine, and which ACL they use. Another ACL replaces the one there is."""

from collections.abc import Callable, Iterable

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.memorydb import INVALID, INVALID_COMBINATION, OPEN_ACCESS, Cluster, MemoryDb
from elasticache_iam_sandbox.world.memorydb_acls import acl_grant, check_acl_active, minimum_engine_version
from elasticache_iam_sandbox.world.memorydb_users import paged, read_name, read_new_tags
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    request_tags_context,
    resource_tags_context,
)
from elasticache_iam_sandbox.world.slots import slot_range
from elasticache_iam_sandbox.world.user_groups import version_key
from elasticache_iam_sandbox.world.users import read_engine

DEFAULT_VERSIONS = {"redis": "7.1", "valkey": "7.3"}


def render_cluster(cluster: Cluster, *, shards: bool) -> Output:
    """Return a cluster as Describe tells it. It has no endpoint before something listens there."""
    output: Output = {
        "Name": cluster.name,
        "Description": cluster.description,
        "Status": cluster.status,
        "NumberOfShards": cluster.shards,
        "AvailabilityMode": "singleaz",
        "NodeType": cluster.node_type,
        "Engine": cluster.engine,
        "EngineVersion": cluster.engine_version,
        "EnginePatchVersion": f"{cluster.engine_version}.1",
        "TLSEnabled": cluster.tls,
        "ARN": cluster.arn,
        "ACLName": cluster.acl_name,
    }
    if cluster.acl_to_apply is not None:
        output["PendingUpdates"] = {"ACLs": {"ACLToApply": cluster.acl_to_apply}}
    if cluster.port:
        output["ClusterEndpoint"] = {"Address": cluster.host, "Port": cluster.port}
    if shards:
        output["Shards"] = [_render_shard(cluster, number) for number in range(cluster.shards)]
    return output


def _render_shard(cluster: Cluster, number: int) -> Output:
    host, port = cluster.nodes[number] if number < len(cluster.nodes) else (cluster.host, cluster.port)
    node = {
        "Name": f"{cluster.name}-{number + 1:04}-001",
        "Status": "available",
        "CreateTime": cluster.created_at,
        "Endpoint": {"Address": host, "Port": port},
    }
    return {
        "Name": f"{number + 1:04}",
        "Status": "available",
        "Slots": slot_range(number, cluster.shards),
        "Nodes": [node],
        "NumberOfNodes": 1,
    }


def put_cluster(memorydb: MemoryDb, cluster: Cluster) -> None:
    """Put a new cluster there, with its ACL. Raises what CreateCluster answers."""
    if cluster.name in memorydb.clusters:
        raise AwsError("ClusterAlreadyExistsFault", f"Cluster {cluster.name} already exists.")
    check_acl(memorydb, cluster, cluster.acl_name)
    memorydb.clusters.add(cluster.name, cluster)
    memorydb.acls[cluster.acl_name].cluster_names.add(cluster.name)
    memorydb.views.touch()


def drop_cluster(memorydb: MemoryDb, cluster: Cluster) -> None:
    """Take a cluster away that nothing is in flight for."""
    memorydb.acls[cluster.acl_name].cluster_names.discard(cluster.name)
    memorydb.clusters.remove(cluster.name)
    memorydb.views.touch()


def check_acl(memorydb: MemoryDb, cluster: Cluster, acl_name: str) -> None:
    """Raise unless the cluster may use the ACL now."""
    acl = memorydb.acl(acl_name)
    check_acl_active(acl, "used")
    if not cluster.tls and acl.name != OPEN_ACCESS:
        raise AwsError(INVALID_COMBINATION, f"A cluster without TLS can use no ACL but {OPEN_ACCESS}.")
    needed = minimum_engine_version(memorydb, acl)
    if version_key(cluster.engine_version) < version_key(needed):
        raise AwsError(
            INVALID_COMBINATION,
            f"ACL {acl.name} requires engine version {needed}; the cluster has {cluster.engine_version}.",
        )


def check_cluster_available(cluster: Cluster) -> None:
    """Raise InvalidClusterStateFault for a cluster that is busy."""
    if cluster.status != "available":
        raise AwsError("InvalidClusterStateFault", f"Cluster {cluster.name} has status {cluster.status}.")


def create_cluster(request: Request) -> Output:
    """CreateCluster."""
    memorydb = request.memorydb
    name = read_name(request, "ClusterName")
    engine = read_engine(request.get("Engine", "redis"), invalid=INVALID)
    cluster = Cluster(
        name=name,
        arn=memorydb.arn("cluster", name),
        description=request.get("Description", ""),
        engine=engine,
        engine_version=request.get("EngineVersion", DEFAULT_VERSIONS[engine]),
        lifecycle="creating",
        created_at=request.now,
        tls=request.get("TLSEnabled", True),
        acl_name=request["ACLName"].lower(),
        tags=read_new_tags(request),
        node_type=request["NodeType"],
        shards=request.get("NumShards", 1),
    )
    put_cluster(memorydb, cluster)

    def done() -> None:
        cluster.lifecycle = "available"

    request.later(done, memorydb.views)
    return {"Cluster": render_cluster(cluster, shards=False)}


def update_cluster(request: Request) -> Output:
    """UpdateCluster: ACL, description, engine."""
    memorydb = request.memorydb
    cluster = memorydb.cluster(request["ClusterName"])
    description = request.get("Description", cluster.description)
    engine, version = _read_engine_change(request, cluster)
    acl_name = request.get("ACLName", cluster.acl_name).lower()
    asked = (description, engine, version, acl_name)
    if asked == (cluster.description, cluster.engine, cluster.engine_version, cluster.acl_name):
        raise AwsError("NoOperationFault", "No modifications were requested")
    check_cluster_available(cluster)
    if acl_name != cluster.acl_name:
        check_acl(memorydb, cluster, acl_name)
        memorydb.acls[acl_name].joining_cluster_names.add(cluster.name)
        cluster.acl_to_apply = acl_name
    cluster.description = description

    def change() -> None:
        cluster.engine, cluster.engine_version = engine, version
        if acl_name != cluster.acl_name:
            memorydb.acls[cluster.acl_name].cluster_names.discard(cluster.name)
            memorydb.acls[acl_name].joining_cluster_names.discard(cluster.name)
            memorydb.acls[acl_name].cluster_names.add(cluster.name)
        cluster.acl_name, cluster.acl_to_apply = acl_name, None

    _start(request, cluster, change)
    return {"Cluster": render_cluster(cluster, shards=False)}


def _start(request: Request, cluster: Cluster, change: Callable[[], None]) -> None:
    cluster.changes_in_flight += 1

    def done() -> None:
        change()
        cluster.changes_in_flight -= 1

    request.later(done, request.memorydb.views)


def _read_engine_change(request: Request, cluster: Cluster) -> tuple[str, str]:
    engine = read_engine(request.get("Engine", cluster.engine), invalid=INVALID)
    if cluster.engine == "valkey" and engine == "redis":
        raise AwsError(INVALID, "A cluster can't be changed from valkey to redis.")
    default = cluster.engine_version if engine == cluster.engine else DEFAULT_VERSIONS[engine]
    version = request.get("EngineVersion", default)
    if engine == cluster.engine and version_key(version) < version_key(cluster.engine_version):
        raise AwsError(INVALID, "Engine versions can't be downgraded.")
    return engine, version


def delete_cluster(request: Request) -> Output:
    """DeleteCluster."""
    memorydb = request.memorydb
    cluster = memorydb.cluster(request["ClusterName"])
    check_cluster_available(cluster)
    cluster.lifecycle = "deleting"
    request.later(lambda: drop_cluster(memorydb, cluster), memorydb.views)
    return {"Cluster": render_cluster(cluster, shards=False)}


def describe_clusters(request: Request) -> Output:
    """DescribeClusters. A missing name is an error, not an empty list; shards are shown when asked for."""
    memorydb, shards = request.memorydb, request.get("ShowShardDetails", False)
    if request.get("ClusterName") is not None:
        return {"Clusters": [render_cluster(memorydb.cluster(request["ClusterName"]), shards=shards)]}
    return paged(request, "Clusters", memorydb.clusters, lambda cluster: render_cluster(cluster, shards=shards))


def _cluster_grant(action: str, request: Request, name: str) -> Grant:
    memorydb = request.memorydb
    cluster = memorydb.clusters.get(name.lower())
    tags = resource_tags_context(cluster.tags) if cluster else {}
    return Grant(action, memorydb.arn("cluster", name.lower()), tags)


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.memorydb.arn("cluster", request["ClusterName"].lower())
    context = request_tags_context(request.tags)
    yield Grant("memorydb:CreateCluster", arn, context)
    yield acl_grant("memorydb:CreateCluster", request, request["ACLName"])
    if context:
        yield Grant("memorydb:TagResource", arn, context)


def _update_grants(request: Request) -> Iterable[Grant]:
    yield _cluster_grant("memorydb:UpdateCluster", request, request["ClusterName"])
    if request.get("ACLName") is not None:
        yield acl_grant("memorydb:UpdateCluster", request, request["ACLName"])


OPERATIONS = (
    operation(
        "memorydb",
        "CreateCluster",
        create_cluster,
        _create_grants,
        required="ClusterName NodeType ACLName",
        optional="Description Engine EngineVersion TLSEnabled NumShards Tags",
    ),
    operation(
        "memorydb",
        "UpdateCluster",
        update_cluster,
        _update_grants,
        required="ClusterName",
        optional="ACLName Description Engine EngineVersion",
    ),
    operation(
        "memorydb",
        "DeleteCluster",
        delete_cluster,
        lambda request: [_cluster_grant("memorydb:DeleteCluster", request, request["ClusterName"])],
        required="ClusterName",
    ),
    operation(
        "memorydb",
        "DescribeClusters",
        describe_clusters,
        lambda request: [_cluster_grant("memorydb:DescribeClusters", request, request.get("ClusterName", "*"))],
        optional="ClusterName MaxResults NextToken ShowShardDetails",
    ),
)
