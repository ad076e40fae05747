"""ElastiCache users: create, modify, delete, describe."""

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from elasticache_iam_sandbox.world.access_strings import rewrite
from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.elasticache import (
    MANAGED_PREFIX,
    Region,
    ReplicationGroup,
    ServerlessCache,
    User,
    UserGroup,
)
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    check_tags,
    operation,
    page,
    page_keys,
    request_tags_context,
    resource_tags_context,
)

_ID = re.compile(r"[a-zA-Z](-?[a-zA-Z0-9])*")
_ID_LENGTH = 40
_NAME_LENGTH = 120
_PASSWORD_LENGTHS = range(16, 129)
_PASSWORDS = 2
_PAGE_SIZES = range(20, 101)
_ENGINES = frozenset({"redis", "valkey"})
_OUTPUT_MODES = {"iam": "iam", "password": "password", "no-password-required": "no-password"}
"""What is sent as no-password-required is read back as no-password."""


def read_id(value: str, what: str, *, invalid: str = "InvalidParameterValue") -> str:
    """Return an id as it is stored: in lower case; anything else is an error with the code `invalid`."""
    if not _ID.fullmatch(value) or len(value) > _ID_LENGTH:
        raise AwsError(
            invalid,
            f"The parameter {what} is not a valid identifier. Identifiers must begin with a letter; must contain only "
            "ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.",
        )
    return value.lower()


def read_engine(value: str, *, invalid: str = "InvalidParameterValue") -> str:
    """Return an engine's name in lower case; anything else is an error with the code `invalid`."""
    engine = value.lower()
    if engine not in _ENGINES:
        raise AwsError(invalid, f"Invalid engine: {value}. The options are valkey or redis.")
    return engine


def read_page_size(request: Request) -> int:
    """Return MaxRecords. Raises InvalidParameterValue unless it is 20 to 100."""
    size: int = request.get("MaxRecords", 100)
    if size not in _PAGE_SIZES:
        raise AwsError("InvalidParameterValue", "Invalid value for MaxRecords. It must be between 20 and 100.")
    return size


def read_tags(request: Request) -> dict[str, str]:
    """Return the tags of a create call, checked."""
    check_tags(request, {}, over_quota=tag_quota_exceeded(request), invalid="InvalidParameterValue")
    return request.tags


def tag_quota_exceeded(request: Request) -> AwsError:
    """Return ElastiCache's error for too many tags."""
    quota = request.state.settings.tags_per_resource
    return AwsError("TagQuotaPerResourceExceeded", f"The request can't have more than {quota} tags per resource.")


def user_context(user: User) -> dict[str, tuple[str, ...]]:
    """Return the condition keys of an existing user."""
    mode = "no-password-required" if user.auth_mode == "no-password" else user.auth_mode
    return {**resource_tags_context(user.tags), "elasticache:userauthenticationmode": (mode,)}


def existing_user_grants(action: str, request: Request, user_ids: Iterable[str]) -> Iterable[Grant]:
    """Yield what an action needs on users that are named, whether they exist or not."""
    region = request.region
    for user_id in user_ids:
        user = region.users.get(user_id.lower())
        yield Grant(action, region.arn("user", user_id.lower()), user_context(user) if user else {})


def render_user(user: User) -> Output:
    """Return a user as Describe tells it: no tags, no passwords."""
    authentication: dict[str, Any] = {"Type": user.auth_mode}
    if user.auth_mode == "password":
        authentication["PasswordCount"] = len(user.password_sha256)
    return {
        "UserId": user.user_id,
        "UserName": user.user_name,
        "Status": user.status,
        "Engine": user.engine,
        "MinimumEngineVersion": user.minimum_engine_version,
        "AccessString": user.access_string,
        "UserGroupIds": sorted(user.group_ids),
        "Authentication": authentication,
        "ARN": user.arn,
    }


def _read_authentication(request: Request) -> tuple[str, tuple[str, ...]] | None:
    """Return the input mode and the passwords; None if the call says nothing about them."""
    mode = request.get("AuthenticationMode")
    legacy_passwords, no_password = request.get("Passwords"), request.get("NoPasswordRequired")
    if mode is not None:
        if legacy_passwords is not None or no_password is not None:
            raise AwsError(
                "InvalidParameterCombination",
                "AuthenticationMode can't be combined with Passwords or NoPasswordRequired.",
            )
        if mode.keys() - {"Type", "Passwords"}:
            raise not_implemented(f"AuthenticationMode with {', '.join(sorted(mode))}")
        kind, passwords = mode.get("Type", ""), mode.get("Passwords", [])
    elif no_password:
        kind, passwords = "no-password-required", legacy_passwords or []
    elif legacy_passwords is not None:
        kind, passwords = "password", legacy_passwords
    else:
        return None
    if kind not in _OUTPUT_MODES:
        raise AwsError("InvalidParameterValue", "Authentication type must be password, no-password-required or iam.")
    if (kind == "password") != bool(passwords):
        raise AwsError(
            "InvalidParameterCombination",
            "Passwords are required for authentication type: password, and not allowed for any other.",
        )
    return kind, digest_passwords(passwords)


