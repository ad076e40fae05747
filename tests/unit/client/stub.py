"""A server that speaks just enough RESP for redis-py to connect, and tells who logged in when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stub:
    """What the server has seen, and how it answers.

    Attributes:
        seen: Names of commands, in order, without those of the handshake.
        logins: Usernames and passwords, refused ones too.
        refusals: Answers to the next logins instead of OK.
        may_answer: While it is cleared, logins wait for their answer.
        connections: How many came.
    """

    port: int = 0
    seen: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[bytes] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def beside(self, act: Callable[[], Any]) -> Any:
        """Do something that blocks, while the stub serves."""
        return await asyncio.to_thread(act)

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                writer.write(await self._answer(await _command(reader)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, command: list[str]) -> bytes:
        match command:
            case ["HELLO", "3", "AUTH", username, password]:
                return await self._log_in(username, password, b"%1\r\n+proto\r\n:3\r\n")
            case ["AUTH", username, password]:
                return await self._log_in(username, password, b"+OK\r\n")
            case ["CLIENT", *_]:
                return b"-ERR unknown subcommand\r\n"
            case ["ECHO", text]:
                self.seen.append("ECHO")
                return b"$%d\r\n%s\r\n" % (len(text), text.encode())
            case [name, *_]:
                self.seen.append(name)
                return b"+PONG\r\n" if name == "PING" else b"+OK\r\n"
        raise AssertionError(command)

    async def _log_in(self, username: str, password: str, welcome: bytes) -> bytes:
        self.seen.append("login")
        self.logins.append((username, password))
        await self.may_answer.wait()
        return self.refusals.pop(0) if self.refusals else welcome


async def _command(reader: asyncio.StreamReader) -> list[str]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    arguments = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        arguments.append((await reader.readexactly(length + 2))[:-2].decode())
    return [arguments[0].upper(), *arguments[1:]]


@asynccontextmanager
async def serve_stub() -> AsyncIterator[Stub]:
    """Serve on a free port of loopback."""
    stub = Stub()
    stub.may_answer.set()
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
        stub.cut()
        await asyncio.sleep(0)


def numbered(word: str) -> Iterator[str]:
    """Return word-1, word-2 and so on."""
    return (f"{word}-{number}" for number in range(1, 1_000_000))
