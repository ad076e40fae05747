"""All caches that are served, and the one object that supervisor and tests hold."""

import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from elasticache_iam_sandbox.cache_kinds import MOST_SHARDS
from elasticache_iam_sandbox.cache_programs import explain_missing
from elasticache_iam_sandbox.front.cluster import find_bus_port, form_cluster
from elasticache_iam_sandbox.front.front import CacheFront, Connection, Refusal
from elasticache_iam_sandbox.front.login import CacheKey, World
from elasticache_iam_sandbox.front.server import CacheServer, ClusterAddress, FrontError
from elasticache_iam_sandbox.world.call import CacheKind

HOST: Final = "127.0.0.1"
_REFUSALS_KEPT: Final = 1000
_START_ATTEMPTS: Final = 3
"""Of a server in cluster mode, whose bus port may be taken between the look and the start."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a cache's front listens; writes and reads alike. In cluster mode: the configuration endpoint.

    Attributes:
        nodes: Host and port of each shard's own front, in cluster mode.
    """

    host: str
    port: int
    nodes: tuple[tuple[str, int], ...] = ()


class CacheFronts:
    """The caches' data plane. It belongs to one event loop and asks the world there, at every login.

    Args:
        world: AWS.
        authority: Signs the fronts' certificates, for localhost, `host` and the names that `add` is given.
        state_dir: For a folder per cache: configuration, log and socket of each of its servers.
        programs: redis-server and valkey-server, by engine.
        host: The address that the fronts listen on. The servers behind them stay on loopback.
    """

    def __init__(
        self,
        world: World,
        *,
        authority: trustme.CA,
        state_dir: Path,
        programs: Mapping[str, Path],
        host: str = HOST,
    ) -> None:
        self._world = world
        self._authority = authority
        self._state_dir = state_dir
        self._programs = programs
        self._host = host
        self._keys: set[CacheKey] = set()
        """Of the caches that are served or start."""
        self._fronts: dict[CacheKey, CacheFront] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_REFUSALS_KEPT)

    async def add(
        self,
        account_id: str,
        region: str,
        cache_id: str,
        *,
        engine: str,
        kind: CacheKind = "replicationgroup",
        shards: int | None = None,
        port: int = 0,
        hostnames: Sequence[str] = (),
    ) -> Endpoint:
        """Start servers and a front for a cache, with the users it has now. In cluster mode it takes two seconds.

        Args:
            account_id: Of the cache.
            region: Of the cache.
            cache_id: As in the world.
            engine: redis or valkey.
            kind: As in the world.
            shards: How many servers share the slots, in cluster mode; None: one server, cluster mode off.
            port: To listen on; a free one for 0. In cluster mode each server's front has a free one besides.
            hostnames: Further names for the certificate.

        Raises:
            FrontError: There is a front already, or the engine's program is not installed or doesn't start.
            OSError: The port is taken.
        """
        key = CacheKey(account_id, region, cache_id, kind)
        if key in self._keys:
            raise FrontError(f"{cache_id} is served already")
        if engine not in self._programs:
            raise FrontError(explain_missing(engine))
        if shards is not None and not 1 <= shards <= MOST_SHARDS:
            raise FrontError(f"{cache_id} has {shards} shards; 1 to {MOST_SHARDS} are served here")
        self._keys.add(key)
        with ExitStack() as sockets:
            servers: list[CacheServer] = []
            try:
                endpoint = sockets.enter_context(_bind(self._host, port))
                of_nodes = [sockets.enter_context(_bind(self._host, 0)) for _ in range(shards or 0)]
                folder = self._state_dir / account_id / region / kind / cache_id
                for number, of_node in enumerate(of_nodes or [None], 1):
                    of_server = folder / str(number)
                    servers.append(await self._start_server(f"cache-{cache_id}-{number}", of_server, engine, of_node))
                if shards is not None:
                    await form_cluster(servers)
                front = CacheFront(self._world, key, servers=servers, on_refusal=self._refusals.append)
                self._fronts[key] = front
                await front.sync()
                tls = self._tls(("localhost", self._host, *hostnames))
                await front.listen(endpoint, tls, servers[0])
                for of_node, server in zip(of_nodes, servers, strict=False):  # none with cluster mode off
                    await front.listen(of_node, tls, server)
            except BaseException:
                await self._remove(key)
                for server in servers:
                    await server.stop()
                self._keys.discard(key)
                raise
            sockets.pop_all()  # the front closes them
            return Endpoint(self._host, _port(endpoint), tuple((self._host, _port(of_node)) for of_node in of_nodes))

    async def _start_server(self, name: str, folder: Path, engine: str, front: socket.socket | None) -> CacheServer:
        """Start a server; in cluster mode one that sends clients to its front's bound socket."""
        attempts = 1 if front is None else _START_ATTEMPTS
        while True:
            address = None if front is None else ClusterAddress(self._host, _port(front), find_bus_port())
            server = CacheServer(name, folder=folder, program=self._programs[engine], address=address)
            try:
                await server.start()
            except FrontError:
                attempts -= 1
                if not attempts:
                    raise
            except BaseException:
                await server.stop()
                raise
            else:
                return server

    def _tls(self, names: Sequence[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority.issue_cert(*names).configure_cert(context)
        return context

    async def sync(self) -> None:
        """Bring every cache's users in line with AWS; who left is cut. Nothing to do costs nothing."""
        for front in tuple(self._fronts.values()):
            await front.sync()

    def refusals(self) -> tuple[Refusal, ...]:
        """Return the latest refused logins, oldest first."""
        return tuple(self._refusals)

    def problems(self, cache_id: str) -> dict[str, str]:
        """Return, by user name, why a cache's server does not have a user as AWS does (an unknown rule, mostly)."""
        return {name: text for front in self._serving(cache_id) for name, text in front.problems.items()}

    def connections(self, cache_id: str) -> tuple[Connection, ...]:
        """Return the open connections to a cache (of that name in any account)."""
        return tuple(connection for front in self._serving(cache_id) for connection in front.connections())

    def _serving(self, cache_id: str) -> list[CacheFront]:
        return [front for key, front in self._fronts.items() if key.cache_id == cache_id]

    async def remove(
        self, account_id: str, region: str, cache_id: str, *, kind: CacheKind = "replicationgroup"
    ) -> None:
        """Cut a cache's connections and stop its servers; unknown ones are fine."""
        await self._remove(CacheKey(account_id, region, cache_id, kind))

    async def _remove(self, key: CacheKey) -> None:
        front = self._fronts.pop(key, None)
        if front is not None:
            await front.close()
            for server in front.servers:
                await server.stop()
            self._keys.discard(key)

    async def close(self) -> None:
        """Remove every cache."""
        for key in tuple(self._fronts):
            await self._remove(key)


def _bind(host: str, port: int) -> socket.socket:
    """Take a port of an address, a free one for 0, without listening yet: a server must know it before it starts."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past the connections of a run before
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _port(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port
