"""Leader election by a Lease, and the fence that asks it before every write.

Two replicas watch, one writes. A candidate believes nothing but changes it has seen: it takes a Lease that stood still
for its whole duration by the candidate's own monotonic clock, so clocks that differ don't matter. The leader counts
from before it sent its last renewal, so it stops before anybody else can start. A Lease that was deleted is waited for
as if it stood still: its holder may not know yet. A Lease that somebody else had is not won back: the process ends and
starts anew, because what it knows may be stale.

While the API server is away nobody can take the Lease, and nobody can write. The leader keeps what it has in memory,
above all the sessions that sign tokens, and goes on with the Lease that is still its own: to fetch thousands of
sessions anew after an outage would take longer than tokens last. So that it can, a candidate that was blind for as
long gives it the time of a whole Lease.

kopf's peering is no election (no compare-and-swap), and the official client's dies with its first connection error
while its leader goes on.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias, assert_never

import structlog

from elasticache_iam.core.errors import NotLeaderError, OperatorError
from elasticache_iam.kube.lease import LeaseRecord
from elasticache_iam.ports import Clock

_ATTEMPT_S: Final = 5.0
"""One try to renew: two of them fit before the deadline."""

log = structlog.get_logger("leader")


class Lease(Protocol):
    """The one Lease that candidates share. Methods raise `core.errors`."""

    async def get(self) -> LeaseRecord | None:
        """Return the Lease, None if there is none."""
        ...

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create the Lease. Raises AlreadyExistsError."""
        ...

    async def replace(self, record: LeaseRecord) -> LeaseRecord:
        """Replace exactly the version that the record has seen. Raises ConflictError, NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """How long things take, in seconds.

    Attributes:
        duration_s: A Lease that stands still for so long is free.
        renew_deadline_s: A leader that couldn't renew for so long stops. The rest of `duration_s` is the margin for
            requests that were already under way.
        retry_s: Between two looks, and between two renewals.
    """

    duration_s: int = 15
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_deadline_s < self.duration_s:
            raise ValueError(
                "a lease needs retry < renew deadline < duration, "
                f"not {self.retry_s:g} < {self.renew_deadline_s:g} < {self.duration_s:g}"
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """A Lease's record and since when, on the monotonic clock, it has stood still.

    Attributes:
        record: None: there is no Lease.
        since: When it was first seen so.
        lost: The last record that was seen of a Lease that isn't there any more.
    """

    record: LeaseRecord | None
    since: float
    lost: LeaseRecord | None = None


@dataclass(frozen=True, slots=True)
class CreateLease:
    """There is no Lease: make it."""


@dataclass(frozen=True, slots=True)
class TakeLease:
    """Nobody holds the Lease, or its holder is gone: take it."""


@dataclass(frozen=True, slots=True)
class RenewLease:
    """The Lease is ours: say so again."""


@dataclass(frozen=True, slots=True)
class FollowLeader:
    """Somebody else holds the Lease, or held it when it was deleted."""

    holder: str


Step: TypeAlias = CreateLease | TakeLease | RenewLease | FollowLeader


def observe(
    previous: Observation | None, record: LeaseRecord | None, *, now: float, was_blind: bool = False
) -> Observation:
    """Return what is known after a look at the Lease: what is as it was keeps its age, unless nobody looked since."""
    if previous is None:
        return Observation(record, now)
    if record is None:
        is_same, lost = previous.record is None, previous.record or previous.lost
    else:
        is_same, lost = previous.record is not None and record.is_same_as(previous.record), None
    return Observation(record, previous.since if is_same and not was_blind else now, lost)


def next_step(observed: Observation, me: str, now: float) -> Step:
    """Return what a candidate does about the Lease it sees.

    Args:
        observed: The Lease, and since when it stood still.
        me: This candidate's identity; never used by another process, an earlier one of this Pod included.
        now: The monotonic clock that `observed` was measured with.
    """
    record = observed.record
    if record is None:
        lost = observed.lost
        if lost is None or lost.holder in {"", me} or now - observed.since >= lost.duration_s:
            return CreateLease()
        return FollowLeader(lost.holder)  # it may write until its Lease would have ended
    if record.holder == me:
        return RenewLease()
    if not record.holder or now - observed.since >= record.duration_s:
        return TakeLease()
    return FollowLeader(record.holder)


class LeaseFence:
    """`ports.Fence`: open until a moment on the monotonic clock, whatever became of the election meanwhile.

    A process that was paused finds it shut when it wakes up. A request that was under way at the pause has a timeout
    that ends before the Lease does (`left_s`): on waking up the event loop lets timers act before anything that waited
    goes on, so it is given up, not sent. Any thread may ask: it reads one float.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open_until = float("-inf")
        self._ours_until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether this process may write now."""
        return self._monotonic() < self._open_until

    def check(self) -> None:
        """Raise NotLeaderError unless this process leads for sure."""
        if not self.is_open:
            raise NotLeaderError("this replica isn't the leader, or can't be sure that it still is")

    def left_s(self) -> float:
        """Return the seconds until somebody else may take the Lease; what was sent must have ended by then."""
        return max(0.0, self._ours_until - self._monotonic())

    def open_until(self, moment: float, *, ours_until: float | None = None) -> None:
        """Let writes begin until a moment, and be under way until the Lease isn't ours any more (None: as long)."""
        self._ours_until = moment if ours_until is None else ours_until
        self._open_until = moment

    def shut(self) -> None:
        """Let no write pass."""
        self._open_until = self._ours_until = float("-inf")


