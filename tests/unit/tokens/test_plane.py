"""The token plane in virtual time: when it refreshes, what it writes, and what outages do to it."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from tests.fakes.kube import FakeKube

from elasticache_iam.core.errors import (
    AccessDeniedError,
    InvalidSpecError,
    NotLeaderError,
    OperatorError,
    ResourceQuotaExceededError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.mint import (
    CacheTarget,
    Delivered,
    DeliveryFailed,
    LoginOutcome,
    LoginResult,
    MintOrder,
    Verified,
)
from elasticache_iam.core.token import Credentials, Token
from elasticache_iam.delivery.secret import render_secret
from elasticache_iam.delivery.template import TemplateCache
from elasticache_iam.tokens.checkpoint import Life, decode, encode
from elasticache_iam.tokens.plane import Counting, Fault, TokenPlane, TokenSettings

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
KEY = ("shop", "checkout")
pytestmark = pytest.mark.looptime


class LoopClock:
    offset = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic()) + self.offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class FakeFence:
    error: OperatorError | None = None

    def check(self):
        if self.error is not None:
            raise self.error


@dataclass
class FakeSts:
    clock: LoopClock
    error: OperatorError | None = None
    latency_s: float = 0.0
    life_s: float | None = None
    longest_s: float = 43200
    calls: list[float] = field(default_factory=list)

    async def assume_role_with_web_identity(self, *, role_arn, session_name, web_identity_token, duration_s, policy):
        self.calls.append(self.clock.monotonic())
        await asyncio.sleep(self.latency_s)
        if self.error is not None:
            raise self.error
        if duration_s > self.longest_s:
            raise InvalidSpecError("DurationSeconds exceeds the MaxSessionDuration", code="ValidationError")
        end = self.clock.now() + timedelta(seconds=self.life_s or duration_s)
        return Credentials("ASIAEXAMPLE", "secret-key", f"session-{len(self.calls)}", end)


@dataclass
class FakeProbe:
    results: list[LoginResult] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    async def login(self, *, host, port, username, password):
        self.tried.append(password)
        return self.results.pop(0) if self.results else LoginResult(LoginOutcome.LOGGED_IN)


class Ground:
    def __init__(self, token_s=900, **settings):
        self.clock = LoopClock()
        self.kube = FakeKube(now=self.clock.now)
        self.sts = FakeSts(self.clock)
        self.probe = FakeProbe()
        self.fence = FakeFence()
        self.reports = []
        self.writes: list[tuple[float, str]] = []
        options = {"owner": "demo", "audience": "a", "ca_pem": None, "verify_logins": False, "token_s": token_s}
        self.settings = TokenSettings(**{**options, **settings})
        self.plane = self.make_plane()
        self.kube.on_change.append(self._note)
        self.kube.put_service_account("shop", "checkout")
        self.task: asyncio.Task[None] | None = None

    def make_plane(self):
        return TokenPlane(
            self.settings,
            kube=self.kube,
            sts=self.sts,
            probe=self.probe,
            clock=self.clock,
            fence=self.fence,
            report=self.reports.append,
        )

    def _note(self, kind, change, body):
        if kind == "Secret" and change != "DELETED":
            self.writes.append((self.clock.monotonic(), body["metadata"]["name"]))

    def start(self):
        self.task = asyncio.create_task(self.plane.run())

    async def stop(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def expires_at(self, name="checkout"):
        secret = self.kube.secret("shop", name)
        assert secret is not None
        return datetime.fromisoformat(secret["expires-at"])

    def of(self, kind):
        return [report for report in self.reports if isinstance(report, kind)]


def order(name="checkout", *, aliases=("main",), uid=None, secret_uid="", **changes):
    made = MintOrder(
        namespace="shop",
        name=name,
        uid=uid or f"uid-{name}",
        user_id=f"demo-{name}",
        user_arn=f"arn:aws:elasticache:eu-central-1:111122223333:user:demo-{name}",
        role_arn="arn:aws:iam::111122223333:role/r",
        max_session_s=43200,
        service_account="checkout",
        caches=tuple(
            CacheTarget(
                alias=alias,
                cache_id="orders-prod",
                arn="arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
                service="elasticache",
                serverless=False,
                region="eu-central-1",
                host="h",
                port=6379,
                reader_host="",
                secret_name=name if alias == "main" else f"{name}.{alias}",
                secret_uid=secret_uid,
            )
            for alias in aliases
        ),
        refresh="",
        generation=1,
    )
    return replace(made, **changes)


@pytest.fixture
async def ground():
    made = Ground()
    yield made
    await made.stop()


def least_s(ground):
    """Return the seconds until the first token expires."""
    return min(remaining for remaining in ground.plane.min_remaining_s().values() if remaining is not None)


async def test_tokens_are_replaced_between_40_and_50_percent_of_their_life(ground):
    ground.start()
    for number in range(20):
        ground.plane.observe(("shop", f"user{number}"), order(f"user{number}"))

    await asyncio.sleep(4 * 3600)

    for number in range(20):
        times = [at for at, name in ground.writes if name == f"user{number}"]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(times) > 30
        assert all(0.4 * 900 - 1 <= pause <= 0.5 * 900 + 1 for pause in pauses)


async def test_a_refresh_is_exactly_one_write_and_no_read(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)
    ground.kube.calls.clear()

    await asyncio.sleep(3600)

    refreshes = len(ground.writes) - 1
    assert refreshes >= 8
    assert [call.resource for call in ground.kube.calls if call.resource != "configmaps"] == ["secrets"] * refreshes


async def test_one_session_serves_most_of_its_life_and_all_caches(ground):
    ground.start()
    ground.plane.observe(KEY, order(aliases=("main", "second")))

    await asyncio.sleep(43200)

    assert len(ground.sts.calls) == 2
    assert 0.67 * 43200 <= ground.sts.calls[1] <= 0.9 * 43200 + 450


async def test_a_token_ends_with_its_session(ground):
    ground.sts.life_s = 600.0
    ground.start()

    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)

    assert START + timedelta(seconds=599) <= ground.expires_at() <= START + timedelta(seconds=601)


async def test_a_failed_refresh_keeps_the_old_token_and_comes_back_soon(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)
    before = ground.kube.secret("shop", "checkout")
    ground.kube.down = UnavailableError("no route")

    await asyncio.sleep(600)
    assert ground.kube.secret("shop", "checkout") == before
    ground.kube.down = None
    await asyncio.sleep(31)

    assert ground.kube.secret("shop", "checkout") != before


async def test_an_outage_of_five_minutes_expires_nobody(ground):
    ground.start()
    for number in range(100):
        ground.plane.observe(("shop", f"user{number}"), order(f"user{number}"))
    await asyncio.sleep(1000)
    ground.kube.down = UnavailableError("no route")
    await asyncio.sleep(300)
    ground.kube.down = None
    remaining = least_s(ground)

    await asyncio.sleep(31)

    assert remaining > 100
    assert least_s(ground) > 450 - 31


async def test_an_outage_of_sts_is_outlived_by_the_session(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)
    ground.sts.error = UnavailableError("away")

    await asyncio.sleep(3600)

    assert least_s(ground) > 400
    assert ground.of(DeliveryFailed) == []


async def test_a_renewal_that_fails_leaves_the_old_session_in_use(ground):
    ground.start()
    ground.plane.observe(KEY, order(max_session_s=3600))
    await asyncio.sleep(1)
    ground.sts.error = UnavailableError("away")

    await asyncio.sleep(2400)

    assert least_s(ground) > 300
    assert ground.of(DeliveryFailed) == []


async def test_the_same_failure_is_told_once(ground):
    ground.kube.down = UnavailableError("no route")
    ground.start()

    ground.plane.observe(KEY, order())
    await asyncio.sleep(600)

    (failure,) = ground.of(DeliveryFailed)
    assert (failure.reason, failure.permanent) == ("Unavailable", False)


DENIED = AccessDeniedError("not authorized", code="AccessDenied")


async def test_a_role_that_is_not_known_everywhere_yet_is_no_news(ground):
    ground.sts.error = DENIED
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(5)
    ground.sts.error = None

    await asyncio.sleep(30)

    assert ground.of(DeliveryFailed) == []
    assert len(ground.of(Delivered)) == 1


async def test_a_young_role_that_stays_unknown_is_said_to_be_on_its_way_then_refused(ground):
    ground.sts.error = DENIED
    ground.start()

    ground.plane.observe(KEY, order())
    await asyncio.sleep(119)
    told = [(failure.stage, failure.reason, failure.permanent) for failure in ground.of(DeliveryFailed)]
    await asyncio.sleep(60)

    assert told == [("AccessGranted", "Propagating", False)]
    assert [failure.reason for failure in ground.of(DeliveryFailed)] == ["Propagating", "AccessDenied"]


async def test_a_young_role_is_tried_again_within_seconds(ground):
    ground.sts.error = DENIED
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(90)
    ground.sts.error = None

    await asyncio.sleep(10)

    assert len(ground.of(Delivered)) == 1


async def test_an_old_role_that_is_refused_is_told_at_once(ground):
    ground.sts.error = DENIED
    ground.start()

    ground.plane.observe(KEY, order(secret_uid="s-1"))
    await asyncio.sleep(3)

    (failure,) = ground.of(DeliveryFailed)
    assert (failure.stage, failure.reason) == ("AccessGranted", "AccessDenied")


async def test_a_missing_right_of_the_operators_own_is_told_at_once(ground):
    ground.sts.error = AccessDeniedError("cannot create serviceaccounts/token", code="Forbidden")
    ground.start()

    ground.plane.observe(KEY, order())
    await asyncio.sleep(3)

    (failure,) = ground.of(DeliveryFailed)
    assert failure.reason == "AccessDenied"


async def test_first_deliveries_go_ahead_of_a_backlog(ground):
    ground.kube.latency_s = 1.0
    for number in range(500):
        ground.plane.observe(("shop", f"old{number}"), order(f"old{number}", secret_uid=f"gone-{number}"))
    ground.start()
    await asyncio.sleep(2.5)
    asked_at = ground.clock.monotonic()

    ground.plane.observe(("shop", "new"), order("new"))
    await asyncio.sleep(10)

    delivered_at = next(at for at, name in ground.writes if name == "new")
    assert delivered_at - asked_at <= 6.0
    assert ground.plane.lateness_s() > 0


async def test_a_backlog_is_served_in_the_order_of_its_urgency(ground):
    ground.start()
    for number in range(100):
        ground.plane.observe(("shop", f"u{number}"), order(f"u{number}"))
    await asyncio.sleep(15)
    await ground.stop()
    uids = {report.key[1]: report.secret_uid for report in ground.of(Delivered)}
    now = ground.clock.now()
    ages = {name: 500 + (int(name[1:]) * 37) % 100 * 3 for name in uids}
    lives = {
        (f"uid-{name}", "main"): Life(now - timedelta(seconds=age), now + timedelta(seconds=900 - age))
        for name, age in ages.items()
    }
    ground.kube._checkpoint = encode(lives, now=now)
    ground.kube.latency_s = 0.5
    ground.writes.clear()

    ground.plane = ground.make_plane()
    await ground.plane.load_checkpoint()
    for name, uid in uids.items():
        ground.plane.observe(("shop", name), order(name, secret_uid=uid))
    ground.start()
    await asyncio.sleep(30)

    served = [ages[name] for _, name in ground.writes]
    assert len(served) == 100
    assert served == sorted(served, reverse=True)


class PickySts(FakeSts):
    """Hangs, throttles or refuses by role."""

    hanging = frozenset()
    throttled = 0

    async def assume_role_with_web_identity(self, *, role_arn, **more):
        if role_arn in self.hanging:
            await asyncio.sleep(60.0)
            raise UnavailableError("no answer within 60 s", code="Timeout")
        if self.throttled:
            self.throttled -= 1
            raise ThrottledError("Rate exceeded", code="Throttling")
        return await super().assume_role_with_web_identity(role_arn=role_arn, **more)


@pytest.fixture
async def picky():
    made = Ground()
    made.sts = PickySts(made.clock)
    made.plane = made.make_plane()
    yield made
    await made.stop()


async def test_users_whose_sts_calls_hang_delay_nobody_who_needs_none(picky):
    picky.start()
    for number in range(100):
        picky.plane.observe(("shop", f"user{number}"), order(f"user{number}"))
    await asyncio.sleep(60)
    picky.sts.hanging = frozenset({"hangs"})
    for number in range(200):
        picky.plane.observe(("shop", f"bad{number}"), order(f"bad{number}", role_arn="hangs"))
    refreshed_from = len(picky.writes)

    lateness = []
    for _ in range(120):
        await asyncio.sleep(10)
        due = [life.expires_at for state in picky.plane._states.values() if (life := state.life) is not None]
        lateness.append((min(due) - picky.clock.now()).total_seconds())

    assert len(picky.writes) - refreshed_from >= 250
    assert min(lateness) >= 448
    assert picky.plane.stalled_s() == 0


async def test_a_new_user_gets_its_session_ahead_of_a_backlog_and_behind_one_of_it(picky):
    for number in range(300):
        picky.plane.observe(("shop", f"old{number}"), order(f"old{number}", secret_uid=f"gone-{number}"))
    picky.start()
    await asyncio.sleep(5)
    asked_at = picky.clock.monotonic()

    picky.plane.observe(("shop", "new"), order("new"))
    await asyncio.sleep(10)

    delivered_at = next(at for at, name in picky.writes if name == "new")
    assert delivered_at - asked_at <= 1.0
    assert picky.plane.waiting() > 0


async def test_being_throttled_is_no_failure_of_a_user(picky):
    picky.sts.throttled = 2
    picky.start()

    picky.plane.observe(KEY, order())
    await asyncio.sleep(5)

    assert len(picky.of(Delivered)) == 1
    assert picky.of(DeliveryFailed) == []


async def test_being_throttled_for_long_is_told(picky):
    picky.sts.throttled = 10_000
    picky.start()

    picky.plane.observe(KEY, order())
    await asyncio.sleep(60)

    (failure,) = picky.of(DeliveryFailed)
    assert (failure.stage, failure.reason) == ("AccessGranted", "Throttled")


async def test_users_who_are_refused_go_after_those_who_can_be_helped(picky):
    picky.sts.longest_s = 43200
    picky.sts.error = AccessDeniedError("not authorized", code="AccessDenied")
    picky.start()
    for number in range(100):
        picky.plane.observe(("shop", f"bad{number}"), order(f"bad{number}", secret_uid=f"s-{number}"))
    await asyncio.sleep(120)
    picky.sts.error = None
    picky.sts.hanging = frozenset()
    began = picky.clock.monotonic()

    picky.plane.observe(KEY, order(secret_uid="gone"))
    await asyncio.sleep(5)

    delivered_at = next(at for at, name in picky.writes if name == "checkout")
    assert delivered_at - began <= 2.0


async def test_a_new_leader_fetches_sessions_before_the_first_token_is_due(ground):
    now = START
    ground.kube._checkpoint = encode(
        {(f"uid-u{number}", "main"): Life(now, now + timedelta(seconds=900)) for number in range(50)}, now=now
    )
    for number in range(50):
        ground.plane.observe(("shop", f"u{number}"), order(f"u{number}", secret_uid=f"s-{number}"))
    await ground.plane.load_checkpoint()

    ground.start()
    await asyncio.sleep(30)

    assert len(ground.sts.calls) == 50
    assert ground.writes == []


async def test_a_cold_start_says_how_far_it_is(ground):
    waiting = []
    plane = ground.plane = TokenPlane(
        ground.settings,
        kube=ground.kube,
        sts=ground.sts,
        probe=ground.probe,
        clock=ground.clock,
        fence=ground.fence,
        report=ground.reports.append,
        counting=Counting(waiting=waiting.append),
    )
    for number in range(200):
        plane.observe(("shop", f"u{number}"), order(f"u{number}", secret_uid=f"s-{number}"))

    with capture_logs() as lines:
        ground.start()
        await asyncio.sleep(60)

    told = [line for line in lines if line["event"] == "sessions are being fetched"]
    assert len(told) >= 2
    assert told[0]["waiting"] > told[-1]["waiting"] > 0
    assert [line["fetched"] for line in lines if line["event"] == "all sessions are fetched"] == [200]
    assert max(waiting) == 200
    assert waiting[-1] == 0


async def test_a_loop_that_oversleeps_is_noticed(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    assert ground.plane.stalled_s() == 0

    ground.task.cancel()
    await asyncio.sleep(600)

    assert ground.plane.stalled_s() > 60


async def test_a_clock_that_is_set_back_makes_all_tokens_anew(ground):
    ground.clock.offset = timedelta(hours=3)
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)

    ground.clock.offset = timedelta()
    await asyncio.sleep(70)

    assert ground.expires_at() <= ground.clock.now() + timedelta(seconds=900)


async def test_a_role_whose_sessions_have_become_shorter_goes_on_with_those(ground):
    ground.sts.longest_s = 3600
    ground.start()

    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)

    assert ground.expires_at() == START + timedelta(seconds=900)
    assert ground.of(DeliveryFailed) == []


async def test_stopping_waits_for_the_write_in_flight_and_nothing_follows(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)
    ground.kube.latency_s = 2.0
    ground.plane.observe(KEY, order(secret_uid="x", refresh="now"))
    await asyncio.sleep(0.5)
    began = ground.clock.monotonic()

    await ground.plane.stop(KEY)
    stopped_at = ground.clock.monotonic()
    count = len(ground.writes)
    ground.plane.observe(KEY, order())
    await asyncio.sleep(2000)

    assert stopped_at - began == pytest.approx(1.5, abs=0.1)
    assert count == 2
    assert len(ground.writes) == count
    assert len(ground.plane) == 0


async def test_stopping_while_credentials_are_fetched_writes_nothing(ground):
    ground.sts.latency_s = 5.0
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)

    await ground.plane.stop(KEY)
    await asyncio.sleep(100)

    assert ground.writes == []


async def test_minting_goes_on_after_it_is_allowed_again(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)
    await ground.plane.stop(KEY)
    ground.kube.delete("secrets", "shop", "checkout")

    ground.plane.allow(KEY)
    ground.plane.observe(KEY, order())
    await asyncio.sleep(1)

    assert ground.kube.secret("shop", "checkout") is not None


async def test_the_refresh_annotation_mints_at_once(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)

    ground.plane.observe(KEY, order(refresh="now"))
    await asyncio.sleep(1)

    assert len(ground.writes) == 2
    assert ground.of(Delivered)[-1].refresh == "now"


async def test_a_refresh_that_is_asked_for_while_a_standby_takes_over_is_not_lost(ground):
    ground.kube._checkpoint = encode({("uid-checkout", "main"): Life(START, START + timedelta(seconds=900))}, now=START)
    ground.plane.observe(KEY, order(secret_uid="s-1"))
    ground.plane.observe(KEY, order(secret_uid="s-1", refresh="now"))

    await ground.plane.load_checkpoint()
    ground.start()
    await asyncio.sleep(5)

    assert len(ground.writes) == 1


async def test_what_the_leader_before_answered_is_not_answered_again(ground):
    ground.plane.observe(KEY, order(secret_uid="s-1"))
    ground.plane.observe(KEY, order(secret_uid="s-1", refresh="now"))
    await asyncio.sleep(600)
    life = Life(START + timedelta(seconds=400), START + timedelta(seconds=1300))
    ground.kube._checkpoint = encode({("uid-checkout", "main"): life}, now=START + timedelta(seconds=590))

    await ground.plane.load_checkpoint()
    ground.start()
    ground.plane.observe(KEY, order(secret_uid="s-1", refresh="now"))
    await asyncio.sleep(60)

    assert ground.writes == []


async def test_a_standby_follows_what_the_leader_has_made_and_proven():
    ground = Ground(verify_logins=True)
    ground.kube.put_service_account("shop", "checkout")
    ground.plane.observe(KEY, order(secret_uid="s-1", needs_verify=False))
    ground.plane.observe(KEY, order(secret_uid="s-1", generation=2))

    ground.plane.observe(KEY, order(secret_uid="s-2", generation=2, needs_verify=False))

    assert ground.plane.delivered() == {"s-2": KEY}
    assert not ground.plane._states[(*KEY, "main")].proof.is_needed


@pytest.mark.parametrize("others", [5, 31], ids=["with-room", "in-a-full-house"])
async def test_a_secret_that_is_deleted_before_its_write_is_answered_is_back_soon(ground, others):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(5)
    uid = ground.of(Delivered)[0].secret_uid
    crowd = [f"user-{number}" for number in range(others)]
    for name in crowd:
        ground.plane.observe(("shop", name), order(name))
    await asyncio.sleep(5)
    replace_secret = ground.kube.replace_secret

    async def answered_late(namespace, name, **changes):
        await replace_secret(namespace, name, **changes)
        await asyncio.sleep(3)

    ground.kube.replace_secret = answered_late
    for name in [*crowd, "checkout"]:
        ground.plane.observe(("shop", name), order(name, refresh="now"))
    await asyncio.sleep(1)

    ground.kube.delete("secrets", "shop", "checkout")
    ground.plane.restore(KEY, uid)
    await asyncio.sleep(30)

    assert ground.kube.secret("shop", "checkout") is not None


@pytest.mark.parametrize(
    "error",
    [
        AccessDeniedError("may not update secrets", code="Forbidden"),
        AccessDeniedError("no such audience", code="InvalidIdentityToken", reason="AudienceMissing"),
    ],
    ids=["of-the-api-server", "of-the-identity-provider"],
)
async def test_who_is_refused_with_all_others_keeps_its_place_by_expiry(ground, error):
    ground.sts.life_s = 900
    ground.start()
    names = [f"user-{number:02}" for number in range(40)]
    for name in names:
        ground.plane.observe(("shop", name), order(name))
        await asyncio.sleep(1)

    ground.kube.down = ground.sts.error = error
    await asyncio.sleep(600)

    failing = [state for state in ground.plane._states.values() if state.attempts]
    assert len(failing) == len(names)
    assert all(ground.plane._rank(state) == state.life.expires_at.timestamp() for state in failing)


async def test_a_refresh_that_is_asked_for_during_another_is_not_lost(ground):
    ground.start()
    ground.kube.latency_s = 0.5
    ground.plane.observe(KEY, order())
    await asyncio.sleep(0.6)

    ground.plane.observe(KEY, order(refresh="now"))
    await asyncio.sleep(10)

    assert ground.of(Delivered)[-1].refresh == "now"
    assert ground.plane._states[(*KEY, "main")].asked_at is None


class SlowSts(FakeSts):
    """Allows 5 calls a second, and refuses some roles."""

    denied = frozenset()
    per_s = 5.0
    saved = 5.0
    at = 0.0

    async def assume_role_with_web_identity(self, *, role_arn, **more):
        now = self.clock.monotonic()
        self.saved, self.at = min(self.per_s, self.saved + (now - self.at) * self.per_s), now
        if self.saved < 1.0:
            raise ThrottledError("Rate exceeded", code="Throttling")
        self.saved -= 1.0
        if role_arn in self.denied:
            self.calls.append(now)
            raise AccessDeniedError("not authorized", code="AccessDenied")
        return await super().assume_role_with_web_identity(role_arn=role_arn, **more)


@pytest.fixture
async def slow():
    made = Ground()
    made.sts = SlowSts(made.clock)
    made.sts.denied = frozenset({"denied"})
    made.plane = made.make_plane()
    made.kube.put_service_account("crowd", "checkout")
    yield made
    await made.stop()


def annotate(ground, count, *, times, namespace="crowd", role="denied"):
    """Give many users of a namespace the annotation again and again."""

    async def work():
        for number in range(times):
            for user in range(count):
                made = order(f"bad{user}", namespace=namespace, role_arn=role, refresh=str(number))
                ground.plane.observe(made.key, made)
            await asyncio.sleep(10)

    return asyncio.create_task(work())


@pytest.mark.parametrize("namespace", ["crowd", "elsewhere"])
async def test_refused_users_who_ask_all_the_time_hold_up_no_first_token(slow, namespace):
    slow.kube.put_service_account(namespace, "checkout")
    slow.start()
    asking = annotate(slow, 80, times=30)
    await asyncio.sleep(190)
    asked_at = slow.clock.monotonic()

    slow.plane.observe((namespace, "new"), order("new", namespace=namespace))
    await asyncio.sleep(20)

    asking.cancel()
    delivered_at = next(at for at, name in slow.writes if name == "new")
    assert delivered_at - asked_at < 5.0


async def test_new_users_who_are_refused_hold_up_no_first_token_of_another_namespace(slow):
    slow.start()
    asking = annotate(slow, 80, times=2)
    await asyncio.sleep(12)
    asked_at = slow.clock.monotonic()

    slow.plane.observe(KEY, order())
    await asyncio.sleep(20)

    await asking
    delivered_at = next(at for at, name in slow.writes if name == "checkout")
    assert delivered_at - asked_at < 5.0


async def test_refused_users_who_ask_all_the_time_cost_nobody_life(slow):
    slow.start()
    for number in range(10):
        slow.plane.observe(("shop", f"good{number}"), order(f"good{number}", max_session_s=1800))
    await asyncio.sleep(10)
    asking = annotate(slow, 60, times=60)

    least = []
    for _ in range(50):
        await asyncio.sleep(10)
        least.append(slow.plane.min_remaining_s()[Fault.OPERATOR])

    asking.cancel()
    assert min(least) > 400


async def test_a_crowd_of_refused_users_is_no_lateness(slow):
    slow.start()
    for number in range(10):
        slow.plane.observe(("shop", f"good{number}"), order(f"good{number}", max_session_s=1800))
    await asyncio.sleep(10)
    asking = annotate(slow, 600, times=1)

    late = []
    for _ in range(60):
        await asyncio.sleep(10)
        late.append(slow.plane.lateness_s())

    await asking
    assert max(late[30:]) < 10.0


# -- one tenant against all -------------------------------------------------------------------------------------------

GOOD = 400


def edited(number, user):
    """An edit that leaves a refused user refused."""
    return order(f"bad{user}", namespace="crowd", role_arn="denied", generation=number)


def signed_otherwise(number, user):
    """An edit with which another session is needed."""
    account = ("checkout", "other")[number % 2]
    return order(f"bad{user}", namespace="crowd", generation=number, service_account=account)


def taken_back(number, user):
    """An edit by which minting had ended for a moment, while the Secret stays."""
    return order(f"bad{user}", namespace="crowd", generation=number, secret_uid="uid")


async def take_over(ground, count):
    """A replica takes over so many users' Secrets, whose tokens end one after the other."""
    now, lives = ground.clock.now(), {}
    standby = ground.make_plane()
    for number in range(count):
        name, age = f"good{number}", timedelta(seconds=420 * number / count)
        lives[(f"uid-{name}", "main")] = Life(now - age, now - age + timedelta(seconds=900))
        made = order(name)
        token = Token("the one before", now - age, now - age + timedelta(seconds=900))
        body = render_secret(made, made.caches[0], token=token, owner="demo", ca_pem=None, templates=TemplateCache())
        standby.observe(made.key, order(name, secret_uid=await ground.kube.create_secret("shop", body)))
    ground.kube._checkpoint = encode(lives, now=now)
    ground.plane = standby
    await standby.load_checkpoint()
    ground.start()


