"""Tokens signed by the workload itself, with its own IAM role (IRSA, EKS Pod Identity, instance profile)."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from redis.credentials import CredentialProvider

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

    Raises:
        ValueError: (by get_credentials) an id that can't be signed.
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
    ) -> None:
        self._credentials = credentials
        self._user_id = user_id.lower()
        self._cache_id = cache_id.lower()
        self._region = region
        self._serverless = serverless
        self._service = service
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._reuse_until = datetime.min.replace(tzinfo=UTC)

    def get_credentials(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """Return the username and a token with at least 40 % of its life left."""
        with self._lock:
            now = self._now()
            if self._token is None or now >= self._reuse_until:
                self._token = self._sign(now)
                self._reuse_until = now + timedelta(
                    seconds=(self._token.expires_at - now).total_seconds() * REUSED_SHARE
                )
            return self._user_id, self._token.text

    async def get_credentials_async(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """As get_credentials, in a thread: refreshing the role's credentials may block."""
        return await asyncio.to_thread(self.get_credentials)

    def _sign(self, now: datetime) -> Token:
        frozen = self._credentials.get_frozen_credentials()  # one reading: key, secret and token belong together
        return sign_token(
            Credentials(frozen.access_key, frozen.secret_key, frozen.token),
            service=self._service,
            region=self._region,
            cache_id=self._cache_id,
            user_id=self._user_id,
            now=now,
            serverless=self._serverless,
        )
