"""The mass-deletion guard's arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from elasticache_iam.core.guard import Deletions, is_mass, is_recent

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("total", "recent", "mass"),
    [
        (3, 3, False),
        (10, 5, False),
        (10, 6, True),
        (60, 6, False),
        (61, 7, True),
        (1000, 100, False),
        (1000, 101, True),
    ],
)
def test_more_than_a_tenth_and_more_than_five_is_a_mass(total, recent, mass):
    assert is_mass(Deletions(total, recent), percent=10, minimum=5) is mass


@pytest.mark.parametrize(
    ("stamp", "recent"),
    [
        ("2026-01-02T03:04:05Z", True),
        ("2026-01-02T02:54:05Z", True),
        ("2026-01-02T02:54:04Z", False),
        ("2026-01-02T04:04:05+01:00", True),
        ("2026-01-02T03:04:35Z", True),
        ("2026-01-02T03:06:00Z", False),
        ("2026-01-02T03:04:05", False),
        ("yes", False),
        ("", False),
    ],
)
def test_a_time_within_ten_minutes_is_recent(stamp, recent):
    assert is_recent(stamp, NOW) is recent


def test_a_confirmation_ends_by_itself():
    stamp = NOW.isoformat()

    assert is_recent(stamp, NOW + timedelta(minutes=10))
    assert not is_recent(stamp, NOW + timedelta(minutes=10, seconds=1))
