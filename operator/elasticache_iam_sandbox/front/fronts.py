"""All caches that are served, and the one object that supervisor and tests hold."""

import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from elasticache_iam_sandbox.front.front import CacheFront, Connection, Refusal
from elasticache_iam_sandbox.front.login import World
from elasticache_iam_sandbox.front.server import CacheServer, FrontError

_HOST: Final = "127.0.0.1"
_REFUSALS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a cache's front listens; writes and reads alike."""

    host: str
    port: int


class CacheFronts:
    """The caches' data plane. It belongs to one event loop and asks the world there, at every login.

    Args:
        world: AWS.
        authority: Signs the fronts' certificates, for localhost, 127.0.0.1 and the names that `add` is given.
        state_dir: For a folder per cache: configuration, log and socket of its server.
        redis_server: A redis-server or valkey-server.
    """

    def __init__(self, world: World, *, authority: trustme.CA, state_dir: Path, redis_server: Path) -> None:
        self._world = world
        self._authority = authority
        self._state_dir = state_dir
        self._redis_server = redis_server
        self._fronts: dict[tuple[str, str, str], CacheFront] = {}
        self._refusals: deque[Refusal] = deque(maxlen=_REFUSALS_KEPT)

    async def add(
        self, account_id: str, region: str, cache_id: str, *, port: int = 0, hostnames: Sequence[str] = ()
    ) -> Endpoint:
        """Start a server and a front for a cache, with the users it has now.

        Args:
            account_id: Of the cache.
            region: Of the cache.
            cache_id: As in the world.
            port: To listen on; a free one for 0.
            hostnames: Further names for the certificate.

        Raises:
            FrontError: There is a front already, or the server is not installed or doesn't start.
        """
        key = (account_id, region, cache_id)
        if key in self._fronts:
            raise FrontError(f"{cache_id} is served already")
        server = CacheServer(
            f"cache-{cache_id}", folder=self._state_dir / account_id / region / cache_id, program=self._redis_server
        )
        front = CacheFront(self._world, *key, server=server, on_refusal=self._refusals.append)
        self._fronts[key] = front
        try:
            await server.start()
            await front.sync()
            return Endpoint(_HOST, await front.listen(_HOST, port, self._tls(("localhost", _HOST, *hostnames))))
        except BaseException:
            await self.remove(*key)
            raise

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
        return [front for key, front in self._fronts.items() if key[2] == cache_id]

    async def remove(self, account_id: str, region: str, cache_id: str) -> None:
        """Cut a cache's connections and stop its server; unknown ones are fine."""
        front = self._fronts.pop((account_id, region, cache_id), None)
        if front is not None:
            await front.close()
            await front.server.stop()

    async def close(self) -> None:
        """Remove every cache."""
        for key in tuple(self._fronts):
            await self.remove(*key)
