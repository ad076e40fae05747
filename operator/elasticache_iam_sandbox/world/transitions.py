"""Changes that are still to come: a heap of due times on AWS's clock."""

from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from itertools import count


class Transitions:
    """What finishes later: creating, modifying, deleting.

    A change is a function without arguments. Changes due at the same time are carried out in the order they were put.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Callable[[], None]]] = []
        self._serial = count()

    def put(self, due_at: datetime, change: Callable[[], None]) -> None:
        """Carry `change` out at `due_at`."""
        heappush(self._heap, (due_at, next(self._serial), change))

    def next_at(self) -> datetime | None:
        """Return when the next change is due."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now: datetime) -> bool:
        """Carry out what is due; say whether there was anything."""
        changed = False
        while self._heap and self._heap[0][0] <= now:
            heappop(self._heap)[2]()
            changed = True
        return changed
