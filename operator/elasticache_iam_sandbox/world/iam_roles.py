"""IAM roles: trust, inline policies, tags, permissions boundaries; GetAccountAuthorizationDetails."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from elasticache_iam_sandbox.world.accounts import Account, ManagedPolicy, RoleState, new_unique_id
from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.policy import Policy, malformed, parse_policy, parse_trust_policy
from elasticache_iam_sandbox.world.request import (
    Grant,
    Operation,
    Output,
    Request,
    check_tags,
    operation,
    page,
    page_keys,
    request_tags_context,
    resource_tags_context,
    tag_list,
)

_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_PATH = re.compile(r"/|/[\x21-\x7e]{1,510}/")
_PRINCIPAL = re.compile(r"arn:[^:]+:(iam|sts)::(?P<account>\d{12}):(?P<resource>.+)")
_DESCRIPTION_LENGTH = 1000
_SESSION_SECONDS = range(3600, 43201)
_TRUST_LENGTH = 2048
_INLINE_LENGTH = 10240
_PAGE_SIZES = range(1, 1001)


@lru_cache(maxsize=8192)
def encode_document(text: str) -> str:
    """Return a policy document as IAM answers it: URL-encoded. botocore decodes it."""
    return quote(text, safe="")


def validation_error(name: str, rule: str) -> AwsError:
    """Return the error of the query services for a parameter outside its model."""
    return AwsError(
        "ValidationError", f"1 validation error detected: Value at '{name}' failed to satisfy constraint: Member {rule}"
    )


def quota_exceeded(name: str, quota: int) -> AwsError:
    """Return IAM's error for a quota, which is no throttle."""
    return AwsError("LimitExceeded", f"Cannot exceed quota for {name}: {quota}", 409)


def read_role_name(request: Request) -> str:
    """Return RoleName. Raises ValidationError for what can't be one: AWS looks at that before any right."""
    name: str = request["RoleName"]
    if not _ROLE_NAME.fullmatch(name):
        raise validation_error("roleName", "must satisfy regular expression pattern: [\\w+=,.@-]+, 1 to 64 characters")
    return name


def find_role(request: Request) -> RoleState:
    """Return the role that RoleName names. Raises NoSuchEntity."""
    name = read_role_name(request)
    role = request.account.roles.find(name)
    if role is None:
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
    return role


def read_max_items(request: Request) -> int:
    """Return MaxItems. Raises ValidationError unless it is 1 to 1000."""
    size: int = request.get("MaxItems", 100)
    if size not in _PAGE_SIZES:
        raise validation_error("maxItems", "must be between 1 and 1000")
    return size


def render_listed_role(request: Request, role: RoleState) -> Output:
    """Return a role as ListRoles tells it: no tags, no boundary."""
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": _render_trust(request, role),
        "Description": role.description,
        "MaxSessionDuration": role.max_session_s,
    }


def render_role(request: Request, role: RoleState) -> Output:
    """Return a role as GetRole tells it."""
    return render_listed_role(request, role) | _render_extras(role)


def _render_extras(role: RoleState) -> Output:
    extras: Output = {}
    if role.boundary_arn is not None:
        extras["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
            "PermissionsBoundaryArn": role.boundary_arn,
        }
    if role.tags:
        extras["Tags"] = tag_list(role.tags)
    return extras


def _render_trust(request: Request, role: RoleState) -> str:
    """Return the trust policy, URL-encoded; a principal that was deleted since shows as its unique id."""
    text = role.trust.text
    for arn, unique_id in role.trusted_ids.items():
        if find_unique_id(request.state.accounts, arn) != unique_id:
            text = text.replace(json.dumps(arn), json.dumps(unique_id))
    return encode_document(text)


def find_unique_id(accounts: dict[str, Account], arn: str) -> str | None:
    """Return the unique id of a role or user, or None if there is none (any more)."""
    found = _PRINCIPAL.fullmatch(arn)
    account = accounts.get(found["account"]) if found else None
    if found is None or account is None:
        return None
    kind, _, path_and_name = found["resource"].partition("/")
    name = path_and_name.rpartition("/")[2]
    if kind == "role":
        role = account.roles.find(name)
        return role.role_id if role is not None and role.arn == arn else None
    if kind == "user":
        user = account.users.get(name)
        return user.user_id if user is not None else None
    return None


