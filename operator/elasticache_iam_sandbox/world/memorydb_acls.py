"""MemoryDB's ACLs: create, update, delete, describe. One change in flight per ACL, all or nothing."""

from collections.abc import Iterable

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.memorydb import INVALID, INVALID_COMBINATION, OPEN_ACCESS, Acl, MemoryDb
from elasticache_iam_sandbox.world.memorydb_users import (
    occupy_acls,
    paged,
    read_name,
    read_new_tags,
    user_grants,
)
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    request_tags_context,
    resource_tags_context,
)
from elasticache_iam_sandbox.world.user_groups import version_key


def render_acl(memorydb: MemoryDb, acl: Acl) -> Output:
    """Return an ACL as Describe tells it: UserNames is the old membership until a change is done."""
    output: Output = {
        "Name": acl.name,
        "Status": acl.status,
        "UserNames": list(acl.user_names),
        "MinimumEngineVersion": minimum_engine_version(memorydb, acl),
        "Clusters": sorted(acl.cluster_names),
        "ARN": acl.arn,
    }
    pending = {"UserNamesToAdd": acl.adding, "UserNamesToRemove": [*acl.removing, *acl.departing]}
    shown = {key: list(dict.fromkeys(names)) for key, names in pending.items() if names}
    if shown:
        output["PendingChanges"] = shown
    return output


def minimum_engine_version(memorydb: MemoryDb, acl: Acl) -> str:
    """Return the engine version that the most demanding member needs."""
    versions = [memorydb.users[name].minimum_engine_version for name in acl.user_names]
    return max(["6.2", *versions], key=version_key)


def _read_names(request: Request, parameter: str) -> list[str]:
    value = request.get(parameter)
    if value is None:
        return []
    names = [name.lower() for name in value]
    if not names and parameter != "UserNames":
        raise AwsError(INVALID, f"{parameter} must name at least one user.")
    if len(names) != len(set(names)):
        raise AwsError("DuplicateUserNameFault", f"{parameter} names a user twice.")
    return names


def _check_joining(request: Request, names: Iterable[str]) -> None:
    for name in names:
        user = request.memorydb.user(name)
        if user.name == "default":
            raise AwsError(INVALID, f"User default can't be in any ACL but {OPEN_ACCESS}.")
        if user.status != "active":
            raise AwsError(
                "InvalidUserStateFault",
                f"User {name} has status {user.status}. Only active users can be added to an ACL.",
            )


def _check_size(request: Request, count: int) -> None:
    quota = request.state.settings.memorydb_users_per_acl
    if count > quota:
        raise AwsError("ACLQuotaExceededFault", f"Quota of {quota} users in an ACL exceeded.")


def create_acl(request: Request) -> Output:
    """CreateACL. One without users is legal: nobody gets in."""
    memorydb, quota = request.memorydb, request.state.settings.memorydb_acls
    name = read_name(request, "ACLName")
    user_names = _read_names(request, "UserNames")
    tags = read_new_tags(request)
    if name in memorydb.acls:
        raise AwsError("ACLAlreadyExistsFault", f"ACL {name} already exists.")
    if len(memorydb.acls) - 1 >= quota:
        raise AwsError("ACLQuotaExceededFault", f"Quota of {quota} ACLs exceeded.")
    _check_joining(request, user_names)
    _check_size(request, len(user_names))
    acl = Acl(name, memorydb.arn("acl", name), "creating", tags, user_names)
    memorydb.acls.add(name, acl)
    for user_name in user_names:
        memorydb.users[user_name].acl_names.add(name)

    def done() -> None:
        acl.lifecycle = "active"

    request.later(done, memorydb.views)
    return {"ACL": render_acl(memorydb, acl)}


def update_acl(request: Request) -> Output:
    """UpdateACL: everything in one call, or nothing of it. Who leaves is cut off when the change is done."""
    memorydb = request.memorydb
    acl = memorydb.acl(request["ACLName"])
    adding, removing = _read_names(request, "UserNamesToAdd"), _read_names(request, "UserNamesToRemove")
    _refuse_open_access(acl)
    if not adding and not removing:
        raise AwsError(INVALID_COMBINATION, "No modifications were requested")
    if set(adding) & set(removing):
        raise AwsError(INVALID_COMBINATION, "A user can't be added and removed in the same request.")
    check_acl_active(acl, "modified")
    for name in removing:
        if name not in acl.user_names:
            raise AwsError(INVALID, f"User {name} is not a member of ACL {acl.name}.")
    for name in adding:
        if name in acl.user_names:
            raise AwsError(INVALID, f"User {name} is already a member of ACL {acl.name}.")
    _check_joining(request, adding)
    _check_size(request, len(acl.user_names) + len(adding) - len(removing))
    acl.adding, acl.removing = adding, removing
    release = occupy_acls(memorydb, [acl.name])

    def done() -> None:
        _apply(memorydb, acl)
        release()

    request.later(done, memorydb.views)
    return {"ACL": render_acl(memorydb, acl)}


