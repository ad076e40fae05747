"""redis-py connections that log in again before AWS cuts them.

ElastiCache cuts a connection 12 hours after its last login, whatever it is doing. A connection of ours remembers when
it logged in. Late in that life, before it sends its next command, it sends AUTH with fresh credentials and reads the
answer, just where redis-py's own health check sends its PING. So a login never gets between a command and its reply,
needs no thread and no lock, and costs one round trip in ten hours. A connection that nobody uses is left to be cut:
redis-py looks at a connection when it takes it from the pool, and replaces a closed one.

redis-py has a mechanism of its own, `StreamingCredentialProvider`, made for tokens whose end is the connection's. It
isn't used here, as of redis-py 8.1: a connection in use logs in again when it goes back to the pool, and what goes
wrong then is raised to the caller, although the command was done; idle ones log in one after the other while the pool
is locked; a subscriber's answer is read by a second thread; and the asyncio cluster client logs in only those that
happen to be idle, and loses them all when one fails.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeVar, cast

import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.cluster
import redis.connection
from redis.exceptions import AuthenticationError, ResponseError

CONNECTION_LIFE: Final = timedelta(hours=12)
"""From a login to the cut. ElastiCache and MemoryDB, "Authenticating with IAM"."""

RELOGIN_WINDOW: Final = (0.8, 0.9)
"""Shares of its life between which a connection logs in again. Each draws its own, so that connections made together
don't log in together: AWS limits logins by rate. The rest, over an hour, is for retries and for commands that block.
"""

RETRY_SHARE: Final = 1 / 144
"""Of the life, until a login that was refused is tried again: 5 minutes."""

logger = logging.getLogger("elasticache_iam.client")

_ClientT = TypeVar(
    "_ClientT", redis.Redis, redis.cluster.RedisCluster, redis.asyncio.Redis, redis.asyncio.cluster.RedisCluster
)


@dataclass(slots=True)
class LoginTimer:
    """When a connection is to log in again. It counts seconds that no clock change touches."""

    life_s: float
    monotonic: Callable[[], float] = time.monotonic
    draw: Callable[[float, float], float] = random.uniform
    """A number between two others."""
    _due_at: float = field(default=float("inf"), init=False)

    def connecting(self) -> None:
        """Note that a first login is on its way: nothing is due."""
        self._due_at = float("inf")

    def logged_in(self, since: float) -> None:
        """Note a login. `since` is a time before it was sent: the server's clock began later."""
        self._due_at = since + self.life_s * self.draw(*RELOGIN_WINDOW)

    def refused(self) -> None:
        """Note a login that failed: the one before it still holds."""
        self._due_at = self.monotonic() + self.life_s * RETRY_SHARE * self.draw(1, 2)

    def is_due(self) -> bool:
        """Say whether to log in before the next command."""
        return self.monotonic() >= self._due_at


def _log_refusal(error: Exception) -> None:
    """Say that a login failed. Never the server's words: some repeat the command's arguments."""
    logger.warning("a connection could not log in again, and stays as it is for now: %s", type(error).__name__)


def _refusal(text: str) -> ResponseError:
    """Return the answer to a refused login, by its code alone."""
    return ResponseError(text.partition(" ")[0])


class _Reauthenticating(redis.connection.AbstractConnection):
    """Mixed into a connection class of redis-py."""

    connection_life_s: ClassVar[float] = CONNECTION_LIFE.total_seconds()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer = LoginTimer(self.connection_life_s)

    def on_connect_check_health(self, check_health: bool = True) -> None:  # type: ignore[explicit-override]  # noqa: FBT001, FBT002  # redis-py's
        self._timer.connecting()
        since = self._timer.monotonic()
        super().on_connect_check_health(check_health)
        self._timer.logged_in(since)

    def check_health(self) -> None:  # type: ignore[explicit-override]  # Python 3.12's
        """Do what redis-py asks before each command, and log in again if it is time."""
        super().check_health()  # type: ignore[no-untyped-call]  # redis-py's
        if self.credential_provider is not None and self._timer.is_due():
            self._log_in_again(self.credential_provider.get_credentials)

    def _log_in_again(self, get_credentials: Callable[[], tuple[str] | tuple[str, str]]) -> None:
        since = self._timer.monotonic()
        try:
            credentials = get_credentials()
        except Exception as error:  # noqa: BLE001  # whosesoever provider it is: the earlier login holds
            self._timer.refused()
            _log_refusal(error)
            return
        try:
            self.send_command("AUTH", *credentials, check_health=False)  # type: ignore[no-untyped-call]
            self._read_answer()
        except (ResponseError, AuthenticationError) as error:
            self._timer.refused()
            _log_refusal(error)
        else:
            self._timer.logged_in(since)

    def _read_answer(self) -> None:
        """Read AUTH's answer. The connection outlives a refusal; anything else may have left the answer unread.

        redis-py takes WRONGPASS for the end of a connection, raises it at once, and its Python parser then keeps the
        text for the next reader. Here it must be an answer like any other.
        """
        parser = self._parser
        parser.parse_error = _refusal  # of this one parser
        try:
            self.read_response(disconnect_on_error=False)
        except (ResponseError, AuthenticationError):  # the latter from hiredis, which has its own way and keeps nothing
            raise
        except BaseException:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise
        finally:
            del parser.parse_error


