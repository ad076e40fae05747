"""The mass-deletion guard's arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from elasticache_iam.core.guard import Deletions, find_mass, is_recent

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
    deletions = Deletions(total, recent)

    assert find_mass([deletions], percent=10, minimum=5) == (deletions if mass else None)


def test_a_crowd_of_one_group_is_one_whatever_all_others_do():
    everybody, of_a_group = Deletions(1000, 8), Deletions(20, 8, "platform/orders")

    assert find_mass([everybody, of_a_group], percent=10, minimum=5) == of_a_group


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
