"""The pace of calls."""

from elasticache_iam.aws.rate import TokenBucket


def test_a_burst_waits_for_nothing():
    bucket = TokenBucket(per_s=10.0, burst=3.0)

    assert [bucket.reserve(100.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_beyond_the_burst_each_waits_its_turn():
    bucket = TokenBucket(per_s=10.0, burst=1.0)
    bucket.reserve(100.0)

    assert [round(bucket.reserve(100.0), 3) for _ in range(3)] == [0.1, 0.2, 0.3]


def test_a_pause_saves_up_to_a_burst_and_no_more():
    bucket = TokenBucket(per_s=10.0, burst=2.0)
    for _ in range(2):
        bucket.reserve(100.0)

    waits = [bucket.reserve(1000.0) for _ in range(3)]

    assert [round(wait, 3) for wait in waits] == [0.0, 0.0, 0.1]


def test_no_rate_is_no_limit():
    bucket = TokenBucket(per_s=0.0, burst=0.0)

    assert {bucket.reserve(1.0) for _ in range(100)} == {0.0}
