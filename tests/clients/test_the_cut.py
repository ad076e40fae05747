"""Clients of several languages, for several lives of a connection and many tokens.

redis-py's four with our helper, one that signs for itself, and one without it; the examples for Go and Node.js.
"""

import asyncio
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from tests.clients.conftest import CacheOfClients
from tests.clients.mount import repeatedly

from elasticache_iam.client import SecretFileCredentialProvider, stay_connected

LIFE = timedelta(seconds=0.5)
"""What the clients are told of a connection's life: the margin of an hour before the real cut, in small."""
CUTS = 3
ROTATION_S = 0.4
DEADLINE_S = 20

CLIENTS = ("blocking", "asyncio", "cluster", "asyncio-cluster", "signing")

ROOT = Path(__file__).parents[2]
PREPARED = ROOT / ".state" / "clients"
PROGRAMS = {
    "go": ([PREPARED / "go-client"], "1s"),
    "node": ([PREPARED / "node", ROOT / "examples" / "clients" / "node" / "main.mjs"], "0.7"),
}
"""What to run, and when it renews a connection or its login."""


@dataclass
class Run:
    """What a client went through: its errors, and its connections at first and at last."""

    errors: list[Exception] = field(default_factory=list)
    first: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    commands: int = 0
    said: str = ""


def mounted(place: CacheOfClients, user: str) -> SecretFileCredentialProvider:
    return SecretFileCredentialProvider(place.folder(user))


def options(place: CacheOfClients, user: str) -> dict[str, object]:
    return {
        "host": place.cache.host,
        "port": place.cache.port,
        "credential_provider": place.signing_provider(user) if user == "signing" else mounted(place, user),
        "ssl": True,
        "ssl_ca_certs": place.cache.ca_file,
        "decode_responses": True,
    }


def not_retrying(kind: type) -> dict[str, object]:
    """Return options with which a client shows every failure."""
    return {"retry": kind(NoBackoff(), 0)}


KEYS = [f"key-{number}" for number in range(8)]
"""Of all shards."""


def use_blocking(client: redis.Redis, run: Run, until: Callable[[], bool], look: Callable[[], frozenset[str]]) -> None:
    """Write and read, and block for a moment, as long as it goes."""
    while not until():
        try:
            for key in KEYS:
                client.set(key, key)
                assert client.get(key) == key
            client.blpop([KEYS[0] + "-queue"], timeout=0.05)
        except Exception as error:  # noqa: BLE001  # the test shows it
            run.errors.append(error)
        run.commands += 1
        run.last = look()
        run.first = run.first or run.last


async def use_asyncio(client, run: Run, until: Callable[[], bool], look: Callable[[], frozenset[str]]) -> None:
    """As use_blocking."""
    while not until():
        try:
            for key in KEYS:
                await client.set(key, key)
                assert await client.get(key) == key
            await client.blpop([KEYS[0] + "-queue"], timeout=0.05)
        except Exception as error:  # noqa: BLE001  # the test shows it
            run.errors.append(error)
        run.commands += 1
        run.last = await asyncio.to_thread(look)
        run.first = run.first or run.last


