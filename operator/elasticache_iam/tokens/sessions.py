"""One STS session per user: the scarce part. In memory only, renewed early and spread, shared by all its caches."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from elasticache_iam.api.config import Signing
from elasticache_iam.core import names
from elasticache_iam.core.errors import InvalidSpecError, OperatorError
from elasticache_iam.core.mint import MintOrder
from elasticache_iam.core.policy import session_policy
from elasticache_iam.core.refresh import session_renew_at, spread_of
from elasticache_iam.core.token import Credentials
from elasticache_iam.ports import Clock, Sts, TokenKube

log = structlog.get_logger("tokens")

SERVICE_ACCOUNT_TOKEN_S = 600
"""Life of the ServiceAccount's token: the least that the API server gives; it is used once, at once."""

SHORTEST_MAX_SESSION_S = 3600
"""Every role allows at least so long. Source: IAM API reference, MaxSessionDuration."""

CHAINED_SESSION_S = 3600
"""The most for a role that is assumed with the session of another, as the operator's own credentials are one.

Source: IAM user guide, "Role chaining". A longer one is refused, not shortened.
"""


@dataclass(frozen=True, slots=True)
class _Session:
    credentials: Credentials
    basis: tuple[str, str, str, str]
    started_at: datetime
    renew_at: datetime


class Sessions:
    """Sessions by the user's uid. Not thread-safe: it belongs to the token loop."""

    def __init__(
        self,
        kube: TokenKube,
        sts: Sts,
        clock: Clock,
        *,
        audience: str,
        token_s: float,
        signing: Signing = Signing.WEB_IDENTITY,
        owner: str = "",
    ) -> None:
        self._kube = kube
        self._sts = sts
        self._clock = clock
        self._audience = audience
        self._token_s = token_s
        self._signing = signing
        self._owner = owner
        self._sessions: dict[str, _Session] = {}
        self._renewals: dict[str, asyncio.Lock] = {}

    async def get(self, order: MintOrder) -> Credentials:
        """Return credentials of the workload's role that are good now, renewing them when it is time.

        A renewal that fails is no failure while the old session lasts. Raises OperatorError.
        """
        basis = _basis(order)
        lock = self._renewals.setdefault(order.uid, asyncio.Lock())
        async with lock:
            now = self._clock.now()
            held = self._sessions.get(order.uid)
            if held is not None and held.basis == basis and now < held.renew_at:
                return held.credentials
            try:
                held = await self._renew(order, basis)
            except OperatorError as error:
                usable = (
                    held is not None
                    and held.basis == basis
                    and held.credentials.expires_at is not None
                    and held.credentials.expires_at - now > timedelta(seconds=self._token_s / 2)
                )
                if held is None or not usable:
                    raise
                log.warning(
                    "session not renewed, the old one goes on",
                    namespace=order.namespace,
                    name=order.name,
                    reason=error.reason,
                )
                return held.credentials
            if self._renewals.get(order.uid) is lock:  # else forgotten meanwhile
                self._sessions[order.uid] = held
            return held.credentials

    def forget(self, uid: str) -> None:
        """Throw a user's session away."""
        self._sessions.pop(uid, None)
        self._renewals.pop(uid, None)

    async def _renew(self, order: MintOrder, basis: tuple[str, str, str, str]) -> _Session:
        identity, duration_s = None, order.max_session_s
        if self._signing is Signing.WEB_IDENTITY:
            token = await self._kube.request_token(
                order.namespace, order.service_account, audience=self._audience, expires_s=SERVICE_ACCOUNT_TOKEN_S
            )
            identity = token.text
        else:
            duration_s = min(duration_s, CHAINED_SESSION_S)
        started_at = self._clock.now()
        try:
            credentials = await self._assume(order, identity, duration_s=duration_s, policy=basis[3])
        except InvalidSpecError as error:
            if error.code != "ValidationError" or duration_s <= SHORTEST_MAX_SESSION_S:
                raise
            # Somebody has lowered the role's MaxSessionDuration; the control plane sees that minutes later.
            duration_s = SHORTEST_MAX_SESSION_S
            credentials = await self._assume(order, identity, duration_s=duration_s, policy=basis[3])
        end = credentials.expires_at or started_at + timedelta(seconds=duration_s)
        renew_at = session_renew_at(started_at, end, spread=spread_of((order.uid,)), token_s=self._token_s)
        return _Session(credentials, basis, started_at, renew_at)

    async def _assume(self, order: MintOrder, identity: str | None, *, duration_s: int, policy: str) -> Credentials:
        """Become the workload's role by its own token or, without one, as the operator itself."""
        session_name = names.session_name(order.namespace, order.name)
        if identity is None:
            return await self._sts.assume_role(
                role_arn=order.role_arn,
                session_name=session_name,
                external_id=names.external_id(self._owner, order.namespace, order.name),
                duration_s=duration_s,
                policy=policy,
            )
        return await self._sts.assume_role_with_web_identity(
            role_arn=order.role_arn,
            session_name=session_name,
            web_identity_token=identity,
            duration_s=duration_s,
            policy=policy,
        )


def _basis(order: MintOrder) -> tuple[str, str, str, str]:
    """Return what a session depends on: if any of it changes, it is another session."""
    service = order.caches[0].service if order.caches else "elasticache"
    policy = session_policy(order.user_arn, sorted(cache.arn for cache in order.caches), service)
    return (order.role_arn, order.service_account, str(order.max_session_s), policy)
