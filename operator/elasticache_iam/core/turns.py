"""Whose turn it is among all that are due: newcomers at once, the others by rank, and none starves another."""

from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from elasticache_iam.core.schedule import Schedule

K = TypeVar("K")

LAST_EVERY: Final = 8
"""What can't be helped now gets the turns that nobody else wants, and one in so many."""


class Lanes(Generic[K]):
    """Keys in lanes that take turns; in its lane a key goes by its due time. Not for use by several threads."""

    def __init__(self) -> None:
        self._lanes: dict[str, Schedule[K]] = {}
        """In the order of their turns. A lane that was emptied keeps its place until its turn comes."""
        self._lane_of: dict[K, str] = {}

    def put(self, key: K, *, due: float, lane: str) -> None:
        """Add a key that isn't here."""
        self._lanes.setdefault(lane, Schedule()).put(key, due=due)
        self._lane_of[key] = lane

    def remove(self, key: K) -> None:
        """Forget a key; one that isn't here is fine."""
        lane = self._lane_of.pop(key, None)
        if lane is not None:
            self._lanes[lane].remove(key)

    def take(self) -> list[K]:
        """Remove and return the key whose turn it is; empty if there is none."""
        while self._lanes:
            lane = next(iter(self._lanes))
            keys = self._lanes.pop(lane)
            taken = keys.pop_due(float("inf"), limit=1)
            if len(keys):
                self._lanes[lane] = keys  # behind all others
            if taken:
                del self._lane_of[taken[0]]
                return taken
        return []

    def lateness(self, now: float) -> float:
        """Return by how many seconds the most overdue key is late; 0 if nothing is."""
        return max((keys.lateness(now) for keys in self._lanes.values()), default=0.0)

    def __len__(self) -> int:
        return len(self._lane_of)

    def __iter__(self) -> Iterator[K]:
        return iter(self._lane_of)

    def __contains__(self, key: object) -> bool:
        return key in self._lane_of


class _Asked(NamedTuple):
    due: float
    rank: float | None
    lane: str
    is_last: bool


class Turns(Generic[K]):
    """Keys with a due time, and a rank that orders those that are due; a lower rank is more urgent.

    A backlog is served by rank, not by due time: who has waited longest is not who is in most need. While there are
    both, newcomers and the others take turns: a newcomer waits for few of a backlog of any length, and any number of
    newcomers slows the backlog by their share. Newcomers have lanes that take turns: a crowd in one lane holds up its
    own. What can't be helped now comes after all others; by rank and by lanes in turn, as all may be in that state at
    once. Not for use by several threads.

    Args:
        newcomers_every: While there are others, a newcomer has one turn in so many.
    """

    def __init__(self, *, newcomers_every: int = 2) -> None:
        self._newcomers_every = newcomers_every
        self._later: Schedule[K] = Schedule()
        self._newcomers: Lanes[K] = Lanes()
        self._ready: Schedule[K] = Schedule()
        self._last: Lanes[K] = Lanes()
        self._last_by_rank: Schedule[K] = Schedule()
        """Those of `_last` that have a rank."""
        self._asked: dict[K, _Asked] = {}
        self._since_newcomer = newcomers_every
        """How many turns others had, one after the other."""
        self._since_last = 0
        """How many turns others had, one after the other, while something that can't be helped was due."""
        self._rank_was_last = False

    def put(self, key: K, *, due: float, rank: float | None, lane: str = "", is_last: bool = False) -> None:
        """Make a key due at a time; a key that is here already moves.

        Args:
            key: What waits for its turn.
            due: From when on; any clock's seconds.
            rank: Its place among those that are due; None for a newcomer.
            lane: Whose it is: newcomers of different lanes take turns.
            is_last: Whether it can't be helped now, as far as is known.

        Raises:
            ValueError: `due` or `rank` is not a number.
        """
        self.remove(key)
        self._later.put(key, due=due)
        if rank is not None and rank != rank:  # noqa: PLR0124  # not a number
            raise ValueError("rank is not a number")
        self._asked[key] = _Asked(due, rank, lane, is_last)

    def remove(self, key: K) -> None:
        """Forget a key; one that isn't here is fine."""
        if self._asked.pop(key, None) is not None:
            for queue in (self._later, self._newcomers, self._ready, self._last, self._last_by_rank):
                queue.remove(key)

    def take(self, now: float) -> tuple[K, float] | None:
        """Remove and return the key whose turn it is, and when it became due; None if nothing is due."""
        for key in self._later.pop_due(now):
            asked = self._asked[key]
            if asked.is_last:
                self._last.put(key, due=asked.due, lane=asked.lane)
                if asked.rank is not None:
                    self._last_by_rank.put(key, due=asked.rank)
            elif asked.rank is None:
                self._newcomers.put(key, due=asked.due, lane=asked.lane)
            else:
                self._ready.put(key, due=asked.rank)
        taken = self._take()
        return (taken[0], self._asked.pop(taken[0]).due) if taken else None

    def _take(self) -> list[K]:
        has_others = bool(len(self._newcomers) or len(self._ready))
        if len(self._last) and (not has_others or self._since_last >= LAST_EVERY - 1):
            self._since_last = 0
            return self._take_last()
        self._since_last = self._since_last + 1 if len(self._last) else 0
        is_their_turn = self._since_newcomer >= self._newcomers_every - 1 or not len(self._ready)
        if len(self._newcomers) and is_their_turn:
            self._since_newcomer = 0
            return self._newcomers.take()
        self._since_newcomer += has_others
        return self._ready.pop_due(float("inf"), limit=1)

    def _take_last(self) -> list[K]:
        self._rank_was_last = bool(len(self._last_by_rank)) and not self._rank_was_last
        if not self._rank_was_last:
            taken = self._last.take()
            self._last_by_rank.remove(taken[0])
            return taken
        taken = self._last_by_rank.pop_due(float("inf"), limit=1)
        self._last.remove(taken[0])
        return taken

    def next_due(self) -> float | None:
        """Return the earliest due time of what isn't due yet; None without."""
        return self._later.next_due()

    def due_of(self, key: K) -> float | None:
        """Return a key's due time, None if it isn't here."""
        asked = self._asked.get(key)
        return None if asked is None else asked.due

    def lateness(self, now: float) -> float:
        """Return by how many seconds the most overdue key is late, but for what can't be helped; 0 if none is.

        It looks at all keys.
        """
        return max(0.0, now - min((asked.due for asked in self._asked.values() if not asked.is_last), default=now))

    def __len__(self) -> int:
        return len(self._asked)

    def __iter__(self) -> Iterator[K]:
        return iter(self._asked)

    def __contains__(self, key: object) -> bool:
        return key in self._asked
