"""What a command may ask for."""

import pytest

from elasticache_iam_sandbox.cache_kinds import CacheSpec, ServedKind, parse_cache, specify_cache
from elasticache_iam_sandbox.cache_programs import PROGRAMS, explain_missing, find_missing, find_programs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("orders", CacheSpec("orders", "valkey", ServedKind.REPLICATION_GROUP, None)),
        ("orders:redis", CacheSpec("orders", "redis", ServedKind.REPLICATION_GROUP, None)),
        ("orders::memorydb", CacheSpec("orders", "valkey", ServedKind.MEMORYDB, 1)),
        ("orders:valkey:serverless", CacheSpec("orders", "valkey", ServedKind.SERVERLESS, 1)),
        ("orders:redis:memorydb:2", CacheSpec("orders", "redis", ServedKind.MEMORYDB, 2)),
        ("orders:redis:cluster", CacheSpec("orders", "redis", ServedKind.CLUSTER, 2)),
        ("orders:redis:cluster:3", CacheSpec("orders", "redis", ServedKind.CLUSTER, 3)),
    ],
)
def test_a_cache_is_named_in_one_word(text, spec):
    assert parse_cache(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs an id"),
        (":redis", "needs an id"),
        ("orders:memcached", "no such engine: memcached; there are redis, valkey"),
        ("orders:redis:sentinel", "there are replication-group, cluster, serverless, memorydb"),
        ("orders:redis:cluster:two", "not a number of shards: two"),
        ("orders:redis:cluster:0", "1 to 8 shards"),
        ("orders:redis:memorydb:9", "1 to 8 shards"),
        ("orders:redis:serverless:2", "no shards to choose"),
        ("orders:redis:replication-group:2", "no shards to choose"),
        ("orders:redis:cluster:2:2", "write ID"),
    ],
)
def test_what_is_wrong_is_said_with_what_there_is(text, message):
    with pytest.raises(ValueError, match=message):
        parse_cache(text)


@pytest.mark.parametrize("kind", ServedKind)
def test_a_spec_asks_for_itself(kind):
    spec = specify_cache("orders", kind=kind)

    assert specify_cache(spec.cache_id, spec.engine, spec.kind, spec.shards) == spec


def test_no_engine_s_program_stands_in_for_the_other(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_programs() == {"redis": program}
    assert find_missing(PROGRAMS, find_programs()) == explain_missing("valkey")
