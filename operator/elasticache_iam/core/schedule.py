"""What is due when: one key, one due time, earliest first. Serves token refreshes and reconcile passes alike."""

import heapq
import math
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K")

_SLACK: Final = 64
"""Dead entries below this number are never worth a compaction."""


class Schedule(Generic[K]):
    """Keys ordered by due time (any clock's seconds); equal due times leave in the order they came.

    A min-heap with lazy deletion: moving or removing a key leaves a dead entry behind, skipped when it comes up and
    swept out when dead entries outnumber live ones. put, remove and each popped key cost O(log n), amortised.
    Not for use by several threads.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._entries: dict[K, tuple[float, int, K]] = {}
        self._counter = 0

    def put(self, key: K, *, due: float) -> None:
        """Make a key due at a time; a key that is here already moves.

        Raises:
            ValueError: `due` is not a number; it would break the order of everything else.
        """
        if math.isnan(due):
            raise ValueError("due is not a number")
        # The counter is unique, so keys themselves are never compared.
        entry = (due, self._counter, key)
        self._counter += 1
        self._entries[key] = entry
        heapq.heappush(self._heap, entry)
        self._compact()

    def remove(self, key: K) -> None:
        """Forget a key; one that isn't here is fine."""
        if self._entries.pop(key, None) is not None:
            self._compact()

    def pop_due(self, now: float, limit: int | None = None) -> list[K]:
        """Remove and return the keys due at `now`, earliest first, at most `limit` of them."""
        popped: list[K] = []
        while (limit is None or len(popped) < limit) and (head := self._head()) is not None and head[0] <= now:
            heapq.heappop(self._heap)
            del self._entries[head[2]]
            popped.append(head[2])
        return popped

    def next_due(self) -> float | None:
        """Return the earliest due time, None if nothing is scheduled."""
        head = self._head()
        return None if head is None else head[0]

    def due_of(self, key: K) -> float | None:
        """Return a key's due time, None if it isn't here."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def lateness(self, now: float) -> float:
        """Return by how many seconds the most urgent key is overdue; 0 if nothing is."""
        head = self._head()
        return 0.0 if head is None else max(0.0, now - head[0])

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def _head(self) -> tuple[float, int, K] | None:
        """Return the first live entry after dropping the dead ones before it."""
        while self._heap:
            head = self._heap[0]
            if self._entries.get(head[2]) is head:
                return head
            heapq.heappop(self._heap)
        return None

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._entries) + _SLACK:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)
