"""Tags of MemoryDB's users, ACLs and clusters, by ARN."""

from collections.abc import Iterable

from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.memorydb import Acl, Cluster, MemoryDbUser
from elasticache_iam_sandbox.world.memorydb_clusters import check_cluster_available
from elasticache_iam_sandbox.world.memorydb_users import check_memorydb_tags, user_context
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    request_tags_context,
    resource_tags_context,
    tag_list,
)

_ARN_PARTS = 6


def _find(request: Request) -> MemoryDbUser | Acl | Cluster:
    memorydb, arn = request.memorydb, request["ResourceArn"]
    parts = arn.split(":")
    kind, _, name = parts[-1].partition("/")
    if len(parts) != _ARN_PARTS or not name or arn != memorydb.arn(kind, name):
        raise AwsError("InvalidARNFault", "The requested Amazon Resource Name (ARN) does not refer to a resource here.")
    match kind:
        case "user":
            return memorydb.user(name)
        case "acl":
            return memorydb.acl(name)
        case "cluster":
            return memorydb.cluster(name)
        case _:
            raise not_implemented(f"tags of {kind}")


def _check_changeable(found: MemoryDbUser | Acl | Cluster) -> None:
    if isinstance(found, Cluster):
        check_cluster_available(found)


def tag_resource(request: Request) -> Output:
    """TagResource."""
    found = _find(request)
    _check_changeable(found)
    check_memorydb_tags(request, found.tags)
    found.tags.update(request.tags)
    return {"TagList": tag_list(found.tags)}


def untag_resource(request: Request) -> Output:
    """UntagResource."""
    found = _find(request)
    _check_changeable(found)
    for key in request["TagKeys"]:
        if key not in found.tags:
            raise AwsError("TagNotFoundFault", f"The requested tag {key} was not found on this resource.")
    for key in request["TagKeys"]:
        found.tags.pop(key, None)
    return {"TagList": tag_list(found.tags)}


def list_tags(request: Request) -> Output:
    """ListTags: the only place where MemoryDB shows tags."""
    return {"TagList": tag_list(_find(request).tags)}


def _grant(action: str, request: Request, context: dict[str, tuple[str, ...]]) -> Iterable[Grant]:
    try:
        found = _find(request)
    except AwsError:  # said when the caller may ask at all
        return [Grant(action, request["ResourceArn"], context)]
    own = user_context(found) if isinstance(found, MemoryDbUser) else resource_tags_context(found.tags)
    return [Grant(action, found.arn, {**own, **context})]


OPERATIONS = (
    operation(
        "memorydb",
        "TagResource",
        tag_resource,
        lambda request: _grant("memorydb:TagResource", request, request_tags_context(request.tags)),
        required="ResourceArn Tags",
    ),
    operation(
        "memorydb",
        "UntagResource",
        untag_resource,
        lambda request: _grant("memorydb:UntagResource", request, {"aws:tagkeys": tuple(request["TagKeys"])}),
        required="ResourceArn TagKeys",
    ),
    operation(
        "memorydb",
        "ListTags",
        list_tags,
        lambda request: _grant("memorydb:ListTags", request, {}),
        required="ResourceArn",
    ),
)
