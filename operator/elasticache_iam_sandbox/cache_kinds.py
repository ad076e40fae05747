"""The kinds of caches that the sandbox serves, and how a command names one. Light to import."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from elasticache_iam_sandbox.cache_programs import PROGRAMS
from elasticache_iam_sandbox.world.call import CacheKind

CACHE_SYNTAX: Final = "ID[:ENGINE[:KIND[:SHARDS]]]"
MOST_SHARDS: Final = 8
"""Each is a server of its own; more would prove nothing more on one machine."""
_MOST_PARTS: Final = CACHE_SYNTAX.count(":") + 1


class ServedKind(StrEnum):
    """What a cache is, in the words of commands and of the admin API."""

    REPLICATION_GROUP = "replication-group"
    """ElastiCache, node-based, cluster mode off."""
    CLUSTER = "cluster"
    """A replication group with cluster mode on."""
    SERVERLESS = "serverless"
    """An ElastiCache serverless cache: one endpoint that speaks the cluster protocol and holds all slots."""
    MEMORYDB = "memorydb"
    """A MemoryDB cluster, cluster mode on."""

    @property
    def resource(self) -> CacheKind:
        """What it is in its ARN."""
        return _RESOURCES[self]

    @property
    def default_shards(self) -> int | None:
        """How many shards a cache has unless asked otherwise; None: cluster mode is off."""
        return _DEFAULT_SHARDS[self]


_RESOURCES: Final[Mapping[ServedKind, CacheKind]] = {
    ServedKind.REPLICATION_GROUP: "replicationgroup",
    ServedKind.CLUSTER: "replicationgroup",
    ServedKind.SERVERLESS: "serverlesscache",
    ServedKind.MEMORYDB: "cluster",
}
_DEFAULT_SHARDS: Final = {
    ServedKind.REPLICATION_GROUP: None,
    ServedKind.CLUSTER: 2,
    ServedKind.SERVERLESS: 1,
    ServedKind.MEMORYDB: 1,
}


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """A cache that somebody asks for.

    Attributes:
        cache_id: Replication group id, serverless cache name or MemoryDB cluster name.
        shards: Number of servers that share the slots; None: cluster mode off.
    """

    cache_id: str
    engine: str
    kind: ServedKind
    shards: int | None


def specify_cache(
    cache_id: str,
    engine: str = "valkey",
    kind: str = ServedKind.REPLICATION_GROUP,
    shards: int | None = None,
) -> CacheSpec:
    """Return what is asked for, checked. Raises ValueError with a line that says what there is instead."""
    if not cache_id:
        raise ValueError(f"a cache needs an id: {CACHE_SYNTAX}")
    if engine not in PROGRAMS:
        raise ValueError(f"no such engine: {engine}; there are {', '.join(PROGRAMS)}")
    if kind not in set(ServedKind):
        raise ValueError(f"no such kind of cache: {kind}; there are {', '.join(ServedKind)}")
    asked = ServedKind(kind)
    if shards is not None and shards != asked.default_shards:
        if asked not in {ServedKind.CLUSTER, ServedKind.MEMORYDB}:
            raise ValueError(f"a cache of kind {asked} has no shards to choose")
        if not 1 <= shards <= MOST_SHARDS:
            raise ValueError(f"a cache has 1 to {MOST_SHARDS} shards here, not {shards}")
    return CacheSpec(cache_id, engine, asked, shards if shards is not None else asked.default_shards)


def parse_cache(text: str) -> CacheSpec:
    """Read a cache from a command line, as CACHE_SYNTAX says. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"not a cache: {text}; write {CACHE_SYNTAX}")
    cache_id, engine, kind, shards = (*parts, "", "", "")[:_MOST_PARTS]
    if shards and not shards.isdecimal():
        raise ValueError(f"not a number of shards: {shards}; write {CACHE_SYNTAX}")
    return specify_cache(
        cache_id,
        engine or "valkey",
        kind or ServedKind.REPLICATION_GROUP,
        int(shards) if shards else None,
    )
