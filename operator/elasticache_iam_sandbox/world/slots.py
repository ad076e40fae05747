"""Hash slots of caches in cluster mode."""

_SLOTS = 16384


def slot_range(shard: int, shards: int) -> str:
    """Return the slots of one shard (from 0) of so many, as AWS writes them: 0-8191."""
    return f"{_SLOTS * shard // shards}-{_SLOTS * (shard + 1) // shards - 1}"
