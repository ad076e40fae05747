"""The front under bytes that are large, slow or hostile."""

import asyncio
import hashlib
import os
import resource
import signal
import ssl
import sys

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.sandbox.front.one_cache import RawConnection, engine_user, open_default, presign, raw, serve, until

from elasticache_iam_sandbox.front.resp import MAX_BULK_BYTES, MAX_LINE_BYTES, encode_command

MEGABYTE = bytes(range(256)) * 4096
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@pytest.fixture
async def served(tmp_path):
    async with serve(tmp_path, engine_user()) as served:
        yield served


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def buffered_bytes(served) -> int:
    """Return how much the front holds for all connections, both ways; asyncio hides what waits below its TLS."""
    (front,) = served.fronts._fronts.values()
    return sum(
        session._framer.held_bytes
        + session._client.get_write_buffer_size()
        + session._client._ssl_protocol._incoming.pending
        + session._client._ssl_protocol._transport.get_write_buffer_size()
        + session._server.get_write_buffer_size()
        for session in front.sessions
    )


async def test_a_value_of_100_mb_makes_the_round_trip_in_little_memory(served):
    before, held, sent, received = peak_bytes(), 0, hashlib.sha256(), hashlib.sha256()
    async with raw(served) as connection:
        await connection.login("app")
        await connection.send(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$104857600\r\n")
        for _ in range(100):
            await connection.send(MEGABYTE)
            sent.update(MEGABYTE)
            held = max(held, buffered_bytes(served))
        await connection.send(b"\r\nGET big\r\n")
        assert await connection.line() == b"+OK\r\n"
        assert await connection.line() == b"$104857600\r\n"
        for _ in range(100):
            received.update(await connection.reader.readexactly(len(MEGABYTE)))
            held = max(held, buffered_bytes(served))

    assert received.digest() == sent.digest()
    assert held < 3 * 1024 * 1024
    assert peak_bytes() - before < 40 * 1024 * 1024


async def test_a_client_that_does_not_read_makes_the_server_wait(served):
    async with raw(served) as connection:
        await connection.login("app")
        await connection.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n", MEGABYTE, b"\r\n")
        assert await connection.line() == b"+OK\r\n"
        connection.writer.transport.pause_reading()

        await connection.send(b"GET k\r\n" * 64)
        await until(lambda: not served.only_session()._server.is_reading())
        held = buffered_bytes(served)
        connection.writer.transport.resume_reading()
        for _ in range(64):
            assert await connection.line() == b"$1048576\r\n"
            await connection.reader.readexactly(1048576 + 2)

    assert 0 < held < 3 * 1024 * 1024


async def test_a_server_that_does_not_read_makes_the_client_wait(served):
    (front,) = served.fronts._fronts.values()
    server = front.servers[0]._process
    async with raw(served) as connection:
        await connection.login("app")
        os.kill(server.pid, signal.SIGSTOP)

        async def send():
            for _ in range(20):
                await connection.send(encode_command(b"ECHO", MEGABYTE))

        sending = asyncio.create_task(send())

        await until(lambda: not served.only_session()._client.is_reading())
        held = buffered_bytes(served)
        assert not sending.done()
        os.kill(server.pid, signal.SIGCONT)
        for _ in range(20):
            assert await connection.line() == b"$1048576\r\n"
            await connection.reader.readexactly(1048576 + 2)
        await sending

    assert held < 3 * 1024 * 1024


# -- hostile bytes ------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[(engine_user(),), (open_default(),)], ids=["closed", "open"]
)
async def shared(tmp_path_factory, request):
    """Serve one cache for many broken connections."""
    async with serve(tmp_path_factory.mktemp("front"), *request.param) as served:
        yield served


