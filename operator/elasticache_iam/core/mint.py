"""What to mint for whom: the one value that the control plane hands to the token plane.

It is computed from the resource alone (spec and status), so a refresh never waits for AWS and a restart needs
nothing but the watch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class CacheTarget:
    """One cache: one token, one Secret. `alias` is its name in the group, `secret_uid` is "" before first delivery."""

    alias: str
    cache_id: str
    arn: str
    service: str
    serverless: bool
    region: str
    host: str
    port: int
    reader_host: str
    secret_name: str
    secret_uid: str


@dataclass(frozen=True, slots=True)
class MintOrder:
    """All that minting and delivering for one user takes."""

    namespace: str
    name: str
    uid: str
    user_id: str
    user_arn: str
    role_arn: str
    max_session_s: int
    service_account: str
    caches: tuple[CacheTarget, ...]
    refresh: str
    """The `refresh` annotation: a new value is due at once."""
    secret_labels: Mapping[str, str] = field(default_factory=dict)
    secret_annotations: Mapping[str, str] = field(default_factory=dict)
    template: Mapping[str, str] = field(default_factory=dict)
    verify_epoch: str = ""
    """Changes with whatever a login depends on: a new value asks for a new login."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)


class LoginOutcome(StrEnum):
    """What a try to log in to a cache showed."""

    LOGGED_IN = "LoggedIn"
    REFUSED = "Refused"
    UNREACHABLE = "Unreachable"
    TLS_FAILED = "TLSFailed"


@dataclass(frozen=True, slots=True)
class LoginResult:
    """An outcome with one line for people; never holds the token."""

    outcome: LoginOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The token plane's report: a Secret holds a token of this life. Sent on the first and on a changed delivery."""

    key: tuple[str, str]
    uid: str
    alias: str
    secret_uid: str
    expires_at: datetime
    refresh: str


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """The token plane's report: no new token; sent once per distinct failure."""

    key: tuple[str, str]
    uid: str
    alias: str
    stage: str
    """Which stage broke: AccessGranted (credentials), TokenDelivered (the Secret)."""
    reason: str
    message: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """The token plane's report: what logging in showed."""

    key: tuple[str, str]
    uid: str
    alias: str
    result: LoginResult
    verify_epoch: str


Report = Delivered | DeliveryFailed | Verified
