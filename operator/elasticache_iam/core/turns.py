"""Whose turn it is among all that are due: newcomers at once, the others by rank, and neither starves the other."""

from typing import Generic, TypeVar

from elasticache_iam.core.schedule import Schedule

K = TypeVar("K")


class Turns(Generic[K]):
    """Keys with a due time, and a rank that orders those that are due; a lower rank is more urgent.

    A backlog is served by rank, not by due time: who has waited longest is not who is in most need. While there are
    both, newcomers and the others take turns: a newcomer waits for one of a backlog of any length, and any number of
    newcomers slows the backlog to half. Not for use by several threads.
    """

    def __init__(self) -> None:
        self._later: Schedule[K] = Schedule()
        self._newcomers: Schedule[K] = Schedule()
        self._ready: Schedule[K] = Schedule()
        self._asked: dict[K, tuple[float, float | None]] = {}
        self._newcomer_was_last = False

    def put(self, key: K, *, due: float, rank: float | None) -> None:
        """Make a key due at a time; a key that is here already moves.

        Args:
            key: What waits for its turn.
            due: From when on; any clock's seconds.
            rank: Its place among those that are due; None for a newcomer.

        Raises:
            ValueError: `due` or `rank` is not a number.
        """
        self.remove(key)
        self._later.put(key, due=due)
        if rank is not None and rank != rank:  # noqa: PLR0124  # not a number
            raise ValueError("rank is not a number")
        self._asked[key] = (due, rank)

    def remove(self, key: K) -> None:
        """Forget a key; one that isn't here is fine."""
        if self._asked.pop(key, None) is not None:
            for schedule in (self._later, self._newcomers, self._ready):
                schedule.remove(key)

    def take(self, now: float) -> tuple[K, float] | None:
        """Remove and return the key whose turn it is, and when it became due; None if nothing is due."""
        for key in self._later.pop_due(now):
            due, rank = self._asked[key]
            if rank is None:
                self._newcomers.put(key, due=due)
            else:
                self._ready.put(key, due=rank)
        is_newcomers = bool(len(self._newcomers)) and not (self._newcomer_was_last and len(self._ready))
        queue = self._newcomers if is_newcomers else self._ready
        taken = queue.pop_due(float("inf"), limit=1)
        if not taken:
            return None
        self._newcomer_was_last = is_newcomers
        due, _ = self._asked.pop(taken[0])
        return taken[0], due

    def next_due(self) -> float | None:
        """Return the earliest due time of what isn't due yet; None without."""
        return self._later.next_due()

    def due_of(self, key: K) -> float | None:
        """Return a key's due time, None if it isn't here."""
        asked = self._asked.get(key)
        return None if asked is None else asked[0]

    def lateness(self, now: float) -> float:
        """Return by how many seconds the most overdue key is late; 0 if nothing is. It looks at all that are due."""
        waiting = [self._asked[key][0] for schedule in (self._newcomers, self._ready) for key in schedule]
        return max(0.0, now - min(waiting, default=now), self._later.lateness(now))

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, key: object) -> bool:
        return key in self._asked