def _apply(memorydb: MemoryDb, acl: Acl) -> None:
    joined = [name for name in acl.adding if name in memorydb.users]
    leaving = [name for name in acl.removing if name in acl.user_names]  # or the user was deleted meanwhile
    for name in leaving:
        memorydb.users[name].acl_names.discard(acl.name)
    for name in joined:
        memorydb.users[name].acl_names.add(acl.name)
    acl.user_names = [name for name in acl.user_names if name not in leaving] + joined
    acl.adding, acl.removing = [], []


def _refuse_open_access(acl: Acl) -> None:
    if acl.name == OPEN_ACCESS:
        raise AwsError(INVALID, f"ACL {OPEN_ACCESS} is managed by MemoryDB and can't be changed.")


def check_acl_active(acl: Acl, what: str) -> None:
    """Raise InvalidACLStateFault for an ACL that is busy."""
    if acl.status != "active":
        raise AwsError(
            "InvalidACLStateFault", f"ACL {acl.name} has status {acl.status}. Only active ACLs can be {what}."
        )


def delete_acl(request: Request) -> Output:
    """DeleteACL: it must be active, and no cluster may use it."""
    memorydb = request.memorydb
    acl = memorydb.acl(request["ACLName"])
    _refuse_open_access(acl)
    check_acl_active(acl, "deleted")
    used_by = acl.cluster_names | acl.joining_cluster_names
    if used_by:
        raise AwsError("InvalidACLStateFault", f"ACL {acl.name} is used by clusters: {', '.join(sorted(used_by))}.")
    acl.lifecycle = "deleting"

    def done() -> None:
        for name in acl.user_names:
            memorydb.users[name].acl_names.discard(acl.name)
        memorydb.acls.remove(acl.name)

    request.later(done, memorydb.views)
    return {"ACL": render_acl(memorydb, acl)}


def describe_acls(request: Request) -> Output:
    """DescribeACLs. A missing name is an error, not an empty list."""
    memorydb = request.memorydb
    if request.get("ACLName") is not None:
        return {"ACLs": [render_acl(memorydb, memorydb.acl(request["ACLName"]))]}
    return paged(request, "ACLs", memorydb.acls, lambda acl: render_acl(memorydb, acl))


def acl_grant(action: str, request: Request, name: str) -> Grant:
    """Return what an action needs on an ACL that is named, whether it exists or not."""
    memorydb = request.memorydb
    acl = memorydb.acls.get(name.lower())
    return Grant(action, memorydb.arn("acl", name.lower()), resource_tags_context(acl.tags) if acl else {})


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.memorydb.arn("acl", request["ACLName"].lower())
    context = request_tags_context(request.tags)
    yield Grant("memorydb:CreateACL", arn, context)
    yield from user_grants("memorydb:CreateACL", request, request.get("UserNames", []))
    if context:
        yield Grant("memorydb:TagResource", arn, context)


def _update_grants(request: Request) -> Iterable[Grant]:
    yield acl_grant("memorydb:UpdateACL", request, request["ACLName"])
    named = [*request.get("UserNamesToAdd", []), *request.get("UserNamesToRemove", [])]
    yield from user_grants("memorydb:UpdateACL", request, named)


OPERATIONS = (
    operation("memorydb", "CreateACL", create_acl, _create_grants, required="ACLName", optional="UserNames Tags"),
    operation(
        "memorydb",
        "UpdateACL",
        update_acl,
        _update_grants,
        required="ACLName",
        optional="UserNamesToAdd UserNamesToRemove",
    ),
    operation(
        "memorydb",
        "DeleteACL",
        delete_acl,
        lambda request: [acl_grant("memorydb:DeleteACL", request, request["ACLName"])],
        required="ACLName",
    ),
    operation(
        "memorydb",
        "DescribeACLs",
        describe_acls,
        lambda request: [acl_grant("memorydb:DescribeACLs", request, request.get("ACLName", "*"))],
        optional="ACLName MaxResults NextToken",
    ),
)
