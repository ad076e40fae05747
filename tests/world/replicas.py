"""Replicas of the operator's token side as processes on virtual time: they can be killed, paused and set wrong.

Each has an event loop, a clock and a fence of its own, as a process has; a paused one's loop stands still while time
goes on. What they share is the API server, STS and the watch: `Stage`. Leader, token plane and checkpoint are the real
ones; a request travels as by `kube.Connection`: fence, timeout, then the server.
"""

import asyncio
import gc
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.fakes.kube import FakeKube
from typing_extensions import override

from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    OperatorError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.mint import CacheTarget, Delivered, LoginOutcome, LoginResult, MintOrder, Report
from elasticache_iam.core.token import Credentials
from elasticache_iam.kube.lease import LeaseRecord
from elasticache_iam.ports import Sts
from elasticache_iam.runtime.leader import Leader, LeaseFence
from elasticache_iam.tokens.plane import TokenPlane, TokenSettings

START: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOTAL_TIMEOUT_S: Final = 20.0
RESTART_S: Final = 3.0
"""A container that ended is started again after so long."""
_WRITES: Final = frozenset({"create_secret", "replace_secret", "reclaim_secret", "delete_secret", "save_checkpoint"})
UserKey = tuple[str, str]


class _Standing(selectors.SelectSelector):
    """Doesn't wait: it notes until when there is nothing to do, and stops the loop."""

    def __init__(self, stage: "Stage") -> None:
        super().__init__()
        self._stage = stage
        self.loop: asyncio.AbstractEventLoop | None = None
        self.wakes_at = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.wakes_at = float("inf") if timeout is None else self._stage.now_s + timeout
            assert self.loop is not None
            self.loop.stop()
        return []


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that does what is due, and then nothing until it is let run again."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self.standing = _Standing(stage)
        super().__init__(self.standing)
        self.standing.loop = self

    @override
    def time(self) -> float:
        return self._stage.now_s


@dataclass(slots=True)
class ProcessClock:
    """A node's clock: `offset` sets its wall clock wrong."""

    stage: "Stage"
    offset: timedelta = timedelta()

    def now(self) -> datetime:
        return self.stage.truth() + self.offset

    def monotonic(self) -> float:
        return self.stage.now_s


class Wire:
    """One process's way to the API server."""

    def __init__(self, process: "Process", target: Any) -> None:
        self._process = process
        self._target = target

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._target, method)
        process, stage, is_write = self._process, self._process.stage, method in _WRITES

        async def travel(*arguments: Any, **options: Any) -> Any:
            timeout_s = TOTAL_TIMEOUT_S
            if is_write:
                process.fence.check()
                timeout_s = min(timeout_s, process.fence.left_s())
            try:
                async with asyncio.timeout(timeout_s):
                    await asyncio.sleep(stage.api_latency_s)
                    if stage.is_api_away:
                        raise UnavailableError("the API server doesn't answer")
                    if is_write:
                        stage.accept(process, method)
                    return await call(*arguments, **options)
            except TimeoutError:
                raise UnavailableError("no answer in time") from None

        return travel


class LightLease:
    """The one Lease: FakeLease's refusals, without its copies, because it is asked tens of thousands of times a day."""

    def __init__(self) -> None:
        self._record: LeaseRecord | None = None
        self._version = 0

    async def get(self) -> LeaseRecord | None:
        return self._record

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        if self._record is not None:
            raise AlreadyExistsError("the Lease exists", code="AlreadyExists")
        return self._put(record)

    async def replace(self, record: LeaseRecord) -> LeaseRecord:
        if self._record is None:
            raise NotFoundError("there is no Lease", code="NotFound")
        if record.resource_version != self._record.resource_version:
            raise ConflictError("the Lease has changed", code="Conflict")
        return self._put(record)

    def _put(self, record: LeaseRecord) -> LeaseRecord:
        self._version += 1
        self._record = replace(record, resource_version=str(self._version))
        return self._record


