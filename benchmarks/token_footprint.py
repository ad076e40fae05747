"""Many users in one process, with all that the operator's process has loaded, through an hour of virtual time.

A program of its own, which `benchmarks.tokens` runs: nothing but the operator is in its memory.
"""

import asyncio
import json
import logging
import selectors
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

import boto3
import structlog
from benchmarks.token_fakes import PAGE, GivenSts, LoopClock, Sink, control_plane_of, memory_mib, token_plane, user_body
from typing_extensions import override

import elasticache_iam.runtime.app  # noqa: F401  # kopf and all the rest
from elasticache_iam.ports import Document
from elasticache_iam.reconcile.queue import USERS

HOUR_S: Final = 3600.0
AWS_CLIENTS: Final = ("elasticache", "memorydb", "iam", "sts", "resourcegroupstaggingapi")


class _Jump(selectors.SelectSelector):
    """Doesn't wait: it moves the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += max(0.0, timeout or 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by sleeping, and then at once."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    @override
    def time(self) -> float:
        return self._jump.now_s


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    session = boto3.session.Session("ASIAEXAMPLE", "SECRETEXAMPLE", region_name="eu-central-1")
    clients = [session.client(name) for name in AWS_CLIENTS]
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        found = runner.run(an_hour(int(sys.argv[1])))
    print(json.dumps(found | {"clients": len(clients)}))


async def an_hour(users: int) -> dict[str, float]:
    """Bring users up, let an hour pass, and return what was seen."""
    empty = memory_mib("VmRSS")
    clock = LoopClock()
    sink = Sink(clock)
    tokens = token_plane(sink, GivenSts(clock), clock)
    edge = control_plane_of(Listing(users), clock, tokens.observe)
    await edge.resync()
    listed = memory_mib("VmRSS")
    running = asyncio.create_task(tokens.run())
    while len(sink.ends) < users:  # noqa: ASYNC110  # no real time passes
        await asyncio.sleep(1.0)
    writes, cpu, end = sink.writes, time.process_time(), clock.monotonic() + HOUR_S
    least, late = float("inf"), 0.0
    while clock.monotonic() < end:
        await asyncio.sleep(10.0)
        least, late = min(least, sink.left_s()), max(late, tokens.lateness_s())
    refreshes = sink.writes - writes
    cpu_ms = 1e3 * (time.process_time() - cpu) / refreshes
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return {
        "rss": memory_mib("VmRSS"),
        "peak": memory_mib("VmHWM"),
        "empty": empty,
        "listed": listed,
        "refreshes": refreshes,
        "least": least,
        "late": late,
        "cpu_ms": cpu_ms,
    }


class Listing:
    """Many users that are made as they are listed, in pages of JSON that are parsed as they come off the wire."""

    def __init__(self, users: int) -> None:
        self._users = users

    async def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port."""
        for at in range(0, self._users if plural == USERS else 0, PAGE):
            numbers = range(at, min(at + PAGE, self._users))
            page = json.dumps([user_body(f"user-{number}") for number in numbers])
            for body in json.loads(page):
                yield body


if __name__ == "__main__":
    main()
