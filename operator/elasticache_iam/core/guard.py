"""The mass-deletion guard: a wrongly pruned Git folder must not log out a company.

Deletions are counted by what stands in the API, so a restart forgets only those that were over by then.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=10)
"""How long a deletion counts, and how long a confirmation is good."""
_CLOCK_SKEW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Deletions:
    """What is being deleted, or was lately.

    Attributes:
        total: All users, those included that went lately.
        recent: How many were deleted within the last ten minutes, or are still held back.
    """

    total: int
    recent: int


def is_mass(deletions: Deletions, *, percent: float, minimum: int) -> bool:
    """Whether so many users go at once that a person should say yes: more than `percent`, and than `minimum`."""
    return deletions.recent > max(minimum, deletions.total * percent / 100)


def is_recent(stamp: str, now: datetime) -> bool:
    """Whether a time (RFC 3339: of a deletion, of a confirmation) lies within the last ten minutes, not ahead."""
    try:
        said = datetime.fromisoformat(stamp.strip())
    except ValueError:
        return False
    if said.tzinfo is None:
        return False
    return -_CLOCK_SKEW <= now - said <= WINDOW
