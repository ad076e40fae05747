"""MemoryDB's users: create, update, delete, describe."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from elasticache_iam_sandbox.world.access_strings import rewrite
from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.catalogue import Catalogue
from elasticache_iam_sandbox.world.memorydb import INVALID, INVALID_COMBINATION, MemoryDb, MemoryDbUser
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
from elasticache_iam_sandbox.world.users import digest_passwords, read_id

T = TypeVar("T")
_MODES = frozenset({"iam", "password"})
_PAGE_SIZES = range(1, 101)


def read_name(request: Request, parameter: str) -> str:
    """Return the name of a new object as it is stored: in lower case. Raises InvalidParameterValueException."""
    return read_id(request[parameter], parameter, invalid=INVALID)


def read_new_tags(request: Request) -> dict[str, str]:
    """Return the tags of a create call, checked."""
    check_memorydb_tags(request, {})
    return request.tags


def check_memorydb_tags(request: Request, old: dict[str, str]) -> None:
    """Raise if a resource may not have the request's tags beside those it has."""
    over_quota = AwsError("TagQuotaPerResourceExceeded", "The request exceeds the quota of tags per resource.")
    check_tags(request, old, over_quota=over_quota, invalid=INVALID)


def read_max_results(request: Request) -> int:
    """Return MaxResults. MemoryDB publishes no bounds; 1 to 100 is what the sandbox takes."""
    size: int = request.get("MaxResults", 100)
    if size not in _PAGE_SIZES:
        raise AwsError(INVALID, "Invalid value for MaxResults. It must be between 1 and 100.")
    return size


def paged(request: Request, name: str, items: Catalogue[T], render: Callable[[T], Output]) -> Output:
    """Return one page of a Describe call."""
    found, token = page(items, request.get("NextToken"), read_max_results(request), invalid=INVALID)
    output: Output = {name: [render(item) for item in found]}
    if token is not None:
        output["NextToken"] = token
    return output


def render_user(user: MemoryDbUser) -> Output:
    """Return a user as Describe tells it: no tags, no passwords."""
    authentication: Output = {"Type": user.auth_mode}
    if user.auth_mode == "password":
        authentication["PasswordCount"] = len(user.password_sha256)
    return {
        "Name": user.name,
        "Status": user.status,
        "AccessString": user.access_string,
        "ACLNames": sorted(user.acl_names),
        "MinimumEngineVersion": user.minimum_engine_version,
        "Authentication": authentication,
        "ARN": user.arn,
    }


def _read_authentication(request: Request) -> tuple[str, tuple[str, ...]] | None:
    mode = request.get("AuthenticationMode")
    if mode is None:
        return None
    kind, passwords = mode.get("Type", ""), mode.get("Passwords", [])
    if kind not in _MODES:
        raise AwsError(INVALID, "Authentication type must be password or iam.")
    if (kind == "password") != bool(passwords):
        raise AwsError(INVALID_COMBINATION, "Passwords go with authentication type password, and with no other.")
    return kind, digest_passwords(passwords, invalid=INVALID)


def create_user(request: Request) -> Output:
    """CreateUser."""
    memorydb, quota = request.memorydb, request.state.settings.memorydb_users
    name = read_name(request, "UserName")
    authentication = _read_authentication(request)
    if authentication is None:
        raise AwsError(INVALID, "AuthenticationMode is required.")
    access_string = rewrite(request["AccessString"], invalid=INVALID, channels=True)
    tags = read_new_tags(request)
    if name in memorydb.users:
        raise AwsError("UserAlreadyExistsFault", f"User {name} already exists.")
    if len(memorydb.users) - 1 >= quota:
        raise AwsError("UserQuotaExceededFault", f"Quota of {quota} users exceeded.")
    user = MemoryDbUser(name, memorydb.arn("user", name), access_string, *authentication, "creating", tags)
    memorydb.users.add(name, user)
    request.later(user.apply, memorydb.views)
    return {"User": render_user(user)}


def update_user(request: Request) -> Output:
    """UpdateUser. The user's ACLs and their clusters are busy for as long as the user is."""
    memorydb = request.memorydb
    user = memorydb.user(request["UserName"])
    _refuse_built_in(user)
    authentication = _read_authentication(request)
    written = request.get("AccessString")
    if authentication is None and written is None:
        raise AwsError(INVALID_COMBINATION, "No modifications were requested")
    access_string = user.access_string if written is None else rewrite(written, invalid=INVALID, channels=True)
    _check_active(user, "modified")
    if authentication is not None:
        user.auth_mode, user.password_sha256 = authentication
    user.access_string = access_string
    user.status = "modifying"
    release = occupy_acls(memorydb, user.acl_names)

    def done() -> None:
        user.apply()
        release()

    request.later(done, memorydb.views)
    return {"User": render_user(user)}


def _refuse_built_in(user: MemoryDbUser) -> None:
    if user.name == "default":
        raise AwsError(INVALID, "User default is managed by MemoryDB and can't be changed.")