def _read_trust(request: Request, text: str) -> tuple[Policy, dict[str, str]]:
    trust = parse_trust_policy(text)
    if len(re.sub(r"\s", "", text)) > _TRUST_LENGTH:
        raise quota_exceeded("ACLSizePerRole", _TRUST_LENGTH)
    trusted_ids: dict[str, str] = {}
    for statement in trust.statements:
        for kind, value in statement.principals or ():
            if kind == "AWS" and value.startswith("arn:") and value.split(":", 5)[5:] not in (["root"], []):
                unique_id = find_unique_id(request.state.accounts, value)
                if unique_id is None:
                    raise malformed(f'Invalid principal in policy: "AWS":"{value}"')
                trusted_ids[value] = unique_id
            elif kind == "Federated" and ":oidc-provider/" not in value:
                raise not_implemented(f"the federated principal {value}")
            elif kind == "AWS" and value != "*" and not re.fullmatch(r"\d{12}|arn:[^:]+:iam::\d{12}:root", value):
                raise malformed(f'Invalid principal in policy: "AWS":"{value}"')
    return trust, trusted_ids


def _find_boundary(request: Request, arn: str) -> ManagedPolicy:
    if arn.split(":")[4:5] == ["aws"]:
        raise not_implemented(f"AWS managed policies ({arn})")
    found = request.account.policies.get(arn)
    if found is None:
        raise AwsError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", 404)
    return found


def _check_role_tags(request: Request, old: Mapping[str, str]) -> None:
    quota = quota_exceeded("TagsPerRole", request.state.settings.tags_per_resource)
    check_tags(request, old, over_quota=quota, invalid="InvalidInput")


def create_role(request: Request) -> Output:
    """CreateRole."""
    account = request.account
    name, path = read_role_name(request), request.get("Path", "/")
    if not _PATH.fullmatch(path):
        raise validation_error("path", "must begin and end with /")
    if len(request.get("Description", "")) > _DESCRIPTION_LENGTH:
        raise validation_error("description", "must have length less than or equal to 1000")
    trust, trusted_ids = _read_trust(request, request["AssumeRolePolicyDocument"])
    _check_role_tags(request, {})
    boundary_arn = request.get("PermissionsBoundary")
    if boundary_arn is not None:
        _find_boundary(request, boundary_arn)
    if account.roles.find(name) is not None:
        raise AwsError("EntityAlreadyExists", f"Role with name {name} already exists.", 409)
    quota = request.state.settings.roles
    if len(account.roles.by_name) >= quota:
        raise quota_exceeded("RolesPerAccount", quota)
    role = RoleState(
        name=name,
        role_id=new_unique_id("AROA"),
        arn=account.iam_arn(f"role{path}{name}"),
        path=path,
        created_at=request.now.replace(microsecond=0),
        description=request.get("Description", ""),
        max_session_s=_read_max_session(request, 3600),
        trust=trust,
        trusted_ids=trusted_ids,
        boundary_arn=boundary_arn,
        tags=request.tags,
    )
    account.roles.put(role, request.visible_at)
    return {"Role": render_role(request, role)}


def _read_max_session(request: Request, default: int) -> int:
    seconds: int = request.get("MaxSessionDuration", default)
    if seconds not in _SESSION_SECONDS:
        raise validation_error("maxSessionDuration", "must be between 3600 and 43200")
    return seconds


def get_role(request: Request) -> Output:
    """GetRole."""
    return {"Role": render_role(request, find_role(request))}


def delete_role(request: Request) -> Output:
    """DeleteRole: its inline policies must be gone first."""
    role = find_role(request)
    if role.inline_policies:
        raise AwsError("DeleteConflict", "Cannot delete entity, must delete policies first.", 409)
    request.account.roles.remove(role, request.visible_at)
    return {}


def update_role(request: Request) -> Output:
    """UpdateRole: description and session length; nothing else can change."""
    role = find_role(request)
    request.account.roles.change(
        role,
        request.visible_at,
        description=request.get("Description", role.description),
        max_session_s=_read_max_session(request, role.max_session_s),
    )
    return {}


