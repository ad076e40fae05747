"""Whether a caller may: identity-based policies ∩ permissions boundary ∩ session policy; any explicit deny wins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from elasticache_iam_sandbox.world.accounts import AccessKey, Account, IamUser, RoleState, Session
from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.conditions import Context
from elasticache_iam_sandbox.world.policy import Effect, Policy, evaluate
from elasticache_iam_sandbox.world.request import Grant

_DENIED_CODES = {
    "eks": ("AccessDeniedException", 403),
    "memorydb": ("AccessDeniedException", 400),
    "resourcegroupstaggingapi": ("AccessDeniedException", 400),
}
"""The code and status of services that don't speak the query protocol."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """All that limits what a caller may do."""

    identity: Sequence[Policy] | None
    """None: everything is allowed (a test ground's administrator)."""
    boundary: Policy | None = None
    session: Policy | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What refuses: the kind of policy, and whether by an explicit deny."""

    policy_kind: str
    """identity-based policy, permissions boundary, session policy."""
    explicit: bool


def find_refusal(permissions: Permissions, action: str, resource: str, context: Context) -> Refusal | None:
    """Return what refuses an action on a resource, or None if it is allowed."""
    if permissions.identity is None:
        return None
    layers: list[tuple[str, Sequence[Policy]]] = [("identity-based policy", permissions.identity)]
    if permissions.boundary is not None:
        layers.append(("permissions boundary", (permissions.boundary,)))
    if permissions.session is not None:
        layers.append(("session policy", (permissions.session,)))
    effects = [(kind, evaluate(policies, action, resource, context)) for kind, policies in layers]
    for kind, effect in effects:
        if effect is Effect.DENY:
            return Refusal(kind, explicit=True)
    for kind, effect in effects:
        if effect is Effect.NOTHING:
            return Refusal(kind, explicit=False)
    return None


def permissions_of_role(account: Account, role: RoleState, session: Policy | None = None) -> Permissions:
    """Return the permissions of a role in a state, narrowed by a session policy."""
    return Permissions(tuple(role.inline_policies.values()), read_boundary(account, role), session)


def read_boundary(account: Account, role: RoleState) -> Policy | None:
    """Return a role's boundary; one that is gone allows nothing."""
    if role.boundary_arn is None:
        return None
    managed = account.policies.get(role.boundary_arn)
    return managed.policy if managed else Policy("", ())


def find_session_role(key: AccessKey, session: Session, now: datetime) -> RoleState | None:
    """Return the role behind a session as AWS sees it now; None if it is gone, or another of the same name."""
    role = key.account.roles.visible(session.role_name, now)
    return role if role is not None and role.role_id == session.role_id else None


def permissions_of(key: AccessKey, now: datetime) -> tuple[Permissions, RoleState | None]:
    """Return what a caller may do, and the role if it is a session. Raises for credentials that are dead."""
    if isinstance(key.owner, IamUser):
        return Permissions(None if key.owner.policy is None else (key.owner.policy,)), None
    if key.owner.expires_at <= now:
        raise AwsError("ExpiredToken", "The security token included in the request is expired", 403)
    role = find_session_role(key, key.owner, now)
    if role is None:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return permissions_of_role(key.account, role, key.owner.policy), role


def caller_context(
    key: AccessKey, role: RoleState | None, region: str, now: datetime
) -> dict[str, tuple[str, ...] | None]:
    """Return the condition keys that every signed call has."""
    context: dict[str, tuple[str, ...] | None] = {
        "aws:currenttime": (now.isoformat(),),
        "aws:epochtime": (str(int(now.timestamp())),),
        "aws:principalaccount": (key.account.account_id,),
        "aws:principalarn": (role.arn if role else key.principal_arn,),
        "aws:principaltype": ("AssumedRole" if role else "User",),
        "aws:requestedregion": (region,),
        "aws:securetransport": ("true",),
        "aws:sourceip": None,  # a call in the world has no address
        "aws:userid": (unique_id(key),),
        "aws:viaawsservice": ("false",),
        "aws:vpcsourceip": None,
    }
    if isinstance(key.owner, Session):
        context["aws:tokenissuetime"] = (key.owner.issued_at.isoformat(),)
    else:
        context["aws:username"] = (key.owner.name,)
    if role:
        context.update({f"aws:principaltag/{name.lower()}": (value,) for name, value in role.tags.items()})
    return context


def unique_id(key: AccessKey) -> str:
    """Return the caller's unique id: AIDA…, or AROA…:session."""
    if isinstance(key.owner, Session):
        return f"{key.owner.role_id}:{key.owner.session_name}"
    return key.owner.user_id


def authorize(service: str, key: AccessKey, region: str, now: datetime, grants: Iterable[Grant]) -> None:
    """Raise AccessDenied in AWS's words unless the caller may do all of it."""
    permissions, role = permissions_of(key, now)
    if permissions.identity is None:
        return
    base = caller_context(key, role, region, now)
    for grant in grants:
        refusal = find_refusal(permissions, grant.action, grant.resource, {**base, **grant.context})
        if refusal is not None:
            code, status = _DENIED_CODES.get(service, ("AccessDenied", 403))
            raise AwsError(code, describe_refusal(key.principal_arn, grant, refusal), status)


def describe_refusal(principal_arn: str, grant: Grant, refusal: Refusal) -> str:
    """Return AWS's sentence for a refusal."""
    article = "an" if refusal.policy_kind.startswith("i") else "a"
    why = (
        f"with an explicit deny in {article} {refusal.policy_kind}"
        if refusal.explicit
        else f"because no {refusal.policy_kind} allows the {grant.action} action"
    )
    where = grant.shown_as or grant.resource
    return f"User: {principal_arn} is not authorized to perform: {grant.action} on resource: {where} {why}"
