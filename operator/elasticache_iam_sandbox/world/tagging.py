"""Tags: ElastiCache's own calls by ARN, and the Resource Groups Tagging API."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.elasticache import ReplicationGroup, ServerlessCache, User, UserGroup
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    check_tags,
    operation,
    page_keys,
    request_tags_context,
    resource_tags_context,
    tag_list,
)
from elasticache_iam_sandbox.world.serverless_caches import check_available
from elasticache_iam_sandbox.world.users import tag_quota_exceeded, user_context

_ARN_PARTS = 7
_PAGE_SIZES = range(1, 101)


Tagged: TypeAlias = User | UserGroup | ReplicationGroup | ServerlessCache


def _find(request: Request) -> Tagged:
    """Return the object that ResourceName names. A user or group that is not active can't be seen by tagging."""
    region = request.region
    arn: str = request["ResourceName"]
    parts = arn.split(":")
    if len(parts) != _ARN_PARTS or arn != region.arn(parts[5], parts[6]):
        raise AwsError("InvalidARN", "The requested Amazon Resource Name (ARN) does not refer to an existing resource.")
    kind, name = parts[5], parts[6]
    if kind == "user":
        user = region.users.get(name)
        if user is None or user.status != "active":
            raise AwsError("UserNotFound", f"{name} is either not present or is not available for tagging.", 404)
        return user
    if kind == "usergroup":
        group = region.groups.get(name)
        if group is None or group.status != "active":
            raise AwsError("UserGroupNotFound", f"{name} is either not present or is not available for tagging.", 404)
        return group
    if kind == "replicationgroup":
        return region.cache(name)
    if kind == "serverlesscache":
        return region.serverless_cache(name)
    raise not_implemented(f"tags of {kind}")


def add_tags_to_resource(request: Request) -> Output:
    """AddTagsToResource."""
    found = _find(request)
    _check_available(found)
    check_tags(request, found.tags, over_quota=tag_quota_exceeded(request), invalid="InvalidParameterValue")
    found.tags.update(request.tags)
    return {"TagList": tag_list(found.tags)}


def remove_tags_from_resource(request: Request) -> Output:
    """RemoveTagsFromResource."""
    found = _find(request)
    _check_available(found)
    for key in request["TagKeys"]:
        if key not in found.tags:
            raise AwsError("TagNotFound", f"The requested tag {key} was not found on this resource.", 404)
    for key in request["TagKeys"]:
        found.tags.pop(key, None)
    return {"TagList": tag_list(found.tags)}


def list_tags_for_resource(request: Request) -> Output:
    """ListTagsForResource: the only place where ElastiCache shows tags."""
    return {"TagList": tag_list(_find(request).tags)}


def _check_available(found: Tagged) -> None:
    if isinstance(found, ServerlessCache):
        check_available(found)
    if isinstance(found, ReplicationGroup) and found.status != "available":
        raise AwsError("InvalidReplicationGroupState", f"Replication group {found.cache_id} has status {found.status}.")


def get_resources(request: Request) -> Output:
    """GetResources: what has tags in this account and region. IAM roles are not covered."""
    for parameter in ("ResourceTypeFilters", "TagFilters"):
        if not isinstance(request.get(parameter, []), list):
            raise AwsError("InvalidParameterException", f"{parameter} must be a list.")
    size = request.get("ResourcesPerPage", 50)
    if size not in _PAGE_SIZES:
        raise AwsError("InvalidParameterException", "ResourcesPerPage must be between 1 and 100.")
    filters = request.get("TagFilters", [])
    kinds = request.get("ResourceTypeFilters", [])
    found = {
        arn: tags
        for kind, arn, tags in _tagged(request)
        if tags
        and (not kinds or kind in kinds or kind.partition(":")[0] in kinds)
        and all(_passes(tags, entry) for entry in filters)
    }
    keys, marker = page_keys(
        sorted(found), request.get("PaginationToken") or None, size, invalid="InvalidParameterException"
    )
    return {
        "PaginationToken": marker or "",
        "ResourceTagMappingList": [{"ResourceARN": arn, "Tags": tag_list(found[arn])} for arn in keys],
    }


def _tagged(request: Request) -> Iterator[tuple[str, str, dict[str, str]]]:
    region, memorydb = request.region, request.memorydb
    yield from (("elasticache:user", user.arn, user.tags) for user in region.users.values())
    yield from (("elasticache:usergroup", group.arn, group.tags) for group in region.groups.values())
    yield from (("elasticache:replicationgroup", cache.arn, cache.tags) for cache in region.caches.values())
    yield from (("elasticache:serverlesscache", cache.arn, cache.tags) for cache in region.serverless_caches.values())
    yield from (("memorydb:user", user.arn, user.tags) for user in memorydb.users.values())
    yield from (("memorydb:acl", acl.arn, acl.tags) for acl in memorydb.acls.values())
    yield from (("memorydb:cluster", cluster.arn, cluster.tags) for cluster in memorydb.clusters.values())


def _passes(tags: dict[str, str], entry: dict[str, Any]) -> bool:
    if entry.keys() - {"Key", "Values"}:
        raise not_implemented("this TagFilters entry")
    values = entry.get("Values") or []
    return entry["Key"] in tags and (not values or tags[entry["Key"]] in values)


def _grants(request: Request) -> Iterable[Grant]:
    region = request.region
    arn: str = request["ResourceName"]
    kind, _, name = ":".join(arn.split(":")[5:]).partition(":")
    context: dict[str, tuple[str, ...]] = {}
    if kind == "user" and name in region.users:
        context = user_context(region.users[name])
    elif kind == "usergroup" and name in region.groups:
        context = resource_tags_context(region.groups[name].tags)
    elif kind == "replicationgroup" and name in region.caches:
        context = resource_tags_context(region.caches[name].tags)
    elif kind == "serverlesscache" and name in region.serverless_caches:
        context = resource_tags_context(region.serverless_caches[name].tags)
    return [Grant("", arn, context)]


def _add_grants(request: Request) -> Iterable[Grant]:
    for grant in _grants(request):
        context = {**grant.context, **request_tags_context(request.tags)}
        yield Grant("elasticache:AddTagsToResource", grant.resource, context)


def _remove_grants(request: Request) -> Iterable[Grant]:
    for grant in _grants(request):
        context = {**grant.context, "aws:tagkeys": tuple(request["TagKeys"])}
        yield Grant("elasticache:RemoveTagsFromResource", grant.resource, context)


def _list_grants(request: Request) -> Iterable[Grant]:
    for grant in _grants(request):
        yield Grant("elasticache:ListTagsForResource", grant.resource, grant.context)


OPERATIONS = (
    operation("elasticache", "AddTagsToResource", add_tags_to_resource, _add_grants, required="ResourceName Tags"),
    operation(
        "elasticache",
        "RemoveTagsFromResource",
        remove_tags_from_resource,
        _remove_grants,
        required="ResourceName TagKeys",
    ),
    operation("elasticache", "ListTagsForResource", list_tags_for_resource, _list_grants, required="ResourceName"),
    operation(
        "resourcegroupstaggingapi",
        "GetResources",
        get_resources,
        lambda _: [Grant("tag:GetResources", "*")],
        optional="PaginationToken ResourcesPerPage ResourceTypeFilters TagFilters",
    ),
)
