"""A try to log in to a cache, with TLS verification on. AUTH's OK is the proof.

The other side may be hostile: nothing that it says is shown, only what kind of answer it was, and no more of it is read
than a cache would say. Two commands and their answers are all that is spoken, so this needs no client library.
"""

import asyncio
import contextlib
import ssl
from typing import Final

from elasticache_iam.core.mint import LoginOutcome, LoginResult

CONNECT_TIMEOUT_S: Final = 3.0
ANSWER_TIMEOUT_S: Final = 3.0
LOGIN_TIMEOUT_S: Final = 10.0
"""For all of it, so that a server that trickles its answers holds nobody up."""
GOODBYE_TIMEOUT_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 4096
"""Of one answer: OK, a line with an error, or a user's name, which has 128 characters at most."""

CHECK_ROUTE: Final = "is there a route from the operator's pods (security group, subnet, NetworkPolicy)?"
_LENGTH_DIGITS: Final = 4
_NOT_NOW: Final = (b"-LOADING", b"-MASTERDOWN", b"-ERR max number of clients", b"-ERR maxclients")


class NotACacheError(Exception):
    """The other side says what no cache says."""


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
            async with asyncio.timeout(LOGIN_TIMEOUT_S):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    reader, writer = await asyncio.open_connection(
                        host, port, ssl=self._get_trust(), limit=MAX_ANSWER_BYTES
                    )
                try:
                    return await _authenticate(_Conversation(reader, writer), where, username, password)
                finally:
                    await _hang_up(writer)
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


class _Conversation:
    """Commands and their answers on an open connection, in RESP2. Source: redis.io, "Redis serialization protocol"."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *command: str) -> bytes:
        """Send a command and return its answer with the mark of its kind: +OK, -ERR …, $name.

        Raises:
            NotACacheError: It isn't one line or one text, or too long.
            OSError: The connection is broken, or silent for too long.
        """
        parts = [f"*{len(command)}\r\n".encode()]
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in map(str.encode, command)]
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            self._writer.write(b"".join(parts))
            await self._writer.drain()
            return await self._read()

    async def _read(self) -> bytes:
        try:
            line = (await self._reader.readuntil(b"\r\n"))[:-2]
            if line[:1] in {b"+", b"-"}:
                return line
            length = line[1:]
            if line[:1] != b"$" or not length.isdigit() or len(length) > _LENGTH_DIGITS:
                raise NotACacheError
            if int(length) > MAX_ANSWER_BYTES:
                raise NotACacheError
            return b"$" + (await self._reader.readexactly(int(length) + 2))[:-2]
        except asyncio.LimitOverrunError as error:
            raise NotACacheError from error
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError from error


async def _authenticate(conversation: _Conversation, where: str, username: str, password: str) -> LoginResult:
    """Log in on an open connection."""
    answer = await conversation.ask("AUTH", username, password)
    if answer.startswith((b"-WRONGPASS", b"-NOAUTH")):
        return LoginResult(LoginOutcome.REFUSED, f"{where} answered WRONGPASS to the user {username}")
    if _is_overloaded(answer):
        return LoginResult(
            LoginOutcome.UNREACHABLE, f"{where}: the IAM authentication of the cache is busy or unavailable"
        )
    if answer.startswith(_NOT_NOW):
        return LoginResult(LoginOutcome.UNREACHABLE, f"{where} takes no clients now")
    if answer.startswith(b"-"):
        return LoginResult(LoginOutcome.REFUSED, f"{where} refuses AUTH: does the cache have a user group attached?")
    if answer != b"+OK":
        raise NotACacheError
    try:
        name = await conversation.ask("ACL", "WHOAMI")
    except OSError:
        name = b"-"
    if name.startswith(b"-NOPERM"):
        return LoginResult(LoginOutcome.LOGGED_IN)
    if name.startswith(b"-"):
        return LoginResult(LoginOutcome.LOGGED_IN, "the cache doesn't answer ACL WHOAMI")
    if name[1:] != username.encode():
        return LoginResult(LoginOutcome.REFUSED, f"{where} took the login as another user than {username}")
    return LoginResult(LoginOutcome.LOGGED_IN)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """End the connection, politely if the other side lets us."""
    try:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                writer.close()
                await writer.wait_closed()
    finally:
        writer.transport.abort()


def _failure(error: Exception, where: str) -> LoginResult:
    """Return what went wrong before there was an answer to AUTH."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LoginResult(
            LoginOutcome.TLS_FAILED,
            f"{where}: its certificate doesn't verify ({error.verify_message}): set cacheCA in the operator's "
            "configuration to the PEM of the CA that issued it, and use the endpoint's own name",
        )
    if isinstance(error, ssl.SSLError):
        return LoginResult(
            LoginOutcome.TLS_FAILED,
            f"{where}: no TLS connection: is in-transit encryption on, and is cacheCA in the operator's configuration "
            "a valid PEM?",
        )
    if isinstance(error, NotACacheError):
        return LoginResult(LoginOutcome.UNREACHABLE, f"{where} doesn't answer as a cache does: what listens there?")
    if isinstance(error, TimeoutError):
        return LoginResult(LoginOutcome.UNREACHABLE, f"{where} doesn't answer in time: {CHECK_ROUTE}")
    return LoginResult(LoginOutcome.UNREACHABLE, f"{where} can't be reached: {CHECK_ROUTE}")


def _is_overloaded(answer: bytes) -> bool:
    """Whether ElastiCache's IAM side is at its limit. Source: ElastiCache user guide, "Connect to a cache"."""
    text = answer.lower()
    return answer.startswith(b"-") and (b"exceeded limit of iam" in text or b"service is not available" in text)
