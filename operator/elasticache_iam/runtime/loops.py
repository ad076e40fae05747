"""An event loop in a thread of its own, so that reconcile storms, tokens and the Lease can't starve each other."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def spare_collector() -> None:
    """Have garbage collections leave out what is here now: all threads wait for each, and modules never end."""
    gc.collect()
    gc.freeze()


class LoopThread:
    """Starts at once; `stop` cancels what runs on it and waits for the thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it from another loop."""
        return await asyncio.wrap_future(self.start(work))

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, soon, from any thread; dropped when the loop has ended."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function, *arguments)

    def stop(self, *, timeout_s: float = 3.0) -> None:
        """Cancel what runs, let it clean up, end the thread."""

        async def cancel_all() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=timeout_s) if tasks else None

        if self.loop.is_closed():
            return
        self.start(cancel_all()).result(timeout_s + 1.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s)
        self.loop.close()
