"""What goes into the world and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

CacheKind: TypeAlias = Literal["replicationgroup", "serverlesscache", "cluster"]
"""As in the cache's ARN; `cluster` is MemoryDB's. Caches of two kinds may have the same id."""


@dataclass(frozen=True, slots=True)
class Call:
    """One API call, parsed, its signature already verified by whoever carries it.

    Attributes:
        service: botocore's name: elasticache, memorydb, iam, sts, resourcegroupstaggingapi, eks.
        operation: As in the API model: CreateUser.
        parameters: As boto3 takes them (the model's input shape: str, int, list, dict, datetime).
        region: Of the signature's scope; for unsigned calls the endpoint's.
        access_key_id: Of the verified signature; None for calls that are not signed (AssumeRoleWithWebIdentity).
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    region: str
    access_key_id: str | None


class AwsError(Exception):
    """An error as AWS answers it: the wire code (UserNotFound, not UserNotFoundFault), a message, the HTTP status."""

    def __init__(self, code: str, message: str, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """What it takes to verify a signature made with one access key, and who that is."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    expires_at: datetime | None
    account_id: str
    principal_arn: str
    """arn:aws:iam::…:user/…, or arn:aws:sts::…:assumed-role/ROLE/SESSION."""


@dataclass(frozen=True, slots=True)
class EngineUser:
    """A user that a cache's server must know, because it is in the group attached to the cache.

    A cache without a group has one: `default` with full access and no password (or the AUTH token).
    """

    user_id: str
    user_name: str
    access_string: str
    auth_mode: str
    """iam, password or no-password."""
    password_sha256: tuple[str, ...] = ()
    """Lower-case hex; only for auth_mode password."""


@dataclass(frozen=True, slots=True)
class CacheView:
    """What a cache's front needs to know now. Frozen: compare two to see whether anything changed."""

    account_id: str
    region: str
    service: str
    """elasticache or memorydb: the service that tokens are signed for."""
    cache_id: str
    arn: str
    serverless: bool
    status: str
    users: Mapping[str, EngineUser]
    """By engine user name."""


@dataclass(frozen=True, slots=True)
class ConnectDecision:
    """Whether a principal may connect. `reason` is for the test ground alone; the client reads WRONGPASS."""

    allowed: bool
    reason: str


def throttled(service: str) -> AwsError:
    """Return the error for too many calls; EKS alone has HTTP's own status for it."""
    return AwsError("Throttling", "Rate exceeded", 429 if service == "eks" else 400)


def not_implemented(what: str) -> AwsError:
    """Return the error for anything the sandbox does not know: it is never ignored, so that no test passes by luck."""
    return AwsError("NotImplementedInSandbox", f"The sandbox does not implement {what}.", 501)
