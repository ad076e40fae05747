"""Several servers made one cluster: the slots shared out, the servers introduced to each other."""

import asyncio
import itertools
import random
import socket
from collections.abc import Sequence
from typing import Final

from elasticache_iam_sandbox.front.server import CacheServer, FrontError

SLOTS: Final = 16384
_TIMEOUT_S: Final = 30.0
"""Until the cluster is whole: 2 s on an idle machine, which no setting shortens. A new master waits that long before it
takes writes (CLUSTER_WRITABLE_DELAY, redis 7.0 src/cluster.c).
"""
_BUS_PORTS: Final = range(12000, 32000)
"""Below the ports that systems give to outgoing connections, so that a free one stays free until the server has it."""


def find_bus_port() -> int:
    """Return a port of loopback that is free now. Raises FrontError."""
    for port in random.sample(_BUS_PORTS, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise FrontError("no free port for the bus of a cluster")


def share_slots(shards: int) -> tuple[tuple[int, int], ...]:
    """Return the first and last slot of each shard, as even as can be."""
    bounds = [SLOTS * number // shards for number in range(shards + 1)]
    return tuple((first, after - 1) for first, after in itertools.pairwise(bounds))


async def form_cluster(servers: Sequence[CacheServer]) -> None:
    """Make running servers, new and empty, one cluster; return when each of them takes reads and writes.

    Raises:
        FrontError: They don't get together in time.
    """
    first, *others = servers
    for epoch, (server, (low, high)) in enumerate(zip(servers, share_slots(len(servers)), strict=True), 1):
        await server.execute("CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
        await server.execute("CLUSTER", "SET-CONFIG-EPOCH", str(epoch))  # two of the same would have to be sorted out
    for other in others:
        if other.address is None:
            raise FrontError(f"{other.name} is not in cluster mode")
        address = other.address
        await first.execute("CLUSTER", "MEET", address.host, str(address.port), str(address.bus_port))
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    for server in servers:
        while not await _is_whole(server, len(servers)):
            if asyncio.get_running_loop().time() > deadline:
                raise FrontError(f"{server.name}: the cluster is not whole after {_TIMEOUT_S:.0f} s")
            await asyncio.sleep(0.02)


async def _is_whole(server: CacheServer, nodes: int) -> bool:
    text: str = await server.execute("CLUSTER", "INFO")
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return (told["cluster_state"], told["cluster_slots_ok"], told["cluster_known_nodes"]) == (
        "ok",
        str(SLOTS),
        str(nodes),
    )
