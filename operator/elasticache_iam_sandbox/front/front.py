"""The front of one cache: TLS, a look at each login, and a relay to the server behind it, or to each of several.

Replies are copied as they come and never made here. What AWS would refuse is rewritten into a command that the server
itself refuses, so answers keep their order however much a client pipelines: a bad token becomes a wrong password.

One thread, no awaits between reading a request and forwarding it. asyncio protocols rather than streams: half the
added latency.
"""

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, assert_never, cast

from typing_extensions import override

from elasticache_iam_sandbox.front.login import CacheKey, KnownUser, Pass, Replace, World, judge_login
from elasticache_iam_sandbox.front.resp import Inspected, RequestFramer
from elasticache_iam_sandbox.front.server import FORBIDDEN_SUBCOMMANDS, AccessStringError, CacheServer
from elasticache_iam_sandbox.front.token import Reason, Refused, is_on
from elasticache_iam_sandbox.world.call import EngineUser

logger = logging.getLogger(__name__)

_INSPECT: Final = {
    b"ACL": 2,
    b"AUTH": 4,  # one more than it takes: with so many the server answers a syntax error
    b"CLUSTER": 2,
    b"DISCARD": 1,
    b"EXEC": 1,
    b"HELLO": 16,
    b"MULTI": 1,
    b"RESET": 1,
}
_BUFFER_BYTES: Final = 256 * 1024
"""Per direction and connection; beyond it the faster side waits."""
_HANDSHAKE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A login that failed, and why: what AWS never tells."""

    at: datetime
    cache_id: str
    user: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A client's connection. `user` is empty before a login; `since` is when it logged in, else when it came."""

    user: str
    since: datetime
    client_address: str


def _is_open(user: EngineUser) -> bool:
    return user.auth_mode == "no-password" and is_on(user.access_string)


def _has_left(user: EngineUser, now: EngineUser | None) -> bool:
    """Whether what goes by this user's name now is not this user.

    AWS's own default users all have the id `default` and can't be modified: one that was open and isn't any more is
    another one, which came with a group.
    """
    if now is None or now.user_id != user.user_id:
        return True
    return user.user_id == "default" and _is_open(user) and not _is_open(now)


@dataclass(frozen=True, slots=True)
class Login:
    """What the server is to read for a password, and who the client then is; None: who it was."""

    password: bytes = field(repr=False)
    user: EngineUser | None


