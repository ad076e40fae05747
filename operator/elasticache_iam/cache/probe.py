"""A try to log in to a cache, with TLS verification on. AUTH's OK is the proof.

The other side may be hostile: nothing that it says is shown, only what kind of answer it was.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio.connection import SSLConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from elasticache_iam.core.mint import LoginOutcome, LoginResult

CONNECT_TIMEOUT_S: Final = 3.0
ANSWER_TIMEOUT_S: Final = 3.0
LOGIN_TIMEOUT_S: Final = 10.0
"""For all of it, so that a server that trickles its answers holds nobody up."""

CHECK_ROUTE: Final = "is there a route from the operator's pods (security group, subnet, NetworkPolicy)?"


class RedisProbe:
    """Implements `ports.CacheProbe`.

    Args:
        ca_pem: PEM of the caches' CA; None for the public CAs of the system, which ElastiCache's certificates come
            from.
    """

    def __init__(self, ca_pem: str | None) -> None:
        self._ca_pem = ca_pem
        self._trust: ssl.SSLContext | None = None

    async def login(self, *, host: str, port: int, username: str, password: str) -> LoginResult:
        """Connect, AUTH, ACL WHOAMI, close. Never raises, never shows the password."""
        where = f"{host}:{port}"
        try:
            connection = SSLConnection(
                host=host,
                port=port,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=ANSWER_TIMEOUT_S,
                protocol=2,  # nothing is sent before AUTH
                driver_info=None,
            )
            connection.ssl_context.context = self._get_trust()
            try:
                async with asyncio.timeout(LOGIN_TIMEOUT_S):
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                    return await _authenticate(connection, where, username, password)
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await connection.disconnect()
        except Exception as error:  # noqa: BLE001  # a probe reports, whatever the other side does
            return _failure(error, where)

    def _get_trust(self) -> ssl.SSLContext:
        """Return the one TLS context: reading the system's CAs takes milliseconds. Raises ssl.SSLError for a bad PEM.

        `create_default_context` checks certificate and host name, and trusts nothing but `cadata` if that is given.
        """
        if self._trust is None:
            self._trust = ssl.create_default_context(cadata=self._ca_pem)
            self._trust.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._trust


async def _authenticate(connection: SSLConnection, where: str, username: str, password: str) -> LoginResult:
    """Log in on an open connection."""
    try:
        await _ask(connection, "AUTH", username, password)
    except AuthenticationError:
        return LoginResult(LoginOutcome.REFUSED, f"{where} answered WRONGPASS to the user {username}")
    except ResponseError as error:
        if _is_overloaded(error):
            return LoginResult(
                LoginOutcome.UNREACHABLE, f"{where}: the IAM authentication of the cache is busy or unavailable"
            )
        return LoginResult(LoginOutcome.REFUSED, f"{where} refuses AUTH: does the cache have a user group attached?")
    try:
        name = await _ask(connection, "ACL", "WHOAMI")
    except NoPermissionError:
        return LoginResult(LoginOutcome.LOGGED_IN)
    except RedisError:
        return LoginResult(LoginOutcome.LOGGED_IN, "the cache doesn't answer ACL WHOAMI")
    if name != username.encode():
        return LoginResult(LoginOutcome.REFUSED, f"{where} took the login as another user than {username}")
    return LoginResult(LoginOutcome.LOGGED_IN)


async def _ask(connection: SSLConnection, *command: str) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


def _failure(error: Exception, where: str) -> LoginResult:
    """Return what went wrong before there was an answer to AUTH. The cause may be wrapped several times."""
    causes = _causes(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        reason = next(cause.verify_message for cause in causes if isinstance(cause, ssl.SSLCertVerificationError))
        return LoginResult(
            LoginOutcome.TLS_FAILED,
            f"{where}: its certificate doesn't verify ({reason}): set cacheCA in the operator's configuration to the "
            "PEM of the CA that issued it, and use the endpoint's own name",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return LoginResult(
            LoginOutcome.TLS_FAILED,
            f"{where}: no TLS connection: is in-transit encryption on, and is cacheCA in the operator's configuration "
            "a valid PEM?",
        )
    if any(isinstance(cause, TimeoutError | redis_errors.TimeoutError) for cause in causes):
        return LoginResult(LoginOutcome.UNREACHABLE, f"{where} doesn't answer in time: {CHECK_ROUTE}")
    return LoginResult(LoginOutcome.UNREACHABLE, f"{where} can't be reached: {CHECK_ROUTE}")


def _is_overloaded(error: ResponseError) -> bool:
    """Whether ElastiCache's IAM side is at its limit. Source: ElastiCache user guide, "Connect to a cache"."""
    text = str(error).lower()
    return "exceeded limit of iam" in text or "service is not available" in text


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception with what led to it."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        found.extend(argument for argument in current.args if isinstance(argument, BaseException))
        current = current.__cause__ or current.__context__
    return found
