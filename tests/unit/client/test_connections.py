"""Connections that log in again: when, with what, and what becomes of a login that fails."""

import asyncio
import gc
import logging
import threading
import weakref
from datetime import timedelta

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from tests.unit.client.stub import numbered

from elasticache_iam.client import (
    AsyncReauthenticatingConnection,
    CredentialsUnavailableError,
    ReauthenticatingConnection,
    stay_connected,
)
from elasticache_iam.client.connections import CONNECTION_LIFE, RELOGIN_WINDOW, LoginTimer

AT_ONCE = timedelta(0)
"""A connection's life after which it logs in again before each command."""


class Counting(CredentialProvider):
    """Gives token-1, token-2 and so on; nothing where there is a `problem`."""

    def __init__(self):
        self.tokens = numbered("token")
        self.problem = None

    def get_credentials(self):
        if self.problem is not None:
            raise self.problem
        return "checkout", next(self.tokens)

    async def get_credentials_async(self):
        return self.get_credentials()


@pytest.fixture
def provider():
    return Counting()


def blocking(stub, provider, *, life=AT_ONCE, **options):
    """Return a client that stays connected and sees every failure."""
    options = {"retry": Retry(NoBackoff(), 0), "decode_responses": True, **options}
    return stay_connected(redis.Redis(port=stub.port, credential_provider=provider, **options), connection_life=life)


def of_asyncio(stub, provider, *, life=AT_ONCE, **options):
    options = {"retry": redis.asyncio.retry.Retry(NoBackoff(), 0), "decode_responses": True, **options}
    client = redis.asyncio.Redis(port=stub.port, credential_provider=provider, **options)
    return stay_connected(client, connection_life=life)


# -- when ---------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("drawn", "hours"), [(min, 9.6), (max, 10.8)])
def test_a_login_is_due_an_hour_and_more_before_the_cut(drawn, hours):
    clock = Clock()
    timer = LoginTimer(CONNECTION_LIFE.total_seconds(), clock, lambda *bounds: drawn(bounds))
    timer.logged_in(clock())

    clock.now += hours * 3600 - 1
    early = timer.is_due()
    clock.now += 1

    assert (early, timer.is_due()) == (False, True)


def test_connections_made_together_log_in_at_different_times():
    timers = [LoginTimer(1000) for _ in range(50)]
    for timer in timers:
        timer.logged_in(0)

    due = {timer._due_at for timer in timers}

    assert len(due) > 40
    assert 1000 * RELOGIN_WINDOW[0] <= min(due) <= max(due) <= 1000 * RELOGIN_WINDOW[1]


def test_a_refused_login_is_tried_again_after_five_to_ten_minutes():
    clock = Clock()
    timer = LoginTimer(CONNECTION_LIFE.total_seconds(), clock)

    timer.refused()

    assert 300 <= timer._due_at - clock.now <= 600


async def test_a_connection_that_is_not_old_logs_in_once(stub, provider):
    with blocking(stub, provider, life=CONNECTION_LIFE) as client:
        await stub.beside(lambda: [client.ping() for _ in range(5)])

    assert stub.seen == ["login", *["PING"] * 5]


# -- with what ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_blocking_client_logs_in_before_a_command_that_is_due(stub, provider, protocol):
    with blocking(stub, provider, protocol=protocol) as client:
        echoed = await stub.beside(lambda: [client.echo(text) for text in ("one", "two")])

    assert echoed == ["one", "two"]
    assert stub.seen == ["login", "login", "ECHO", "login", "ECHO"]
    assert stub.logins == [("checkout", f"token-{number}") for number in (1, 2, 3)]
    assert stub.connections == 1


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_asyncio_client_logs_in_before_a_command_that_is_due(stub, provider, protocol):
    async with of_asyncio(stub, provider, protocol=protocol) as client:
        echoed = [await client.echo(text) for text in ("one", "two")]

    assert echoed == ["one", "two"]
    assert stub.seen == ["login", "login", "ECHO", "login", "ECHO"]
    assert stub.connections == 1


async def test_a_pipeline_is_not_split(stub, provider):
    with blocking(stub, provider) as client, client.pipeline(transaction=False) as pipeline:
        pipeline.echo("one").echo("two")

        assert await stub.beside(pipeline.execute) == ["one", "two"]
    assert stub.seen == ["login", "login", "ECHO", "ECHO"]


async def test_no_login_comes_between_the_commands_of_a_handshake(stub, provider):
    with blocking(stub, provider, db=1) as client:
        await stub.beside(client.ping)
        client.connection_pool.disconnect()
        await stub.beside(client.ping)

    assert stub.seen == ["login", "SELECT", "login", "PING"] * 2


@pytest.mark.parametrize("connection_class", [ReauthenticatingConnection, AsyncReauthenticatingConnection])
def test_the_classes_for_pools_are_tls_and_live_twelve_hours(connection_class, provider):
    connection = connection_class(credential_provider=provider)

    assert "SSLConnection" in {base.__name__ for base in connection_class.__mro__}
    assert connection._timer.life_s == 12 * 3600


# -- logins that fail -----------------------------------------------------------------------------------------------


