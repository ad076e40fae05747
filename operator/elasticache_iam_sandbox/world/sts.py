"""STS: who am I, AssumeRole, AssumeRoleWithWebIdentity."""

import json
import re
import secrets
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from elasticache_iam_sandbox.world.accounts import (
    AccessKey,
    Account,
    OidcProvider,
    RoleState,
    Session,
    new_unique_id,
)
from elasticache_iam_sandbox.world.authorization import (
    caller_context,
    find_refusal,
    permissions_of,
    unique_id,
)
from elasticache_iam_sandbox.world.call import AwsError, throttled
from elasticache_iam_sandbox.world.conditions import Context
from elasticache_iam_sandbox.world.iam_roles import validation_error
from elasticache_iam_sandbox.world.policy import Effect, Policy, Statement, parse_policy
from elasticache_iam_sandbox.world.request import Output, Request, State, no_grants, operation

_ROLE_ARN = re.compile(r"arn:[a-z-]+:iam::(?P<account>\d{12}):role(?P<path>/|/.+/)(?P<name>[^/]+)")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_POLICY_LENGTH = 2048
_LONGEST_S = 43200
_CHAINED_S = 3600
_DEFAULT_S = 3600
_KEPT_AFTER_EXPIRY = timedelta(hours=1)
"""So long a dead session is still told apart from an unknown key."""


def get_caller_identity(request: Request) -> Output:
    """GetCallerIdentity: open to everybody who can sign."""
    caller = request.caller
    if caller is None:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    permissions_of(caller, request.now)
    return {"UserId": unique_id(caller), "Account": caller.account.account_id, "Arn": caller.principal_arn}


def assume_role(request: Request) -> Output:
    """AssumeRole: the caller's policies and the role's trust policy must agree."""
    caller = request.caller
    if caller is None:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    policy = _read_session_policy(request)
    if policy is not None and len(policy.text) > _POLICY_LENGTH:
        raise AwsError("PackedPolicyTooLarge", "Packed policy consumes more than 100% of the allotted space.")
    _check_session_name(request)
    account, role = _find_role(request)
    if account is None or role is None or not _may_assume(request, caller, account, role):
        raise AwsError(
            "AccessDenied",
            f"User: {caller.principal_arn} is not authorized to perform: sts:AssumeRole on resource: "
            f"{request['RoleArn']}",
            403,
        )
    chained = isinstance(caller.owner, Session)
    if chained and request.get("DurationSeconds", _DEFAULT_S) > _CHAINED_S:
        raise AwsError(
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        )
    return _open_session(request, account, role, policy)


def _may_assume(request: Request, caller: AccessKey, account: Account, role: RoleState) -> bool:
    """Return whether trust and identity agree.

    A caller that the trust policy names directly, in its own account, needs no policy of its own.
    """
    permissions, own_role = permissions_of(caller, request.now)
    context = {
        **caller_context(caller, own_role, request.region_name, request.now),
        "sts:rolesessionname": (request["RoleSessionName"],),
    }
    if request.get("ExternalId") is not None:
        context["sts:externalid"] = (request["ExternalId"],)
    named: set[tuple[str, Effect]] = set()
    for statement in role.trust.statements:
        how = _trusted_as(statement, caller, own_role, role)
        if how is not None and statement.applies("sts:assumerole", "*", context):
            named.add((how, statement.effect))
    if not named or Effect.DENY in {effect for _, effect in named}:
        return False
    refusal = find_refusal(permissions, "sts:AssumeRole", request["RoleArn"], context)
    if refusal is None:
        return True
    direct = ("direct", Effect.ALLOW) in named and caller.account is account
    return direct and refusal.policy_kind == "identity-based policy" and not refusal.explicit


def _trusted_as(statement: Statement, caller: AccessKey, own_role: RoleState | None, role: RoleState) -> str | None:
    """Return how a statement names the caller: direct, account, or None if it does not."""
    arns = {caller.principal_arn, own_role.arn if own_role else caller.principal_arn}
    own_id = unique_id(caller).partition(":")[0]
    account = caller.account
    how = None
    for kind, value in statement.principals or ():
        if kind == "AWS" and value in arns and role.trusted_ids.get(value, own_id) == own_id:
            return "direct"
        if (kind in {"AWS", "*"} and value == "*") or value in {account.account_id, account.iam_arn("root")}:
            how = "account"
    return how


