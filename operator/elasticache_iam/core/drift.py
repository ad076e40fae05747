"""Changes behind our back: put back once, and a fight with somebody who changes the same thing again is noticed."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

FIGHT_REPAIRS: Final = 3
"""So many repairs of one thing, each within `PEACE_PASSES` drift intervals of the one before, are no chance."""
PEACE_PASSES: Final = 24
LONGEST_TRUCE_PASSES: Final = 12
"""The longest pause between two repairs of a contested thing, in drift intervals: an hour by default."""


@dataclass(frozen=True, slots=True)
class _Repairs:
    count: int
    last_s: float


@dataclass(slots=True)
class RepairLog:
    """How often what was put back, in memory: after a restart a fight shows anew.

    Attributes:
        interval_s: The drift interval, in which a fight's turns are counted.
    """

    interval_s: float
    _repairs: dict[Hashable, _Repairs] = field(default_factory=dict)

    def wait_s(self, thing: Hashable, now_s: float) -> float:
        """Return for how long to leave a thing alone before it is put back again; 0: put it back now.

        Args:
            thing: What was changed: a tuple of the resource and the field.
            now_s: Monotonic seconds.
        """
        count = self.count(thing, now_s)
        if count < FIGHT_REPAIRS:
            return 0.0
        passes: float = min(2.0 ** (count - FIGHT_REPAIRS + 1), LONGEST_TRUCE_PASSES)
        return max(0.0, self._repairs[thing].last_s + passes * self.interval_s - now_s)

    def note(self, thing: Hashable, now_s: float) -> None:
        """Note a repair."""
        self._repairs[thing] = _Repairs(self.count(thing, now_s) + 1, now_s)

    def count(self, thing: Hashable, now_s: float) -> int:
        """Return how often a thing was put back without a long peace in between."""
        past = self._repairs.get(thing)
        if past is None or now_s - past.last_s > PEACE_PASSES * self.interval_s:
            return 0
        return past.count

    def forget(self, resource: Hashable) -> None:
        """Drop what is noted of a resource."""
        for thing in [thing for thing in self._repairs if isinstance(thing, tuple) and thing[0] == resource]:
            del self._repairs[thing]