class CacheFront:
    """Listens for one cache, on a port for each of its servers and perhaps more.

    Args:
        world: Asked at every login, on the event loop's thread.
        key: The cache.
        servers: Run already, all with the same users, which nobody else changes; several in cluster mode.
        on_refusal: Told of every login that fails.

    Attributes:
        problems: By user name, why the server does not have the user as AWS does.
    """

    def __init__(
        self,
        world: World,
        key: CacheKey,
        *,
        servers: Sequence[CacheServer],
        on_refusal: Callable[[Refusal], None],
    ) -> None:
        self.problems: dict[str, str] = {}
        self.world = world
        self.servers = tuple(servers)
        self.sessions: set[ClientSession] = set()
        self._key = key
        self._on_refusal = on_refusal
        self._known: dict[str, KnownUser] = {}
        self._wrong_password = secrets.token_hex(32).encode()
        self._syncing = asyncio.Lock()
        self._listeners: list[asyncio.Server] = []

    async def listen(self, bound: socket.socket, tls: ssl.SSLContext, server: CacheServer) -> None:
        """Relay what comes to a bound socket to one of the servers."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: ClientSession(self, server), sock=bound, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S
        )
        self._listeners.append(listener)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        for listener in self._listeners:
            listener.close()
        sessions = tuple(self.sessions)
        for session in sessions:
            session.cut()
        if sessions:
            await asyncio.wait([asyncio.ensure_future(session.closed) for session in sessions], timeout=5)

    def connections(self) -> tuple[Connection, ...]:
        """Return the connections that are open now."""
        return tuple(Connection(session.user, session.since, session.address) for session in self.sessions)

    async def sync(self) -> None:
        """Make each server's users those of the cache: cut who left, then push who is new or changed."""
        async with self._syncing:
            view = self._key.view(self.world)
            wanted = view.users if view is not None else {}
            for name, known in tuple(self._known.items()):
                if _has_left(known.user, wanted.get(name)):
                    del self._known[name]  # from here on nobody logs in by it
                    for session in tuple(self.sessions):
                        if session.user == name:
                            session.cut()
                    for server in self.servers:
                        await server.delete_user(name)  # cuts what we took for somebody else's, too
            for name in self.problems.keys() - wanted.keys():
                del self.problems[name]
            for name, user in wanted.items():
                await self._push(name, user)

    async def _push(self, name: str, user: EngineUser) -> None:
        known = self._known.get(name)
        if known is not None and known.user == user:
            self.problems.pop(name, None)
            return
        password = known.password if known is not None else secrets.token_hex(32)
        try:
            for server in self.servers:
                await server.set_user(user, password)
        except AccessStringError as error:
            if self.problems.get(name) != str(error):
                logger.warning("%s: %s", self._key.cache_id, error)
            self.problems[name] = str(error)
            return
        self.problems.pop(name, None)
        self._known[name] = KnownUser(user, password, await self.servers[0].may_run(name, "MULTI"))

    def anonymous_user(self) -> str:
        """Return whose rights a connection has before any login: `default`'s if that needs no password, or nobody's."""
        known = self._known.get("default")
        return "default" if known is not None and _is_open(known.user) else ""

    def may_multi(self, user_name: str) -> bool:
        """Whether the server lets this user start a transaction."""
        known = self._known.get(user_name)
        return known is not None and known.may_multi

    def login(self, name: bytes, password: bytes, *, source_ip: str, in_transaction: bool) -> Login:
        """Decide a login and note a refusal."""
        user_name = name.decode(errors="replace")
        verdict = judge_login(
            self.world,
            self._key.view(self.world),
            self._known.get(user_name),
            user_name=user_name,
            password=password,
            source_ip=source_ip,
            in_transaction=in_transaction,
        )
        refused = verdict if isinstance(verdict, Refused) else None
        match verdict:
            case Refused():
                login = Login(self._wrong_password, None)
            case Pass(user, refused):
                login = Login(password, user)
            case Replace(user, own_password):
                login = Login(own_password, user)
            case _:
                assert_never(verdict)
        if refused is not None:
            detail = self.problems.get(user_name, refused.detail)
            logger.info("%s: refused %r: %s: %s", self._key.cache_id, user_name[:100], refused.reason, detail)
            self._on_refusal(Refusal(self.world.now(), self._key.cache_id, user_name[:100], refused.reason, detail))
        return login