def digest_passwords(passwords: Sequence[str], *, invalid: str = "InvalidParameterValue") -> tuple[str, ...]:
    """Return what is kept of passwords; too many or too short ones are an error with the code `invalid`."""
    if len(passwords) > _PASSWORDS or any(len(password) not in _PASSWORD_LENGTHS for password in passwords):
        raise AwsError(invalid, "One or two passwords of 16 to 128 characters are allowed.")
    return tuple(sha256(password.encode()).hexdigest() for password in passwords)


def _check_iam(mode: str, user_id: str, user_name: str) -> None:
    if mode == "iam" and user_id != user_name:
        raise AwsError("InvalidParameterCombination", "User Id and User name must be same for authentication type: iam")


def create_user(request: Request) -> Output:
    """CreateUser."""
    region, settings = request.region, request.state.settings
    user_id = read_id(request["UserId"], "UserId")
    user_name = request["UserName"]
    if not 0 < len(user_name) <= _NAME_LENGTH or any(char.isspace() for char in user_name):
        raise AwsError("InvalidParameterValue", "UserName must have 1 to 120 characters and no white space.")
    engine = read_engine(request["Engine"])
    authentication = _read_authentication(request)
    if authentication is None:
        raise AwsError(
            "InvalidParameterCombination",
            "No password was provided. If you want to create/update the user without password, please use the "
            "NoPasswordRequired flag.",
        )
    mode, passwords = authentication
    _check_iam(mode, user_id, user_name)
    access_string = rewrite(request["AccessString"])
    tags = read_tags(request)
    if user_id in region.users:
        raise AwsError("UserAlreadyExists", f"User {user_id} already exists.")
    if len(region.users) - region.built_in_users >= settings.users:
        raise AwsError("UserQuotaExceeded", f"Quota of {settings.users} users exceeded.")
    user = User(
        user_id,
        region.arn("user", user_id),
        user_name,
        engine,
        access_string,
        _OUTPUT_MODES[mode],
        passwords,
        "creating",
        tags,
    )
    region.users.add(user_id, user)
    request.later(user.apply)
    return render_user(user)


def modify_user(request: Request) -> Output:
    """ModifyUser. The user's groups and their caches are busy for as long as the user is."""
    region = request.region
    user = region.user(request["UserId"])
    _refuse_built_in(user)
    authentication = _read_authentication(request)
    engine = read_engine(request["Engine"]) if request.get("Engine") is not None else user.engine
    access_string = rewrite(request["AccessString"]) if request.get("AccessString") is not None else None
    if authentication is None and access_string is None and request.get("Engine") is None:
        raise AwsError("InvalidParameterCombination", "No modifications were requested")
    if authentication is not None:
        _check_iam(authentication[0], user.user_id, user.user_name)
    _check_engine_change(region, user, engine)
    if authentication is not None and authentication[0] == "no-password-required":
        _check_no_password(region, user)
    if user.status != "active":
        raise AwsError(
            "InvalidUserState",
            f"User {user.user_id} has status {user.status}. Only active users can be modified.",
        )
    if authentication is not None:
        user.auth_mode, user.password_sha256 = _OUTPUT_MODES[authentication[0]], authentication[1]
    user.access_string = access_string or user.access_string
    user.engine = engine
    user.status = "modifying"
    release = occupy_groups(region, user.group_ids)

    def done() -> None:
        user.apply()
        release()

    request.later(done)
    return render_user(user)


def occupy_groups(region: Region, group_ids: Iterable[str]) -> Callable[[], None]:
    """Make groups and the caches they are attached to busy, until the returned function is called."""
    groups = [region.groups[group_id] for group_id in group_ids]
    caches = [cache for group in groups for cache in region.attached_caches(group)]
    busy: tuple[UserGroup | ReplicationGroup | ServerlessCache, ...] = (*groups, *caches)
    for one in busy:
        one.changes_in_flight += 1

    def release() -> None:
        for one in busy:
            one.changes_in_flight -= 1

    return release


def _refuse_built_in(user: User) -> None:
    if user.user_id == "default" or user.user_id.startswith(MANAGED_PREFIX):
        raise AwsError("InvalidParameterValue", f"User {user.user_id} is managed by ElastiCache and can't be changed.")


def _check_engine_change(region: Region, user: User, engine: str) -> None:
    if engine == user.engine:
        return
    if engine == "redis":
        raise AwsError("InvalidParameterValue", "A user's engine can't be changed from valkey to redis.")
    for group_id in sorted(user.group_ids | user.joining_group_ids):
        if region.groups[group_id].engine == "redis":
            raise AwsError("InvalidParameterValue", f"User group {group_id} has engine redis: change it first.")