class _AsyncReauthenticating(redis.asyncio.connection.AbstractConnection):
    """As _Reauthenticating, for redis.asyncio."""

    connection_life_s: ClassVar[float] = CONNECTION_LIFE.total_seconds()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer = LoginTimer(self.connection_life_s)

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # type: ignore[explicit-override]  # noqa: FBT001, FBT002  # redis-py's
        self._timer.connecting()
        since = self._timer.monotonic()
        await super().on_connect_check_health(check_health)
        self._timer.logged_in(since)

    async def check_health(self) -> None:  # type: ignore[explicit-override]  # Python 3.12's
        """Do what redis-py asks before each command, and log in again if it is time."""
        await super().check_health()  # type: ignore[no-untyped-call]  # redis-py's
        if self.credential_provider is not None and self._timer.is_due():
            await self._log_in_again(self.credential_provider.get_credentials_async)

    async def _log_in_again(self, get_credentials: Callable[[], Awaitable[tuple[str] | tuple[str, str]]]) -> None:
        since = self._timer.monotonic()
        try:
            credentials = await get_credentials()
        except Exception as error:  # noqa: BLE001  # whosesoever provider it is: the earlier login holds
            self._timer.refused()
            _log_refusal(error)
            return
        try:
            await self.send_command("AUTH", *credentials, check_health=False)
            await self._read_answer()
        except (ResponseError, AuthenticationError) as error:
            self._timer.refused()
            _log_refusal(error)
        else:
            self._timer.logged_in(since)

    async def _read_answer(self) -> None:
        try:
            await self.read_response(disconnect_on_error=False)
        except (ResponseError, AuthenticationError):
            raise
        except BaseException:  # a cancelled task's too: its answer must not become the next command's
            await self.disconnect(nowait=True)
            raise


class ReauthenticatingConnection(_Reauthenticating, redis.connection.SSLConnection):
    """A TLS connection that logs in again before it is cut: for `connection_class` of a pool, or of `from_url`."""


class AsyncReauthenticatingConnection(_AsyncReauthenticating, redis.asyncio.connection.SSLConnection):
    """As ReauthenticatingConnection, for redis.asyncio."""


def stay_connected(client: _ClientT, *, connection_life: timedelta = CONNECTION_LIFE) -> _ClientT:
    """Let a client's connections log in again before they are cut.

    Takes any of redis-py's four, Redis and RedisCluster, blocking and asyncio; just made, before its first command.

    Args:
        client: With a `credential_provider`.
        connection_life: From a login to the cut; other than AWS's 12 hours for tests.

    Returns:
        The same client.

    Raises:
        ValueError: It has no credential provider, or connections in use, as one with `single_connection_client`.
    """
    life_s = connection_life.total_seconds()
    if isinstance(client, redis.cluster.RedisCluster):
        _upgrade_cluster(client, life_s)
    elif isinstance(client, redis.asyncio.cluster.RedisCluster):
        _upgrade_async_cluster(client, life_s)
    else:
        _upgrade_pool(client.connection_pool, life_s)
    return client


def _upgrade_pool(pool: redis.ConnectionPool | redis.asyncio.ConnectionPool, life_s: float) -> None:
    _require_provider(pool.connection_kwargs)
    (idle, _), (in_use, _) = pool.get_connection_count()
    if in_use or (idle and isinstance(pool, redis.asyncio.ConnectionPool)):
        raise ValueError(
            "the client is connected already: call stay_connected right after making it, and give a client with "
            "single_connection_client the connection_class instead"
        )
    if idle:
        pool.disconnect()
    pool.reset()
    pool.connection_class = _upgraded(cast("type[Any]", pool.connection_class), life_s)


def _upgrade_cluster(client: redis.cluster.RedisCluster, life_s: float) -> None:
    """Upgrade the pools of the nodes there are, and of those that the client will find."""
    nodes = client.nodes_manager
    create_redis_node = nodes.create_redis_node

    def create(*place: Any, **options: Any) -> redis.Redis:
        node: redis.Redis = create_redis_node(*place, **options)  # type: ignore[no-untyped-call]
        _upgrade_pool(node.connection_pool, life_s)
        return node

    for node in nodes.nodes_cache.values():
        if node.redis_connection is not None:
            _upgrade_pool(node.redis_connection.connection_pool, life_s)
    nodes.create_redis_node = create  # type: ignore[method-assign]  # it has no setting for the connections' class


def _upgrade_async_cluster(client: redis.asyncio.cluster.RedisCluster, life_s: float) -> None:
    """Upgrade the nodes that it begins with, and the options that it makes others from."""
    _require_provider(client.connection_kwargs)
    if client.nodes_manager.nodes_cache:
        raise ValueError("the client is connected already: call stay_connected right after making it")
    connection_class = _upgraded(client.connection_kwargs["connection_class"], life_s)
    client.connection_kwargs["connection_class"] = connection_class
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = connection_class


def _require_provider(options: dict[str, Any]) -> None:
    if options.get("credential_provider") is None:
        raise ValueError("the client has no credential_provider to ask for a fresh token")


def _upgraded(connection_class: type[Any], life_s: float) -> Any:
    """Return a connection class of redis-py, or anybody's subclass of one, that logs in again."""
    if issubclass(connection_class, redis.asyncio.connection.AbstractConnection):
        mixin: type = _AsyncReauthenticating
    else:
        mixin = _Reauthenticating
    bases = (connection_class,) if issubclass(connection_class, mixin) else (mixin, connection_class)
    return type(f"Reauthenticating{connection_class.__name__}", bases, {"connection_life_s": life_s})
