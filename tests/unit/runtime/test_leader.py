import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.fakes.kube import FakeKube

from elasticache_iam.core.errors import ConflictError, NotLeaderError, UnavailableError
from elasticache_iam.kube.lease import LeaseRecord
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.leader import (
    CreateLease,
    FollowLeader,
    Leader,
    LeaseFence,
    LeaseTimings,
    Observation,
    RenewLease,
    TakeLease,
    next_step,
    observe,
)

START = datetime(2026, 11, 21, 9, tzinfo=UTC)


class LoopClock:
    """The loop's virtual time; `skew` sets the wall clock wrong, `pause_s` plays a process that was stopped."""

    def __init__(self, *, skew=timedelta()):
        self.skew = skew
        self.pause_s = 0.0

    def now(self):
        return START + self.skew + timedelta(seconds=self.monotonic())

    def monotonic(self):
        return asyncio.get_running_loop().time() + self.pause_s


class Line:
    """One replica's own way to the Lease: it can be down, or hang."""

    def __init__(self, lease):
        self.lease = lease
        self.down = None
        self.hangs = False

    async def get(self):
        await self._pass()
        return await self.lease.get()

    async def create(self, record):
        await self._pass()
        return await self.lease.create(record)

    async def replace(self, record):
        await self._pass()
        return await self.lease.replace(record)

    async def _pass(self):
        if self.hangs:
            await asyncio.sleep(3600)
        if self.down is not None:
            raise self.down