async def ask_directly(served, request: bytes) -> bytes:
    """Return what the server itself answers until it closes."""
    (front,) = served.fronts._fronts.values()
    reader, writer = await asyncio.open_unix_connection(str(front.servers[0].socket))
    connection = RawConnection(reader, writer)
    await connection.send(request)
    answer = await connection.read_to_the_end()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"PING\r\n*x\r\n", id="count-is-no-number"),
        pytest.param(b"PING\r\n*2147483648\r\n", id="count-too-large"),
        pytest.param(b"*1\r\n+PING\r\n", id="not-a-bulk-string"),
        pytest.param(b"*1\r\n\r\n", id="an-empty-line-for-a-length"),
        pytest.param(b"*2\r\n$4\r\nPING\r\n$-1\r\n", id="negative-length"),
        pytest.param(f"*2\r\n$4\r\nECHO\r\n${MAX_BULK_BYTES + 1}\r\n".encode(), id="length-too-large"),
        pytest.param(b"*" + b"1" * (MAX_LINE_BYTES + 2), id="count-line-too-long"),
        pytest.param(b"*1\r\n$" + b"1" * (MAX_LINE_BYTES + 2), id="length-line-too-long"),
        pytest.param(b"P" * (MAX_LINE_BYTES + 1), id="inline-too-long"),
        pytest.param(b'PING "\r\nPING\r\n', id="unbalanced-quotes"),
        pytest.param(b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n:1\r\n", id="not-a-bulk-string-in-auth"),
        pytest.param(b"*-1\r\n*0\r\n\r\nPING\r\nQUIT\r\n", id="nothing-is-no-command"),
        pytest.param(b"AUTH\r\nAUTH a b c\r\nHELLO 9 AUTH a b\r\nHELLO 3 NO AUTH a b\r\nQUIT\r\n", id="odd-logins"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", id="a-browser"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_answer_is_the_server_s_own(shared, request_bytes):
    async with raw(shared) as connection:
        await connection.send(request_bytes)

        assert await connection.read_to_the_end() == await ask_directly(shared, request_bytes)


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"*11\r\n$4\r\nPING\r\n", id="many-arguments"),
        pytest.param(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", id="long-argument"),
    ],
)
async def test_before_a_login_a_command_is_kept_small(served, request_bytes):
    async with raw(served) as connection:
        await connection.send(request_bytes)

        assert (await connection.read_to_the_end()).startswith(b"-ERR Protocol error: unauthenticated")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    garbage=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.lists(st.binary(max_size=9), min_size=1, max_size=4).map(lambda words: encode_command(*words)),
            st.sampled_from([b"AUTH app x\r\n", b"*3\r\n$4\r\nAUTH\r\n", b"HELLO 3 AUTH\r\n", b"*1\r\n$4\r\nEXEC\r\n"]),
        ),
        max_size=6,
    )
)
def test_garbage_never_brings_the_front_down(garbage_front, garbage):
    served, runner = garbage_front

    async def attack():
        async with raw(served) as connection:
            for part in garbage:
                await connection.send(part)
        async with raw(served) as connection:
            await connection.login("app")

    runner.run(attack())


@pytest.fixture
def garbage_front(tmp_path):
    """Serve on a loop of its own: hypothesis calls a plain function."""
    with asyncio.Runner() as runner:
        context = serve(tmp_path, engine_user())
        served = runner.run(context.__aenter__())
        yield served, runner
        runner.run(context.__aexit__(None, None, None))


async def test_a_client_that_speaks_no_tls_harms_nobody(served):
    reader, writer = await asyncio.open_connection("localhost", served.endpoint.port)
    writer.write(b"PING\r\n" * 100)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()

    async with raw(served) as connection:
        await connection.login("app")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_tls_is_spoken_and_older_is_not(served, version):
    context = served.tls()
    context.minimum_version = context.maximum_version = version
    _, writer = await asyncio.open_connection("127.0.0.1", served.endpoint.port, ssl=context)

    assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    assert served.fronts._tls(("localhost",)).minimum_version == ssl.TLSVersion.TLSv1_2
    writer.transport.abort()


async def test_a_client_that_leaves_while_it_logs_in_harms_nobody(served):
    for _ in range(20):
        _, writer = await asyncio.open_connection("localhost", served.endpoint.port, ssl=served.tls())
        writer.write(f"AUTH app {presign()}\r\nBLPOP q 0\r\n".encode())
        writer.transport.abort()

    async with raw(served) as connection:
        await connection.login("app")