@pytest.mark.parametrize("edit", [edited, signed_otherwise, taken_back])
async def test_whatever_one_tenant_edits_all_the_time_no_other_token_expires(slow, edit):
    """At one call of STS a second: the others take 400 of the 450 s that they have."""
    slow.sts.per_s = slow.sts.saved = 1.0
    slow.kube.put_service_account("crowd", "other")
    await take_over(slow, GOOD)

    least = 900.0
    for number in range(900):
        for user in range(3):
            if edit is taken_back:
                slow.plane.observe(("crowd", f"bad{user}"), None)
            slow.plane.observe(("crowd", f"bad{user}"), edit(number, user))
        await asyncio.sleep(1)
        ends = [state.life.expires_at for (space, *_), state in slow.plane._states.items() if space == "shop"]
        least = min(least, (min(ends) - slow.clock.now()).total_seconds())

    assert least > 60


@pytest.mark.parametrize("ahead_s", [3500, 3700, 7200])
async def test_a_clock_ahead_by_a_sessions_length_is_told_and_asks_no_more_than_any_failure(ground, ahead_s):
    ground.clock.offset = timedelta(seconds=ahead_s)

    async def by_awss_clock(**_):
        ground.sts.calls.append(ground.clock.monotonic())
        return Credentials("ASIAEXAMPLE", "secret-key", "s", ground.clock.now() + timedelta(seconds=3600 - ahead_s))

    ground.sts.assume_role_with_web_identity = by_awss_clock
    ground.start()
    ground.plane.observe(KEY, order(max_session_s=3600))
    await asyncio.sleep(600)

    if ahead_s < 3600:
        assert len(ground.writes) > 1
        return
    assert [report.reason for report in ground.of(DeliveryFailed)] == ["ClockSkew"]
    assert len(ground.sts.calls) < 40
    assert ground.plane.count_by_state()["failing"] == 1


