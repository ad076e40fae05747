"""ElastiCache user groups: create, modify, delete, describe. One change in flight per group, all or nothing."""

from collections.abc import Iterable, Sequence

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.elasticache import MANAGED_PREFIX, Region, User, UserGroup
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    page,
    request_tags_context,
    resource_tags_context,
)
from elasticache_iam_sandbox.world.users import (
    existing_user_grants,
    occupy_groups,
    read_engine,
    read_id,
    read_page_size,
    read_tags,
)


def render_group(region: Region, group: UserGroup) -> Output:
    """Return a group as Describe tells it: UserIds is the old membership until a change is done."""
    versions = [region.users[user_id].minimum_engine_version for user_id in group.user_ids if user_id in region.users]
    output: Output = {
        "UserGroupId": group.group_id,
        "Status": group.status,
        "Engine": group.engine,
        "UserIds": list(group.user_ids),
        "MinimumEngineVersion": max([*versions, "7.2" if group.engine == "valkey" else "6.0"], key=version_key),
        "ReplicationGroups": sorted(group.cache_ids),
        "ServerlessCaches": sorted(group.serverless_names),
        "ARN": group.arn,
    }
    pending = {"UserIdsToAdd": group.adding, "UserIdsToRemove": [*group.removing, *group.departing]}
    shown = {name: list(dict.fromkeys(user_ids)) for name, user_ids in pending.items() if user_ids}
    if shown:
        output["PendingChanges"] = shown
    return output


def active_group(region: Region, group_id: str) -> UserGroup:
    """Return a group that a cache may start to use. Raises UserGroupNotFound, InvalidUserGroupState."""
    group = region.group(group_id)
    _refuse_managed(group)
    if group.status != "active":
        raise AwsError(
            "InvalidUserGroupState",
            f"User group {group.group_id} has status {group.status}. Only active user groups can be associated.",
        )
    return group


def _refuse_managed(group: UserGroup) -> None:
    if group.group_id.startswith(MANAGED_PREFIX):
        raise AwsError("InvalidParameterValue", f"User group {group.group_id} is managed by ElastiCache.")


def check_engine(region: Region, group: UserGroup, engine: str, engine_version: str) -> None:
    """Raise unless a cache of this engine and version can use the group; valkey caches take every group."""
    if engine != "redis":
        return
    if group.engine == "valkey":
        raise AwsError(
            "InvalidParameterCombination",
            f"User group {group.group_id} has engine valkey and can't be associated with a redis cache.",
        )
    needed = render_group(region, group)["MinimumEngineVersion"]
    if version_key(engine_version) < version_key(needed):
        raise AwsError(
            "InvalidParameterCombination",
            f"User group {group.group_id} requires engine version {needed}; the cache has {engine_version}.",
        )


