"""The queue for STS: who needs a session, in order of need, at a pace that STS allows.

It is apart from the refreshes, so that what waits for STS holds up nothing that doesn't. Most urgent is whose token
ends first; new users are served beside them, one namespace after the other, and last who fails by their own fault.
Nobody gets more than an allowance, by whatever edits: STS's rate is everybody's. A refusal because of too many calls is
nobody's failure: the call is made again in its turn, more slowly.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from elasticache_iam.core.errors import OperatorError, ThrottledError, UnavailableError
from elasticache_iam.core.mint import MintOrder
from elasticache_iam.core.pace import RESOLUTION_S, Allowance, Pace
from elasticache_iam.core.turns import Turns
from elasticache_iam.ports import Clock
from elasticache_iam.tokens.sessions import Sessions

log = structlog.get_logger("tokens")

PARALLEL_RENEWALS: Final = 8
"""As many as STS's lane has workers."""
THROTTLED_TRIES: Final = 3
"""So often a call may be refused for the rate before its user is told, and others are tried first."""
NEWCOMERS_EVERY: Final = 4
"""While tokens that end wait too, a new user, or an edited one, has one turn in so many: however many edit theirs, a
new leader has the others' sessions in time."""
SESSIONS_AT_ONCE: Final = 12
"""So many calls a user has: with those that follow what its own retries take while IAM tells its news."""
SESSION_EVERY_S: Final = 15.0
"""And then one each so often. It fails once in 30 s, and needs one every few hours."""
RUSH: Final = 20
"""From so many waiting users on it is told how far it is: a cold start."""
TELL_EVERY_S: Final = 10.0


@dataclass(slots=True)
class _Wanted:
    order: MintOrder
    rank: float | None
    is_last: bool = False
    tries: int = 0

    @property
    def need(self) -> tuple[bool, float]:
        """By which the more urgent is less."""
        return self.is_last, self.rank if self.rank is not None else float("inf" if self.is_last else "-inf")


@dataclass(slots=True)
class _Rush:
    """Many sessions that are fetched in a row."""

    began_at: float
    told_at: float
    fetched: int = 0