def update_assume_role_policy(request: Request) -> Output:
    """UpdateAssumeRolePolicy."""
    role = find_role(request)
    trust, trusted_ids = _read_trust(request, request["PolicyDocument"])
    request.account.roles.change(role, request.visible_at, trust=trust, trusted_ids=trusted_ids)
    return {}


def list_roles(request: Request) -> Output:
    """ListRoles."""
    size, prefix = read_max_items(request), request.get("PathPrefix", "/")
    roles = request.account.roles.by_name
    if prefix == "/":
        found, marker = page(roles, request.get("Marker"), size, invalid="ValidationError")
    else:
        names = [role.name for role in roles.values() if role.path.startswith(prefix)]
        keys, marker = page_keys(names, request.get("Marker"), size, invalid="ValidationError")
        found = [roles[key] for key in keys]
    return _truncated({"Roles": [render_listed_role(request, role) for role in found]}, marker)


def _truncated(output: Output, marker: str | None) -> Output:
    output["IsTruncated"] = marker is not None
    if marker is not None:
        output["Marker"] = marker
    return output


def put_role_policy(request: Request) -> Output:
    """PutRolePolicy: creates or replaces an inline policy."""
    role = find_role(request)
    name = request["PolicyName"]
    if not _POLICY_NAME.fullmatch(name):
        raise validation_error("policyName", "must satisfy regular expression pattern: [\\w+=,.@-]+")
    policies = {**role.inline_policies, name: parse_policy(request["PolicyDocument"])}
    if sum(len(re.sub(r"\s", "", policy.text)) for policy in policies.values()) > _INLINE_LENGTH:
        raise AwsError(
            "LimitExceeded", f"Maximum policy size of {_INLINE_LENGTH} bytes exceeded for role {role.name}", 409
        )
    request.account.roles.change(role, request.visible_at, inline_policies=policies)
    return {}


def _find_inline_policy(request: Request, role: RoleState) -> Policy:
    found = role.inline_policies.get(request["PolicyName"])
    if found is None:
        raise AwsError("NoSuchEntity", f"The role policy with name {request['PolicyName']} cannot be found.", 404)
    return found


def get_role_policy(request: Request) -> Output:
    """GetRolePolicy."""
    role = find_role(request)
    policy = _find_inline_policy(request, role)
    return {
        "RoleName": role.name,
        "PolicyName": request["PolicyName"],
        "PolicyDocument": encode_document(policy.text),
    }


def delete_role_policy(request: Request) -> Output:
    """DeleteRolePolicy."""
    role = find_role(request)
    _find_inline_policy(request, role)
    rest = {name: policy for name, policy in role.inline_policies.items() if name != request["PolicyName"]}
    request.account.roles.change(role, request.visible_at, inline_policies=rest)
    return {}


def list_role_policies(request: Request) -> Output:
    """ListRolePolicies."""
    names = sorted(find_role(request).inline_policies)
    keys, marker = page_keys(names, request.get("Marker"), read_max_items(request), invalid="ValidationError")
    return _truncated({"PolicyNames": keys}, marker)


def list_attached_role_policies(request: Request) -> Output:
    """ListAttachedRolePolicies: always empty, because nothing can attach one."""
    find_role(request)
    return {"AttachedPolicies": [], "IsTruncated": False}


def list_instance_profiles_for_role(request: Request) -> Output:
    """ListInstanceProfilesForRole: always empty, because nothing can make one."""
    find_role(request)
    return {"InstanceProfiles": [], "IsTruncated": False}


def tag_role(request: Request) -> Output:
    """TagRole."""
    role = find_role(request)
    _check_role_tags(request, role.tags)
    request.account.roles.change(role, request.visible_at, tags={**role.tags, **request.tags})
    return {}


def untag_role(request: Request) -> Output:
    """UntagRole; a tag that is not there is no error."""
    role = find_role(request)
    rest = {key: value for key, value in role.tags.items() if key not in request["TagKeys"]}
    request.account.roles.change(role, request.visible_at, tags=rest)
    return {}


