"""One STS session per user: the scarce part. In memory only, renewed early and spread, shared by all its caches.

When a session is fetched is `renewals`' business, how it is here.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from elasticache_iam.api.config import Signing
from elasticache_iam.core import names
from elasticache_iam.core.errors import InvalidSpecError, OperatorError, UnavailableError
from elasticache_iam.core.mint import MintOrder
from elasticache_iam.core.policy import session_policy
from elasticache_iam.core.refresh import session_renew_at, spread_of
from elasticache_iam.core.times import rfc3339
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

_RENEWAL_PAUSE = timedelta(seconds=60)
"""After a renewal that failed while the old session was good enough."""

_Basis: TypeAlias = tuple[str, str, str, str]
"""Role, ServiceAccount, length, session policy."""


@dataclass(frozen=True, slots=True)
class _Session:
    credentials: Credentials
    basis: _Basis
    end: datetime
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
        self._token_life = timedelta(seconds=token_s)
        self._signing = signing
        self._owner = owner
        self._sessions: dict[str, _Session] = {}
        self._bases: dict[str, tuple[MintOrder, _Basis]] = {}

    def get(self, order: MintOrder) -> Credentials | None:
        """Return credentials of the workload's role to sign with now; None: wait for a renewal.

        While a session outlives a whole token nobody waits for the next one.

        Raises:
            ValueError: No session could serve the order: nobody needs to ask STS.
        """
        held, basis = self._sessions.get(order.uid), self._basis(order)
        if held is None or held.basis != basis or not self._is_usable(held):
            return None
        return held.credentials

    def _is_usable(self, session: _Session) -> bool:
        now = self._clock.now()
        return now < session.renew_at or session.end - now >= self._token_life

    def end_of(self, order: MintOrder) -> datetime | None:
        """Return when the session that is in use ends; None without one."""
        held = self._sessions.get(order.uid)
        return None if held is None else held.end

    def is_due(self, order: MintOrder) -> bool:
        """Whether it is time for the next session."""
        held = self._sessions.get(order.uid)
        return held is None or self._clock.now() >= held.renew_at

    def is_for_same(self, order: MintOrder, other: MintOrder) -> bool:
        """Whether two orders of a user are served by the same session, or both by none."""
        return self._basis_if_any(order) == self._basis_if_any(other)

    async def renew(self, order: MintOrder) -> None:
        """Get the next session. Raises OperatorError."""
        self._sessions[order.uid] = await self._renew(order, self._basis(order))

    def make_do(self, order: MintOrder, error: OperatorError) -> bool:
        """Go on for a while with the session there is, after a failed renewal; return whether it is good enough."""
        held, now = self._sessions.get(order.uid), self._clock.now()
        if held is None or held.basis != self._basis_if_any(order) or held.end - now <= self._token_life / 2:
            return False
        self._sessions[order.uid] = replace(held, renew_at=max(held.renew_at, now + _RENEWAL_PAUSE))
        log.warning(
            "session not renewed, the old one goes on",
            namespace=order.namespace,
            name=order.name,
            reason=error.reason,
        )
        return True

    def forget(self, uid: str) -> None:
        """Throw a user's session away."""
        self._sessions.pop(uid, None)
        self._bases.pop(uid, None)

    def _basis(self, order: MintOrder) -> _Basis:
        """Return what an order's session depends on; worked out once for an order, as each refresh asks.

        Raises ValueError if no session could serve the order.
        """
        known = self._bases.get(order.uid)
        if known is None or known[0] is not order:
            known = self._bases[order.uid] = (order, _basis(order))
        return known[1]

    def _basis_if_any(self, order: MintOrder) -> _Basis | None:
        try:
            return self._basis(order)
        except ValueError:
            return None

    async def _renew(self, order: MintOrder, basis: _Basis) -> _Session:
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
        session = _Session(credentials, basis, end, renew_at)
        if not self._is_usable(session):
            raise UnavailableError(
                f"the session that STS has just given ends at {rfc3339(end)}, which has passed by the operator's "
                "clock: it is ahead of AWS's; set the node's clock by NTP",
                reason="ClockSkew",
            )
        return session

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


def _basis(order: MintOrder) -> _Basis:
    """Return what a session depends on: if any of it changes, it is another session. Raises ValueError."""
    service = order.caches[0].service if order.caches else "elasticache"
    policy = session_policy(order.user_arn, sorted(cache.arn for cache in order.caches), service)
    return (f"{order.role_arn} {order.role_id}", order.service_account, str(order.max_session_s), policy)