class LightKube(FakeKube):
    """The fake, without copies: nobody here changes what it has read or written."""

    @override
    def _store(self, key: Any, body: Any, change: str = "MODIFIED") -> Any:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = body
        for callback in self.on_change:
            callback(str(body["kind"]), change, body)
        self.calls.clear()
        return body

    @override
    def _replace(self, old: Any, body: Any) -> str:
        body["metadata"] |= {what: old["metadata"][what] for what in ("uid", "generation", "creationTimestamp")}
        self._store(("secrets", body["metadata"]["namespace"], body["metadata"]["name"]), body)
        return str(body["metadata"]["uid"])


@dataclass
class PlainSts:
    """STS without proofs: it grants sessions, throttles, and fails.

    Attributes:
        per_s: Its limit; 0: none.
        error: Raised by every call while set.
        denied: Roles that it refuses.
        ends: When each session ends, by its access key.
    """

    stage: "Stage"
    per_s: float = 0.0
    latency_s: float = 0.1
    error: OperatorError | None = None
    denied: set[str] = field(default_factory=set)
    ends: dict[str, datetime] = field(default_factory=dict)
    calls: int = 0
    throttled: int = 0
    _saved: float = 1.0
    _at: float = 0.0

    async def assume_role_with_web_identity(
        self, *, role_arn: str, session_name: str, web_identity_token: str, duration_s: int, policy: str
    ) -> Credentials:
        assert session_name
        assert web_identity_token
        assert policy
        await asyncio.sleep(self.latency_s)
        if self.error is not None:
            raise self.error
        self.calls += 1
        if self.per_s:
            now = self.stage.now_s
            self._saved = min(max(1.0, self.per_s), self._saved + (now - self._at) * self.per_s)
            self._at = now
            if self._saved < 1.0:
                self.throttled += 1
                raise ThrottledError("Rate exceeded", code="Throttling")
            self._saved -= 1.0
        if role_arn in self.denied:
            raise AccessDeniedError("not authorized", code="AccessDenied")
        key = f"ASIA{self.calls:016}"
        self.ends[key] = end = self.stage.truth() + timedelta(seconds=duration_s)
        return Credentials(key, "secret-key", "session-token", end)

    async def assume_role(self, **_: Any) -> Credentials:
        raise NotImplementedError


class OpenProbe:
    async def login(self, **_: Any) -> LoginResult:
        return LoginResult(LoginOutcome.LOGGED_IN)


