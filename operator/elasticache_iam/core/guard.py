"""The mass-deletion guard: a wrongly pruned Git folder must not log out a company.

Deletions are counted by what stands in the API, so a restart forgets only those that were over by then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=10)
"""How long a deletion counts, and how long a confirmation is good."""
GRACE: Final = timedelta(minutes=30)
"""So long a member stays whose resource isn't there, although nobody was seen to delete it: time enough to apply the
rest of a restored cluster."""
_CLOCK_SKEW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Deletions:
    """What is being deleted, or was lately: of all users that exist in AWS, or of one UserGroup's.

    Attributes:
        total: All users, those included that went lately.
        recent: How many were deleted within the last ten minutes, or are still held back.
        whose: Of which UserGroup, `namespace/name`; "" for all.
    """

    total: int
    recent: int
    whose: str = ""


def find_mass(counts: Iterable[Deletions], *, percent: float, minimum: int) -> Deletions | None:
    """Return the first count of which so many users go at once that a person should say yes; None: they may go.

    That is more than `percent`, and more than `minimum`.
    """
    return next((each for each in counts if each.recent > max(minimum, each.total * percent / 100)), None)


def is_recent(stamp: str, now: datetime) -> bool:
    """Whether a time (RFC 3339: of a deletion, of a confirmation) lies within the last ten minutes, not ahead."""
    try:
        said = datetime.fromisoformat(stamp.strip())
    except ValueError:
        return False
    if said.tzinfo is None:
        return False
    return -_CLOCK_SKEW <= now - said <= WINDOW
