"""Sharing out the slots."""

import pytest

from elasticache_iam_sandbox.front.cluster import SLOTS, share_slots


@pytest.mark.parametrize("shards", range(1, 9))
def test_every_slot_has_one_shard_and_shards_are_even(shards):
    shares = share_slots(shards)

    assert [slot for first, last in shares for slot in range(first, last + 1)] == list(range(SLOTS))
    sizes = [last - first + 1 for first, last in shares]
    assert max(sizes) - min(sizes) <= 1