async def test_a_mistake_that_is_replaced_by_another_is_told_anew(ground):
    ground.start()
    ground.plane.observe(KEY, order(template={"a": "{{ nope }}"}))
    await asyncio.sleep(5)

    ground.plane.observe(KEY, order(template={"b": "{{ other }}"}, generation=2))
    await asyncio.sleep(5)

    assert ["'a'" in report.message or " a " in report.message for report in ground.of(DeliveryFailed)] == [True, False]
    assert "other" in ground.of(DeliveryFailed)[-1].message


async def test_a_role_that_was_made_anew_is_assumed_anew(ground):
    """Sessions of the one before are dead, whatever their end."""
    ground.start()
    ground.plane.observe(KEY, order(role_id="AROA1"))
    await asyncio.sleep(5)

    ground.plane.observe(KEY, order(role_id="AROA2"))
    await asyncio.sleep(5)

    assert len(ground.sts.calls) == 2


async def test_when_all_are_refused_at_a_takeover_who_ends_first_is_served_first_afterwards(slow):
    await take_over(slow, 1200)
    slow.sts.denied = frozenset({order().role_arn})
    await asyncio.sleep(240)

    slow.sts.denied = frozenset()
    least = 900.0
    for _ in range(60):
        await asyncio.sleep(5)
        least = min(least, *(left for left in slow.plane.min_remaining_s().values() if left is not None))

    assert least > 90


