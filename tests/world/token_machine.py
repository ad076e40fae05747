"""Lease, schedule and refresh as a state machine: whatever happens in whatever order, what must hold holds."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.world.replicas import PlainSts, Process, Stage, order_for

from elasticache_iam.core.errors import UnavailableError
from elasticache_iam.kube.lease import LeaseRecord
from elasticache_iam.tokens.checkpoint import Life, encode

NAMES: Final = ("a", "b", "c", "d")
COVERED_S: Final = 300.0
"""An outage that the design survives."""
WINDOW_S: Final = 900.0
SETTLING_S: Final = 90.0
"""An election, a restart, the longest backoff, and the minute in which a wrong clock is noticed."""
TOLERATED_SKEW: Final = timedelta(minutes=5)
HOURS: Final = timedelta(hours=3)
_index = st.integers(0, 5)


class TokenMachine(RuleBasedStateMachine):
    """Two replicas and a few users; STS allows 5 calls a second."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        assert isinstance(self.stage.sts, PlainSts)
        self.sts = self.stage.sts
        self.sts.per_s = 5.0
        self.stage.kube.put_service_account("shop", "app")
        self.stage.kube.on_change.append(self._see)
        self.tokens: dict[str, tuple[datetime, datetime]] = {}
        self.ended: set[str] = set()
        self.writes: dict[str, int] = {}
        self.wrong: list[str] = []
        self.rough: list[tuple[float, float]] = []
        self.rough_until = 0.0
        self.uids = 0

    @initialize()
    def begin(self) -> None:
        self.stage.start()
        self._pass(5.0)
        self.stage.start()

    def teardown(self) -> None:
        self.stage.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.05, 1.0, 7.0, 14.0, 61.0, 240.0]))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @precondition(lambda self: self._is_sound())
    @rule()
    def a_calm_quarter_of_an_hour(self) -> None:
        """After it all is well, and each Secret was written as often as it must, and not more often."""
        self._pass(SETTLING_S)
        before, accepted = dict(self.writes), self.stage.writes_of("secret")
        self._pass(WINDOW_S)
        written = {name: count - before.get(name, 0) for name, count in self.writes.items()}
        assert self.stage.writes_of("secret") - accepted == sum(written.values()), "a refresh is one write"
        for _, name in self.stage.orders:
            if self._is_denied(name):
                assert name not in self.tokens
            else:
                assert self._remaining_s(name) >= COVERED_S, name
                assert written[name] in {2, 3}, name

    @rule(index=_index)
    def a_replica_is_killed(self, index: int) -> None:
        self._disturb()
        if process := self._process(index):
            self.stage.kill(process)

    @rule(index=_index)
    def a_replica_is_stopped(self, index: int) -> None:
        self._disturb()
        if (process := self._process(index)) and not process.is_paused:
            process.stop()
            self._pass(1.0)

    @rule(index=_index)
    def a_replica_is_paused(self, index: int) -> None:
        self._disturb()
        if process := self._process(index):
            process.pause()

    @rule()
    def the_leader_is_paused_in_the_middle_of_a_write(self) -> None:
        self._disturb()
        leader = self.stage.leader
        if leader is not None and not leader.is_paused and self.stage.orders:
            order = next(iter(self.stage.orders.values()))
            self.stage.put_user(order_for(order.name, refresh=f"{self.stage.now_s}", uid=order.uid, like=order))
            self._pass(0.01)
            leader.pause()

    @rule()
    def all_go_on(self) -> None:
        self._disturb()
        for process in self.stage.processes:
            process.resume()

    @rule()
    def somebody_takes_the_lease(self) -> None:
        self._disturb()
        if self.stage.lease._record is not None:
            self.stage.lease._put(LeaseRecord("thief", 15, 9))

    @rule(is_away=st.booleans())
    def the_api_server_goes_or_comes(self, is_away: bool) -> None:  # noqa: FBT001  # a rule's
        self._disturb()
        self.stage.is_api_away = is_away

    @rule(latency_s=st.sampled_from([0.02, 1.0]))
    def the_api_server_is_slow_or_quick(self, latency_s: float) -> None:
        self._disturb()
        self.stage.api_latency_s = latency_s

    @rule(is_away=st.booleans(), per_s=st.sampled_from([0.1, 1.0, 5.0]), latency_s=st.sampled_from([0.1, 30.0]))
    def sts_goes_comes_hangs_or_throttles(self, is_away: bool, per_s: float, latency_s: float) -> None:  # noqa: FBT001
        self._disturb()
        self.sts.error = UnavailableError("away") if is_away else None
        self.sts.per_s, self.sts.latency_s = per_s, latency_s

    @rule(name=st.sampled_from(NAMES), is_denied=st.booleans())
    def a_user_comes(self, name: str, is_denied: bool) -> None:  # noqa: FBT001
        if ("shop", name) in self.stage.orders:
            return
        self._disturb()
        self.uids += 1
        role = "denied" if is_denied else "r"
        self.sts.denied = {"arn:aws:iam::111122223333:role/denied"}
        self.ended.discard(name)
        self.stage.put_user(order_for(name, role=role, uid=f"uid-{self.uids}"))

    @rule(name=st.sampled_from(NAMES))
    def a_user_is_deleted_or_suspended(self, name: str) -> None:
        self._disturb()
        self.stage.drop_user(("shop", name))
        self._mark_rough()
        self.ended.add(name)

    @rule(
        index=_index, offset=st.sampled_from([timedelta(), timedelta(minutes=2), -timedelta(minutes=2), HOURS, -HOURS])
    )
    def a_clock_is_set(self, index: int, offset: timedelta) -> None:
        self._disturb()
        if process := self._process(index):
            process.clock.offset = offset

    @rule(kind=st.sampled_from(["lost", "truncated", "garbage", "foreign", "future"]))
    def the_checkpoint_is_damaged(self, kind: str) -> None:
        kube, now = self.stage.kube, self.stage.truth()
        far = now + timedelta(days=1000)
        life = Life(far, far + timedelta(days=1000))
        kube._checkpoint = {
            "lost": None,
            "truncated": (kube._checkpoint or b"")[:20],
            "garbage": b"\x1f\x8b garbage",
            "foreign": encode({("nobody", "main"): Life(now, now + timedelta(seconds=900))}, now=now),
            "future": encode({(order.uid, "main"): life for order in self.stage.orders.values()}, now=far),
        }[kind]

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nobody_writes_who_must_not(self) -> None:
        assert self.stage.troubles == [], self.stage.troubles

    @invariant()
    def no_write_is_wrong(self) -> None:
        assert self.wrong == [], self.wrong

    @invariant()
    def no_token_ends_but_in_an_outage_that_nothing_survives(self) -> None:
        self._mark_rough()
        since = self.stage.now_s - WINDOW_S
        rough_s = sum(end - max(begin, since) for begin, end in self.rough if end > since)
        if rough_s < COVERED_S:
            for _, name in self.stage.orders:
                if name in self.tokens and not self._is_denied(name):
                    assert self._remaining_s(name) > 0, f"{name}, after {rough_s} s of trouble in {WINDOW_S} s"

    @invariant()
    def every_secret_has_a_next_time(self) -> None:
        for process in self.stage.processes:
            if not hasattr(process, "tokens"):  # it hasn't had a turn yet
                continue
            plane = process.tokens
            waiting = {entry: uid for uid, entries in plane._waiting.items() for entry in entries}
            for entry in plane._states:
                places = (entry in plane._turns) + (entry in waiting)
                assert places == 1 or (places == 0 and entry in plane._running), (process.name, entry)
            assert {uid for uid in waiting.values() if uid not in plane._renewals._wanted} == set(), process.name

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        self._mark_rough()
        self.stage.advance(seconds)
        self._mark_rough()

    def _is_sound(self) -> bool:
        stage, sts = self.stage, self.sts
        return (
            not stage.is_api_away
            and sts.error is None
            and sts.per_s >= 1.0
            and sts.latency_s < 1.0
            and not any(process.is_paused for process in stage.processes)
            and all(abs(process.clock.offset) < TOLERATED_SKEW for process in stage.processes)
        )

    def _disturb(self) -> None:
        self._mark_rough()
        self.rough_until = self.stage.now_s + SETTLING_S

    _seen_until = 0.0

    def _mark_rough(self) -> None:
        """Note of the time since the last look how much of it was trouble, or its aftermath."""
        now = self.stage.now_s
        if not self._is_sound():
            self.rough_until = max(self.rough_until, now + SETTLING_S)
        end = min(now, self.rough_until)
        if end > self._seen_until:
            self.rough.append((self._seen_until, end))
        self._seen_until = now

    def _process(self, index: int) -> Process | None:
        processes = self.stage.processes
        return processes[index % len(processes)] if processes else None

    def _is_denied(self, name: str) -> bool:
        order = self.stage.orders.get(("shop", name))
        return order is not None and order.role_arn in self.sts.denied

    def _remaining_s(self, name: str) -> float:
        if name not in self.tokens:
            return -1.0
        signed_at, end = self.tokens[name]
        now = self.stage.truth()
        return -1.0 if signed_at > now + TOLERATED_SKEW else (end - now).total_seconds()

    def _see(self, kind: str, change: str, body: Any) -> None:
        if kind != "Secret":
            return
        name = body["metadata"]["name"]
        if change == "DELETED":
            self.tokens.pop(name, None)
            return
        data = self.stage.kube.secret("shop", name)
        assert data is not None
        query = dict(pair.split("=", 1) for pair in data["password"].partition("?")[2].split("&"))
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        session_end = self.sts.ends[query["X-Amz-Credential"].partition("%2F")[0]]
        end = min(signed_at + timedelta(seconds=int(query["X-Amz-Expires"])), session_end)
        self.tokens[name] = (signed_at, end)
        self.writes[name] = self.writes.get(name, 0) + 1
        if name in self.ended:
            self.wrong.append(f"{name} got a token after its end")
        if session_end <= self.stage.truth():
            self.wrong.append(f"{name} got a token of a session that has ended")