def list_role_tags(request: Request) -> Output:
    """ListRoleTags."""
    role = find_role(request)
    keys, marker = page_keys(
        sorted(role.tags), request.get("Marker"), read_max_items(request), invalid="ValidationError"
    )
    return _truncated({"Tags": tag_list({key: role.tags[key] for key in keys})}, marker)


def put_role_permissions_boundary(request: Request) -> Output:
    """PutRolePermissionsBoundary."""
    role = find_role(request)
    boundary = _find_boundary(request, request["PermissionsBoundary"])
    request.account.roles.change(role, request.visible_at, boundary_arn=boundary.arn)
    return {}


def delete_role_permissions_boundary(request: Request) -> Output:
    """DeleteRolePermissionsBoundary."""
    role = find_role(request)
    if role.boundary_arn is None:
        raise AwsError("NoSuchEntity", f"Role {role.name} has no permissions boundary.", 404)
    request.account.roles.change(role, request.visible_at, boundary_arn=None)
    return {}


def get_account_authorization_details(request: Request) -> Output:
    """GetAccountAuthorizationDetails: users, roles with inline policies and boundaries, local policies, in pages."""
    account, size = request.account, read_max_items(request)
    wanted = set(request.get("Filter", ["User", "Role", "LocalManagedPolicy"]))
    unknown = wanted - {"User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"}
    if unknown:
        raise validation_error("filter", "must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, ...]")
    keys = [f"policy {arn}" for arn in account.policies] if "LocalManagedPolicy" in wanted else []
    keys += [f"role {name}" for name in account.roles.by_name] if "Role" in wanted else []
    keys += [f"user {name}" for name in account.users] if "User" in wanted else []
    found, marker = page_keys(keys, request.get("Marker"), size, invalid="ValidationError")
    output: Output = {"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": []}
    for key in found:
        kind, _, name = key.partition(" ")
        if kind == "role":
            output["RoleDetailList"].append(_render_role_detail(request, account.roles.by_name[name]))
        elif kind == "policy":
            output["Policies"].append(_render_policy_detail(account.policies[name]))
        else:
            output["UserDetailList"].append(_render_user_detail(account, name))
    return _truncated(output, marker)


def _render_role_detail(request: Request, role: RoleState) -> Output:
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": _render_trust(request, role),
        "InstanceProfileList": [],
        "RolePolicyList": [
            {"PolicyName": name, "PolicyDocument": encode_document(policy.text)}
            for name, policy in role.inline_policies.items()
        ],
        "AttachedManagedPolicies": [],
        "Tags": [],
    } | _render_extras(role)


def _render_user_detail(account: Account, name: str) -> Output:
    user = account.users[name]
    inline = (
        [] if user.policy is None else [{"PolicyName": "inline", "PolicyDocument": encode_document(user.policy.text)}]
    )
    return {
        "Path": "/",
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": user.created_at,
        "UserPolicyList": inline,
        "GroupList": [],
        "AttachedManagedPolicies": [],
        "Tags": [],
    }


def _render_policy_detail(managed: ManagedPolicy) -> Output:
    return {
        "PolicyName": managed.name,
        "PolicyId": managed.policy_id,
        "Arn": managed.arn,
        "Path": managed.path,
        "DefaultVersionId": "v1",
        "IsAttachable": True,
        "Description": managed.description,
        "CreateDate": managed.created_at,
        "UpdateDate": managed.created_at,
        "PolicyVersionList": [
            {
                "Document": encode_document(managed.policy.text),
                "VersionId": "v1",
                "IsDefaultVersion": True,
                "CreateDate": managed.created_at,
            }
        ],
    }


def role_grant(action: str, request: Request, context: dict[str, tuple[str, ...]] | None = None) -> Grant:
    """Return what an action needs on the role that RoleName names.

    The path is known only of a role that exists: for another one the ARN has none, so a policy fenced by path answers
    AccessDenied, where one would expect NoSuchEntity.
    """
    account, name = request.account, read_role_name(request)
    role = account.roles.find(name)
    arn = role.arn if role else account.iam_arn(f"role/{name}")
    tags = _role_tags_context(role) if role else {}
    return Grant(action, arn, {**tags, **(context or {})}, shown_as=f"role {name}")


