"""The one way from async code to boto3, which blocks: worker threads, in two lanes.

STS has a lane of its own, so that nothing of the control plane delays a token. A lane bounds what runs and what
waits; a caller that goes away leaves nothing behind but a call already sent.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from elasticache_iam.aws.errors import SERVICE_TITLES, translate
from elasticache_iam.core.errors import ThrottledError, UnavailableError

T = TypeVar("T")

ObserveCall: TypeAlias = Callable[[str, str, str, float], None]
"""Told of each call: service, operation, code ("" for success), seconds. Called in a worker thread."""


@dataclass(frozen=True, slots=True)
class LaneSize:
    """How much a lane carries.

    Attributes:
        workers: Threads, so calls at a time.
        queue: Calls that may wait for a thread; more are refused with ThrottledError.
        timeout_s: For one call from being queued to its answer. What is still queued then is never sent.
    """

    workers: int
    queue: int
    timeout_s: float


class Lane:
    """A bounded pool of worker threads. Usable from any event loop."""

    def __init__(self, name: str, size: LaneSize) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size.workers, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._inside = 0

    async def run(
        self, function: Callable[[], T], *, service: str, operation: str, observe: ObserveCall | None = None
    ) -> T:
        """Run a blocking call in a worker and return its answer.

        Cancelling the caller drops a call that waits; one that is running goes on, and its answer is dropped.

        Raises:
            OperatorError: botocore's exceptions, translated; a full lane; no answer in time.
        """
        with self._lock:
            if self._inside >= self._size.workers + self._size.queue:
                raise ThrottledError(f"{_title(service)} {operation}: too many calls are waiting")
            self._inside += 1
        try:
            future = self._pool.submit(_call, function, service, operation, observe)
        except RuntimeError as error:  # the pool is shut down
            with self._lock:
                self._inside -= 1
            raise UnavailableError(f"{_title(service)} {operation}: the operator is stopping") from error
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(self._size.timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise UnavailableError(
                f"{_title(service)} {operation}: no answer within {self._size.timeout_s:g} s", code="Timeout"
            ) from error

    def close(self) -> None:
        """Drop what waits; calls that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._inside -= 1


class Bridge:
    """Both lanes. The longest call botocore makes is three tries of connect 5 s + read 20 s and the pauses between."""

    def __init__(
        self,
        *,
        control: LaneSize = LaneSize(workers=4, queue=1000, timeout_s=90.0),
        sts: LaneSize = LaneSize(workers=8, queue=1000, timeout_s=60.0),
    ) -> None:
        self.control = Lane("aws", control)
        self.sts = Lane("sts", sts)

    def close(self) -> None:
        """Close both lanes."""
        self.control.close()
        self.sts.close()


def _call(function: Callable[[], T], service: str, operation: str, observe: ObserveCall | None) -> T:
    """Carry out the call in a worker: time it, translate what it raises, report it."""
    started = time.perf_counter()
    code = ""
    try:
        return function()
    except Exception as error:
        translated = translate(error, service=service, operation=operation)
        if translated is None:
            code = type(error).__name__
            raise
        code = translated.code or type(translated).__name__
        if translated is error:
            raise
        raise translated from error
    finally:
        if observe is not None:
            observe(service, operation, code, time.perf_counter() - started)


def _title(service: str) -> str:
    return SERVICE_TITLES.get(service, service)