class Candidate:
    """A replica; `history` has when it was elected and lost."""

    def __init__(self, kube, name, **clock):
        self.clock = LoopClock(**clock)
        self.history = []
        self.stop = asyncio.Event()
        self.line = Line(kube.lease("operator"))
        self.leader = Leader(
            self.line,
            identity=name,
            clock=self.clock,
            on_elected=lambda: self.history.append(("elected", self.clock.monotonic())),
            on_lost=lambda reason: self.history.append(("lost", self.clock.monotonic(), reason)),
        )
        self.task = asyncio.create_task(self.leader.run(self.stop))

    async def crash(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def kube():
    kube = FakeKube()
    kube.latency_s = 0.01
    return kube


@pytest.fixture
async def replicas(kube):
    started = []

    def start(name, **clock):
        started.append(Candidate(kube, name, **clock))
        return started[-1]

    yield start
    for candidate in started:
        await candidate.crash()


def held(holder="other", *, since=0.0, duration_s=15):
    return Observation(LeaseRecord(holder, duration_s), since)


def deleted(holder):
    return observe(held(holder, since=-60.0), None, now=0.0)


@pytest.mark.parametrize(
    ("observed", "now", "step"),
    [
        pytest.param(Observation(None, 0.0), 0.0, CreateLease(), id="no-lease-is-created"),
        pytest.param(held(""), 0.0, TakeLease(), id="a-released-lease-is-taken-at-once"),
        pytest.param(held(), 14.9, FollowLeader("other"), id="a-held-lease-is-followed"),
        pytest.param(held(), 15.0, TakeLease(), id="a-lease-that-stood-still-is-taken"),
        pytest.param(held(since=10.0), 24.9, FollowLeader("other"), id="the-wait-counts-from-the-last-change"),
        pytest.param(held(duration_s=60), 30.0, FollowLeader("other"), id="the-holder-s-own-duration-counts"),
        pytest.param(held("me"), 99.0, RenewLease(), id="our-own-lease-is-renewed"),
        pytest.param(deleted("other"), 14.9, FollowLeader("other"), id="a-deleted-lease-is-waited-for"),
        pytest.param(deleted("other"), 15.0, CreateLease(), id="a-deleted-lease-is-made-again-when-it-had-ended"),
        pytest.param(deleted(""), 0.0, CreateLease(), id="a-released-lease-that-was-deleted-is-made-at-once"),
        pytest.param(deleted("me"), 0.0, CreateLease(), id="our-own-lease-is-made-again-at-once"),
    ],
)
def test_a_candidate_decides_by_what_it_has_seen(observed, now, step):
    assert next_step(observed, "me", now) == step


def test_an_unchanged_record_keeps_its_age():
    assert observe(held(since=3.0), LeaseRecord("other", 15, resource_version="9"), now=8.0).since == 3.0


def test_a_renewed_record_is_new():
    assert observe(held(since=3.0), LeaseRecord("other", 15, renewed_at=START), now=8.0).since == 8.0


def test_a_lease_that_was_deleted_and_made_again_is_new():
    gone = observe(held(since=3.0), None, now=5.0)

    assert observe(gone, LeaseRecord("other", 15), now=8.0).since == 8.0


def test_the_wait_for_a_deleted_lease_counts_from_when_it_was_first_missed():
    assert observe(observe(held(), None, now=5.0), None, now=7.0) == Observation(None, 5.0, held().record)


def test_who_was_blind_waits_for_a_deleted_lease_anew():
    gone = observe(held(), None, now=5.0)

    assert observe(gone, None, now=60.0, was_blind=True).since == 60.0


@pytest.mark.parametrize("timings", [(15, 15.0, 2.0), (15, 10.0, 10.0), (15, 10.0, 0.0)])
def test_timings_that_would_allow_two_leaders_are_refused(timings):
    with pytest.raises(ValueError, match="retry < renew deadline < duration"):
        LeaseTimings(*timings)


def test_a_fence_is_shut_until_it_is_opened():
    with pytest.raises(NotLeaderError):
        LeaseFence(lambda: 0.0).check()


def test_a_fence_shuts_by_itself_when_the_time_is_up():
    now = 0.0
    fence = LeaseFence(lambda: now)
    fence.open_until(10.0)
    now = 9.9
    fence.check()

    now = 10.0

    with pytest.raises(NotLeaderError):
        fence.check()


def test_what_is_sent_may_be_under_way_until_somebody_else_may_lead():
    now = 0.0
    fence = LeaseFence(lambda: now)
    fence.open_until(10.0, ours_until=15.0)
    now = 9.0

    assert fence.left_s() == 6.0


def test_of_a_fence_that_is_shut_nothing_is_left():
    fence = LeaseFence(lambda: 0.0)
    fence.open_until(10.0, ours_until=15.0)
    fence.shut()

    assert fence.left_s() == 0.0


@pytest.mark.looptime
async def test_what_a_leader_sends_ends_before_anybody_can_take_over(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.down = UnavailableError("down")
    await asyncio.sleep(9)

    assert first.leader.fence.left_s() < 15.0 - 9.0 + 2.1


def test_a_process_that_slept_with_its_machine_knows_it(monkeypatch):
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 5000.0 if clock == time.CLOCK_BOOTTIME else 5.0)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)

    assert SystemClock().monotonic() == 5000.0


def test_a_fence_answers_other_threads():
    fence = LeaseFence(lambda: 0.0)
    fence.open_until(10.0)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(fence.is_open))

    thread.start()
    thread.join()

    assert seen == [True]


@pytest.mark.looptime
async def test_of_two_candidates_one_leads_and_stays(kube, replicas):
    first, second = replicas("first"), replicas("second")

    await asyncio.sleep(300)

    assert sorted([len(first.history), len(second.history)]) == [0, 1]
    assert [first.leader.is_leader, second.leader.is_leader].count(True) == 1