def _check_active(user: MemoryDbUser, what: str) -> None:
    if user.status != "active":
        raise AwsError(
            "InvalidUserStateFault", f"User {user.name} has status {user.status}. Only active users can be {what}."
        )


def occupy_acls(memorydb: MemoryDb, acl_names: Iterable[str]) -> Callable[[], None]:
    """Make ACLs and the clusters that use them busy, until the returned function is called."""
    acls = [memorydb.acls[name] for name in acl_names]
    clusters = [memorydb.clusters[name] for acl in acls for name in acl.cluster_names]
    for acl in acls:
        acl.changes_in_flight += 1
    for cluster in clusters:
        cluster.changes_in_flight += 1

    def release() -> None:
        for acl in acls:
            acl.changes_in_flight -= 1
        for cluster in clusters:
            cluster.changes_in_flight -= 1

    return release


def delete_user(request: Request) -> Output:
    """DeleteUser: takes the user out of its ACLs, and so out of every cluster."""
    memorydb = request.memorydb
    user = memorydb.user(request["UserName"])
    _refuse_built_in(user)
    _check_active(user, "deleted")
    user.status = "deleting"
    leaving = [memorydb.acls[name] for name in user.acl_names]
    for acl in leaving:
        acl.departing.append(user.name)
    release = occupy_acls(memorydb, user.acl_names)

    def done() -> None:
        for acl in leaving:
            acl.departing.remove(user.name)
        for name in user.acl_names:
            memorydb.acls[name].user_names.remove(user.name)
        memorydb.users.remove(user.name)
        release()

    request.later(done, memorydb.views)
    return {"User": render_user(user)}


def describe_users(request: Request) -> Output:
    """DescribeUsers. A missing name is an error, not an empty list."""
    memorydb = request.memorydb
    if request.get("UserName") is not None:
        return {"Users": [render_user(memorydb.user(request["UserName"]))]}
    wanted = _read_filters(request)
    if wanted is None:
        return paged(request, "Users", memorydb.users, render_user)
    names = [name for name in memorydb.users if name in wanted]
    found, token = page_keys(names, request.get("NextToken"), read_max_results(request), invalid=INVALID)
    output: Output = {"Users": [render_user(memorydb.users[name]) for name in found]}
    if token is not None:
        output["NextToken"] = token
    return output


def _read_filters(request: Request) -> frozenset[str] | None:
    wanted: frozenset[str] | None = None
    for entry in request.get("Filters", []):
        if entry["Name"].lower() not in {"user-name", "username"}:
            raise not_implemented(f"the DescribeUsers filter {entry['Name']}")
        values = frozenset(value.lower() for value in entry["Values"])
        wanted = values if wanted is None else wanted & values
    return wanted


def user_grants(action: str, request: Request, names: Iterable[str]) -> Iterable[Grant]:
    """Yield what an action needs on users that are named, whether they exist or not."""
    memorydb = request.memorydb
    for name in names:
        user = memorydb.users.get(name.lower())
        yield Grant(action, memorydb.arn("user", name.lower()), user_context(user) if user else {})


def user_context(user: MemoryDbUser) -> dict[str, tuple[str, ...]]:
    """Return the condition keys of an existing user."""
    return {**resource_tags_context(user.tags), "memorydb:userauthenticationmode": (user.auth_mode,)}


def _mode_context(request: Request) -> dict[str, tuple[str, ...]]:
    mode = request.get("AuthenticationMode")
    return {} if mode is None else {"memorydb:userauthenticationmode": (mode.get("Type", ""),)}


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.memorydb.arn("user", request["UserName"].lower())
    context = request_tags_context(request.tags) | _mode_context(request)
    yield Grant("memorydb:CreateUser", arn, context)
    if request.tags:
        yield Grant("memorydb:TagResource", arn, context)


def _update_grants(request: Request) -> Iterable[Grant]:
    for grant in user_grants("memorydb:UpdateUser", request, [request["UserName"]]):
        yield Grant(grant.action, grant.resource, {**grant.context, **_mode_context(request)})


OPERATIONS = (
    operation(
        "memorydb",
        "CreateUser",
        create_user,
        _create_grants,
        required="UserName AuthenticationMode AccessString",
        optional="Tags",
    ),
    operation(
        "memorydb",
        "UpdateUser",
        update_user,
        _update_grants,
        required="UserName",
        optional="AuthenticationMode AccessString",
    ),
    operation(
        "memorydb",
        "DeleteUser",
        delete_user,
        lambda request: user_grants("memorydb:DeleteUser", request, [request["UserName"]]),
        required="UserName",
    ),
    operation(
        "memorydb",
        "DescribeUsers",
        describe_users,
        lambda request: user_grants("memorydb:DescribeUsers", request, [request.get("UserName", "*")]),
        optional="UserName Filters MaxResults NextToken",
    ),
)