REFUSALS = (
    b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    b"-ERR Exceeded limit of IAM Authentication requests\r\n",
)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_refused_login_fails_no_command_of_the_blocking_client(stub, provider, protocol, refusal, caplog):
    with blocking(stub, provider, protocol=protocol) as client:
        await stub.beside(client.ping)
        stub.refusals = [refusal]

        echoed = await stub.beside(lambda: [client.echo(text) for text in ("still here", "and again")])

    assert echoed == ["still here", "and again"]

    assert stub.connections == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_refused_login_fails_no_command_of_the_asyncio_client(stub, provider, protocol, refusal, caplog):
    async with of_asyncio(stub, provider, protocol=protocol) as client:
        await client.ping()
        stub.refusals = [refusal]

        echoed = [await client.echo(text) for text in ("still here", "and again")]

    assert echoed == ["still here", "and again"]

    assert stub.connections == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


PROBLEMS = (CredentialsUnavailableError("the files are gone"), OSError("somebody else's provider"))


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_credentials_that_are_not_there_fail_no_command_of_the_blocking_client(stub, provider, problem, caplog):
    with blocking(stub, provider) as client:
        await stub.beside(client.ping)
        provider.problem = problem

        assert await stub.beside(lambda: client.echo("still here")) == "still here"

    assert type(problem).__name__ in caplog.text


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_credentials_that_are_not_there_fail_no_command_of_the_asyncio_client(stub, provider, problem, caplog):
    async with of_asyncio(stub, provider) as client:
        await client.ping()
        provider.problem = problem

        assert await client.echo("still here") == "still here"

    assert type(problem).__name__ in caplog.text


async def test_a_connection_that_dies_in_a_login_is_an_error_of_the_connection(stub, provider):
    async with of_asyncio(stub, provider, single_connection_client=True) as client:
        await client.ping()
        stub.may_answer.clear()
        waiting = asyncio.create_task(client.echo("hello"))
        await until(lambda: len(stub.logins) == 3)

        stub.cut()

        with pytest.raises(RedisConnectionError):
            await waiting
        stub.may_answer.set()
        assert await client.echo("hello again") == "hello again"


async def test_a_command_is_sent_once_though_its_login_died(stub, provider):
    async with of_asyncio(stub, provider, retry=redis.asyncio.retry.Retry(NoBackoff(), 3)) as client:
        await client.ping()
        stub.may_answer.clear()
        waiting = asyncio.create_task(client.echo("hello"))
        await until(lambda: len(stub.logins) == 3)

        stub.may_answer.set()
        stub.cut()

        assert await waiting == "hello"
    assert stub.seen.count("ECHO") == 1


async def test_a_login_that_is_cancelled_leaves_no_answer_for_the_next_command(stub, provider):
    async with of_asyncio(stub, provider, single_connection_client=True) as client:
        await client.ping()
        stub.may_answer.clear()
        waiting = asyncio.create_task(client.echo("cancelled"))
        await until(lambda: len(stub.logins) == 3)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        stub.may_answer.set()

        assert [await client.echo(text) for text in ("one", "two")] == ["one", "two"]


async def test_no_token_is_shown(stub, provider, caplog):
    caplog.set_level(logging.DEBUG)
    with blocking(stub, provider) as client:
        await stub.beside(client.ping)
        # Some servers repeat what they don't understand.
        stub.refusals = [b"-ERR unknown command 'AUTH', with args beginning with: 'checkout' 'token-3'\r\n"]
        await stub.beside(client.ping)

        shown = f"{client!r} {client.connection_pool!r} {provider!r} {caplog.text}"

    assert "could not log in again" in shown
    assert "token-" not in shown


# -- clients ----------------------------------------------------------------------------------------------------------


async def test_the_same_client_is_returned_and_may_have_looked_around(stub, provider):
    client = redis.Redis(port=stub.port, credential_provider=provider)
    await stub.beside(client.ping)

    assert stay_connected(client, connection_life=AT_ONCE) is client
    await stub.beside(client.ping)

    assert stub.connections == 2
    assert stub.seen == ["login", "PING", "login", "login", "PING"]
    client.close()


async def test_a_client_in_use_is_refused(stub, provider):
    client = await stub.beside(
        lambda: redis.Redis(port=stub.port, credential_provider=provider, single_connection_client=True)
    )

    with client, pytest.raises(ValueError, match="connected already"):
        stay_connected(client)


async def test_an_asyncio_client_that_is_connected_is_refused(stub, provider):
    async with redis.asyncio.Redis(port=stub.port, credential_provider=provider) as client:
        await client.ping()

        with pytest.raises(ValueError, match="connected already"):
            stay_connected(client)


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_a_client_without_a_provider_is_refused(kind):
    with pytest.raises(ValueError, match="no credential_provider"):
        stay_connected(kind(password="static"))


async def test_nothing_of_a_client_is_left(stub, provider):
    threads = threading.enumerate()
    client = blocking(stub, provider)
    thread = threading.Thread(target=client.ping)
    thread.start()
    await asyncio.to_thread(thread.join)
    client.close()
    pool = weakref.ref(client.connection_pool)

    del client
    gc.collect()

    assert pool() is None
    assert not [thread for thread in threading.enumerate() if thread not in threads and "asyncio" not in thread.name]


async def until(condition):
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what the stub saw has no event
            await asyncio.sleep(0.005)
