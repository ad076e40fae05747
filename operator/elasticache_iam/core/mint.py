"""What to mint for whom: the one value that the control plane hands to the token plane, and the reports back.

An order is computed from the resource alone (spec and status), so a refresh never waits for AWS and a restart needs
nothing but the watch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from elasticache_iam.api.keys import ANNOTATION_REFRESH, FINALIZER
from elasticache_iam.api.user import REFRESH_LIMIT, ChainStatus, DeliveryMode, ElastiCacheIAMUser
from elasticache_iam.core.names import role_name_of, secret_name
from elasticache_iam.core.policy import is_exact_arn
from elasticache_iam.core.status import VERIFIED, was_true


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
    """What stands for the `refresh` annotation, see `asked_refresh`: a new value is due at once."""
    secret_labels: Mapping[str, str] = field(default_factory=dict)
    secret_annotations: Mapping[str, str] = field(default_factory=dict)
    template: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    """metadata.generation that the order was computed from."""
    needs_verify: bool = True
    """Whether a login with the next token must still be seen to work."""
    role_id: str = ""
    """IAM's own id of the role: the sessions of one that was deleted are no good for another of its name."""
    chain: str = ""
    """What logins depend on in AWS, as a digest: another value has the next token tried. "": not known yet."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)


def asked_refresh(annotations: Mapping[str, str]) -> str:
    """Return what stands for the annotation `refresh`: its value, or a digest of one that no status takes."""
    value = annotations.get(ANNOTATION_REFRESH, "")
    if len(value) <= REFRESH_LIMIT:
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"


def mint_order(user: ElastiCacheIAMUser) -> MintOrder | None:
    """Return what the resource asks to mint now; None if nothing.

    The control plane lists caches in the status only once a login can be expected to work, and takes them out again
    when the user must not have tokens. A resource on hold keeps those that it has: nothing else takes its Secrets away.
    """
    spec, status, meta = user.spec, user.status, user.metadata
    if meta.is_deleting and FINALIZER not in meta.finalizers:
        return None  # while the finalizer stands the deletion may be held back; it ends minting itself
    if spec.suspend and not meta.is_on_hold:
        return None
    caches = status.caches
    if spec.delivery.mode is not DeliveryMode.SECRET:
        caches = tuple(cache for cache in caches if meta.is_on_hold and cache.secret is not None)
    if not caches or not status.id or status.role is None or not status.role.arn or not spec.service_accounts:
        return None
    if not all(is_exact_arn(arn) for arn in (status.arn, *(cache.arn for cache in caches))):
        return None  # not written by us: the next pass corrects it
    if role_name_of(status.role.arn) is None:
        return None
    secret = spec.delivery.secret
    base = secret.name or meta.name
    chain = status.chain or ChainStatus()
    return MintOrder(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        user_id=status.id,
        user_arn=status.arn,
        role_arn=status.role.arn,
        max_session_s=status.role.max_session_seconds,
        service_account=spec.service_accounts[0],
        caches=tuple(
            CacheTarget(
                alias=cache.name,
                cache_id=cache.id,
                arn=cache.arn,
                service=cache.service,
                serverless=cache.serverless,
                region=cache.region,
                host=cache.host,
                port=cache.port,
                reader_host=cache.reader_host,
                # On hold the Secret stays the one that there is, whatever the spec says by now.
                secret_name=cache.secret.name if cache.secret and meta.is_on_hold else secret_name(base, cache.name),
                secret_uid=cache.secret.uid if cache.secret is not None else "",
            )
            for cache in caches
        ),
        refresh=asked_refresh(meta.annotations),
        secret_labels=secret.labels,
        secret_annotations=secret.annotations,
        template=secret.template,
        generation=meta.generation,
        needs_verify=not (was_true(status.conditions, VERIFIED, meta.generation) and chain.proven == chain.seen),
        role_id=status.role.unique_id,
        chain=chain.seen,
    )


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
    generation: int
    result: LoginResult
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    """The life of the token that was tried."""
    chain: str = ""
    """That of the order that it was made for."""


Report = Delivered | DeliveryFailed | Verified


@dataclass(slots=True)
class TokenReports:
    """The newest reports about one user, by the cache's alias."""

    uid: str
    delivered: dict[str, Delivered] = field(default_factory=dict)
    failed: dict[str, DeliveryFailed] = field(default_factory=dict)
    verified: dict[str, Verified] = field(default_factory=dict)
    failed_login_at_s: float = float("-inf")
    """When a login was last reported to fail; monotonic."""