class Renewals:
    """Not thread-safe: it belongs to the token loop.

    Args:
        sessions: Where they are kept, and who fetches one.
        clock: For the pace.
        settled: Told of each renewal's end: the order it was made for, and why it failed. It doesn't raise.
        waiting: Told how many users wait for a session, on each change.
    """

    def __init__(
        self,
        sessions: Sessions,
        clock: Clock,
        *,
        settled: Callable[[MintOrder, OperatorError | None], None],
        waiting: Callable[[int], None],
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._settled = settled
        self._tell_waiting = waiting
        self._turns: Turns[str] = Turns(newcomers_every=NEWCOMERS_EVERY)
        self._allowance: Allowance[str] = Allowance(at_once=SESSIONS_AT_ONCE, every_s=SESSION_EVERY_S)
        """By uid. It outlives what `forget` forgets: who goes away and comes back again and again is still the same."""
        self._wanted: dict[str, _Wanted] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._rush: _Rush | None = None
        self.pace: Final = Pace()

    def __len__(self) -> int:
        """Return how many users wait for a session."""
        return len(self._wanted)

    def want(self, order: MintOrder, *, rank: float | None, is_last: bool = False) -> None:
        """Queue a renewal; one that is queued already takes the newest order and the more urgent rank.

        Args:
            order: Whom for.
            rank: When what the user has ends, in the wall clock's seconds; None: it has nothing yet.
            is_last: Whether it fails by its own fault, as far as is known.
        """
        asked, wanted = _Wanted(order, rank, is_last), self._wanted.get(order.uid)
        if wanted is not None:
            wanted.order = order
            if asked.need < wanted.need:
                wanted.rank, wanted.is_last = rank, is_last
                if order.uid in self._turns:
                    self._queue(wanted)
            return
        self._wanted[order.uid] = asked
        self._queue(asked)
        self._tell_waiting(len(self))

    def forget(self, uid: str) -> None:
        """Fetch no session for a user any more; what is under way is dropped."""
        if (task := self._running.pop(uid, None)) is not None:
            task.cancel()
        if self._wanted.pop(uid, None) is not None:
            self._turns.remove(uid)
            self._tell_waiting(len(self))

    async def run(self) -> None:
        """Fetch sessions until cancelled; what is under way then is dropped."""
        slots = asyncio.Semaphore(PARALLEL_RENEWALS)
        try:
            while True:
                await slots.acquire()
                wanted = await self._next()
                uid = wanted.order.uid
                task = asyncio.create_task(self._renew(wanted))
                self._running[uid] = task
                task.add_done_callback(partial(self._finished, uid, slots))
        finally:
            for task in self._running.values():
                task.cancel()

    async def _next(self) -> _Wanted:
        """Return whose turn it is once there is a permit: who is most urgent is seen no sooner."""
        while True:
            now = self._clock.monotonic()
            wait_s = self.pace.wait_s(now) if len(self._turns) else 0.0
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif (taken := self._turns.take(now)) is not None:
                self.pace.take(now)
                self._allowance.take(taken[0], now)
                self._tell_progress()
                return self._wanted[taken[0]]
            else:
                self._changed.clear()
                due = self._turns.next_due()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else max(RESOLUTION_S, due - now)):
                        await self._changed.wait()

    async def _renew(self, wanted: _Wanted) -> None:
        order = wanted.order
        failure: OperatorError | None = None
        try:
            await self._sessions.renew(order)
        except ThrottledError as error:
            self.pace.throttled(self._clock.monotonic())
            self._allowance.give_back(order.uid)
            wanted.tries += 1
            if wanted.tries < THROTTLED_TRIES:
                self._queue(wanted)
                return
            failure = error
        except OperatorError as error:
            failure = error
            if isinstance(error, UnavailableError):
                self._allowance.give_back(order.uid)  # no fault of the user's: its own pauses are enough
        except Exception as error:  # noqa: BLE001
            _log_bug(order, error)
            failure = OperatorError("unexpected failure; see the operator's log")
        else:
            self.pace.succeeded()
        self._end(order, failure)

    def _end(self, order: MintOrder, failure: OperatorError | None) -> None:
        """Tell how a renewal ended; whatever fails here, who waits for it is told, as nobody else would tell."""
        self._wanted.pop(order.uid, None)
        try:
            self._tell_waiting(len(self))
            self._note_end(is_fetched=failure is None)
            if failure is not None and self._sessions.make_do(order, failure):
                failure = None
        except Exception as error:  # noqa: BLE001
            _log_bug(order, error)
        self._settled(order, failure)

    def _queue(self, wanted: _Wanted) -> None:
        order = wanted.order
        due = self._allowance.free_at(order.uid, self._clock.monotonic())
        self._turns.put(order.uid, due=due, rank=wanted.rank, lane=order.namespace, is_last=wanted.is_last)
        self._changed.set()

    def _finished(self, uid: str, slots: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        if self._running.get(uid) is task:
            del self._running[uid]
        slots.release()

    # -- how far it is ------------------------------------------------------------------------------------------------

    def _tell_progress(self) -> None:
        now, waiting = self._clock.monotonic(), len(self)
        if self._rush is None:
            if waiting < RUSH:
                return
            self._rush = _Rush(now, told_at=float("-inf"))
        if now - self._rush.told_at >= TELL_EVERY_S:
            self._rush.told_at = now
            log.info(
                "sessions are being fetched",
                waiting=waiting,
                fetched=self._rush.fetched,
                per_s=round(self.pace.per_s, 1),
                seconds_left=round(waiting / self.pace.per_s),
            )

    def _note_end(self, *, is_fetched: bool) -> None:
        if self._rush is None:
            return
        self._rush.fetched += is_fetched
        if not self._wanted:
            took_s = self._clock.monotonic() - self._rush.began_at
            log.info("all sessions are fetched", fetched=self._rush.fetched, took_s=round(took_s))
            self._rush = None


def _log_bug(order: MintOrder, error: Exception) -> None:
    """As with a refresh: a bug that one user meets must not end all others'. Only the type is shown."""
    log.error("a renewal failed unexpectedly", namespace=order.namespace, name=order.name, error=type(error).__name__)
