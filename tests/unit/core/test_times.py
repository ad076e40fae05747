from datetime import datetime, timedelta, timezone

from elasticache_iam.core.times import micro_time, rfc3339

AT = datetime(2026, 1, 2, 5, 4, 5, 999_999, tzinfo=timezone(timedelta(hours=2)))


def test_a_time_is_written_in_utc_and_rounded_down():
    assert rfc3339(AT) == "2026-01-02T03:04:05Z"


def test_a_micro_time_is_written_in_utc_with_six_digits():
    assert micro_time(AT) == "2026-01-02T03:04:05.999999Z"
    assert micro_time(AT.replace(microsecond=0)) == "2026-01-02T03:04:05.000000Z"