class ClientSession(asyncio.Protocol):
    """The client's side of a connection; owns the server's side and what is known of the login.

    Attributes:
        user: The engine user that the server takes the client for; empty before a login. It follows what was sent, so
            it is a moment early.
        since: When it logged in, else when it came, on AWS's clock.
        address: Of the client, for people.
        closed: Done when the connection is gone.
    """

    def __init__(self, front: CacheFront, server: CacheServer) -> None:
        self.user = ""
        self.since = front.world.now()
        self.address = ""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._front = front
        self._socket = server.socket
        self._source_ip = ""
        self._framer = RequestFramer(_INSPECT)
        self._in_transaction = False
        self._expiry: asyncio.TimerHandle | None = None
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    # -- the client's side ----------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = cast("asyncio.Transport", transport)
        client.set_write_buffer_limits(high=_BUFFER_BYTES)
        client.pause_reading()  # until there is somebody to forward to
        self._client = client
        peer = client.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._source_ip = str(peer[0])
            self.address = f"{peer[0]}:{peer[1]}"
        self.user = self._front.anonymous_user()
        self._front.sessions.add(self)
        self._connecting = asyncio.create_task(self._connect())

    @override
    def data_received(self, data: bytes) -> None:
        if self._server is None or self._server.is_closing():
            return  # the server hung up; what it said last is still on its way to the client
        out = [piece if isinstance(piece, bytes) else self._answer_for(piece) for piece in self._framer.feed(data)]
        if out:
            self._server.write(out[0] if len(out) == 1 else b"".join(out))

    @override
    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.pause_reading()

    @override
    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._front.sessions.discard(self)
        self._stop_expiry()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._server is not None:
            self._server.abort()
        if not self.closed.done():
            self.closed.set_result(None)

    def cut(self) -> None:
        """End the connection at once; what is on its way is lost."""
        if self._client is not None:
            self._client.abort()

    # -- the server's side ----------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: _ServerSide(self), str(self._socket))
        except OSError:
            self.cut()

    def server_connected(self, server: asyncio.Transport) -> None:
        """Begin to relay."""
        if self._client is None or self._client.is_closing():
            server.abort()
            return
        server.set_write_buffer_limits(high=_BUFFER_BYTES)
        self._server = server
        self._client.resume_reading()

    def server_sent(self, data: bytes) -> None:
        """Copy a reply."""
        if self._client is not None and not self._client.is_closing():
            self._client.write(data)

    def server_paused(self, *, is_full: bool) -> None:
        """Let the client wait while the server is slow to read."""
        if self._client is None:
            return
        if is_full:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    def server_lost(self) -> None:
        """Close, after what the server said last (a protocol error, QUIT's OK) has gone out."""
        if self._client is not None:
            self._client.close()

    # -- the commands that are looked at ---------------------------------------------------------------------------

    def _answer_for(self, command: Inspected) -> bytes:
        """Return the bytes to forward for a command, and note what it changes."""
        arguments = command.arguments
        is_bare = len(arguments) == 1 and not command.remaining
        match command.name:
            case b"AUTH" if not command.remaining:
                return self._auth(command)
            case b"HELLO" if not command.remaining:
                return self._hello(command)
            case b"MULTI" if is_bare and self._front.may_multi(self.user):
                self._in_transaction = True
            case b"EXEC" | b"DISCARD" if is_bare:
                self._in_transaction = False
            case b"RESET" if is_bare:
                self._in_transaction = False
                self._become(self._front.anonymous_user(), is_iam=False)
            case b"ACL" | b"CLUSTER" as name if (
                len(arguments) > 1 and arguments[1].upper() in FORBIDDEN_SUBCOMMANDS[name]
            ):
                # ERR unknown command 'ACL|SETUSER': what it says of every command that AWS restricts.
                return command.rewritten((b"%b|%b" % (arguments[0], arguments[1]), *arguments[1:]))
        return command.raw

    def _auth(self, command: Inspected) -> bytes:
        arguments = command.arguments
        if len(arguments) == 2:  # noqa: PLR2004  # AUTH password
            return command.rewritten((arguments[0], self._login(b"default", arguments[1])))
        if len(arguments) == 3:  # noqa: PLR2004  # AUTH user password
            return command.rewritten((*arguments[:2], self._login(*arguments[1:])))
        return command.raw  # the server says what is wrong with it

    def _hello(self, command: Inspected) -> bytes:
        """Rewrite HELLO's AUTH option. What the server will call a syntax error is left to it: it logs nobody in."""
        arguments = list(command.arguments)
        options = iter(range(2, len(arguments)))
        found = None
        for at in options:
            match arguments[at].upper():
                case b"AUTH" if at + 2 < len(arguments) and found is None:
                    found = at
                    next(options)
                    next(options)
                case b"SETNAME" if at + 1 < len(arguments):
                    next(options)
                case _:
                    return command.raw
        if found is None or arguments[1] not in {b"2", b"3"}:
            return command.raw
        arguments[found + 2] = self._login(arguments[found + 1], arguments[found + 2])
        return command.rewritten(arguments)

    def _login(self, name: bytes, password: bytes) -> bytes:
        """Return the password that the server is to read."""
        login = self._front.login(name, password, source_ip=self._source_ip, in_transaction=self._in_transaction)
        if login.user is not None and not self._in_transaction:
            self._become(login.user.user_name, is_iam=login.user.auth_mode == "iam")
        return login.password

    def _become(self, user: str, *, is_iam: bool) -> None:
        """Note a login; an IAM user's connection has a life of its own, which every login restarts."""
        self._stop_expiry()
        self.user = user
        self.since = self._front.world.now()
        if is_iam:
            life_s = self._front.world.settings.connection_seconds
            self._expiry = asyncio.get_running_loop().call_later(life_s, self.cut)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


class _ServerSide(asyncio.Protocol):
    """The server's side of a connection."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._session.server_connected(cast("asyncio.Transport", transport))

    @override
    def data_received(self, data: bytes) -> None:
        self._session.server_sent(data)

    @override
    def pause_writing(self) -> None:
        self._session.server_paused(is_full=True)

    @override
    def resume_writing(self) -> None:
        self._session.server_paused(is_full=False)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._session.server_lost()