class Leader:
    """One candidate. `run` it on the control loop; hand `fence` to everything that writes."""

    def __init__(
        self,
        lease: Lease,
        *,
        identity: str,
        clock: Clock,
        on_elected: Callable[[], None],
        on_lost: Callable[[str], None],
        timings: LeaseTimings | None = None,
    ) -> None:
        """Prepare the candidate.

        Args:
            lease: What the candidates share.
            identity: Unique to this process: the Pod's name and something random.
            clock: Its wall clock goes into the Lease for people to read; only the monotonic one decides.
            on_elected: Called once, on the control loop, when this process leads.
            on_lost: Called once, with the reason, when it does no longer: end the process. Not called on a clean stop.
            timings: None: 15, 10 and 2 s.
        """
        self.fence = LeaseFence(clock.monotonic)
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._on_elected = on_elected
        self._on_lost = on_lost
        self._timings = timings or LeaseTimings()
        self._observed: Observation | None = None
        self._leads = False
        self._renewed_at = float("-inf")
        self._seen_at = float("-inf")
        self._is_overdue = False
        self._complaint = ""
        self._complaining_since = 0.0

    @property
    def is_leader(self) -> bool:
        """Whether this process leads."""
        return self.fence.is_open

    def find_fault(self) -> str | None:
        """Return what has kept this candidate from the Lease for longer than one lasts; None if nothing has."""
        lasts_s = self._clock.monotonic() - self._complaining_since
        if not self._complaint or lasts_s < self._timings.duration_s:
            return None
        return f"can't see or renew the Lease, so nobody may lead: {self._complaint}"

    async def run(self, stop: asyncio.Event) -> None:
        """Run for election, lead, renew; return after `stop` (the Lease is released) or after a loss.

        A cancelled run releases nothing: the Lease then lasts to its end.
        """
        while not stop.is_set():
            if (reason := await self._look()) is not None:
                self._lose(reason)
                return
            self._note_overdue()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await stop.wait()
        await self._release()

    async def _look(self) -> str | None:
        """Look at the Lease once and act; return why it is lost, if it is."""
        try:
            async with asyncio.timeout(self._attempt_s()):
                record = await self._lease.get()
                now = self._clock.monotonic()
                was_blind = now - self._seen_at > self._timings.renew_deadline_s  # so may the leader have been
                observed = self._observed = observe(self._observed, record, now=now, was_blind=was_blind)
                self._seen_at = now
                step = next_step(observed, self._identity, now)
                if self._leads and not isinstance(step, RenewLease):
                    return "somebody else took the Lease" if isinstance(step, FollowLeader) else "the Lease is gone"
                await self._act(step, observed.record)
        except (OperatorError, TimeoutError) as error:
            self._complain(error)
        else:
            self._complaint = ""
        return None

    async def _act(self, step: Step, record: LeaseRecord | None) -> None:
        asked_at = self._clock.monotonic()
        now = self._clock.now()
        new = LeaseRecord(self._identity, self._timings.duration_s, record.transitions if record else 0, now, now)
        match step:
            case CreateLease():
                held = await self._lease.create(new)
            case TakeLease():
                assert record is not None  # noqa: S101  # for the type checker: there is something to take
                held = await self._lease.replace(
                    replace(new, transitions=record.transitions + 1, resource_version=record.resource_version)
                )
            case RenewLease():
                assert record is not None  # noqa: S101  # as above
                held = await self._lease.replace(replace(record, duration_s=self._timings.duration_s, renewed_at=now))
            case FollowLeader():
                return
            case _:
                assert_never(step)
        self._observed = observe(self._observed, held, now=self._clock.monotonic())
        # Others count from when they see this renewal, which is later than when it was asked for.
        self._renewed_at = asked_at
        self.fence.open_until(asked_at + self._timings.renew_deadline_s, ours_until=asked_at + self._timings.duration_s)
        if not self._leads:
            self._leads = True
            log.info("elected", identity=self._identity, transitions=held.transitions)
            self._on_elected()

    def _attempt_s(self) -> float:
        """Return how long one look may take: not past the deadline, lest it goes unnoticed."""
        left_s = self._left_s()
        return min(_ATTEMPT_S, left_s) if self._leads and left_s > 0 else _ATTEMPT_S

    def _pause_s(self) -> float:
        """Return the time to the next look; for a leader in trouble no later than its deadline."""
        left_s = self._left_s()
        return min(self._timings.retry_s, left_s) if self._leads and left_s > 0 else self._timings.retry_s

    def _left_s(self) -> float:
        return self._renewed_at + self._timings.renew_deadline_s - self._clock.monotonic()

    def _note_overdue(self) -> None:
        """Tell, once, that the fence has shut or opened again."""
        is_overdue = self._leads and not self.fence.is_open
        if is_overdue and not self._is_overdue:
            log.error("the lease is overdue; nothing is written", after_s=self._timings.renew_deadline_s)
        elif self._is_overdue and not is_overdue:
            log.info("the lease is renewed", identity=self._identity)
        self._is_overdue = is_overdue

    def _lose(self, reason: str) -> None:
        self.fence.shut()
        self._leads = False
        log.error("lost the lease", reason=reason, identity=self._identity)
        self._on_lost(reason)

    async def _release(self) -> None:
        """Give the Lease up, so that the next leader needn't wait for its end. Best effort."""
        record = self._observed.record if self._observed is not None else None
        may_release = self._leads and record is not None and record.holder == self._identity
        self.fence.shut()
        self._leads = False
        if not may_release or record is None:
            return
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                await self._lease.replace(replace(record, holder="", duration_s=1, renewed_at=self._clock.now()))
        except (OperatorError, TimeoutError) as error:
            log.warning("could not release the lease", error=str(error))
        else:
            log.info("released the lease", identity=self._identity)

    def _complain(self, error: OperatorError | TimeoutError) -> None:
        """Log a failure once, and again when it is another one."""
        text = str(error) or "the API server doesn't answer"
        if text != self._complaint:
            log.warning("can't see or renew the lease", error=text, leads=self._leads)
            if not self._complaint:
                self._complaining_since = self._clock.monotonic()
            self._complaint = text
