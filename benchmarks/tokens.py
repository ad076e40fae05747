"""What the token plane costs and how it holds: rate, CPU, memory, newcomers, neighbours, a cold restart.

The real plane, on a real kube-apiserver and etcd where writes are measured, else on virtual time. STS is always in
memory. Run: python -m benchmarks.tokens [--full] [--only rate,newcomer,...]
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from benchmarks.control_plane import bring_up, world
from benchmarks.token_cluster import Minting, minting
from benchmarks.token_fakes import (
    GivenSts,
    MovedClock,
    Pages,
    Sink,
    control_plane_of,
    give_sessions,
    memory_mib,
    order_of,
    token_plane,
    user_body,
    with_refresh,
)
from tests.builders import user_manifest
from tests.cluster.ground import Ground, Installation
from tests.soak.test_token_days import staged

from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.runtime.loops import LoopThread, spare_collector
from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.cluster.control_plane import ControlPlane
from elasticache_iam_sandbox.supervisor import BackgroundSandbox

HOUR_S: Final = 3600.0
PROBE_EVERY_S: Final = 0.005
SWITCH_S: Final = 0.0005
"""As in the operator's own process."""
BRING_UP_S: Final = 300.0
STS_PER_S: Final = 5.0


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    overdue: int
    newcomers: int
    many: int
    idle_s: float
    step: int


QUICK: Final = Scale(rounds=3, overdue=2_000, newcomers=3, many=10_000, idle_s=20.0, step=500)
FULL: Final = Scale(rounds=7, overdue=2_000, newcomers=9, many=10_000, idle_s=330.0, step=100)


def show(what: str, value: str, goal: str = "") -> None:
    print(f"{what:70}{value:>22}   {goal}", flush=True)


def spread(values: list[float], form: str = ",.2f") -> str:
    """Return the median and what it lies between."""
    low, middle, high = (format(value, form) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}-{high})"


@contextmanager
def cluster() -> Iterator[Installation]:
    """Run a control plane with the operator's CRDs, rights and admission policies."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        ControlPlane(Path(folder) / "cluster", binaries=find_binaries(print)) as control_plane,
    ):
        yield Installation(control_plane, Path(folder))


# -- rate, CPU, requests, newcomers -----------------------------------------------------------------------------------


async def on_a_cluster(installation: Installation, scale: Scale, wanted: set[str]) -> None:
    """Bring users up once, for what is measured with them."""
    async with minting(installation, "bench", scale.overdue, scale.newcomers) as made:
        if "rate" in wanted:
            await rate(made, scale)
        if "newcomer" in wanted:
            await newcomer(made)


async def rate(made: Minting, scale: Scale) -> None:
    """Print refreshes a second beside a bare loop of the same writes, and what one costs."""
    bare, ours, shares, bare_ms, ours_ms = [], [], [], [], []
    await made.refresh_all()
    for number in range(scale.rounds):
        writes = made.bare_writes()
        bare_s, bare_cpu_s = await timed(lambda writes=writes: made.send(writes))
        made.requests.clear()
        before = made.audited() if number == 0 else Counter()
        ours_s, ours_cpu_s = await timed(made.refresh_all)
        if number == 0:
            audited = made.audited() - before
            sent = Counter(made.requests)
        bare.append(scale.overdue / bare_s)
        ours.append(scale.overdue / ours_s)
        shares.append(100 * bare_s / ours_s)
        bare_ms.append(1e3 * bare_cpu_s / scale.overdue)
        ours_ms.append(1e3 * ours_cpu_s / scale.overdue)
    title = f"{scale.overdue:,} users all due, 32 at a time"
    show(f"{title}: refreshes/s", spread(ours, ",.0f"))
    show("  bare loop of the same PUTs: writes/s", spread(bare, ",.0f"))
    show("  share of the bare loop, %", spread(shares, ".0f"), ">= 60")
    show("  CPU of the operator per refresh, ms", spread(ours_ms), "<= 1.2")
    show("  CPU of the bare loop per write, ms", spread(bare_ms))
    writes_each = audited["update", "secrets"] / scale.overdue
    others = audited.total() - audited["update", "secrets"]
    show("  Secret writes per refresh, by the audit log", f"{writes_each:.3f}", "1")
    show("  other requests, reads among them, by the audit log", f"{others}", "0")
    show("  requests per refresh, by the client", f"{sent.total() / scale.overdue:.3f}", "1")


async def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return how long work took, and how much CPU of this process; the API server and etcd have their own."""
    cpu, started = time.process_time(), time.perf_counter()
    await work()
    return time.perf_counter() - started, time.process_time() - cpu


async def newcomer(made: Minting) -> None:
    """Print how long a new user waits for its Secret while many refreshes are overdue."""
    waits, overdue = [], []
    for order in made.newcomers:
        took_s, count = await made.refresh_with_newcomer(order)
        waits.append(took_s)
        overdue.append(count)
    show(f"New order to written Secret, {min(overdue):,} overdue: s", spread(waits), "< 5, longest too")


