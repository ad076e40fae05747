"""What to look at when: one schedule for events, retries and drift checks, and a bounded pool that works it off."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from elasticache_iam.core.errors import NotFoundError, NotLeaderError, OperatorError, RetryableError
from elasticache_iam.core.schedule import Schedule
from elasticache_iam.core.turns import Lanes
from elasticache_iam.ports import Clock

log = structlog.get_logger("reconcile")

URGENT_SHARE: Final = 4
"""One worker in so many is kept for urgent keys."""
USERS: Final = "elasticacheiamusers"
GROUPS: Final = "usergroups"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One resource."""

    plural: str
    namespace: str
    name: str


class WorkQueue:
    """Keys by due time; a key that is being worked on runs again after that, never beside itself.

    What somebody changed just now is urgent: it has every second turn, and a few workers to itself beside. The rest
    merely comes up for its turn: a thousand new resources, drift passes, retries. Namespaces take turns in both, so
    that neither a crowd in one of them nor edits without end hold up another's.

    Not thread-safe: it belongs to the loop that `run` runs on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._urgent: Lanes[Key] = Lanes()
        self._later: Schedule[Key] = Schedule()
        self._due: Lanes[Key] = Lanes()
        self._was_urgent = False
        """Whether the last turn was, of those that anything may have."""
        self._running: set[Key] = set()
        self._again: dict[Key, bool] = {}
        """Woken while running; True: urgently."""
        self._changed: set[asyncio.Event] = set()
        self._trouble = ""

    def wake(self, key: Key, *, after_s: float = 0.0, is_urgent: bool = False) -> None:
        """Make a key due in `after_s` seconds, unless it is due earlier already; urgent is always at once."""
        if key in self._running and (after_s <= 0 or is_urgent):
            self._again[key] = is_urgent or self._again.get(key, False)
            return
        if key in self._urgent or (key in self._due and not is_urgent):
            return
        now = self._clock.monotonic()
        if is_urgent:
            self.forget(key)
            self._urgent.put(key, due=now, lane=key.namespace)
            self.look_again()
            return
        due = now + max(0.0, after_s)
        known = self._later.due_of(key)
        if known is None or due < known:
            self._later.put(key, due=due)
            self.look_again()

    def look_again(self) -> None:
        """Have the workers look what is due: something was woken, or the clock was moved."""
        for event in self._changed:
            event.set()

    def forget(self, key: Key) -> None:
        """Drop a key."""
        for keys in (self._urgent, self._later, self._due):
            keys.remove(key)
        self._again.pop(key, None)

    def depth(self) -> int:
        """Return how many keys are due and wait for a worker."""
        self._come_due()
        return len(self._urgent) + len(self._due)

    def lateness_s(self) -> float:
        """Return for how long the most overdue key has been waiting."""
        now = self._clock.monotonic()
        return max(keys.lateness(now) for keys in (self._urgent, self._due, self._later))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due or being worked on now."""
        return not self._running and not self._again and not self.depth()

    async def run(self, work: Callable[[Key], Awaitable[float | None]], *, workers: int) -> None:
        """Work the queue off until cancelled; `work` returns after how many seconds to come back, None: when woken.

        A quarter of the workers takes urgent keys only.
        """
        urgent = workers // URGENT_SHARE
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve(work, workers=workers - urgent, takes_all=True))
            if urgent:
                tasks.create_task(self._serve(work, workers=urgent, takes_all=False))

    async def _serve(self, work: Callable[[Key], Awaitable[float | None]], *, workers: int, takes_all: bool) -> None:
        slots = asyncio.Semaphore(workers)
        changed = asyncio.Event()
        self._changed.add(changed)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                key = await self._next(changed, takes_all=takes_all)
                self._running.add(key)
                tasks.create_task(self._work_off(key, work, slots))

    async def _next(self, changed: asyncio.Event, *, takes_all: bool) -> Key:
        while True:
            taken = self._take(takes_all=takes_all)
            if taken is not None:
                return taken
            changed.clear()
            due = self._later.next_due() if takes_all else None
            pause = None if due is None else max(0.0, due - self._clock.monotonic())
            # Not wait_for: until Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()

    def _take(self, *, takes_all: bool) -> Key | None:
        """Remove and return the key whose turn it is; None if nothing is due."""
        self._come_due()
        is_urgent = not takes_all or not len(self._due) or (len(self._urgent) > 0 and not self._was_urgent)
        taken = self._urgent.take() if is_urgent else self._due.take()
        if takes_all:
            self._was_urgent = is_urgent
        return taken[0] if taken else None

    def _come_due(self) -> None:
        """Move what has come due to where it waits for its turn."""
        now = self._clock.monotonic()
        while (due := self._later.next_due()) is not None and due <= now:
            (key,) = self._later.pop_due(now, limit=1)
            if key in self._running:
                self._again.setdefault(key, False)
            else:
                self._due.put(key, due=due, lane=key.namespace)

    async def _work_off(
        self, key: Key, work: Callable[[Key], Awaitable[float | None]], slots: asyncio.Semaphore
    ) -> None:
        again_s: float | None = None
        try:
            again_s = await work(key)
            self._trouble = ""
        except NotLeaderError:
            again_s = 5.0
        except NotFoundError as error:
            # Deleted meanwhile, as the watch will tell; or the server has lost sight of the kind for a moment.
            again_s = error.retry_after_s
        except OperatorError as error:
            # The API server's, where a pass writes down what it found; the next pass finds it again.
            again_s = error.retry_after_s if isinstance(error, RetryableError) else 60.0
            if error.reason != self._trouble:
                self._trouble = error.reason
                log.warning("the result of a pass wasn't kept", reason=error.reason, message=error.message)
        except Exception:
            # A bug must not end the operator nor lose the key: loud, and again later.
            log.exception("a pass failed unexpectedly", kind=key.plural, namespace=key.namespace, name=key.name)
            again_s = 60.0
        finally:
            self._running.discard(key)
            slots.release()
            if key in self._again:
                self.wake(key, is_urgent=self._again.pop(key))
            elif again_s is not None:
                self.wake(key, after_s=again_s)