@pytest.mark.looptime
async def test_a_crashed_leader_is_replaced_within_20_seconds(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(60.5)
    second = replicas("second")
    await asyncio.sleep(60)

    await first.crash()
    crashed_at = first.clock.monotonic()
    await asyncio.sleep(30)

    assert 10.0 < second.history[0][1] - crashed_at < 20.0


@pytest.mark.looptime
async def test_a_clean_stop_hands_over_in_about_2_seconds(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(1)
    second = replicas("second")
    await asyncio.sleep(30)

    first.stop.set()
    await first.task
    stopped_at = first.clock.monotonic()
    await asyncio.sleep(5)

    assert second.history[0][1] - stopped_at < 2.5
    assert [entry[0] for entry in first.history] == ["elected"]
    assert not first.leader.fence.is_open


@pytest.mark.looptime
async def test_a_candidate_that_stops_leaves_the_lease_alone(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(1)
    second = replicas("second")
    await asyncio.sleep(10)

    second.stop.set()
    await second.task
    await asyncio.sleep(60)

    assert first.leader.is_leader


@pytest.mark.looptime
async def test_in_an_outage_the_leader_stops_writing_before_anybody_could_take_over(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.down = UnavailableError("down")
    await asyncio.sleep(10)

    assert not first.leader.fence.is_open


@pytest.mark.looptime
@pytest.mark.parametrize("outage_s", [11, 20, 300, 301.5, 3600])
async def test_after_an_outage_the_same_one_leads_with_all_that_it_has_in_memory(kube, replicas, outage_s):
    first = replicas("first")
    await asyncio.sleep(0.7)
    second = replicas("second")
    await asyncio.sleep(30)

    kube.down = UnavailableError("down")
    await asyncio.sleep(outage_s)
    kube.down = None
    await asyncio.sleep(2.1)

    assert first.leader.is_leader
    await asyncio.sleep(60)
    assert [entry[0] for entry in first.history] == ["elected"]
    assert second.history == []


@pytest.mark.looptime
async def test_a_candidate_that_sees_the_server_first_after_an_outage_leaves_the_leader_its_lease(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(0.7)
    second = replicas("second")
    await asyncio.sleep(30)

    first.line.down = UnavailableError("down")
    await asyncio.sleep(2.1)  # the candidate has seen the last renewal
    kube.down = first.line.down
    await asyncio.sleep(300)
    kube.down = None
    await asyncio.sleep(2.1)  # the candidate has looked, the leader hasn't
    first.line.down = None
    await asyncio.sleep(2.1)

    assert first.leader.is_leader
    assert second.history == []


@pytest.mark.looptime
async def test_a_leader_that_dies_in_an_outage_is_replaced_a_lease_after_it(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(1)
    second = replicas("second")
    await asyncio.sleep(30)

    kube.down = UnavailableError("down")
    await first.crash()
    await asyncio.sleep(300)
    kube.down = None
    await asyncio.sleep(18)

    assert second.leader.is_leader


@pytest.mark.looptime
async def test_a_paused_leader_that_nobody_replaced_goes_on(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    first.clock.pause_s = 60.0
    assert not first.leader.fence.is_open
    await asyncio.sleep(3)

    assert first.leader.is_leader
    assert [entry[0] for entry in first.history] == ["elected"]


@pytest.mark.looptime
async def test_a_server_that_hangs_makes_the_leader_stop_in_time_and_go_on_afterwards(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.latency_s = 3600.0
    await asyncio.sleep(10.1)
    assert not first.leader.fence.is_open
    await asyncio.sleep(60)
    kube.latency_s = 0.01
    await asyncio.sleep(10)

    assert first.leader.is_leader


@pytest.mark.looptime
async def test_a_short_outage_changes_nothing(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.down = UnavailableError("down")
    await asyncio.sleep(6)
    kube.down = None
    await asyncio.sleep(60)

    assert [entry[0] for entry in first.history] == ["elected"]
    assert first.leader.is_leader


@pytest.mark.looptime
async def test_a_lost_answer_to_a_renewal_changes_nothing(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.fail_next("lease.replace", ConflictError("somebody labelled the Lease"), times=2)
    await asyncio.sleep(30)

    assert [entry[0] for entry in first.history] == ["elected"]


@pytest.mark.looptime
async def test_candidates_outlive_an_outage_and_elect_one(kube, replicas):
    kube.down = UnavailableError("down")
    first, second = replicas("first"), replicas("second")
    await asyncio.sleep(120)

    kube.down = None
    await asyncio.sleep(10)

    assert [first.leader.is_leader, second.leader.is_leader].count(True) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("hours", [-5, 5], ids=["behind", "ahead"])
async def test_a_wrong_wall_clock_neither_steals_nor_keeps_the_lease(kube, replicas, hours):
    first = replicas("first", skew=timedelta(hours=hours))
    await asyncio.sleep(1)
    second = replicas("second")
    await asyncio.sleep(120)
    stolen = list(second.history)

    await first.crash()
    await asyncio.sleep(20)

    assert stolen == []
    assert second.leader.is_leader


@pytest.mark.looptime
async def test_a_process_that_was_paused_may_not_write_when_it_wakes_up(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)
    first.leader.fence.check()

    first.clock.pause_s = 60.0

    with pytest.raises(NotLeaderError):
        first.leader.fence.check()


@pytest.mark.looptime
async def test_a_leader_that_finds_another_one_is_lost_at_once(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)
    lease = kube.lease("operator")
    record = await lease.get()

    await lease.replace(LeaseRecord("thief", 15, 7, resource_version=record.resource_version))
    await asyncio.sleep(3)

    assert first.history[1][2] == "somebody else took the Lease"
    assert not first.leader.fence.is_open


@pytest.mark.looptime
async def test_a_deleted_lease_is_a_loss_too(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(30)

    kube.delete("leases", "elasticache-iam-system", "operator")
    await asyncio.sleep(3)

    assert first.history[1][2] == "the Lease is gone"


@pytest.mark.looptime
@pytest.mark.parametrize("blind_s", [0, 10.5], ids=["seen", "unseen"])
async def test_after_a_deleted_lease_a_leader_that_hangs_and_the_next_never_write_together(kube, replicas, blind_s):
    first = replicas("first")
    await asyncio.sleep(30.5)
    second = replicas("second")
    await asyncio.sleep(10.7)

    first.line.hangs = True
    second.line.down = UnavailableError("down") if blind_s else None
    kube.delete("leases", "elasticache-iam-system", "operator")
    for looks in range(200):
        await asyncio.sleep(0.1)
        if looks * 0.1 >= blind_s:
            second.line.down = None
        assert not (first.leader.fence.left_s() and second.leader.fence.is_open)
    await asyncio.sleep(15)

    assert second.leader.is_leader


@pytest.mark.looptime
async def test_a_deleted_lease_of_a_leader_that_is_well_is_handed_over_all_the_same(kube, replicas):
    replicas("first")
    await asyncio.sleep(30)
    second = replicas("second")
    await asyncio.sleep(10)

    kube.delete("leases", "elasticache-iam-system", "operator")
    await asyncio.sleep(20)

    assert second.leader.is_leader


@pytest.mark.looptime
async def test_transitions_count_the_changes_of_leader(kube, replicas):
    first = replicas("first")
    await asyncio.sleep(1)
    replicas("second")
    await asyncio.sleep(10)

    first.stop.set()
    await asyncio.sleep(10)

    assert (await kube.lease("operator").get()).transitions == 1


@pytest.mark.looptime
async def test_what_keeps_a_candidate_from_the_lease_for_longer_than_one_lasts_is_told(kube, replicas):
    kube.fail_next("lease.get", UnavailableError("forbidden"), times=1000)
    candidate = replicas("a").leader
    faults = []
    for _ in range(3):
        await asyncio.sleep(8)
        faults.append(candidate.find_fault())

    assert faults == [None, *["can't see or renew the Lease, so nobody may lead: forbidden"] * 2]


@pytest.mark.looptime
async def test_a_lease_of_another_is_nothing_to_complain_of(kube, replicas):
    replicas("a")
    await asyncio.sleep(1)
    standby = replicas("b").leader
    await asyncio.sleep(60)

    assert standby.find_fault() is None