class Process:
    """One replica, from its start to its end."""

    def __init__(self, stage: "Stage", name: str, offset: timedelta = timedelta()) -> None:
        self.stage = stage
        self.name = name
        self.clock = ProcessClock(stage, offset)
        self.is_dead = False
        self.is_paused = False
        self.paused_at = 0.0
        self._loop = _Loop(stage)
        self._loop.set_exception_handler(lambda _, context: stage.troubles.append(f"{name}: {context}"))
        self._is_woken = True
        self._stop = asyncio.Event()
        self._leader = Leader(
            Wire(self, stage.lease),
            identity=name,
            clock=self.clock,
            on_elected=self._elected,
            on_lost=lambda _: stage.note_end(self),
        )
        self.tokens: TokenPlane
        self._minting: asyncio.Task[None] | None = None
        self._kept: set[asyncio.Task[None]] = set()
        self._loop.call_soon(self._begin)

    @property
    def fence(self) -> LeaseFence:
        return self._leader.fence

    @property
    def wakes_at(self) -> float:
        return self.stage.now_s if self._is_woken else self._loop.standing.wakes_at

    def turn(self) -> None:
        """Do what is due now."""
        self._is_woken = False
        self._loop.run_forever()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something on the process's loop, in its next turn."""
        self._loop.call_soon(function, *arguments)
        self._is_woken = True

    def observe(self, key: UserKey, order: MintOrder | None) -> None:
        """What the watch brings."""
        self.call(lambda: self.tokens.observe(key, order))

    def pause(self) -> None:
        """Stop the process as SIGSTOP does."""
        self.is_paused, self.paused_at = True, self.stage.now_s

    def resume(self) -> None:
        """Let it go on as SIGCONT does."""
        self.is_paused = False

    def stop(self) -> None:
        """End it cleanly, as SIGTERM does."""

        async def stop(minting: asyncio.Task[None] | None) -> None:
            if minting is not None:
                minting.cancel()
                await asyncio.gather(minting, return_exceptions=True)
                await self.tokens.save_checkpoint()
            self._stop.set()
            await self._candidacy
            self.stage.note_end(self)

        self.call(lambda: self._keep(stop(self._minting)))

    def stop_minting(self, key: UserKey, done: Callable[[], None]) -> None:
        """Do what the control plane does first when a user must not have tokens any more."""

        async def stop() -> None:
            await self.tokens.stop(key)
            done()

        self.call(lambda: self._keep(stop()))

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        if self.is_dead:
            return
        self.is_dead, self.is_paused = True, False
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_forever()
        self._loop.close()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def _begin(self) -> None:
        stage = self.stage
        self.tokens = TokenPlane(
            TokenSettings(owner="demo", audience="a", token_s=stage.token_s, ca_pem=None, verify_logins=False),
            kube=Wire(self, stage.kube),
            sts=stage.sts,
            probe=OpenProbe(),
            clock=self.clock,
            fence=self.fence,
            report=lambda report: stage.receive(self, report),
        )
        for key, order in stage.orders.items():
            self.tokens.observe(key, order)
        self._candidacy = asyncio.ensure_future(self._leader.run(self._stop))

    def _elected(self) -> None:
        async def work() -> None:
            await self.tokens.load_checkpoint()
            await self.tokens.run()

        self.stage.elections.append((self.stage.now_s, self.name))
        self._minting = asyncio.ensure_future(work())


