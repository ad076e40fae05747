"""Tokens signed by the workload itself, with its own IAM role (IRSA, EKS Pod Identity, instance profile)."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from redis.credentials import CredentialProvider

from elasticache_iam.client.errors import CredentialsUnavailableError
from elasticache_iam.core.token import Credentials, Token, sign_token

REUSED_SHARE: Final = 0.6
"""A token serves new connections for this share of its life, like AWS's own sample provider (600 of 900 s)."""


class HasFrozenCredentials(Protocol):
    """What `boto3.Session().get_credentials()` returns, or anything like it."""

    def get_frozen_credentials(self) -> Any:
        """Return an object with `access_key`, `secret_key` and `token`, that belong together."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Reusable:
    """A token, and how long it serves: by the wall clock, which AWS judges it by, and by one that never jumps."""

    token: Token
    signed_at: datetime
    until: datetime
    until_tick: float

    def is_good(self, now: datetime, tick: float) -> bool:
        """Say whether to use it once more. A wall clock set back makes it one from the future, which AWS refuses."""
        return self.signed_at <= now < self.until and tick < self.until_tick


class IamCredentialProvider(CredentialProvider):
    """Signs a token when one is needed. Signing is offline; only fresh credentials may cost a call.

    Args:
        credentials: Of the workload's role: `boto3.Session().get_credentials()`.
        user_id: The ElastiCache user id, which is the Redis user name too.
        cache_id: Replication group id or serverless cache name; never an endpoint.
        region: The cache's region.
        serverless: Whether the cache is a serverless one.
        service: `elasticache` or `memorydb`.
        now: Answers the time, aware, in UTC; for tests.
        monotonic: Answers seconds that no clock change touches; for tests.

    Raises:
        ValueError: An id, the region or the service can't be signed.
    """

    def __init__(
        self,
        credentials: HasFrozenCredentials,
        *,
        user_id: str,
        cache_id: str,
        region: str,
        serverless: bool = False,
        service: str = "elasticache",
        now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._user_id = user_id.lower()
        self._cache_id = cache_id.lower()
        self._region = region
        self._serverless = serverless
        self._service = service
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reusable: _Reusable | None = None
        self._sign(Credentials("unused", "unused"), now())  # refuses now what could never be signed

    def get_credentials(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """Return the username and a token with at least 40 % of its life left.

        Raises:
            CredentialsUnavailableError: The role gives no credentials now.
        """
        with self._lock:
            now = self._now()
            if self._reusable is None or not self._reusable.is_good(now, self._monotonic()):
                token = self._sign(self._freeze(), now)
                life_s = (token.expires_at - now).total_seconds() * REUSED_SHARE
                self._reusable = _Reusable(
                    token, signed_at=now, until=now + timedelta(seconds=life_s), until_tick=self._monotonic() + life_s
                )
            return self._user_id, self._reusable.token.text

    async def get_credentials_async(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """As get_credentials, in a thread: refreshing the role's credentials may block."""
        return await asyncio.to_thread(self.get_credentials)

    def _freeze(self) -> Credentials:
        try:
            frozen = self._credentials.get_frozen_credentials()  # one reading: key, secret and token belong together
        except Exception as error:
            raise CredentialsUnavailableError(f"the role gives no credentials: {type(error).__name__}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    def _sign(self, credentials: Credentials, now: datetime) -> Token:
        return sign_token(
            credentials,
            service=self._service,
            region=self._region,
            cache_id=self._cache_id,
            user_id=self._user_id,
            now=now,
            serverless=self._serverless,
        )
