"""Everything breaks, one thing after the other, on the real cluster; an independent reader never sees an expired token.

A token lives for 75 s instead of 900, and outages are as much shorter: what follows from their shares of a life does so
at full length, too. Two operators run as a Deployment keeps them: whatever ends is started again.
"""

import logging
import os
import signal
import statistics
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from tests.builders import group_manifest, user_manifest
from tests.cluster.ground import USERS, Ground, Installation, note_measured
from tests.soak.checker import Checker
from tests.waiting import wait_for

from elasticache_iam.api.keys import API_VERSION
from elasticache_iam_sandbox.cluster.errors import ApiError
from elasticache_iam_sandbox.world.settings import Fault

pytestmark = pytest.mark.cluster

LIFE_S = int(os.environ.get("SOAK_LIFE_S", "75"))
"""More users need longer lives: on two cores, which bear all the rest too, 2,000 take 300 s."""
SCALE = 900 / LIFE_S
OUTAGE_S = 300 / SCALE
"""Of the API server and of STS."""
ELASTICACHE_OUTAGE_S = 1800 / SCALE
SKEW = timedelta(seconds=120 / SCALE)
ENOUGH_S = 300 / SCALE
"""What each token has left at any time but in an outage and until it is made up for."""
MADE_UP_S = LIFE_S / 3
"""An outage is made up for by then, also on a busy machine; at once on another."""
LEASE = {"leaseSeconds": 5, "leaseRenewDeadline": 3.5, "leaseRetry": 0.5}
PAUSE_S = 12.0
USERS_IN_ALL = int(os.environ.get("SOAK_USERS", "160"))
GROUPS = max(4, USERS_IN_ALL // 80)
"""AWS lets a group have 100 users."""
COLD_START_S = max(20.0, USERS_IN_ALL / (5 * SCALE))
"""Until a new leader has a session for each user, at the pace that it begins with: STS' own scarcity isn't scaled."""
BRING_UP_S = max(240.0, 1.5 * USERS_IN_ALL)
"""The operator keeps to ten calls of ElastiCache a second, and reads again what it made: a page is a hundred users."""
WEB_IDENTITY_PER_S = 5 * SCALE
"""5 a second is what has been seen of AWS."""
LATE_USERS = 4
RESTART_S = 2.0
LOGINS = 40

log = logging.getLogger("chaos")


@dataclass
class Window:
    """Something was broken from then on; `ended_at`: until it was made up for."""

    name: str
    began_at: float
    mended_at: float = 0.0
    ended_at: float = 0.0


class Deployment:
    """Two operators: what ends is started again."""

    def __init__(self, ground):
        self._ground = ground
        self.replicas = []
        self.ended = []
        self._not_before = 0.0
        # Beforehand: while the API server is away it gives none.
        self._logins = [
            ground.installation.new_login(ground.folder / f"replica-{number}.kubeconfig") for number in range(LOGINS)
        ]

    def start(self):
        while len(self.replicas) < 2:
            login = self._logins[len(self._ground.operators) % LOGINS]
            settings = {"tokenSeconds": LIFE_S, "driftInterval": 300 / SCALE, **LEASE}
            self.replicas.append(self._ground.launch_operator(login=login, **settings))

    def keep(self):
        for replica in [replica for replica in self.replicas if not replica.process.is_running]:
            self.replicas.remove(replica)
            self.ended.append(replica)
            self._not_before = time.monotonic() + RESTART_S
        if time.monotonic() >= self._not_before:
            self.start()

    def leader(self):
        """Return who holds the Lease, waiting until somebody does who has been told."""

        def look():
            self.keep()
            holder = self._ground.lease().get("holderIdentity")
            return next(
                (
                    replica
                    for replica in self.replicas
                    if holder and any(entry["identity"] == holder for entry in replica.said("elected"))
                ),
                None,
            )

        return wait_for(look, what="a leader")

    def ready_standby(self):
        """Return the other one, once it is ready to take over."""
        leader = self.leader()

        def look():
            self.keep()
            return next((r for r in self.replicas if r is not leader and r.said("started")), None)

        return wait_for(look, what="a standby")


class Story:
    """What happens, and what was seen of it."""

    def __init__(self, ground, checker):
        self.ground = ground
        self.checker = checker
        self.deployment = Deployment(ground)
        self.windows = []
        self.troubles = []
        self.starting_s = 0.0

    # -- the calm before ----------------------------------------------------------------------------------------------

    def bring_up(self):
        self._measure_the_api_servers_start()
        self.ground.sandbox.settings.web_identity_calls_per_s = 0.0
        self.deployment.start()
        for number in range(GROUPS):
            self.ground.add_cache(f"cache-{number}")
            self.ground.apply(group_manifest(f"group-{number}", caches=(f"cache-{number}",)))
        self.ground.add_service_account(self.ground.namespaces["shop"], "app")
        self.add_users(f"user-{number}" for number in range(USERS_IN_ALL))
        self.checker.start()
        self.wait_until_all_have_tokens(USERS_IN_ALL, BRING_UP_S)
        self.ground.sandbox.settings.web_identity_calls_per_s = WEB_IDENTITY_PER_S

    def _measure_the_api_servers_start(self):
        """While it starts it is still away: for 4 s, or for 20 s on a busy machine."""
        api_server = self.ground.control_plane.api_server
        api_server.stop()
        began = time.monotonic()
        api_server.start()
        self.ground.control_plane.wait_until_ready()
        wait_for(self._serves_our_kinds, what="our kinds to be served again")
        self.starting_s = time.monotonic() - began

    def add_users(self, names):
        manifests = [
            user_manifest(name, group=f"group-{number % GROUPS}", service_account="app")
            for number, name in enumerate(names)
        ]
        self.ground.apply(*manifests)

    def wait_until_all_have_tokens(self, count, timeout_s):
        def look():
            self.deployment.keep()
            seen = self.checker.newest().get("secrets", 0)
            assert seen >= count, f"{seen} of {count} have one; {self.ground.complaints()[-3:]}"
            return True

        wait_for(look, timeout_s=timeout_s, what="a token for everybody")

    # -- what breaks --------------------------------------------------------------------------------------------------

    @contextmanager
    def broken(self, name):
        """Note that something is broken inside, then wait until it is made up for."""
        window = Window(name, time.time())
        self.windows.append(window)
        log.info("%s", name)
        yield window
        window.mended_at = time.time()

        def is_made_up_for():
            self.deployment.keep()
            newest = self.checker.newest()
            return newest.get("at", 0) > window.mended_at and newest["least_left_s"] >= ENOUGH_S

        try:
            wait_for(is_made_up_for, timeout_s=MADE_UP_S, what=f"{name} to be made up for")
        except AssertionError as error:
            self.troubles.append(str(error))
        window.ended_at = time.time()
        took_s = window.ended_at - window.mended_at
        note_measured(took_s, f"until all have {ENOUGH_S:.0f} s left after {name}")

    def last(self, seconds):
        """Let it go on like this."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.deployment.keep()
            time.sleep(0.2)

    def kill_the_leader(self):
        leader, standby = self.deployment.leader(), self.deployment.ready_standby()
        with self.broken("the leader is killed") as window:
            leader.kill()
            standby.wait_until_leading()
            self.last(COLD_START_S)
        self._measure_failover(window.began_at, standby, "killed")

    def stop_the_leader(self):
        leader, standby = self.deployment.leader(), self.deployment.ready_standby()
        with self.broken("the leader is stopped") as window:
            leader.stop()
            standby.wait_until_leading()
            self.last(COLD_START_S)
        self._measure_failover(window.began_at, standby, "stopped")

    def pause_the_leader(self):
        """It wakes up when another one leads, with many refreshes due."""
        leader, standby = self.deployment.leader(), self.deployment.ready_standby()
        with self.broken("the leader is paused") as window:
            os.kill(leader.process.pid, signal.SIGSTOP)
            try:
                standby.wait_until_leading()
                self.last(max(0.0, window.began_at + PAUSE_S - time.time()))
            finally:
                os.kill(leader.process.pid, signal.SIGCONT)
            code = leader.process.wait(30)
            self.last(COLD_START_S)
        if code != 3:
            self.troubles.append(f"the leader that was paused ended with {code}")
        self._measure_failover(window.began_at, standby, "paused")
        late = [event for event in self._writes_of(leader) if event["at"] > standby.elected_at.timestamp()]
        if late:
            self.troubles.append(f"the leader that was paused wrote after the other's election: {late}")

    def take_the_api_server_away(self):
        control_plane = self.ground.control_plane
        with self.broken("the API server is away"):
            began = time.monotonic()
            control_plane.api_server.stop()
            try:
                self.last(max(OUTAGE_S / 5, OUTAGE_S - self.starting_s))
            finally:
                control_plane.api_server.start()
                control_plane.wait_until_ready()
                wait_for(self._serves_our_kinds, what="our kinds to be served again")
            note_measured(time.monotonic() - began, "the API server was away")
            self.deployment.leader()

    def _serves_our_kinds(self):
        with suppress(ApiError):  # 429 storage is (re)initializing
            return self.ground.control_plane.request("GET", f"/apis/{API_VERSION}/{USERS}?limit=1")

    @contextmanager
    def fault(self, service, operation="*", **changes):
        fault = Fault(service, operation, **changes)
        faults = self.ground.sandbox.settings.faults
        faults.append(fault)
        try:
            yield
        finally:
            faults.remove(fault)

    def take_sts_away(self):
        """Sessions are in memory: only who is new must wait."""
        with self.broken("STS is away"), self.fault("sts", error_code="Outage"):
            self.last(OUTAGE_S)

    def throttle(self):
        settings = self.ground.sandbox.settings
        with self.broken("AWS throttles"):
            settings.calls_per_s.update({"elasticache": 1.0, "iam": 1.0})
            settings.web_identity_calls_per_s = WEB_IDENTITY_PER_S / SCALE
            self.touch_everything()
            self.add_users(f"late-{number}" for number in range(LATE_USERS))
            self.last(OUTAGE_S / 3)
            settings.calls_per_s.clear()
            settings.web_identity_calls_per_s = WEB_IDENTITY_PER_S

    def set_awss_clock(self, offset, name):
        with self.broken(name):
            self.ground.sandbox.settings.clock_offset = offset
            self.last(OUTAGE_S / 3)
            self.ground.sandbox.settings.clock_offset = timedelta(0)

    def slow_etcd_down(self):
        etcd = next(process for process in self.ground.control_plane._processes if process.name == "etcd")
        with self.broken("etcd is slow"):
            for _ in range(4):
                os.kill(etcd.pid, signal.SIGSTOP)
                try:
                    time.sleep(1.5)
                finally:
                    os.kill(etcd.pid, signal.SIGCONT)
                self.last(1.0)

    def touch_everything(self):
        """Have each resource looked at."""
        now = str(time.time())
        for plural in (USERS, "usergroups"):
            for name in ("shop", "platform"):
                arguments = ("annotate", plural, "--all", "--overwrite", f"chaos={now}")
                self.ground.control_plane.kubectl(*arguments, "-n", self.ground.namespaces[name])

    def burst(self):
        with self.broken("everything is looked at"):
            self.touch_everything()

    # -- what came of it ----------------------------------------------------------------------------------------------

    def _measure_failover(self, since, standby, how):
        """Note the time until the other one's first refresh."""

        def first():
            return next((event for event in self._writes_of(standby) if event["resource"] == "secrets"), None)

        note_measured(wait_for(first, what="the other's first refresh")["at"] - since, f"{how}: until a refresh")

    def _writes_of(self, operator):
        """Return what an operator wrote or tried to write, oldest first."""
        return [
            {
                "at": datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
                "verb": event["verb"],
                "resource": event["objectRef"]["resource"],
                "code": event["responseStatus"]["code"],
            }
            for event in self.ground.audit_of(operator)
            if event["verb"] not in {"get", "list", "watch"}
        ]

    def judge(self):
        entries = list(self.checker.entries())
        (end,) = [entry["end"] for entry in entries if "end" in entry] or [{}]
        self.troubles += [entry for entry in entries if {"failure", "refused", "gone"} & entry.keys()]
        self.troubles += [entry for entry in entries if entry.get("least_left_s", 1) <= 0]
        self.troubles += [entry for entry in entries if entry.get("left_s", 1) <= 0]
        outside = [entry for entry in entries if "secrets" in entry and not self._is_inside(entry["at"])]
        self.troubles += [entry for entry in outside if entry.get("least_left_s", LIFE_S) < ENOUGH_S]
        self.troubles += [
            {"hardly tried": name, **tried} for name, tried in end.items() if tried["longest_gap_s"] > LIFE_S
        ]
        self.troubles += [
            {"ended with": replica.process.exit_code, "log": replica.text()[-500:]}
            for replica in self.deployment.ended
            if replica.process.exit_code not in {0, 2, 3, -signal.SIGKILL}
        ]
        least = min((entry["least_left_s"] for entry in entries if "least_left_s" in entry), default=0.0)
        left = [entry["left_s"] for entry in entries if "replaced" in entry]
        log.info(
            "%d users, %d refreshes, %d logins, %d operators ended; left when replaced: %.0f s, at least %.0f s; "
            "least ever seen: %.0f s",
            *(len(end), len(left), sum(tried["logins"] for tried in end.values()), len(self.deployment.ended)),
            *(statistics.median(left), min(left), least),
        )
        for window in self.windows:
            seen = [e["least_left_s"] for e in entries if "least_left_s" in e and self._is_in(window, e["at"])]
            log.info("%s: least left %.0f s", window.name, min(seen, default=LIFE_S))
        return self.troubles

    def _is_in(self, window, at):
        return window.began_at <= at <= window.ended_at

    def _is_inside(self, at):
        return any(self._is_in(window, at) for window in self.windows)


@pytest.fixture
def story(control_plane, sandbox, tmp_path):
    installation = Installation(control_plane, tmp_path)
    ground = Ground(installation, sandbox, sandbox.add_account(), tmp_path)
    namespace = ground.namespaces["shop"]
    ground.add_service_account(namespace, "checker")
    rights = ("create", "role", "checker", "--verb=list", "--resource=secrets", "-n", namespace)
    control_plane.kubectl(*rights)
    account = f"--serviceaccount={namespace}:checker"
    control_plane.kubectl("create", "rolebinding", "checker", "--role=checker", account, "-n", namespace)
    token = control_plane.kubectl("create", "token", "checker", "-n", namespace).stdout.strip()
    checker = Checker(tmp_path, url=control_plane.url, ca_file=control_plane.ca_file, token=token, namespace=namespace)
    try:
        yield Story(ground, checker)
    finally:
        checker.stop()
        ground.close()


def test_whatever_breaks_no_secret_ever_holds_an_expired_token(story):
    began = time.monotonic()
    story.bring_up()
    note_measured(time.monotonic() - began, "until everybody had a token")

    with story.fault("elasticache", error_code="Outage"):
        away_since = time.monotonic()
        story.take_sts_away()
        story.set_awss_clock(SKEW, "AWS's clock is ahead")
        story.set_awss_clock(-SKEW, "AWS's clock is behind")
        story.slow_etcd_down()
        story.stop_the_leader()
        story.take_the_api_server_away()
        story.kill_the_leader()
        story.pause_the_leader()
        story.last(max(0.0, away_since + ELASTICACHE_OUTAGE_S - time.monotonic()))
    story.throttle()
    story.burst()
    story.wait_until_all_have_tokens(USERS_IN_ALL + LATE_USERS, LIFE_S)
    story.checker.stop()

    assert story.judge() == []
