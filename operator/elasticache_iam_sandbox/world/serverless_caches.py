"""Serverless caches: endpoints, engine, and which user group they use."""

from collections.abc import Callable, Iterable

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.elasticache import Region, ServerlessCache
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    page,
    request_tags_context,
    resource_tags_context,
)
from elasticache_iam_sandbox.world.user_groups import active_group, check_engine, group_grants, version_key
from elasticache_iam_sandbox.world.users import read_engine, read_id, read_tags

DEFAULT_VERSIONS = {"redis": ("7", "7.1"), "valkey": ("8", "8.1")}
"""Major and full version by engine."""
_PAGE_SIZES = range(1, 101)


def render_serverless_cache(cache: ServerlessCache) -> Output:
    """Return a serverless cache as Describe tells it. It has no endpoint before something listens there."""
    output: Output = {
        "ServerlessCacheName": cache.name,
        "Description": cache.description,
        "CreateTime": cache.created_at,
        "Status": cache.status,
        "Engine": cache.engine,
        "MajorEngineVersion": cache.major_engine_version,
        "FullEngineVersion": cache.full_engine_version,
        "ARN": cache.arn,
    }
    if cache.port:
        output["Endpoint"] = {"Address": cache.host, "Port": cache.port}
        output["ReaderEndpoint"] = {
            "Address": cache.reader_host or cache.host,
            "Port": cache.reader_port or cache.port,
        }
    if cache.group_id is not None:
        output["UserGroupId"] = cache.group_id
    return output


def put_serverless_cache(region: Region, cache: ServerlessCache) -> None:
    """Put a new serverless cache there, with its group. Raises ServerlessCacheAlreadyExistsFault."""
    if cache.name in region.serverless_caches:
        raise AwsError("ServerlessCacheAlreadyExistsFault", f"Serverless Cache {cache.name} already exists.")
    region.serverless_caches.add(cache.name, cache)
    if cache.group_id is not None:
        region.groups[cache.group_id].serverless_names.add(cache.name)
    region.views.touch()


def drop_serverless_cache(region: Region, cache: ServerlessCache) -> None:
    """Take a serverless cache away that nothing is in flight for; its group is free of it."""
    if cache.group_id is not None:
        region.groups[cache.group_id].serverless_names.discard(cache.name)
    region.serverless_caches.remove(cache.name)
    region.views.touch()


def check_available(cache: ServerlessCache) -> None:
    """Raise InvalidServerlessCacheStateFault for a cache that is busy."""
    if cache.status != "available":
        raise AwsError(
            "InvalidServerlessCacheStateFault", f"Serverless cache {cache.name} has status {cache.status}: it is busy."
        )


def find_group(region: Region, cache: ServerlessCache, group_id: str) -> str:
    """Return the id of a group that a cache may use, as it is stored. Raises what ModifyServerlessCache answers."""
    group = active_group(region, group_id)
    check_engine(region, group, cache.engine, cache.full_engine_version)
    return group.group_id


def create_serverless_cache(request: Request) -> Output:
    """CreateServerlessCache."""
    region = request.region
    name = read_id(request["ServerlessCacheName"], "ServerlessCacheName")
    engine = read_engine(request["Engine"])
    major, full = DEFAULT_VERSIONS[engine]
    asked = request.get("MajorEngineVersion", major)
    cache = ServerlessCache(
        name=name,
        arn=region.arn("serverlesscache", name),
        description=request.get("Description", ""),
        engine=engine,
        major_engine_version=asked,
        full_engine_version=full if asked == major else f"{asked}.0",
        lifecycle="creating",
        created_at=request.now,
        tags=read_tags(request),
    )
    if request.get("UserGroupId"):
        cache.group_id = find_group(region, cache, request["UserGroupId"])
    put_serverless_cache(region, cache)

    def done() -> None:
        cache.lifecycle = "available"

    request.later(done)
    return {"ServerlessCache": render_serverless_cache(cache)}


def modify_serverless_cache(request: Request) -> Output:
    """ModifyServerlessCache: one property a call.

    A UserGroupId replaces the group that is attached; an empty one is as good as none. RemoveUserGroup opens the cache.
    """
    region = request.region
    cache = region.serverless_cache(request["ServerlessCacheName"])
    asked = _read_change(request)
    check_available(cache)
    match asked:
        case "UserGroupId":
            _start_group(request, cache, find_group(region, cache, request["UserGroupId"]))
        case "RemoveUserGroup":
            _start_group(request, cache, None)
        case "MajorEngineVersion":
            _start_engine(request, cache)
        case _:
            cache.description = request["Description"]
    return {"ServerlessCache": render_serverless_cache(cache)}


def _read_change(request: Request) -> str:
    """Return the one property that the call changes. Raises InvalidParameterCombination if it isn't one."""
    asked = [name for name in ("UserGroupId", "RemoveUserGroup", "MajorEngineVersion") if request.get(name)]
    if request.get("Description") is not None:
        asked.append("Description")
    if request.get("Engine") is not None and "MajorEngineVersion" not in asked:
        raise AwsError("InvalidParameterCombination", "A change of engine requires MajorEngineVersion.")
    if not asked:
        raise AwsError("InvalidParameterCombination", "No modifications were requested")
    if len(asked) > 1:
        raise AwsError(
            "InvalidParameterCombination", f"Only one property can be modified at a time, not {', '.join(asked)}."
        )
    return asked[0]