# -- memory, schedule, idle CPU ---------------------------------------------------------------------------------------


def footprint(scale: Scale) -> None:
    """Print what many users take in a process of their own, and whether an hour passes on schedule."""
    command = [sys.executable, "-m", "benchmarks.token_footprint", str(scale.many)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ourselves
    found = json.loads(answer.stdout)
    show(f"{scale.many:,} users, an hour of virtual time: RSS, MiB", f"{found['rss']:.0f}", "< 300")
    show("  peak RSS, MiB", f"{found['peak']:.0f}")
    show("  of it before the first user, MiB", f"{found['empty']:.0f}")
    show("  and once they are listed, without a token yet, MiB", f"{found['listed']:.0f}")
    show("  refreshes in that hour", f"{found['refreshes']:,}")
    show("  least life left in any Secret, s", f"{found['least']:.0f}", ">= 300")
    show("  longest lateness, s", f"{found['late']:.2f}", "on schedule")
    show("  CPU per refresh without the API server's client, ms", f"{found['cpu_ms']:.2f}")


def idle(installation: Installation, scale: Scale) -> None:
    """Print what the whole operator takes when all is done: a process of its own, 100 users, AWS in the sandbox."""
    users = 100
    control_plane = installation.control_plane
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        BackgroundSandbox(Path(folder) / "sandbox", control_plane=control_plane) as sandbox,
    ):
        account = sandbox.add_account()
        ground = Ground(installation, sandbox, account, Path(folder))
        try:
            operator = ground.start_operator(pollInterval=None)
            groups = [ground.add_group(f"group-{number}") for number in range(2)]  # AWS allows 100 members, not 101
            manifests = [
                user_manifest(f"user-{number}", group=groups[number % 2], service_account="app")
                for number in range(users)
            ]
            ground.apply(*manifests)
            deadline = time.monotonic() + BRING_UP_S
            while (ready := count_ready(ground)) < users:
                if time.monotonic() > deadline:
                    raise SystemExit(f"only {ready} of {users} users are Ready after {BRING_UP_S:.0f} s")
                time.sleep(1.0)
            time.sleep(5.0)
            pid = operator.process.pid
            before, started = cpu_of(pid), time.monotonic()
            time.sleep(scale.idle_s)
            share = 100 * (cpu_of(pid) - before) / (time.monotonic() - started)
            show(
                f"Operator's process at rest, {users} users, {scale.idle_s:.0f} s: % of a core", f"{share:.2f}", "< 0.5"
            )
            show("  its RSS, MiB", f"{memory_mib('VmRSS', str(pid)):.0f}")
        finally:
            ground.close()


def count_ready(ground: Ground) -> int:
    """Return how many users are Ready."""
    base = ground.path(USERS, "", "shop").rstrip("/")
    found = 0
    for item in ground.control_plane.request("GET", base)["items"]:
        conditions = item.get("status", {}).get("conditions", ())
        found += any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
    return found


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- neighbours on the main thread ------------------------------------------------------------------------------------


def neighbours(scale: Scale) -> None:
    """Print by how much refreshes are late while the main thread takes a list or reconciles."""
    sys.setswitchinterval(SWITCH_S)
    tokens = LoopThread("tokens")
    try:
        probe = Probe(tokens, scale.many)
        spare_collector()  # as the operator does once it has listed all
        quiet = probe.during(lambda: time.sleep(2.0))
        show("Refresh from due to write, nothing else going on: ms, longest", f"{1e3 * max(quiet):.1f}")
        pages = user_pages(scale.many)
        probe.show(f"kopf lists {scale.many:,} users anew, none changed", [lambda: probe.see_all(pages)] * scale.rounds)
        probe.show(f"Our own relist of {scale.many:,} users, none changed", [probe.relist] * scale.rounds)
        changed = [user_pages(scale.many, version=number + 2) for number in range(scale.rounds)]
        probe.show(f"{scale.many:,} users listed, all changed", [partial(probe.see_all, pages) for pages in changed])
        probe.show("100 users made at once, AWS in this process", [lambda: asyncio.run(reconciles())] * scale.rounds)
    finally:
        tokens.stop()


async def reconciles() -> None:
    """Create a hundred users at once, with real boto3 and without a pace."""
    async with world() as made:
        await bring_up(made, 100, 5)