def _check_no_password(region: Region, user: User) -> None:
    for group_id in sorted(user.group_ids | user.joining_group_ids):
        if region.groups[group_id].engine == "valkey":
            raise AwsError(
                "InvalidParameterValue", f"User group {group_id} has engine valkey: its users need authentication."
            )


def delete_user(request: Request) -> Output:
    """DeleteUser: takes the user out of its groups, and so out of every cache."""
    region = request.region
    user = region.user(request["UserId"])
    _refuse_built_in(user)
    if user.status != "active":
        raise AwsError(
            "InvalidUserState", f"User {user.user_id} has status {user.status}. Only active users can be deleted."
        )
    if user.user_name == "default" and user.group_ids | user.joining_group_ids:
        raise AwsError(
            "DefaultUserAssociatedToUserGroup",
            "User is associated to user group(s) as a default user and can't be deleted.",
        )
    user.status = "deleting"
    leaving = [region.groups[group_id] for group_id in user.group_ids]
    for group in leaving:
        group.departing.append(user.user_id)
    release = occupy_groups(region, user.group_ids)

    def done() -> None:
        for group in leaving:
            group.departing.remove(user.user_id)
        for group_id in user.group_ids:
            region.groups[group_id].user_ids.remove(user.user_id)
        region.users.remove(user.user_id)
        release()

    request.later(done)
    return render_user(user)


def describe_users(request: Request) -> Output:
    """DescribeUsers. A missing id is an error, not an empty list."""
    region = request.region
    size = read_page_size(request)
    if request.get("UserId") is not None:
        return {"Users": [render_user(region.user(request["UserId"]))]}
    wanted = _read_filters(request)
    engine = read_engine(request["Engine"]) if request.get("Engine") is not None else None
    if wanted is None and engine is None:
        users, marker = page(region.users, request.get("Marker"), size)
    else:
        user_ids = [
            user.user_id
            for user in region.users.values()
            if (wanted is None or user.user_id in wanted) and (engine is None or user.engine == engine)
        ]
        found, marker = page_keys(user_ids, request.get("Marker"), size, invalid="InvalidParameterValue")
        users = [region.users[user_id] for user_id in found]
    output: Output = {"Users": [render_user(user) for user in users]}
    if marker is not None:
        output["Marker"] = marker
    return output


def _read_filters(request: Request) -> frozenset[str] | None:
    filters = request.get("Filters")
    if filters is None:
        return None
    wanted: frozenset[str] | None = None
    for entry in filters:
        if entry["Name"].lower() not in {"user-id", "userid"}:
            raise not_implemented(f"the DescribeUsers filter {entry['Name']}")
        values = frozenset(value.lower() for value in entry["Values"])
        wanted = values if wanted is None else wanted & values
    return wanted


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.region.arn("user", request["UserId"].lower())
    context = request_tags_context(request.tags) | _mode_context(request)
    yield Grant("elasticache:CreateUser", arn, context)
    if request.tags:
        yield Grant("elasticache:AddTagsToResource", arn, context)


def _mode_context(request: Request) -> dict[str, tuple[str, ...]]:
    mode = request.get("AuthenticationMode")
    if mode is not None:
        kind = mode.get("Type", "")
    elif request.get("NoPasswordRequired"):
        kind = "no-password-required"
    elif request.get("Passwords") is not None:
        kind = "password"
    else:
        return {}
    return {"elasticache:userauthenticationmode": (kind,)}


def _modify_grants(request: Request) -> Iterable[Grant]:
    for grant in existing_user_grants("elasticache:ModifyUser", request, [request["UserId"]]):
        yield Grant(grant.action, grant.resource, {**grant.context, **_mode_context(request)})


OPERATIONS = (
    operation(
        "elasticache",
        "CreateUser",
        create_user,
        _create_grants,
        required="UserId UserName Engine AccessString",
        optional="AuthenticationMode Passwords NoPasswordRequired Tags",
    ),
    operation(
        "elasticache",
        "ModifyUser",
        modify_user,
        _modify_grants,
        required="UserId",
        optional="AccessString AuthenticationMode Passwords NoPasswordRequired Engine",
    ),
    operation(
        "elasticache",
        "DeleteUser",
        delete_user,
        lambda request: existing_user_grants("elasticache:DeleteUser", request, [request["UserId"]]),
        required="UserId",
    ),
    operation(
        "elasticache",
        "DescribeUsers",
        describe_users,
        lambda request: existing_user_grants("elasticache:DescribeUsers", request, [request.get("UserId", "*")]),
        optional="UserId Engine Filters MaxRecords Marker",
    ),
)