def version_key(version: str) -> tuple[int, ...]:
    """Return what makes 7.10 greater than 7.2."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def group_grants(action: str, request: Request, group_ids: Iterable[str]) -> Iterable[Grant]:
    """Yield what an action needs on user groups that are named, whether they exist or not."""
    region = request.region
    for group_id in group_ids:
        group = region.groups.get(group_id.lower())
        yield Grant(
            action,
            region.arn("usergroup", group_id.lower()),
            resource_tags_context(group.tags) if group else {},
        )


def _check_members(request: Request, engine: str, users: Sequence[User]) -> None:
    names = [user.user_name for user in users]
    if len(names) != len(set(names)):
        raise AwsError("DuplicateUserName", "User group contains more than one user with the same user name.")
    quota = request.state.settings.users_per_group
    if len(users) > quota:
        raise AwsError("UserGroupQuotaExceeded", f"Quota of {quota} users in a user group exceeded.")
    for user in users:
        if engine == "redis" and user.engine != "redis":
            raise AwsError(
                "InvalidParameterValue", f"User {user.user_id} has engine valkey: not allowed in a redis user group."
            )
        if engine == "valkey" and user.auth_mode == "no-password":
            raise AwsError(
                "InvalidParameterValue",
                f"User {user.user_id} needs no password: not allowed in a valkey user group.",
            )
    if engine == "redis" and "default" not in names:
        raise AwsError("DefaultUserRequired", "User group needs to contain a user with the user name default.")


def _read_user_ids(request: Request, parameter: str) -> list[str]:
    value = request.get(parameter)
    if value is None:
        return []
    user_ids = [user_id.lower() for user_id in value]
    if not user_ids or len(user_ids) != len(set(user_ids)):
        raise AwsError("InvalidParameterValue", f"{parameter} must name at least one user, and each only once.")
    return user_ids


def _active_users(region: Region, user_ids: Iterable[str]) -> list[User]:
    users = [region.user(user_id) for user_id in user_ids]
    for user in users:
        if user.user_id.startswith(MANAGED_PREFIX):
            raise AwsError("InvalidParameterValue", f"User {user.user_id} is managed by ElastiCache.")
        if user.status != "active":
            raise AwsError(
                "InvalidUserState",
                f"User {user.user_id} has status {user.status}. Only active users can be added to a user group.",
            )
    return users


def create_user_group(request: Request) -> Output:
    """CreateUserGroup."""
    region, settings = request.region, request.state.settings
    group_id = read_id(request["UserGroupId"], "UserGroupId")
    engine = read_engine(request["Engine"])
    user_ids = _read_user_ids(request, "UserIds")
    tags = read_tags(request)
    if group_id in region.groups:
        raise AwsError("UserGroupAlreadyExists", f"User Group {group_id} already exists.")
    if len(region.groups) - region.built_in_groups >= settings.groups:
        raise AwsError("UserGroupQuotaExceeded", f"Quota of {settings.groups} user groups exceeded.")
    users = _active_users(region, user_ids)
    _check_members(request, engine, users)
    group = UserGroup(group_id, region.arn("usergroup", group_id), engine, "creating", tags, user_ids=user_ids)
    region.groups.add(group_id, group)
    for user in users:
        user.group_ids.add(group_id)

    def done() -> None:
        group.lifecycle = "active"

    request.later(done)
    return render_group(region, group)


def modify_user_group(request: Request) -> Output:
    """ModifyUserGroup: everything in one call, or nothing of it."""
    region = request.region
    group = region.group(request["UserGroupId"])
    _refuse_managed(group)
    adding = _read_user_ids(request, "UserIdsToAdd")
    removing = _read_user_ids(request, "UserIdsToRemove")
    engine = read_engine(request["Engine"]) if request.get("Engine") is not None else group.engine
    if not adding and not removing and engine == group.engine:
        raise AwsError("InvalidParameterCombination", "No modifications were requested")
    if set(adding) & set(removing):
        raise AwsError("InvalidParameterCombination", "A user can't be added and removed in the same request.")
    if group.status != "active":
        raise AwsError(
            "InvalidUserGroupState",
            f"User group {group.group_id} has status {group.status}. Only active user groups can be modified.",
        )
    for user_id in removing:
        if user_id not in group.user_ids:
            raise AwsError("InvalidParameterValue", f"User {user_id} is not a member of user group {group.group_id}.")
    for user_id in adding:
        if user_id in group.user_ids:
            raise AwsError(
                "InvalidParameterValue", f"User {user_id} is already a member of user group {group.group_id}."
            )
    _check_engine_change(region, group, engine)
    joining = _active_users(region, adding)
    staying = [region.users[user_id] for user_id in group.user_ids if user_id not in removing]
    _check_members(request, engine, [*staying, *joining])
    group.adding, group.removing = adding, removing
    for user in joining:
        user.joining_group_ids.add(group.group_id)
    release = occupy_groups(region, [group.group_id])

    def done() -> None:
        _apply(region, group, engine)
        release()

    request.later(done)
    return render_group(region, group)


def _check_engine_change(region: Region, group: UserGroup, engine: str) -> None:
    if engine == group.engine:
        return
    if engine == "redis":
        raise AwsError("InvalidParameterValue", "A user group's engine can't be changed from valkey to redis.")
    engines = {cache_id: region.caches[cache_id].engine for cache_id in group.cache_ids | group.attaching_cache_ids}
    serverless = group.serverless_names | group.attaching_serverless_names
    engines |= {name: region.serverless_caches[name].engine for name in serverless}
    for cache_id, cache_engine in sorted(engines.items()):
        if cache_engine == "redis":
            raise AwsError("InvalidParameterValue", f"{cache_id} has engine redis and can't use a valkey group.")


def _apply(region: Region, group: UserGroup, engine: str) -> None:
    group.engine = engine
    joined = [user_id for user_id in group.adding if user_id in region.users]
    leaving = [user_id for user_id in group.removing if user_id in group.user_ids]  # or it was deleted meanwhile
    for user_id in leaving:
        region.users[user_id].group_ids.discard(group.group_id)
    for user_id in joined:
        region.users[user_id].joining_group_ids.discard(group.group_id)
        region.users[user_id].group_ids.add(group.group_id)
    group.user_ids = [user_id for user_id in group.user_ids if user_id not in leaving] + joined
    group.adding, group.removing = [], []


def delete_user_group(request: Request) -> Output:
    """DeleteUserGroup: it must be active and attached to no cache."""
    region = request.region
    group = region.group(request["UserGroupId"])
    _refuse_managed(group)
    if group.status != "active":
        raise AwsError(
            "InvalidUserGroupState",
            f"User group {group.group_id} has status {group.status}. Only active user groups can be deleted.",
        )
    for kind, attached in (
        ("replication groups", group.cache_ids | group.attaching_cache_ids),
        ("serverless caches", group.serverless_names | group.attaching_serverless_names),
    ):
        if attached:
            raise AwsError(
                "InvalidUserGroupState",
                f"User group {group.group_id} is associated with {kind}: {', '.join(sorted(attached))}.",
            )
    group.lifecycle = "deleting"

    def done() -> None:
        for user_id in group.user_ids:
            region.users[user_id].group_ids.discard(group.group_id)
        region.groups.remove(group.group_id)

    request.later(done)
    return render_group(region, group)


def describe_user_groups(request: Request) -> Output:
    """DescribeUserGroups. A missing id is an error, not an empty list."""
    region = request.region
    size = read_page_size(request)
    if request.get("UserGroupId") is not None:
        return {"UserGroups": [render_group(region, region.group(request["UserGroupId"]))]}
    groups, marker = page(region.groups, request.get("Marker"), size)
    output: Output = {"UserGroups": [render_group(region, group) for group in groups]}
    if marker is not None:
        output["Marker"] = marker
    return output


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.region.arn("usergroup", request["UserGroupId"].lower())
    context = request_tags_context(request.tags)
    yield Grant("elasticache:CreateUserGroup", arn, context)
    yield from existing_user_grants("elasticache:CreateUserGroup", request, request.get("UserIds", []))
    if context:
        yield Grant("elasticache:AddTagsToResource", arn, context)


def _modify_grants(request: Request) -> Iterable[Grant]:
    yield from group_grants("elasticache:ModifyUserGroup", request, [request["UserGroupId"]])
    named = [*request.get("UserIdsToAdd", []), *request.get("UserIdsToRemove", [])]
    yield from existing_user_grants("elasticache:ModifyUserGroup", request, named)


OPERATIONS = (
    operation(
        "elasticache",
        "CreateUserGroup",
        create_user_group,
        _create_grants,
        required="UserGroupId Engine",
        optional="UserIds Tags",
    ),
    operation(
        "elasticache",
        "ModifyUserGroup",
        modify_user_group,
        _modify_grants,
        required="UserGroupId",
        optional="UserIdsToAdd UserIdsToRemove Engine",
    ),
    operation(
        "elasticache",
        "DeleteUserGroup",
        delete_user_group,
        lambda request: group_grants("elasticache:DeleteUserGroup", request, [request["UserGroupId"]]),
        required="UserGroupId",
    ),
    operation(
        "elasticache",
        "DescribeUserGroups",
        describe_user_groups,
        lambda request: group_grants("elasticache:DescribeUserGroups", request, [request.get("UserGroupId", "*")]),
        optional="UserGroupId MaxRecords Marker",
    ),
)
