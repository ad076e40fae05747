"""What to look at when: one schedule for events, retries and drift checks, and a bounded pool that works it off."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from elasticache_iam.core.errors import NotFoundError, NotLeaderError, OperatorError, RetryableError
from elasticache_iam.core.schedule import Schedule
from elasticache_iam.ports import Clock

log = structlog.get_logger("reconcile")

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

    Not thread-safe: it belongs to the loop that `run` runs on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._schedule: Schedule[Key] = Schedule()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._changed = asyncio.Event()
        self._trouble = ""

    def wake(self, key: Key, *, after_s: float = 0.0) -> None:
        """Make a key due in `after_s` seconds, unless it is due earlier already."""
        if key in self._running and after_s <= 0:
            self._again.add(key)
            return
        due = self._clock.monotonic() + max(0.0, after_s)
        known = self._schedule.due_of(key)
        if known is None or due < known:
            self._schedule.put(key, due=due)
            self._changed.set()

    def forget(self, key: Key) -> None:
        """Drop a key."""
        self._schedule.remove(key)
        self._again.discard(key)

    def depth(self) -> int:
        """Return how many keys are due now."""
        return len(self._running) + (1 if self._schedule.lateness(self._clock.monotonic()) > 0 else 0)

    def lateness_s(self) -> float:
        """Return for how long the most overdue key has been waiting."""
        return self._schedule.lateness(self._clock.monotonic())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due or being worked on now."""
        due = self._schedule.next_due()
        return not self._running and not self._again and (due is None or due > self._clock.monotonic())

    async def run(self, work: Callable[[Key], Awaitable[float | None]], *, workers: int) -> None:
        """Work the queue off until cancelled; `work` returns after how many seconds to come back, None: when woken."""
        slots = asyncio.Semaphore(workers)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                key = await self._next()
                self._running.add(key)
                tasks.create_task(self._work_off(key, work, slots))

    async def _next(self) -> Key:
        while True:
            ready = self._schedule.pop_due(self._clock.monotonic(), limit=1)
            if ready and ready[0] in self._running:
                self._again.add(ready[0])
                continue
            if ready:
                return ready[0]
            self._changed.clear()
            due = self._schedule.next_due()
            pause = None if due is None else max(0.0, due - self._clock.monotonic())
            # Not wait_for: until Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _work_off(
        self, key: Key, work: Callable[[Key], Awaitable[float | None]], slots: asyncio.Semaphore
    ) -> None:
        again_s: float | None = None
        try:
            again_s = await work(key)
            self._trouble = ""
        except NotLeaderError:
            again_s = 5.0
        except NotFoundError:
            again_s = None  # deleted meanwhile; the watch brings the rest
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
                self._again.discard(key)
                self.wake(key)
            elif again_s is not None:
                self.wake(key, after_s=again_s)