def assume_role_with_web_identity(request: Request) -> Output:
    """AssumeRoleWithWebIdentity: unsigned; the identity token is all the proof there is."""
    _check_session_name(request)
    policy = _read_session_policy(request)
    if policy is not None and len(policy.text) > _POLICY_LENGTH:
        raise validation_error("policy", "must have length less than or equal to 2048")
    found = _ROLE_ARN.fullmatch(request["RoleArn"])
    if found is None:
        raise AwsError("ValidationError", "Request ARN is invalid")
    account, role = _find_role(request)
    _throttle(request, account)
    issuer = _read_unverified(request["WebIdentityToken"]).get("iss", "")
    provider = _find_provider(account, issuer)
    claims = _verify(request, provider, issuer)
    audiences = _check_claims(request, provider, claims)
    context: dict[str, tuple[str, ...] | None] = {
        f"{provider.issuer.lower()}:sub": (claims["sub"],),
        f"{provider.issuer.lower()}:aud": audiences,
        "sts:rolesessionname": (request["RoleSessionName"],),
        "aws:sourceip": None,
    }
    if account is None or role is None or not _trusts_provider(role, provider, context):
        raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
    output = _open_session(request, account, role, policy)
    output["SubjectFromWebIdentityToken"] = claims["sub"]
    output["Provider"] = provider.arn
    output["Audience"] = audiences[0]
    return output


def _throttle(request: Request, account: Account | None) -> None:
    rate = request.state.settings.web_identity_calls_per_s
    if account is not None and not account.take_call("sts:AssumeRoleWithWebIdentity", "", rate, request.now):
        raise throttled("sts")


def _read_unverified(token: str) -> dict[str, Any]:
    """Return the claims of a token nobody has verified: only to learn which issuer to ask."""
    parts = token.split(".")
    try:
        claims = json.loads(_base64url(parts[1]))
        header = json.loads(_base64url(parts[0]))
    except (IndexError, ValueError) as error:
        raise _not_a_jwt() from error
    if not isinstance(claims, dict) or not isinstance(header, dict) or header.get("alg") != "RS256":
        raise _not_a_jwt()
    return claims


def _base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _not_a_jwt() -> AwsError:
    return AwsError(
        "InvalidIdentityToken",
        "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
    )


def _find_provider(account: Account | None, issuer: str) -> OidcProvider:
    name = issuer.removeprefix("https://").rstrip("/")
    provider = account.oidc_providers.get(account.iam_arn(f"oidc-provider/{name}")) if account else None
    if provider is None or not issuer.startswith("https://"):
        raise AwsError("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")
    return provider


def _verify(request: Request, provider: OidcProvider, issuer: str) -> dict[str, Any]:
    """Return the claims, signed by one of the issuer's keys."""
    try:
        document = request.state.get_jwks(issuer)
    except LookupError as error:
        raise AwsError(
            "IDPCommunicationError", f"The identity provider {provider.issuer} could not be reached."
        ) from error
    try:
        keys = _keys(request.state, issuer, document)
        return dict(jwt.decode(request["WebIdentityToken"], keys, algorithms=["RS256"]).claims)
    except (JoseError, ValueError, KeyError) as error:
        raise AwsError(
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider, please reference "
            "AssumeRoleWithWebIdentity documentation for requirements",
        ) from error


def _keys(state: State, issuer: str, document: Mapping[str, Any]) -> KeySet:
    """Return the keys of a document, read once. Raises JoseError, ValueError, KeyError where there are none."""
    known = state.key_sets.get(issuer)
    if known is None or known[0] != document:
        known = state.key_sets[issuer] = (document, KeySet.import_key_set(_key_set(document)))
    return known[1]


def _key_set(document: Mapping[str, Any]) -> Any:
    return {"keys": list(document["keys"])}


