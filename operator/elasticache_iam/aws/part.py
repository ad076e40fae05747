"""One kind of thing, read as a whole and kept: what the inventory is made of.

N users cost N/100 calls a pass, not N. Each part is read anew only if it is older than asked or a write of ours
touched it, and callers at the same time share one read.

All order is kept by one counter: a read is stamped when it starts, a write when it has ended. A read that started
before a write ended never counts as newer than the write, so a slow page can't bring the past back.
"""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from elasticache_iam.ports import Clock

T = TypeVar("T")


class Sequence:
    """Rising numbers, from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def next(self) -> int:
        """Return a number greater than all before it."""
        with self._lock:
            return next(self._numbers)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one read found. `stamp` and `at` (monotonic seconds) are of its start: older than that nothing is."""

    value: T
    stamp: int
    at: float


@dataclass(frozen=True, slots=True)
class Merged(Generic[T]):
    """What readings and single facts made together; made anew only when one of them changed."""

    key: tuple[int, ...]
    value: T


class Part(Generic[T]):
    """One kind of object, read as a whole and kept."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, clock: Clock, sequence: Sequence) -> None:
        self._read = read
        self._clock = clock
        self._sequence = sequence
        self._reading: Reading[T] | None = None
        self._flight: asyncio.Task[Reading[T]] | None = None
        self._flight_stamp = 0
        self._touched = 0
        self._touching = threading.Lock()

    @property
    def latest(self) -> Reading[T]:
        """The newest reading: what others read while one waited included. LookupError before the first."""
        if self._reading is None:
            raise LookupError("nothing was read yet")
        return self._reading

    def invalidate(self) -> None:
        """Make what was read so far stale: call it when a write has ended, well or badly. From any thread."""
        with self._touching:  # or a lower number, taken by another thread, could come last
            self._touched = self._sequence.next()

    async def get(self, max_age_s: float, *, after: int = 0) -> Reading[T]:
        """Return a reading no older than asked and not from before a write that has ended by now.

        A read that others started meanwhile is shared. It goes on if a caller is cancelled.

        Args:
            max_age_s: The most that may have passed since a kept read started; one under way is shared at any age.
            after: The read must have started after this stamp.
        """
        needed = max(self._touched, after)
        while True:
            kept = self._reading
            if kept is not None and kept.stamp > needed and self._clock.monotonic() - kept.at < max_age_s:
                return kept
            if self._flight is None:
                self._flight_stamp = self._sequence.next()
                self._flight = asyncio.create_task(self._fly(self._flight_stamp))
                self._flight.add_done_callback(self._land)
            if self._flight_stamp > needed:
                return await asyncio.shield(self._flight)
            await asyncio.wait((self._flight,))  # started before our write ended, so it may have missed it

    async def _fly(self, stamp: int) -> Reading[T]:
        at = self._clock.monotonic()
        self._reading = Reading(await self._read(), stamp, at)
        return self._reading

    def _land(self, flight: asyncio.Task[Reading[T]]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # seen by those who wait; nobody may be left to