async def test_who_asks_all_the_time_while_it_fails_is_tried_as_often_as_others(ground):
    ground.sts = SlowSts(ground.clock)
    ground.sts.denied = frozenset({"denied"})
    ground.plane = ground.make_plane()
    ground.start()
    ground.plane.observe(KEY, order(role_arn="denied"))
    await asyncio.sleep(300)
    before = len(ground.sts.calls)

    for number in range(600):
        ground.plane.observe(KEY, order(role_arn="denied", refresh=str(number)))
        await asyncio.sleep(1)

    assert len(ground.sts.calls) - before <= 600 / 30 + 600 / 20 + 2


async def test_one_ask_while_it_fails_is_tried_at_once_and_the_next_is_not_lost(ground):
    ground.kube.put({"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}})
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(5)
    tries = len(ground.kube.calls)

    ground.plane.observe(KEY, order(refresh="one"))
    await asyncio.sleep(1)
    assert len(ground.kube.calls) > tries
    ground.kube.delete("secrets", "shop", "checkout")
    ground.plane.observe(KEY, order(refresh="two"))
    await asyncio.sleep(1)
    assert ground.of(Delivered) == []
    await asyncio.sleep(30)

    assert [report.refresh for report in ground.of(Delivered)] == ["two"]


async def test_an_ask_during_a_try_that_fails_is_followed_by_another_try(ground):
    ground.kube.put({"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}})
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(5)
    ground.kube.latency_s = 2.0
    ground.plane.observe(KEY, order(refresh="one"))
    await asyncio.sleep(0.5)

    ground.plane.observe(KEY, order(refresh="two"))
    await asyncio.sleep(10)
    ground.kube.delete("secrets", "shop", "checkout")
    await asyncio.sleep(35)

    assert [report.refresh for report in ground.of(Delivered)] == ["two"]


async def test_a_user_that_is_mended_by_an_edit_is_a_newcomer_again(slow):
    slow.start()
    asking = annotate(slow, 80, times=60)
    await asyncio.sleep(189)
    asking.cancel()
    edited_at = slow.clock.monotonic()

    slow.plane.observe(("crowd", "bad7"), order("bad7", namespace="crowd", generation=2))
    await asyncio.sleep(10)

    delivered_at = next(at for at, name in slow.writes if name == "bad7")
    assert delivered_at - edited_at < 5.0


class TestWhoseFault:
    """The shortest life, apart for what a user has to mend itself."""

    async def test_a_broken_template_leaves_the_figure_of_the_others_as_it_is(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        ground.plane.observe(("shop", "broken"), order("broken"))
        await asyncio.sleep(10)
        ground.plane.observe(("shop", "broken"), order("broken", generation=2, template={"X": "{{ nothing }}"}))

        await asyncio.sleep(7200)

        assert ground.plane.min_remaining_s()[Fault.OPERATOR] > 440
        assert ground.plane.min_remaining_s()[Fault.OWN] < -6000

    async def test_a_user_that_is_mended_counts_with_the_others_again(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)
        ground.plane.observe(KEY, order(generation=2, template={"X": "{{ nothing }}"}))
        await asyncio.sleep(2000)

        ground.plane.observe(KEY, order(generation=3))
        await asyncio.sleep(2)

        assert ground.plane.min_remaining_s()[Fault.OWN] is None
        assert ground.plane.min_remaining_s()[Fault.OPERATOR] > 440

    @pytest.mark.parametrize(
        ("error", "fault"),
        [
            (UnavailableError("no answer"), Fault.OPERATOR),
            (ThrottledError("Rate exceeded"), Fault.OPERATOR),
            (AccessDeniedError("serviceaccounts/token", code="Forbidden"), Fault.OPERATOR),
            (AccessDeniedError("no provider", code="InvalidIdentityToken"), Fault.OPERATOR),
            (AccessDeniedError("not authorized", code="AccessDenied"), Fault.OWN),
            (InvalidSpecError("a bad name", code="ValidationError"), Fault.OWN),
        ],
    )
    async def test_what_a_user_cannot_mend_is_the_operators(self, ground, error, fault):
        ground.sts.longest_s = 3600
        ground.start()
        ground.plane.observe(KEY, order(max_session_s=3600))
        await asyncio.sleep(10)

        ground.sts.error = error
        await asyncio.sleep(7200)

        assert ground.plane.min_remaining_s()[fault] < 0
        assert [ground.plane.min_remaining_s()[other] for other in Fault if other is not fault] == [None]

    async def test_a_secret_without_room_for_it_is_its_namespaces(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        ground.plane.observe(("shop", "other"), order("other"))
        await asyncio.sleep(10)
        (uid,) = [uid for uid, key in ground.plane.delivered().items() if key == KEY]

        refusal = ResourceQuotaExceededError("create secrets shop: ResourceQuota team", code="Forbidden")
        ground.kube.fail_next("create_secret", refusal, times=9999)
        await ground.kube.delete_secret("shop", "checkout", uid=uid)
        await asyncio.sleep(7200)

        assert ground.plane.min_remaining_s()[Fault.OPERATOR] > 440
        assert ground.plane.min_remaining_s()[Fault.OWN] < -6000
        (failure,) = ground.of(DeliveryFailed)
        assert (failure.reason, failure.permanent) == ("ResourceQuotaExceeded", False)

    async def test_a_secret_is_made_within_the_minute_once_there_is_room(self, ground, monkeypatch):
        async def refuse(*_):
            raise ResourceQuotaExceededError("create secrets shop: ResourceQuota team", code="Forbidden")

        with monkeypatch.context() as full:
            full.setattr(ground.kube, "create_secret", refuse)
            ground.start()
            ground.plane.observe(KEY, order())
            await asyncio.sleep(1800)

        await asyncio.sleep(60)

        assert ground.kube.secret("shop", "checkout") is not None
        assert [report.reason for report in ground.of(DeliveryFailed)] == ["ResourceQuotaExceeded"]


class TestRepairs:
    """A Secret that somebody deletes or changes, as the watch of Secrets tells it."""

    def uid(self, ground):
        return (ground.kube.get("secrets", *KEY) or {"metadata": {"uid": "none"}})["metadata"]["uid"]

    async def test_a_secret_that_is_deleted_over_and_over_is_made_anew_once_in_a_pause(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)
        ground.writes.clear()

        for _ in range(300):
            if ground.kube.secret(*KEY) is not None:
                uid = self.uid(ground)
                ground.kube.delete("secrets", *KEY)
                ground.plane.restore(KEY, uid)
            await asyncio.sleep(1)

        assert 10 <= len(ground.writes) <= 11

    async def test_the_last_word_is_ours(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)

        for _ in range(3):
            uid = self.uid(ground)
            ground.kube.delete("secrets", *KEY)
            ground.plane.restore(KEY, uid)
            await asyncio.sleep(1)
            if ground.kube.secret(*KEY) is None:
                break
        await asyncio.sleep(31)

        assert ground.kube.secret(*KEY) is not None

    async def test_a_deletion_between_two_repairs_outlives_an_ordinary_refresh(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)
        ground.plane.restore(KEY, self.uid(ground))
        await asyncio.sleep(1)
        ground.plane.restore(KEY, self.uid(ground))

        ground.plane.observe(KEY, order(refresh="now"))
        await asyncio.sleep(1)
        ground.kube.delete("secrets", *KEY)
        await asyncio.sleep(31)

        assert ground.kube.secret(*KEY) is not None

    async def test_each_secret_of_a_user_has_a_pause_of_its_own(self, ground):
        ground.start()
        ground.plane.observe(KEY, order(aliases=("main", "second")))
        await asyncio.sleep(10)

        for report in ground.of(Delivered):
            ground.kube.delete("secrets", "shop", "checkout" if report.alias == "main" else "checkout.second")
            ground.plane.restore(KEY, report.secret_uid)
        await asyncio.sleep(1)

        assert ground.kube.secret("shop", "checkout") is not None
        assert ground.kube.secret("shop", "checkout.second") is not None


async def test_what_is_observed_again_unchanged_mints_nothing(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)

    for _ in range(10):
        ground.plane.observe(KEY, order())
    await asyncio.sleep(1)

    assert len(ground.writes) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"secret_labels": {"a": "b"}},
        {"secret_annotations": {"a": "b"}},
        {"template": {"URL": "{{ host }}"}},
        {"role_arn": "arn:aws:iam::111122223333:role/other"},
    ],
    ids=["labels", "annotations", "template", "role"],
)
async def test_a_change_of_what_is_asked_is_written_at_once(ground, change):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)

    ground.plane.observe(KEY, order(generation=2, **change))
    await asyncio.sleep(1)

    assert len(ground.writes) == 2


async def test_a_resource_of_the_same_name_begins_anew(ground):
    ground.start()
    ground.plane.observe(KEY, order(uid="one"))
    await asyncio.sleep(10)
    ground.kube.delete("secrets", "shop", "checkout")

    ground.plane.observe(KEY, order(uid="two"))
    await asyncio.sleep(1)

    assert len(ground.sts.calls) == 2
    assert [report.uid for report in ground.of(Delivered)] == ["one", "two"]


async def test_a_deleted_secret_comes_back_at_its_next_refresh(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    ground.kube.delete("secrets", "shop", "checkout")

    await asyncio.sleep(451)

    first, second = ground.of(Delivered)
    assert ground.kube.secret("shop", "checkout") is not None
    assert first.secret_uid != second.secret_uid


async def test_a_secret_of_somebody_else_is_told_and_looked_at_again(ground):
    ground.kube.put({"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}})
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    (failure,) = ground.of(DeliveryFailed)
    assert (failure.reason, failure.permanent) == ("SecretConflict", True)

    ground.kube.delete("secrets", "shop", "checkout")
    await asyncio.sleep(61)

    assert len(ground.of(Delivered)) == 1


async def test_without_leadership_nothing_is_written(ground):
    ground.fence.error = NotLeaderError("not the leader")
    ground.start()
    ground.plane.observe(KEY, order())

    await asyncio.sleep(60)
    assert ground.kube.calls == []
    assert ground.sts.calls == []
    ground.fence.error = None
    await asyncio.sleep(3)

    assert len(ground.writes) == 1
    assert ground.of(DeliveryFailed) == []


async def test_a_restart_mints_only_what_is_due(ground):
    ground.start()
    for number in range(10):
        ground.plane.observe(("shop", f"user{number}"), order(f"user{number}"))
    await asyncio.sleep(100)
    await ground.plane.save_checkpoint()
    await ground.stop()
    uids = {report.key[1]: report.secret_uid for report in ground.of(Delivered)}
    ground.writes.clear()

    ground.plane = ground.make_plane()
    await ground.plane.load_checkpoint()
    for name, uid in uids.items():
        ground.plane.observe(("shop", name), order(name, secret_uid=uid))
    ground.start()
    await asyncio.sleep(200)
    assert ground.writes == []
    await asyncio.sleep(200)

    assert len(ground.writes) == 10


async def test_a_standby_that_takes_over_learns_the_lives_late(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    uid = ground.of(Delivered)[0].secret_uid
    standby = ground.make_plane()
    standby.observe(KEY, order(secret_uid=uid))
    await ground.plane.save_checkpoint()
    await ground.stop()
    ground.writes.clear()

    await standby.load_checkpoint()
    ground.plane = standby
    ground.start()
    await asyncio.sleep(100)

    assert ground.writes == []


@pytest.mark.parametrize(
    "checkpoint",
    [
        None,
        b"",
        b"\x1f\x8b",
        encode({("somebody-else", "main"): Life(START, START + timedelta(seconds=900))}, now=START),
        encode({("uid-checkout", "other"): Life(START, START + timedelta(seconds=900))}, now=START),
    ],
    ids=["missing", "empty", "truncated", "of-foreign-uids", "of-another-alias"],
)
async def test_a_token_that_no_checkpoint_knows_is_made_anew_at_once(ground, checkpoint):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    await ground.stop()
    uid = ground.of(Delivered)[0].secret_uid
    ground.writes.clear()
    ground.kube._checkpoint = checkpoint

    ground.plane = ground.make_plane()
    ground.plane.observe(KEY, order(secret_uid=uid))
    await ground.plane.load_checkpoint()
    ground.start()
    await asyncio.sleep(1)

    assert len(ground.writes) == 1


async def test_an_api_server_that_is_away_for_a_moment_does_not_cost_the_checkpoint(ground):
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(10)
    await ground.plane.save_checkpoint()
    await ground.stop()
    uid = ground.of(Delivered)[0].secret_uid
    ground.writes.clear()
    ground.kube.fail_next("load_checkpoint", UnavailableError("down"), times=5)

    ground.plane = ground.make_plane()
    ground.plane.observe(KEY, order(secret_uid=uid))
    await ground.plane.load_checkpoint()
    ground.start()
    await asyncio.sleep(60)

    assert ground.writes == []


async def test_a_checkpoint_that_may_not_be_read_is_done_without(ground):
    ground.kube.fail_next("load_checkpoint", AccessDeniedError("no right"))
    began = ground.clock.monotonic()

    await ground.plane.load_checkpoint()

    assert ground.clock.monotonic() - began < 1


async def test_the_checkpoint_is_written_once_a_minute(ground):
    ground.start()
    ground.plane.observe(KEY, order())

    await asyncio.sleep(601)

    writes = [call for call in ground.kube.calls if call.resource == "configmaps"]
    assert 9 <= len(writes) <= 10
    assert len(decode(ground.kube._checkpoint, token_s=900, now=ground.clock.now())) == 1


async def test_a_cache_that_is_gone_is_refreshed_no_more(ground):
    ground.start()
    ground.plane.observe(KEY, order(aliases=("main", "second")))
    await asyncio.sleep(10)
    uids = {report.alias: report.secret_uid for report in ground.of(Delivered)}
    ground.writes.clear()

    ground.plane.observe(KEY, order(secret_uid=uids["main"]))
    await asyncio.sleep(900)

    assert {name for _, name in ground.writes} == {"checkout"}


async def test_a_bug_in_one_refresh_does_not_stop_the_others(ground):
    ground.start()
    broken = replace(order("broken"), caches=(replace(order("broken").caches[0], port=None),))  # type: ignore[arg-type]
    ground.plane.observe(("shop", "broken"), replace(broken, template={"X": 7}))  # type: ignore[dict-item]
    ground.plane.observe(KEY, order())

    with capture_logs():
        await asyncio.sleep(1000)

    assert len([name for _, name in ground.writes if name == "checkout"]) >= 3


class TestNoSecretIsForgotten:
    """Whatever goes wrong with an entry, it has a next time."""

    @staticmethod
    def grown(base):
        """Return an order with more caches than a session's policy has room for."""
        grown = order(base.name, aliases=("main", *(f"cache-{number:02}" for number in range(30))))
        caches = [replace(target, arn=f"{target.arn}-of-the-shop-{target.alias}") for target in grown.caches]
        return replace(grown, caches=(base.caches[0], *caches[1:]))

    async def test_who_asks_for_more_than_a_session_can_hold_is_told_and_mends_it(self, ground):
        ground.start()
        ground.plane.observe(KEY, self.grown(order()))
        await asyncio.sleep(60)
        told = {failure.reason for failure in ground.of(DeliveryFailed)}

        ground.plane.observe(KEY, order())
        await asyncio.sleep(60)

        assert told == {"PolicyTooLarge"}
        assert [name for _, name in ground.writes] == ["checkout"]

    async def test_an_order_that_grows_too_large_and_shrinks_while_a_session_is_fetched_is_served(self, ground):
        ground.sts.latency_s = 5.0
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(1)
        ground.plane.observe(KEY, self.grown(order()))
        await asyncio.sleep(20)

        ground.plane.observe(KEY, order())
        await asyncio.sleep(60)

        assert [name for _, name in ground.writes] == ["checkout"]

    async def test_a_new_leader_that_finds_such_an_order_serves_all_others(self, ground):
        grown = self.grown(order("grown"))
        caches = tuple(replace(target, secret_uid=f"uid-{target.alias}") for target in grown.caches)
        ground.plane.observe(("shop", "grown"), replace(grown, caches=caches))
        ground.plane.observe(KEY, order())

        ground.start()
        await asyncio.sleep(60)

        assert [name for _, name in ground.writes] == ["checkout"]
        assert {failure.key for failure in ground.of(DeliveryFailed)} == {("shop", "grown")}

    @pytest.mark.parametrize("at", ["make do", "tell", "count"])
    async def test_a_bug_after_a_session_was_refused_delays_nobody_for_long(self, ground, monkeypatch, at):
        ground.sts.error = UnavailableError("away")
        failing = asyncio.Event()
        failing.set()

        def fail(*_):
            if failing.is_set():
                raise RuntimeError("a bug")

        place = {
            "make do": (ground.plane._sessions, "make_do", lambda *_: fail() or False),
            "tell": (ground.plane, "_report", fail),
            "count": (ground.plane, "_counting", Counting(refresh=fail)),
        }[at]
        monkeypatch.setattr(*place)
        ground.start()
        ground.plane.observe(KEY, order(aliases=("main", "second", "third")))
        with capture_logs() as logs:
            await asyncio.sleep(60)
        failing.clear()
        ground.sts.error = None

        await asyncio.sleep(60)

        assert {name for _, name in ground.writes} == {"checkout", "checkout.second", "checkout.third"}
        assert {line["error"] for line in logs if "unexpectedly" in line["event"]} == {"RuntimeError"}

    async def test_a_bug_while_a_failed_write_is_noted_costs_no_token(self, ground, monkeypatch):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(1)
        ground.kube.down = UnavailableError("away")

        def fail(_):
            raise RuntimeError("a bug")

        with monkeypatch.context() as patched, capture_logs():
            patched.setattr(ground.plane, "_counting", Counting(refresh=fail))
            await asyncio.sleep(500)
        ground.kube.down = None
        await asyncio.sleep(40)

        assert least_s(ground) > 400


class TestLogins:
    """What follows a delivery where logins are tried."""

    @pytest.fixture
    async def ground(self):
        made = Ground(verify_logins=True)
        yield made
        await made.stop()

    async def test_a_first_token_is_tried_and_later_ones_are_not(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())

        await asyncio.sleep(3600)

        assert len(ground.probe.tried) == 1
        (report,) = ground.of(Verified)
        assert report.result.outcome is LoginOutcome.LOGGED_IN

    async def test_another_chain_is_proven_within_a_minute_or_so(self, ground):
        ground.start()
        ground.plane.observe(KEY, order(chain="a.0"))
        await asyncio.sleep(600)

        ground.plane.observe(KEY, order(chain="b.0", needs_verify=False))
        await asyncio.sleep(70)

        assert [report.chain for report in ground.of(Verified)] == ["a.0", "b.0"]

    async def test_a_chain_that_was_not_known_before_asks_for_nothing(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(600)

        ground.plane.observe(KEY, order(chain="a.0", needs_verify=False))
        await asyncio.sleep(600)

        assert len(ground.probe.tried) == 1

    async def test_a_refusal_that_passes_is_no_news(self, ground):
        ground.probe.results = [LoginResult(LoginOutcome.REFUSED, "WRONGPASS")] * 3
        ground.start()
        ground.plane.observe(KEY, order())

        await asyncio.sleep(120)

        assert [report.result.outcome for report in ground.of(Verified)] == [LoginOutcome.LOGGED_IN]
        assert len(ground.probe.tried) == 4

    async def test_a_refusal_that_lasts_is_told_and_tried_again_with_the_next_token(self, ground):
        ground.probe.results = [LoginResult(LoginOutcome.REFUSED, "WRONGPASS")] * 8
        ground.start()
        ground.plane.observe(KEY, order())

        await asyncio.sleep(120)
        assert {report.result.outcome for report in ground.of(Verified)} == {LoginOutcome.REFUSED}
        await asyncio.sleep(400)

        assert ground.of(Verified)[-1].result.outcome is LoginOutcome.LOGGED_IN

    async def test_an_unreachable_cache_is_told_at_once(self, ground):
        ground.probe.results = [LoginResult(LoginOutcome.UNREACHABLE, "no route")] * 100
        ground.start()
        ground.plane.observe(KEY, order())

        await asyncio.sleep(1)

        assert ground.of(Verified)[0].result.outcome is LoginOutcome.UNREACHABLE

    async def test_unreachable_caches_pile_up_no_logins(self, ground):
        ground.probe.results = [LoginResult(LoginOutcome.UNREACHABLE, "no route")] * 10_000
        ground.start()
        for number in range(20):
            ground.plane.observe(("shop", f"user{number}"), order(f"user{number}"))
        for number in range(20):
            ground.kube.put_service_account("shop", f"user{number}")

        await asyncio.sleep(4 * 3600)

        assert len(ground.plane._logins) <= 20
        assert len(ground.probe.tried) <= 20 * (3 + 4)

    async def test_a_hanging_login_is_the_only_one_of_its_secret(self, ground):
        async def hang(**_):
            await asyncio.sleep(100_000)

        ground.probe.login = hang
        ground.start()
        ground.plane.observe(KEY, order())

        await asyncio.sleep(4 * 3600)

        assert len(ground.plane._logins) == 1

    async def test_a_login_from_before_an_edit_says_nothing_of_what_comes_after(self, ground):
        go = asyncio.Event()
        answered = []

        async def slow(**_):
            await go.wait()
            answered.append(True)
            return LoginResult(LoginOutcome.LOGGED_IN)

        ground.probe.login = slow
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)

        ground.plane.observe(KEY, order(generation=2, needs_verify=True))
        go.set()
        await asyncio.sleep(10)

        assert ground.of(Verified)[-1].generation == 2

    async def test_a_login_that_worked_is_tried_again_after_an_edit(self, ground):
        ground.start()
        ground.plane.observe(KEY, order())
        await asyncio.sleep(10)

        ground.plane.observe(KEY, order(generation=2, needs_verify=True))
        await asyncio.sleep(10)

        assert [report.generation for report in ground.of(Verified)] == [1, 2]

    async def test_a_restart_does_not_try_again_what_was_seen_to_work(self, ground):
        ground.start()
        ground.plane.observe(KEY, order(needs_verify=False))

        await asyncio.sleep(1000)

        assert ground.probe.tried == []

    async def test_logins_never_hold_up_refreshes(self, ground):
        async def hang(**_):
            await asyncio.sleep(100_000)

        ground.probe.login = hang
        ground.start()
        for number in range(20):
            ground.plane.observe(("shop", f"user{number}"), order(f"user{number}"))

        await asyncio.sleep(1000)

        assert least_s(ground) > 440


@dataclass
class RoutedProbe:
    """Takes as long as a connection to nowhere does, for hosts without a route; some caches take their time, too."""

    clock: LoopClock
    unreachable: set[str] = field(default_factory=set)
    latency_s: float = 0.02
    tried: list[tuple[float, str, str]] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)
    busiest: dict[str, int] = field(default_factory=dict)

    async def login(self, *, host, port, username, password):
        self.tried.append((self.clock.monotonic(), host, username))
        self.busy[host] = self.busy.get(host, 0) + 1
        self.busiest[host] = max(self.busiest.get(host, 0), self.busy[host])
        try:
            await asyncio.sleep(3.0 if host in self.unreachable else self.latency_s)
        finally:
            self.busy[host] -= 1
        if host in self.unreachable:
            return LoginResult(LoginOutcome.UNREACHABLE, f"{host}:{port} can't be reached")
        return LoginResult(LoginOutcome.LOGGED_IN)


class TestLoginsOfMany:
    """Whose login is tried when: no cache and no namespace holds up another's."""

    @pytest.fixture
    async def ground(self):
        made = Ground(verify_logins=True)
        made.probe = RoutedProbe(made.clock)
        made.plane = made.make_plane()
        made.kube.put_service_account("other", "checkout")
        made.verified = []
        yield made
        await made.stop()

    def ask(self, ground, name, *, host="h", namespace="shop"):
        made = order(name, namespace=namespace)
        made = replace(made, caches=(replace(made.caches[0], host=host),))
        ground.plane.observe((namespace, name), made)

    async def verified_after_s(self, ground, name, *, within_s=600.0):
        began = ground.clock.monotonic()
        while not any(report.key[1] == name for report in ground.of(Verified)):
            await asyncio.sleep(0.1)
            assert ground.clock.monotonic() - began < within_s
        return ground.clock.monotonic() - began

    @pytest.mark.parametrize("count", [20, 150])
    async def test_users_of_a_cache_without_a_route_hold_up_nobody_elses_first_login(self, ground, count):
        ground.probe.unreachable = {"nowhere"}
        ground.start()
        for number in range(count):
            self.ask(ground, f"lost{number}", host="nowhere")
        await asyncio.sleep(2)

        self.ask(ground, "new", host="good")
        await self.verified_after_s(ground, "new")
        verified_at = ground.clock.monotonic()

        delivered_at = next(at for at, name in ground.writes if name == "new")
        assert verified_at - delivered_at < 1.0

    async def test_one_try_tells_all_users_of_a_cache_that_it_has_no_route(self, ground):
        ground.probe.unreachable = {"nowhere"}
        ground.start()
        for number in range(100):
            self.ask(ground, f"lost{number}", host="nowhere")
        await asyncio.sleep(20)

        told = {report.key for report in ground.of(Verified) if report.result.outcome is LoginOutcome.UNREACHABLE}
        assert len(told) == 100
        assert len(ground.probe.tried) <= 6
        await asyncio.sleep(3600)
        assert len(ground.probe.tried) <= 20
        assert len(ground.plane._logins) == 0

    async def test_a_new_user_of_a_cache_that_was_just_found_unreachable_is_told_at_once(self, ground):
        ground.probe.unreachable = {"nowhere"}
        ground.start()
        self.ask(ground, "first", host="nowhere")
        await asyncio.sleep(20)

        self.ask(ground, "second", host="nowhere")

        assert await self.verified_after_s(ground, "second") < 1.0

    async def outlive(self, ground, *, away_s, back_s):
        """Have 30 users of a cache that is out of reach, then isn't; return what was last told of each."""
        ground.probe.unreachable = {"away"}
        ground.start()
        for number in range(30):
            self.ask(ground, f"user{number}", host="away")
        await asyncio.sleep(away_s)
        ground.probe.unreachable = set()
        await asyncio.sleep(back_s)
        return [*{report.key: report.result.outcome for report in ground.of(Verified)}.values()]

    async def test_a_cache_that_comes_back_is_noticed_by_all_its_users(self, ground):
        last = await self.outlive(ground, away_s=20, back_s=62)

        assert last.count(LoginOutcome.LOGGED_IN) >= 28  # those who tried for themselves come again with a later token

    async def test_a_glitch_of_a_cache_is_over_for_all_within_seconds(self, ground):
        last = await self.outlive(ground, away_s=4, back_s=6)

        assert last == [LoginOutcome.LOGGED_IN] * 30

    async def test_a_clock_that_goes_on_between_two_looks_loses_no_login(self, ground):
        ticks = itertools.count()
        ground.clock.monotonic = lambda: asyncio.get_running_loop().time() + next(ticks) * 1e-6
        ground.start()

        self.ask(ground, "new")

        assert await self.verified_after_s(ground, "new", within_s=10) < 5.0

    async def test_one_cache_is_tried_by_two_at_a_time(self, ground):
        ground.probe.latency_s = 0.5
        ground.start()
        for number in range(30):
            self.ask(ground, f"user{number}", host="one")
            self.ask(ground, f"more{number}", host="two")
        await asyncio.sleep(30)

        assert len(ground.of(Verified)) == 60
        assert ground.probe.busiest == {"one": 2, "two": 2}

    @pytest.mark.parametrize("hosts", [1, 40])
    async def test_a_namespace_with_many_users_does_not_hold_up_another_ones(self, ground, hosts):
        ground.probe.latency_s = 1.0
        ground.start()
        for number in range(120):
            self.ask(ground, f"crowd{number}", host=f"host{number % hosts}")
        await asyncio.sleep(14)

        self.ask(ground, "new", host="host0", namespace="other")

        assert await self.verified_after_s(ground, "new") < 4.0

    async def test_many_caches_without_a_route_hold_up_another_namespace_for_a_moment_only(self, ground):
        hosts = {f"nowhere{number}" for number in range(100)}
        ground.probe.unreachable = hosts
        ground.start()
        for host in sorted(hosts):
            self.ask(ground, f"lost-{host}", host=host)
        await asyncio.sleep(12)

        self.ask(ground, "new", host="good", namespace="other")

        assert await self.verified_after_s(ground, "new") < 4.0

    async def test_a_user_who_goes_while_it_waits_for_its_turn_leaves_no_gap(self, ground):
        ground.probe.latency_s = 1.0
        ground.start()
        for number in range(10):
            self.ask(ground, f"user{number}")
        await asyncio.sleep(1.5)

        for number in range(0, 10, 2):
            ground.plane.observe(("shop", f"user{number}"), None)
        await asyncio.sleep(20)

        assert {report.key[1] for report in ground.of(Verified)} >= {f"user{number}" for number in range(1, 10, 2)}
        assert ground.plane._logins._endpoints._free == 8


HOSTILE = {
    "encoded-byte-by-byte": "{% assign x = host %}"
    + "{% assign x = x | append: x %}" * 14
    + "{% assign x = x | append: '%' %}"
    + ("{{ x" + "|url_encode" * 9 + "|slice:0 }}") * 9,
    "cases-in-cases": ("{%case 1%}{%when " + ",".join(["1"] * 100) + "%}") * 15 + "{%endcase%}" * 15,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_template_keeps_nobody_elses_tokens_waiting(ground, text):
    started = time.process_time()
    ground.start()
    for number in range(5):
        hostile = order(f"hostile{number}", aliases=("main", "second"), template={"A": text, "B": text})
        ground.plane.observe(hostile.key, hostile)
    ground.plane.observe(KEY, order())

    await asyncio.sleep(3600)

    times = [at for at, name in ground.writes if name == "checkout"]
    assert len(times) >= 8
    assert all(later - earlier <= 450 + 1 for earlier, later in itertools.pairwise(times))
    assert time.process_time() - started < 30, "an hour of ten hostile Secrets"


async def test_a_template_that_can_not_work_is_tried_no_oftener_than_one_that_can_and_at_once_when_edited(ground):
    results = []
    ground.plane._counting = Counting(refresh=results.append)
    ground.start()
    ground.plane.observe(KEY, order(template={"URL": "{{ host.none }}"}))
    await asyncio.sleep(3600)
    assert 1 <= results.count("TemplateInvalid") <= 9

    ground.plane.observe(KEY, order(template={"URL": "{{ host }}"}, generation=2))
    await asyncio.sleep(2)

    assert results[-1] == "ok"


async def test_parsed_templates_go_with_their_user(ground):
    ground.start()
    ground.plane.observe(KEY, order(template={"URL": "{{ host }}"}))
    await asyncio.sleep(2)
    assert len(ground.plane._templates) == 1

    ground.plane.observe(KEY, None)

    assert len(ground.plane._templates) == 0


async def test_an_outage_of_sts_costs_no_allowance(ground):
    """A token that is about to end is retried all the more often: it has no time to wait for a permit."""
    ground.sts.life_s = 900
    ground.start()
    ground.plane.observe(KEY, order())
    await asyncio.sleep(300)
    ground.sts.error = UnavailableError("STS is away")
    await asyncio.sleep(592)

    ground.sts.error = None
    await asyncio.sleep(6)

    assert ground.plane.min_remaining_s()[Fault.OPERATOR] > 800


async def test_a_role_that_is_known_everywhere_after_a_minute_is_tried_every_eight_seconds_until_then(slow):
    slow.sts.denied = frozenset({"young"})
    slow.start()
    slow.plane.observe(KEY, order(role_arn="young"))
    await asyncio.sleep(100)

    slow.sts.denied = frozenset()
    await asyncio.sleep(9)

    assert len(slow.writes) == 1