def _start_group(request: Request, cache: ServerlessCache, group_id: str | None) -> None:
    region = request.region
    if group_id == cache.group_id:
        raise AwsError("InvalidParameterCombination", "No modifications were requested")
    if group_id is not None:
        region.groups[group_id].attaching_serverless_names.add(cache.name)

    def change() -> None:
        if cache.group_id is not None:
            region.groups[cache.group_id].serverless_names.discard(cache.name)
        if group_id is not None:
            region.groups[group_id].attaching_serverless_names.discard(cache.name)
            region.groups[group_id].serverless_names.add(cache.name)
        cache.group_id = group_id

    _start(request, cache, change)


def _start_engine(request: Request, cache: ServerlessCache) -> None:
    engine = read_engine(request.get("Engine", cache.engine))
    major = request["MajorEngineVersion"]
    if cache.engine == "valkey" and engine == "redis":
        raise AwsError("InvalidParameterValue", "A cache can't be changed from valkey to redis.")
    if engine == cache.engine and version_key(major) <= version_key(cache.major_engine_version):
        raise AwsError("InvalidParameterValue", "Engine versions can only be raised.")
    default_major, full = DEFAULT_VERSIONS[engine]

    def change() -> None:
        cache.engine, cache.major_engine_version = engine, major
        cache.full_engine_version = full if major == default_major else f"{major}.0"

    _start(request, cache, change)


def _start(request: Request, cache: ServerlessCache, change: Callable[[], None]) -> None:
    cache.changes_in_flight += 1

    def done() -> None:
        change()
        cache.changes_in_flight -= 1

    request.later(done)


def delete_serverless_cache(request: Request) -> Output:
    """DeleteServerlessCache."""
    region = request.region
    cache = region.serverless_cache(request["ServerlessCacheName"])
    check_available(cache)
    cache.lifecycle = "deleting"
    request.later(lambda: drop_serverless_cache(region, cache))
    return {"ServerlessCache": render_serverless_cache(cache)}


def describe_serverless_caches(request: Request) -> Output:
    """DescribeServerlessCaches. A missing name is an error, not an empty list."""
    region = request.region
    size = request.get("MaxResults", 50)
    if size not in _PAGE_SIZES:
        raise AwsError("InvalidParameterValue", "Invalid value for MaxResults. It must be between 1 and 100.")
    if request.get("ServerlessCacheName") is not None:
        return {"ServerlessCaches": [render_serverless_cache(region.serverless_cache(request["ServerlessCacheName"]))]}
    caches, token = page(region.serverless_caches, request.get("NextToken"), size)
    output: Output = {"ServerlessCaches": [render_serverless_cache(cache) for cache in caches]}
    if token is not None:
        output["NextToken"] = token
    return output


def _cache_grant(action: str, request: Request, name: str) -> Grant:
    region = request.region
    cache = region.serverless_caches.get(name.lower())
    tags = resource_tags_context(cache.tags) if cache else {}
    return Grant(action, region.arn("serverlesscache", name.lower()), tags)


def _create_grants(request: Request) -> Iterable[Grant]:
    action = "elasticache:CreateServerlessCache"
    context = request_tags_context(request.tags) | {"elasticache:enginetype": (request["Engine"].lower(),)}
    arn = request.region.arn("serverlesscache", request["ServerlessCacheName"].lower())
    yield Grant(action, arn, context)
    yield from group_grants(action, request, _named_groups(request))
    if request.tags:
        yield Grant("elasticache:AddTagsToResource", arn, context)


def _modify_grants(request: Request) -> Iterable[Grant]:
    action = "elasticache:ModifyServerlessCache"
    yield _cache_grant(action, request, request["ServerlessCacheName"])
    yield from group_grants(action, request, _named_groups(request))


def _named_groups(request: Request) -> list[str]:
    return [request["UserGroupId"]] if request.get("UserGroupId") else []


OPERATIONS = (
    operation(
        "elasticache",
        "CreateServerlessCache",
        create_serverless_cache,
        _create_grants,
        required="ServerlessCacheName Engine",
        optional="Description MajorEngineVersion UserGroupId Tags",
    ),
    operation(
        "elasticache",
        "ModifyServerlessCache",
        modify_serverless_cache,
        _modify_grants,
        required="ServerlessCacheName",
        optional="Description UserGroupId RemoveUserGroup Engine MajorEngineVersion",
    ),
    operation(
        "elasticache",
        "DeleteServerlessCache",
        delete_serverless_cache,
        lambda request: [_cache_grant("elasticache:DeleteServerlessCache", request, request["ServerlessCacheName"])],
        required="ServerlessCacheName",
    ),
    operation(
        "elasticache",
        "DescribeServerlessCaches",
        describe_serverless_caches,
        lambda request: [
            _cache_grant("elasticache:DescribeServerlessCaches", request, request.get("ServerlessCacheName", "*"))
        ],
        optional="ServerlessCacheName MaxResults NextToken",
    ),
)