def run_program(name: str, place: CacheOfClients, seconds: float, run: Run) -> None:
    """Run an example of another language to its end."""
    command, renewal = PROGRAMS[name]
    if not command[0].exists():
        run.errors.append(FileNotFoundError(f"the example client {name} is not prepared: run `make clients`"))
        return
    process = subprocess.Popen(  # noqa: S603  # our own example
        [*command, place.folder(name), str(seconds), renewal],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with process:
        while process.poll() is None:
            now = frozenset(place.connections(name))
            run.last = now or run.last
            run.first = run.first or now
            time.sleep(0.02)
        run.said = process.stdout.read()
    if process.returncode:
        run.errors.append(subprocess.CalledProcessError(process.returncode, command, run.said))


@pytest.fixture(scope="module")
def clustered(caches, tmp_path_factory):
    """A cache in cluster mode."""
    folder = tmp_path_factory.mktemp("mounts")
    return CacheOfClients(
        caches, "redis-py-cluster", folder, "cluster", "asyncio-cluster", "looking", kind="cluster", shards=2
    )


@pytest.fixture(scope="module")
def runs(caches, clustered, tmp_path_factory):
    """Let all clients work side by side through several cuts, while their tokens are rotated."""
    users = ("blocking", "asyncio", "signing", "unhelped", *PROGRAMS)
    plain = CacheOfClients(caches, "redis-py", tmp_path_factory.mktemp("mounts"), *users)
    cut_s = 3.0  # a stall of this machine for 2.5 s would be taken for a lost connection
    runs = {name: Run() for name in (*CLIENTS, *PROGRAMS, "unhelped")}
    before = caches.settings.connection_seconds
    caches.settings.connection_seconds = cut_s
    seconds = (CUTS + 0.2) * cut_s
    end = time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() > end

    def look(place: CacheOfClients, user: str) -> Callable[[], frozenset[str]]:
        return lambda: frozenset(place.connections(user))

    def run_blocking(name: str, place: CacheOfClients) -> None:
        kind = redis.RedisCluster if name == "cluster" else redis.Redis
        client = kind(**options(place, name), **not_retrying(Retry))
        if name != "unhelped":
            stay_connected(client, connection_life=LIFE)
        with client:
            use_blocking(client, runs[name], is_over, look(place, name))

    async def run_asyncio(name: str, place: CacheOfClients) -> None:
        kind = redis.asyncio.RedisCluster if name == "asyncio-cluster" else redis.asyncio.Redis
        client = kind(**options(place, name), **not_retrying(AsyncRetry))
        async with stay_connected(client, connection_life=LIFE):
            await use_asyncio(client, runs[name], is_over, look(place, name))

    try:
        with (
            repeatedly(lambda: (plain.rotate(), clustered.rotate()), every_s=ROTATION_S),
            ThreadPoolExecutor(8) as threads,
        ):
            working = [
                threads.submit(run_blocking, "blocking", plain),
                threads.submit(run_blocking, "signing", plain),
                threads.submit(run_blocking, "unhelped", plain),
                threads.submit(run_blocking, "cluster", clustered),
                threads.submit(asyncio.run, run_asyncio("asyncio", plain)),
                threads.submit(asyncio.run, run_asyncio("asyncio-cluster", clustered)),
                *(threads.submit(run_program, name, plain, seconds, runs[name]) for name in PROGRAMS),
            ]
        for work in working:
            work.result()
    finally:
        caches.settings.connection_seconds = before
    assert plain.refusals() == clustered.refusals() == []
    return runs


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_keeps_its_connections_over_cuts_and_rotations(runs, client):
    run = runs[client]

    assert run.errors == []
    assert run.commands > 10
    assert run.first
    assert run.first <= run.last


def test_without_the_helper_connections_are_lost(runs):
    run = runs["unhelped"]

    assert run.first
    assert not run.first & run.last


def test_the_go_client_loses_no_command(runs):
    run = runs["go"]

    assert run.errors == []
    assert run.said.startswith("logged in as go\n")
    assert run.said.endswith(" commands, 0 failed\n")
    assert not run.first & run.last  # it replaces its connections, before they are cut


def test_the_node_client_loses_no_command_and_no_connection(runs):
    run = runs["node"]

    assert run.errors == []
    assert run.said.startswith("logged in as node\n")
    assert run.said.count("\n") == 2  # nothing about a connection or a login
    assert run.said.endswith(" commands, 0 failed\n")
    assert run.first
    assert run.first == run.last


# -- what can't be helped ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(caches, tmp_path_factory):
    return CacheOfClients(caches, "redis-py-cut", tmp_path_factory.mktemp("mounts"), "worker", "subscriber")


@pytest.fixture
def one_second(caches):
    """A life of a connection in which a test can wait for its end."""
    before = caches.settings.connection_seconds
    caches.settings.connection_seconds = 1.0
    yield
    caches.settings.connection_seconds = before


def test_a_command_that_blocks_over_the_cut_is_cut(place, one_second):
    client = stay_connected(redis.Redis(**options(place, "worker"), **not_retrying(Retry)), connection_life=LIFE)

    with client, pytest.raises(RedisConnectionError):
        client.blpop(["nothing-comes"], timeout=DEADLINE_S)


def test_a_subscriber_is_cut_and_subscribes_again_by_itself(place, one_second):
    subscribing = stay_connected(redis.Redis(**options(place, "subscriber")), connection_life=LIFE)
    with subscribing, subscribing.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe("news")
        subscription.get_message(timeout=DEADLINE_S)
        first = set(place.connections("subscriber"))

        heard = set()
        deadline = time.monotonic() + DEADLINE_S
        with redis.Redis(**options(place, "worker")) as client:
            while not heard:
                assert time.monotonic() < deadline, "nothing was heard after the cut"
                was_cut = not first & set(place.connections("subscriber"))
                client.publish("news", "after the cut" if was_cut else "before it")
                message = subscription.get_message(timeout=0.05)
                heard |= {message["data"]} - {"before it"} if message else set()

    assert first
    assert heard == {"after the cut"}


# -- cluster clients --------------------------------------------------------------------------------------------------


def test_a_node_that_a_cluster_client_finds_later_logs_in_again_too(clustered):
    with stay_connected(redis.RedisCluster(**options(clustered, "looking")), connection_life=LIFE) as client:
        nodes = client.nodes_manager

        found = nodes.create_redis_node(clustered.cache.host, clustered.cache.port, **nodes.connection_kwargs)

        with found:
            assert found.ping()
            assert found.connection_pool.make_connection()._timer.life_s == LIFE.total_seconds()


async def test_an_asyncio_cluster_client_that_is_connected_is_refused(clustered):
    async with redis.asyncio.RedisCluster(**options(clustered, "looking")) as client:
        with pytest.raises(ValueError, match="connected already"):
            stay_connected(client)
