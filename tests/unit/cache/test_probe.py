"""What the probe makes of servers that no redis-server would be: hostile, silent, overloaded."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from elasticache_iam.cache import probe as probe_module
from elasticache_iam.cache.probe import RedisProbe
from elasticache_iam.core.mint import LoginOutcome

PASSWORD = "eyJ-a-token-that-must-never-be-shown"


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@asynccontextmanager
async def server(ca, *answers):
    """A TLS server that gives these answers, one per chunk received; None: silence."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    left = list(answers)

    async def serve(reader, writer):
        try:
            while await reader.read(65536):
                answer = left.pop(0) if left else None
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def login(ca, port):
    probe = RedisProbe(ca.cert_pem.bytes().decode())
    result = await probe.login(host="localhost", port=port, username="checkout", password=PASSWORD)
    assert PASSWORD not in repr(result)
    return result


async def test_an_echo_of_the_password_is_not_shown(ca):
    async with server(ca, f"-ERR you sent {PASSWORD}\r\n".encode()) as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.REFUSED


@pytest.mark.parametrize(
    "answer",
    [
        b"-ERR Exceeded limit of IAM Authentication requests\r\n",
        b"-ERR IAM Authentication service is not available\r\n",
    ],
)
async def test_an_overloaded_iam_side_is_no_refusal(ca, answer):
    async with server(ca, answer) as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.UNREACHABLE


async def test_another_name_than_asked_is_refused(ca):
    async with server(ca, b"+OK\r\n", b"$7\r\ndefault\r\n") as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.REFUSED


async def test_a_forbidden_whoami_counts_as_logged_in(ca):
    async with server(
        ca, b"+OK\r\n", b"-NOPERM this user has no permissions to run the 'acl|whoami' command\r\n"
    ) as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.LOGGED_IN


async def test_silence_ends(ca, monkeypatch):
    monkeypatch.setattr(probe_module, "ANSWER_TIMEOUT_S", 0.05)
    async with server(ca) as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.UNREACHABLE
    assert "in time" in result.detail


async def test_garbage_does_not_raise(ca):
    async with server(ca, b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.UNREACHABLE


async def test_a_server_without_tls_is_a_tls_failure(ca):
    async def serve(reader, writer):
        await reader.read(1024)
        writer.write(b"-ERR unknown command\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        result = await login(ca, listener.sockets[0].getsockname()[1])

    assert result.outcome is LoginOutcome.TLS_FAILED
    assert "in-transit encryption" in result.detail


@pytest.mark.parametrize(
    "answers",
    [
        (b"+OK\r\n", b"$3000000000\r\n" + b"x" * 65536),
        (b"+OK\r\n", b"$5000\r\n" + b"x" * 5002),
        (b"+OK\r\n", b"$" + b"9" * 5000 + b"\r\n"),
        (b"+OK\r\n", b"*1000000000\r\n" + b"$1\r\nx\r\n" * 1000),
        (b"-ERR " + b"x" * 65536,),
        (b"$2\r\nOK\r\n",),
        (b":1\r\n",),
    ],
    ids=["a huge text", "a long text", "a long length", "a long list", "an endless line", "a text", "a number"],
)
async def test_who_does_not_answer_as_a_cache_does_is_no_login(ca, answers):
    async with server(ca, *answers) as port:
        result = await login(ca, port)

    assert result.outcome is LoginOutcome.UNREACHABLE
    assert "doesn't answer as a cache does" in result.detail


async def test_a_flood_costs_no_memory(ca):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        with suppress(OSError):
            await reader.read(65536)
            writer.write(b"+OK\r\n")
            await reader.read(65536)
            writer.write(b"$3000000000\r\n")
            while sent < 1 << 30:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        result = await login(ca, listener.sockets[0].getsockname()[1])

    assert result.outcome is LoginOutcome.UNREACHABLE
    assert sent < 64 << 20  # what fits into the sockets' buffers, and not what was announced