def _check_claims(request: Request, provider: OidcProvider, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the audiences that the provider knows."""
    now = request.now.timestamp()
    expires, not_before = claims.get("exp"), claims.get("nbf", claims.get("iat"))
    if not isinstance(expires, int | float) or not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise AwsError("InvalidIdentityToken", "Missing a required claim: exp, sub")
    if expires <= now:
        raise AwsError(
            "ExpiredTokenException",
            f"Token expired: current date/time {int(now)} must be before the expiration date/time {int(expires)}",
        )
    if isinstance(not_before, int | float) and not_before > now:
        raise AwsError(
            "InvalidIdentityToken", f"Token is not valid before {int(not_before)}; current date/time is {int(now)}"
        )
    named = claims.get("aud")
    audiences = tuple(aud for aud in (named if isinstance(named, list) else [named]) if aud in provider.client_ids)
    if not audiences:
        raise AwsError("InvalidIdentityToken", "Incorrect token audience")
    return audiences


def _trusts_provider(role: RoleState, provider: OidcProvider, context: Context) -> bool:
    effects = [
        statement.effect
        for statement in role.trust.statements
        if {("Federated", provider.arn), ("*", "*")} & set(statement.principals or ())
        and statement.applies("sts:assumerolewithwebidentity", "*", context)
    ]
    return Effect.ALLOW in effects and Effect.DENY not in effects


def _find_role(request: Request) -> tuple[Account | None, RoleState | None]:
    """Return the role as STS sees it now; a new one isn't there before the propagation delay is over."""
    found = _ROLE_ARN.fullmatch(request["RoleArn"])
    account = request.state.accounts.get(found["account"]) if found else None
    role = account.roles.visible(found["name"], request.now) if found and account else None
    return account, role if role is not None and role.arn == request["RoleArn"] else None


def _check_session_name(request: Request) -> None:
    if not _SESSION_NAME.fullmatch(request["RoleSessionName"]):
        raise validation_error("roleSessionName", "must satisfy regular expression pattern: [\\w+=,.@-]{2,64}")
    seconds, least = request.get("DurationSeconds", _DEFAULT_S), request.state.settings.min_session_seconds
    if seconds < least:
        raise validation_error("durationSeconds", f"must have value greater than or equal to {least}")
    if seconds > _LONGEST_S:
        raise validation_error("durationSeconds", f"must have value less than or equal to {_LONGEST_S}")


def _read_session_policy(request: Request) -> Policy | None:
    text = request.get("Policy")
    return None if text is None else parse_policy(text)


def _open_session(request: Request, account: Account, role: RoleState, policy: Policy | None) -> Output:
    seconds = request.get("DurationSeconds", _DEFAULT_S)
    if seconds > role.max_session_s:
        raise AwsError(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    name = request["RoleSessionName"]
    now = request.now
    session = Session(
        role.name, role.role_id, name, policy, now, (now + timedelta(seconds=seconds)).replace(microsecond=0)
    )
    arn = f"arn:{account.partition}:sts::{account.account_id}:assumed-role/{role.name}/{name}"
    key = AccessKey(
        new_unique_id("ASIA"),
        b64encode(secrets.token_bytes(30)).decode(),
        # As long as AWS's, and with characters that need URL encoding.
        "IQoJb3JpZ2luX2VjE/+" + b64encode(secrets.token_bytes(520)).decode(),
        account,
        arn,
        session,
    )
    remember_session(request.state, key, session, now)
    output: Output = {
        "Credentials": {
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "SessionToken": key.session_token,
            "Expiration": session.expires_at.astimezone(UTC),
        },
        "AssumedRoleUser": {"AssumedRoleId": f"{role.role_id}:{name}", "Arn": arn},
    }
    if policy is not None:
        output["PackedPolicySize"] = max(1, 100 * len(policy.text) // _POLICY_LENGTH)
    return output


def remember_session(state: State, key: AccessKey, session: Session, now: datetime) -> None:
    """Keep a session's credentials, and forget those that have long expired."""
    state.access_keys[key.access_key_id] = key
    heappush(state.session_ends, (session.expires_at + _KEPT_AFTER_EXPIRY, key.access_key_id))
    while state.session_ends[0][0] <= now:
        state.access_keys.pop(heappop(state.session_ends)[1], None)


OPERATIONS = (
    operation("sts", "GetCallerIdentity", get_caller_identity, no_grants),
    operation(
        "sts",
        "AssumeRole",
        assume_role,
        no_grants,
        required="RoleArn RoleSessionName",
        optional="Policy DurationSeconds ExternalId",
    ),
    operation(
        "sts",
        "AssumeRoleWithWebIdentity",
        assume_role_with_web_identity,
        no_grants,
        required="RoleArn RoleSessionName WebIdentityToken",
        optional="Policy DurationSeconds",
    ),
)