class Stage:
    """What the processes share, and the time.

    Attributes:
        kube: The API server's state.
        orders: What the watch shows of each user, by key.
        troubles: What must never be, and was.
        elections: When, and who.
    """

    def __init__(self, *, kube: FakeKube | None = None, sts: Sts | None = None, token_s: int = 900) -> None:
        self.now_s = 0.0
        self.token_s = token_s
        self.kube = kube or LightKube(now=self.truth)
        self.lease = LightLease()
        self.sts: Any = sts or PlainSts(self)
        self.api_latency_s = 0.02
        self.is_api_away = False
        self.orders: dict[UserKey, MintOrder] = {}
        self.processes: list[Process] = []
        self.troubles: list[str] = []
        self.elections: list[tuple[float, str]] = []
        self.accepted: Counter[str] = Counter()
        self._ended: list[Process] = []
        self._born = 0
        self._restarts: list[float] = []
        self.is_restarting = True
        """Whether a replica that ends is started again."""
        self.next_offset = timedelta()

    def truth(self) -> datetime:
        """Return the time that AWS and the caches have."""
        return START + timedelta(seconds=self.now_s)

    @property
    def writes(self) -> int:
        """How many writes the API server took."""
        return self.accepted.total()

    def writes_of(self, what: str) -> int:
        """Return how many of them were about something."""
        return sum(count for method, count in self.accepted.items() if what in method)

    @property
    def leader(self) -> Process | None:
        """The process that may write."""
        return next((process for process in self.processes if process.fence.is_open), None)

    def start(self) -> Process:
        """Start one more replica."""
        self._born += 1
        process = Process(self, f"replica-{self._born}", self.next_offset)
        self.processes.append(process)
        return process

    def kill(self, process: Process, *, restart_s: float | None = RESTART_S) -> None:
        """Kill a replica; it comes back after a while, if it does."""
        process.kill()
        if process in self.processes:
            self.processes.remove(process)
        if restart_s is not None:
            self._restarts.append(self.now_s + restart_s)

    def note_end(self, process: Process) -> None:
        """Hear that a process has ended itself."""
        self._ended.append(process)

    def put_user(self, order: MintOrder) -> None:
        """Let the watch show a user's order."""
        self.orders[order.key] = order
        for process in self.processes:
            process.call(lambda process=process: process.tokens.allow(order.key))
        self._watch(order.key)

    def drop_user(self, key: UserKey) -> None:
        """Let a user be gone, or suspended: its minting is ended, then its Secrets are deleted."""
        order = self.orders.pop(key, None)
        if order is None:
            return
        self._watch(key)
        leader = self.leader
        done: list[bool] = []
        if leader is not None and not leader.is_paused:
            leader.stop_minting(key, lambda: done.append(True))
            for _ in range(300):
                self.advance(0.1)
                if done or leader.is_dead:
                    break
        for target in order.caches:
            if ("secrets", order.namespace, target.secret_name) in self.kube._objects:
                self.kube.delete("secrets", order.namespace, target.secret_name)

    def receive(self, process: Process, report: Report) -> None:
        """Note a Secret's uid in the status, and let the watch show it."""
        if not isinstance(report, Delivered):
            return
        order = self.orders.get(report.key)
        if order is None or order.uid != report.uid:
            return
        caches = tuple(
            replace(target, secret_uid=report.secret_uid) if target.alias == report.alias else target
            for target in order.caches
        )
        if caches != order.caches:
            self.orders[order.key] = replace(order, caches=caches)
            self._watch(order.key, but=process)
            process.observe(order.key, self.orders[order.key])

    def accept(self, process: Process, what: str) -> None:
        """Take a write, and look whether its writer may write."""
        self.accepted[what] += 1
        others = [other.name for other in self.processes if other is not process and other.fence.is_open]
        if others or process.is_dead or process.is_paused:
            self.troubles.append(f"{what} of {process.name} at {self.now_s}, while {others or 'nobody'} leads")

    def advance(self, seconds: float) -> None:
        """Let time pass, and everybody do what is due."""
        end = self.now_s + seconds
        while True:
            for process in list(self.processes):
                if not process.is_paused and not process.is_dead and process.wakes_at <= self.now_s:
                    process.turn()
            self._bury()
            awake = [process.wakes_at for process in self.processes if not process.is_paused]
            at = min([*awake, *self._restarts], default=float("inf"))
            if at > end:
                break
            self.now_s = max(self.now_s, at)
            while self._restarts and min(self._restarts) <= self.now_s:
                self._restarts.remove(min(self._restarts))
                self.start()
        self.now_s = end

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
        self.processes.clear()
        gc.collect()

    def _bury(self) -> None:
        for process in self._ended:
            self.kill(process, restart_s=RESTART_S if self.is_restarting else None)
        self._ended.clear()

    def _watch(self, key: UserKey, *, but: Process | None = None) -> None:
        for process in self.processes:
            if process is not but and not process.is_dead:
                process.observe(key, self.orders.get(key))


def order_for(
    name: str, *, role: str = "r", uid: str = "", refresh: str = "", like: MintOrder | None = None
) -> MintOrder:
    """Return what a user asks to mint: something new, or what another order asks and a new token."""
    if like is not None:
        return replace(like, refresh=refresh)
    return MintOrder(
        namespace="shop",
        name=name,
        uid=uid or f"uid-{name}",
        user_id=f"demo-{name}",
        user_arn=f"arn:aws:elasticache:eu-central-1:111122223333:user:demo-{name}",
        role_arn=f"arn:aws:iam::111122223333:role/{role}",
        max_session_s=43200,
        service_account="app",
        caches=(
            CacheTarget(
                alias="main",
                cache_id="orders-prod",
                arn="arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
                service="elasticache",
                serverless=False,
                region="eu-central-1",
                host="orders-prod.example",
                port=6379,
                reader_host="",
                secret_name=name,
                secret_uid="",
            ),
        ),
        refresh=refresh,
        generation=1,
    )
