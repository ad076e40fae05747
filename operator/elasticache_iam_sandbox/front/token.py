"""The verdict on an IAM auth token, one reason for each way to fail. The client only ever reads WRONGPASS.

The signature is recomputed with botocore's public SigV4 steps, so that it checks our own signer instead of agreeing
with it. Pure: time, view and settings are arguments.

Source: ElastiCache user guide, "Authenticating with IAM"; IAM user guide, "Signature Version 4 signing process".
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias
from urllib.parse import unquote

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from elasticache_iam_sandbox.world.call import CacheView, ConnectDecision, EngineUser, SigningIdentity

MAX_EXPIRES_S: Final = 900
"""AWS documents 15 minutes; what it does with a longer X-Amz-Expires is unproven, so the sandbox refuses one."""
MAX_SKEW: Final = timedelta(minutes=5)
"""How far in the future a signing time may lie. AWS's tolerance for caches is unpublished; its APIs allow 5 minutes."""


class Reason(StrEnum):
    """Why a login was refused."""

    MALFORMED = "Malformed"
    """Not `<cache>/?<query>`: a scheme, no slash, a broken escape, a parameter missing or not in its form."""
    DUPLICATE_PARAMETER = "DuplicateParameter"
    UNKNOWN_PARAMETER = "UnknownParameter"
    WRONG_ALGORITHM = "WrongAlgorithm"
    WRONG_SIGNED_HEADERS = "WrongSignedHeaders"
    UNKNOWN_ACCESS_KEY = "UnknownAccessKey"
    WRONG_SESSION_TOKEN = "WrongSessionToken"  # noqa: S105  # the name of a failure
    WRONG_SIGNATURE = "WrongSignature"
    SIGNED_IN_THE_FUTURE = "SignedInTheFuture"
    LIFE_TOO_LONG = "LifeTooLong"
    TOKEN_EXPIRED = "TokenExpired"  # noqa: S105  # the name of a failure
    SESSION_EXPIRED = "SessionExpired"
    WRONG_ACTION = "WrongAction"
    WRONG_USER = "WrongUser"
    WRONG_CACHE = "WrongCache"
    WRONG_REGION = "WrongRegion"
    WRONG_SERVICE = "WrongService"
    WRONG_RESOURCE_TYPE = "WrongResourceType"
    USER_NOT_IN_GROUP = "UserNotInGroup"
    USER_NOT_IAM = "UserNotIam"
    USER_OFF = "UserOff"
    CONNECT_DENIED = "ConnectDenied"
    INSIDE_TRANSACTION = "InsideTransaction"
    """AUTH or HELLO between MULTI and EXEC."""
    USER_NOT_READY = "UserNotReady"
    """The cache's server doesn't know the user (yet), or refused its access string."""
    WRONG_PASSWORD = "WrongPassword"  # noqa: S105  # the name of a failure
    """A password user's password is wrong, or nobody has that name."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A login that fails. `detail` is for people and never holds the token."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A login that succeeds."""

    user: EngineUser
    principal_arn: str


Verdict: TypeAlias = Admitted | Refused