def _role_tags_context(role: RoleState) -> dict[str, tuple[str, ...]]:
    context = resource_tags_context(role.tags)
    context.update({f"iam:resourcetag/{key.lower()}": (value,) for key, value in role.tags.items()})
    return context


def _boundary_grants(action: str, request: Request) -> Iterable[Grant]:
    """Yield the grant of an action that knows iam:PermissionsBoundary: the one asked for, else the role's own."""
    role = request.account.roles.find(read_role_name(request))
    arn = request.get("PermissionsBoundary", role.boundary_arn if role else None)
    yield role_grant(action, request, {"iam:permissionsboundary": (arn,)} if arn else {})


def _create_grants(request: Request) -> Iterable[Grant]:
    arn = request.account.iam_arn(f"role{request.get('Path', '/')}{read_role_name(request)}")
    context: dict[str, tuple[str, ...]] = request_tags_context(request.tags)
    if request.get("PermissionsBoundary") is not None:
        context["iam:permissionsboundary"] = (request["PermissionsBoundary"],)
    yield Grant("iam:CreateRole", arn, context)
    if request.tags:
        yield Grant("iam:TagRole", arn, context)


def _role_operation(
    name: str, act: Any, *, required: str = "", optional: str = "", boundary: bool = False
) -> Operation:
    action = f"iam:{name}"
    if boundary:
        return operation(
            "iam",
            name,
            act,
            lambda request: _boundary_grants(action, request),
            required=f"RoleName {required}",
            optional=optional,
        )
    return operation(
        "iam",
        name,
        act,
        lambda request: [role_grant(action, request)],
        required=f"RoleName {required}",
        optional=optional,
    )


OPERATIONS = (
    operation(
        "iam",
        "CreateRole",
        create_role,
        _create_grants,
        required="RoleName AssumeRolePolicyDocument",
        optional="Path Description MaxSessionDuration PermissionsBoundary Tags",
    ),
    _role_operation("GetRole", get_role),
    _role_operation("DeleteRole", delete_role),
    _role_operation("UpdateRole", update_role, optional="Description MaxSessionDuration"),
    _role_operation("UpdateAssumeRolePolicy", update_assume_role_policy, required="PolicyDocument"),
    operation(
        "iam",
        "ListRoles",
        list_roles,
        lambda request: [
            Grant("iam:ListRoles", "*", shown_as=request.account.iam_arn(f"role{request.get('PathPrefix', '/')}"))
        ],
        optional="PathPrefix Marker MaxItems",
    ),
    _role_operation("PutRolePolicy", put_role_policy, required="PolicyName PolicyDocument", boundary=True),
    _role_operation("GetRolePolicy", get_role_policy, required="PolicyName"),
    _role_operation("DeleteRolePolicy", delete_role_policy, required="PolicyName", boundary=True),
    _role_operation("ListRolePolicies", list_role_policies, optional="Marker MaxItems"),
    _role_operation("ListAttachedRolePolicies", list_attached_role_policies, optional="PathPrefix Marker MaxItems"),
    _role_operation("ListInstanceProfilesForRole", list_instance_profiles_for_role, optional="Marker MaxItems"),
    operation(
        "iam",
        "TagRole",
        tag_role,
        lambda request: [role_grant("iam:TagRole", request, request_tags_context(request.tags))],
        required="RoleName Tags",
    ),
    operation(
        "iam",
        "UntagRole",
        untag_role,
        lambda request: [role_grant("iam:UntagRole", request, {"aws:tagkeys": tuple(request["TagKeys"])})],
        required="RoleName TagKeys",
    ),
    _role_operation("ListRoleTags", list_role_tags, optional="Marker MaxItems"),
    _role_operation(
        "PutRolePermissionsBoundary", put_role_permissions_boundary, required="PermissionsBoundary", boundary=True
    ),
    _role_operation("DeleteRolePermissionsBoundary", delete_role_permissions_boundary, boundary=True),
    operation(
        "iam",
        "GetAccountAuthorizationDetails",
        get_account_authorization_details,
        lambda _: [Grant("iam:GetAccountAuthorizationDetails", "*")],
        optional="Filter Marker MaxItems",
    ),
)