@contextmanager
def garbage_collections() -> Iterator[list[float]]:
    """Yield how long each garbage collection takes, in seconds: none of the threads runs meanwhile."""
    pauses: list[float] = []
    started = 0.0

    def note(phase: str, _: dict[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - started)

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


def user_pages(users: int, *, version: int = 1) -> list[str]:
    """Return users as pages of a list."""
    return Pages([user_body(f"user-{number + 1}", version=version) for number in range(users)]).pages


class Probe:
    """A token plane in a thread of its own that refreshes one user after the other while something else goes on."""

    def __init__(self, thread: LoopThread, users: int) -> None:
        self._thread = thread
        self._clock = MovedClock()
        self._sink = Sink(self._clock)
        self._written = asyncio.Event()
        self._sink.on_write = self._note
        self._order = order_of(user_body("probe"))
        bodies = [user_body(f"user-{number + 1}") for number in range(users)]
        orders = [order_of(body) for body in bodies]
        self.tokens = thread.start(self._make()).result()
        self.edge = control_plane_of(Pages(bodies), self._clock, self._mint)
        thread.start(give_sessions(self.tokens, [self._order, *orders])).result()
        asyncio.run(self.edge.resync())
        thread.call(self.tokens.observe, self._order.key, self._order)
        self._running = thread.start(self.tokens.run())
        while len(self._sink.ends) <= users:
            time.sleep(0.1)

    async def _make(self) -> Any:
        return token_plane(self._sink, GivenSts(self._clock, latency_s=0.0), self._clock)

    def _mint(self, key: tuple[str, str], order: Any) -> None:
        self._thread.call(self.tokens.observe, key, order)

    def _note(self, name: str) -> None:
        if name == self._order.name:
            self._written.set()

    def see_all(self, pages: list[str]) -> None:
        """Take all users anew, without a pause."""
        for page in pages:
            for body in json.loads(page)["items"]:
                self.edge.see(USERS, None, body)

    def relist(self) -> None:
        """Compare the store with a list, as the operator does every ten minutes."""
        asyncio.run(self.edge.resync())

    def show(self, what: str, works: list[Callable[[], Any]]) -> None:
        """Print how late refreshes were while work was done here."""
        longest, usual, collections = [], [], []
        for work in works:
            with garbage_collections() as pauses:
                delays = self.during(work)
            longest.append(1e3 * max(delays))
            usual.append(1e3 * statistics.median(delays))
            collections.append(1e3 * max(pauses, default=0.0))
        show(f"{what}: longest delay, ms", spread(longest, ",.0f"), "<= 500")
        show("  median delay, ms", spread(usual, ".1f"))
        show("  longest garbage collection, which stops all threads, ms", spread(collections, ",.0f"))

    def during(self, work: Callable[[], Any]) -> list[float]:
        """Return how long refreshes took from due to write while some work was done here."""
        delays: list[float] = []
        probing = self._thread.start(self._refresh_for_ever(delays))
        try:
            work()
        finally:
            probing.cancel()
            time.sleep(0.2)
        return delays

    async def _refresh_for_ever(self, delays: list[float]) -> None:
        while True:
            # Counted from when it should have begun: a loop that stands still begins nothing.
            started = time.perf_counter() + PROBE_EVERY_S
            await asyncio.sleep(PROBE_EVERY_S)
            self._written.clear()
            self.tokens.observe(self._order.key, with_refresh(self._order, str(started)))
            await self._written.wait()
            delays.append(time.perf_counter() - started)


# -- a cold restart ---------------------------------------------------------------------------------------------------


def cold_restart(scale: Scale) -> None:
    """Print how many users a restart without a session carries before the first token expires."""
    low, high = 0, 8 * scale.step
    least: dict[int, float] = {}

    def carries(users: int) -> bool:
        least[users] = after_restart(users)
        return least[users] > 0

    while carries(high):
        low, high = high, 2 * high
    while high - low > scale.step:
        middle = (low + high) // 2 // scale.step * scale.step
        low, high = (middle, high) if carries(middle) else (low, middle)
    show(f"Users that a cold restart carries, STS at {STS_PER_S:.0f} calls/s", f"{low:,}", ">= 2,000")
    show("  least life left then, s", f"{least[low]:.0f}" if low else "none")
    show(f"  least life left with {high:,}, s", f"{least[high]:.0f}")


def after_restart(users: int) -> float:
    """Return the least life left in any Secret after both replicas have died, on virtual time."""
    with staged(users, per_s=0.0, real_sts=False) as day:
        day.go(HOUR_S, "at rest")
        day.stage.sts.per_s = STS_PER_S
        day.kill_all(restart_s=3.0)
        return day.go(HOUR_S / 2, "restart")


# -- all of it --------------------------------------------------------------------------------------------------------

ON_A_CLUSTER: Final = ("rate", "newcomer", "idle")
PARTS: Final = (*ON_A_CLUSTER, "footprint", "neighbours", "restart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more rounds (about half an hour)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    scale = FULL if arguments.full else QUICK
    wanted = set(arguments.only.split(","))
    print(f"Medians (least-most) of {scale.rounds} rounds; {'':40}{'':22} goal")
    if wanted & set(ON_A_CLUSTER):
        with cluster() as installation:
            if wanted & {"rate", "newcomer"}:
                asyncio.run(on_a_cluster(installation, scale, wanted))
            if "idle" in wanted:
                idle(installation, scale)
    if "footprint" in wanted:
        footprint(scale)
    if "neighbours" in wanted:
        neighbours(scale)
    if "restart" in wanted:
        cold_restart(scale)


if __name__ == "__main__":
    main()