_HOST: Final = re.compile(r"[A-Za-z0-9.:-]+")
_STAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")
_SCOPE: Final = re.compile(r"([A-Za-z0-9]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REQUIRED: Final = (
    "Action",
    "User",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_OPTIONAL: Final = ("ResourceType", "X-Amz-Security-Token")


def looks_like_token(password: bytes) -> bool:
    """Whether somebody meant this as a token."""
    return b"X-Amz-" in password


@dataclass(frozen=True, slots=True)
class _Presigned:
    host: str
    parameters: dict[str, str]
    access_key_id: str
    region: str
    service: str
    signed_at: datetime
    expires: timedelta


def verify_token(
    text: bytes,
    *,
    username: str,
    view: CacheView,
    now: datetime,
    token_seconds: int,
    signing_identity: Callable[[str], SigningIdentity | None],
    decide_connect: Callable[[SigningIdentity, str], ConnectDecision],
) -> Verdict:
    """Return whether a token logs `username` in to a cache; the first check that fails gives the reason.

    Args:
        text: The password of AUTH or HELLO.
        username: The user name beside it.
        view: The cache as it is now.
        now: AWS's clock, aware, in UTC.
        token_seconds: A token lives this long or X-Amz-Expires, whichever is shorter.
        signing_identity: What verifies signatures of an access key; None for an unknown one.
        decide_connect: Whether an identity may Connect as the user with that id.
    """
    presigned = _parse(text)
    if isinstance(presigned, Refused):
        return presigned
    identity = signing_identity(presigned.access_key_id)
    if identity is None:
        return Refused(Reason.UNKNOWN_ACCESS_KEY, f"no access key {presigned.access_key_id}")
    return (
        _refuse_signature(presigned, identity)
        or _refuse_time(presigned, identity, now=now, token_seconds=token_seconds)
        or _refuse_target(presigned, username=username, view=view)
        or _judge_user(identity, username=username, view=view, decide_connect=decide_connect)
    )


def _parse(text: bytes) -> _Presigned | Refused:
    """Take a token apart. Escapes are decoded strictly: a plus sign is a plus sign."""
    if not text.isascii():
        return Refused(Reason.MALFORMED, "not ASCII")
    host, slash, rest = text.decode("ascii").partition("/")
    if not slash or not rest.startswith("?") or not _HOST.fullmatch(host) or host.endswith(":"):
        return Refused(Reason.MALFORMED, "not <cache>/?<query> (without a scheme)")
    parameters: dict[str, str] = {}
    for pair in rest[1:].split("&"):
        name, equals, value = pair.partition("=")
        if not equals or _BROKEN_ESCAPE.search(pair):
            return Refused(Reason.MALFORMED, "a query parameter is not name=value")
        if name in parameters:
            return Refused(Reason.DUPLICATE_PARAMETER, f"{name} is there twice")
        if name not in _REQUIRED and name not in _OPTIONAL:
            return Refused(Reason.UNKNOWN_PARAMETER, f"{name!r:.100} is not part of a token")
        parameters[name] = unquote(value)
    missing = [name for name in _REQUIRED if not parameters.get(name)]
    if missing:
        return Refused(Reason.MALFORMED, f"without {', '.join(missing)}")
    if parameters["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        return Refused(Reason.WRONG_ALGORITHM, f"{parameters['X-Amz-Algorithm']!r:.100} is not AWS4-HMAC-SHA256")
    if parameters["X-Amz-SignedHeaders"] != "host":
        return Refused(Reason.WRONG_SIGNED_HEADERS, "host is the one signed header")
    return _parse_scope(host, parameters)


def _parse_scope(host: str, parameters: dict[str, str]) -> _Presigned | Refused:
    scope = _SCOPE.fullmatch(parameters["X-Amz-Credential"])
    stamp = parameters["X-Amz-Date"]
    if scope is None:
        return Refused(Reason.MALFORMED, "X-Amz-Credential is not <key>/<date>/<region>/<service>/aws4_request")
    if not _STAMP.fullmatch(stamp) or scope[2] != stamp[:8]:
        return Refused(Reason.MALFORMED, "X-Amz-Date is not YYYYMMDDTHHMMSSZ on the credential's date")
    if not _NUMBER.fullmatch(parameters["X-Amz-Expires"]):
        return Refused(Reason.MALFORMED, "X-Amz-Expires is not a number of seconds")
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return Refused(Reason.MALFORMED, "X-Amz-Date is no date")
    expires = timedelta(seconds=int(parameters["X-Amz-Expires"]))
    return _Presigned(
        host,
        parameters,
        access_key_id=scope[1],
        region=scope[3],
        service=scope[4],
        signed_at=signed_at,
        expires=expires,
    )


def _signature(presigned: _Presigned, identity: SigningIdentity) -> str:
    """Recompute the signature for what the token says it signed."""
    auth = SigV4QueryAuth(
        Credentials(identity.access_key_id, identity.secret_access_key), presigned.service, presigned.region
    )
    signed = {name: value for name, value in presigned.parameters.items() if name != "X-Amz-Signature"}
    # https: over http botocore would sign the body's hash all the same; there is none.
    request = AWSRequest("GET", f"https://{presigned.host}/", params=signed)
    request.context["timestamp"] = presigned.parameters["X-Amz-Date"]
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _refuse_signature(presigned: _Presigned, identity: SigningIdentity) -> Refused | None:
    token = presigned.parameters.get("X-Amz-Security-Token", "")
    if not hmac.compare_digest(token.encode(), (identity.session_token or "").encode()):
        return Refused(Reason.WRONG_SESSION_TOKEN, f"not the session token of {identity.access_key_id}")
    given = presigned.parameters["X-Amz-Signature"]
    if not hmac.compare_digest(given.encode(), _signature(presigned, identity).encode()):
        return Refused(Reason.WRONG_SIGNATURE, "the signature does not match")
    return None


def _refuse_time(
    presigned: _Presigned, identity: SigningIdentity, *, now: datetime, token_seconds: int
) -> Refused | None:
    if presigned.signed_at > now + MAX_SKEW:
        return Refused(Reason.SIGNED_IN_THE_FUTURE, f"signed at {presigned.signed_at:%FT%TZ}, it is {now:%FT%TZ}")
    if presigned.expires > timedelta(seconds=MAX_EXPIRES_S):
        return Refused(Reason.LIFE_TOO_LONG, f"X-Amz-Expires is over {MAX_EXPIRES_S}")
    ends_at = presigned.signed_at + min(presigned.expires, timedelta(seconds=token_seconds))
    if now >= ends_at:
        return Refused(Reason.TOKEN_EXPIRED, f"expired at {ends_at:%FT%TZ}, it is {now:%FT%TZ}")
    if identity.expires_at is not None and now >= identity.expires_at:
        return Refused(Reason.SESSION_EXPIRED, f"the signing session ended at {identity.expires_at:%FT%TZ}")
    return None


def _refuse_target(presigned: _Presigned, *, username: str, view: CacheView) -> Refused | None:
    parameters = presigned.parameters
    expected_type = "ServerlessCache" if view.serverless else None
    checks = (
        (Reason.WRONG_ACTION, "Action", parameters["Action"], "connect"),
        (Reason.WRONG_USER, "User", parameters["User"], username),
        (Reason.WRONG_CACHE, "the host", presigned.host, view.cache_id),
        (Reason.WRONG_REGION, "the region", presigned.region, view.region),
        (Reason.WRONG_SERVICE, "the service", presigned.service, view.service),
        (Reason.WRONG_RESOURCE_TYPE, "ResourceType", parameters.get("ResourceType"), expected_type),
    )
    for reason, what, given, expected in checks:
        if given != expected:
            return Refused(reason, f"{what} is {given!r:.100}, not {expected!r:.100}")
    return None


def _judge_user(
    identity: SigningIdentity,
    *,
    username: str,
    view: CacheView,
    decide_connect: Callable[[SigningIdentity, str], ConnectDecision],
) -> Verdict:
    user = view.users.get(username)
    if user is None:
        return Refused(Reason.USER_NOT_IN_GROUP, f"{username!r:.100} is in no group attached to {view.cache_id}")
    if user.auth_mode != "iam":
        return Refused(Reason.USER_NOT_IAM, f"{username!r:.100} logs in by {user.auth_mode}")
    if not is_on(user.access_string):
        return Refused(Reason.USER_OFF, f"the access string of {username!r:.100} is off")
    decision = decide_connect(identity, user.user_id)
    if not decision.allowed:
        return Refused(Reason.CONNECT_DENIED, decision.reason)
    return Admitted(user, identity.principal_arn)


def is_on(access_string: str) -> bool:
    """Whether an access string lets its user log in: the last `on` or `off` counts, and without one it is off."""
    switches = [rule for rule in access_string.lower().split() if rule in {"on", "off"}]
    return bool(switches) and switches[-1] == "on"
