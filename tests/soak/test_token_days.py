"""Full-length days at full scale on virtual time: 2,000 users, disturbances, and a checker that reads every Secret.

Leader, token plane, checkpoint and their timing are the real ones; STS, the cache's view and the verdict on each token
are the sandbox's. What is cut off from the outside for 5 minutes may use up the life that is left for that, and
needs its time to catch up; at all other times every token has 5 minutes left.
"""

import functools
import heapq
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from tests.builders import ACCOUNT, REGION
from tests.fakes.kube import JwtSigner
from tests.world.replicas import PlainSts, Stage, order_for

from elasticache_iam.aws.errors import translate
from elasticache_iam.core.errors import UnavailableError
from elasticache_iam.core.token import Credentials
from elasticache_iam_sandbox.front.token import Admitted, verify_token
from elasticache_iam_sandbox.world.call import AwsError, Call
from elasticache_iam_sandbox.world.settings import Fault, WorldSettings
from elasticache_iam_sandbox.world.world import World

MINUTE: Final = 60.0
HOUR: Final = 3600.0
LOOK_S: Final = 10.0
ENOUGH_S: Final = 300.0
LOGINS_A_LOOK: Final = 2
CACHE: Final = "orders-prod"


class CachedSigner:
    """Signs a ServiceAccount's token once in five minutes: the signature is the slow part, and not what is tested."""

    def __init__(self) -> None:
        self._signer = JwtSigner()
        self.issuer, self.jwks = self._signer.issuer, self._signer.jwks
        self._sign = functools.lru_cache(maxsize=64)(self._signer)

    def __call__(self, namespace: str, service_account: str, audience: str, now: datetime, expires_s: int) -> str:
        since = now.replace(minute=now.minute - now.minute % 5, second=0)
        return self._sign(namespace, service_account, audience, since, expires_s)


class WorldSts:
    """STS of the sandbox's world, without HTTP."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.throttled = 0
        self.granted = 0

    async def assume_role_with_web_identity(
        self, *, role_arn: str, session_name: str, web_identity_token: str, duration_s: int, policy: str
    ) -> Credentials:
        parameters = {
            "RoleArn": role_arn,
            "RoleSessionName": session_name,
            "WebIdentityToken": web_identity_token,
            "DurationSeconds": duration_s,
            "Policy": policy,
        }
        operation = "AssumeRoleWithWebIdentity"
        try:
            granted = self._world.dispatch(Call("sts", operation, parameters, REGION, None))["Credentials"]
        except ConnectionError:
            raise UnavailableError("STS doesn't answer") from None
        except AwsError as error:
            self.throttled += error.code == "Throttling"
            answer: Any = {
                "Error": {"Code": error.code, "Message": str(error)},
                "ResponseMetadata": {"HTTPStatusCode": error.http_status},
            }
            translated = translate(ClientError(answer, operation), service="sts", operation=operation)
            assert translated is not None
            raise translated from None
        self.granted += 1
        return Credentials(
            granted["AccessKeyId"], granted["SecretAccessKey"], granted["SessionToken"], granted["Expiration"]
        )

    async def assume_role(self, **_: Any) -> Credentials:
        raise NotImplementedError


@dataclass
class Watcher:
    """Reads every Secret, by itself: a token's times are read off the token, its session's end off STS's books."""

    stage: Stage
    world: World | None = None
    ends: dict[str, datetime] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    logins: int = 0
    _passwords: dict[str, str] = field(default_factory=dict)
    _queue: list[tuple[datetime, str]] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  # a sample

    def __post_init__(self) -> None:
        self.stage.kube.on_change.append(self._see)

    def _see(self, kind: str, change: str, body: Any) -> None:
        if kind != "Secret":
            return
        name = body["metadata"]["name"]
        if change == "DELETED":
            self.ends.pop(name, None)
            return
        data = self.stage.kube.secret("shop", name)
        assert data is not None
        text = self._passwords[name] = data["password"]
        query = dict(pair.split("=", 1) for pair in text.partition("?")[2].split("&"))
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        end = signed_at + timedelta(seconds=int(query["X-Amz-Expires"]))
        if self.world is not None:
            identity = self.world.signing_identity(query["X-Amz-Credential"].partition("%2F")[0])
            assert identity is not None
            assert identity.expires_at is not None
            end = min(end, identity.expires_at)
        self.ends[name] = end
        heapq.heappush(self._queue, (end, name))

    def remaining_s(self) -> float:
        """Return what the Secret that ends first has left."""
        while self._queue and self.ends.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return (self._queue[0][0] - self.stage.truth()).total_seconds() if self._queue else float("inf")

    def look(self, phase: str) -> None:
        """Look at all Secrets now, and log in with some of their tokens."""
        self.least[phase] = min(self.least.get(phase, float("inf")), self.remaining_s())
        if self.world is not None and self._passwords:
            for name in self._random.sample(sorted(self._passwords)[:: len(self._passwords) // 40 + 1], LOGINS_A_LOOK):
                self._log_in(name)

    def _log_in(self, name: str) -> None:
        world = self.world
        assert world is not None
        view = world.cache_view(ACCOUNT, REGION, CACHE)
        assert view is not None
        verdict = verify_token(
            self._passwords[name].encode(),
            username=f"demo-{name}",
            view=view,
            now=self.stage.truth(),
            token_seconds=900,
            signing_identity=world.signing_identity,
            decide_connect=lambda identity, user_id: world.decide_connect(
                identity, view, user_id, source_ip="10.0.0.1"
            ),
        )
        self.logins += 1
        if not isinstance(verdict, Admitted):
            self.refused.append(f"{name} at {self.stage.now_s}: {verdict.reason} {verdict.detail}")


@dataclass
class Day:
    """Two replicas, their users, and a clock to move."""

    stage: Stage
    watcher: Watcher

    def go(self, seconds: float, phase: str) -> float:
        """Let time pass under the checker's eyes; return the least that any token had left."""
        end = self.stage.now_s + seconds
        while self.stage.now_s < end - 0.001:
            self.stage.advance(min(LOOK_S, end - self.stage.now_s))
            self.watcher.look(phase)
        return self.watcher.least[phase]

    def kill_leader(self, **options: Any) -> None:
        leader = self.stage.leader
        assert leader is not None
        self.stage.kill(leader, **options)

    def kill_all(self, *, restart_s: float) -> None:
        for process in list(self.stage.processes):
            self.stage.kill(process, restart_s=restart_s)


def make_world(stage: Stage, names: list[str], *, per_s: float) -> tuple[World, WorldSts]:
    """Return AWS with a user for each name on one cache, and a role that they share; sessions narrow it."""
    signer = CachedSigner()
    settings = WorldSettings(
        web_identity_calls_per_s=per_s, users=len(names) + 10, users_per_group=len(names) + 10, iam_propagation_s=0.0
    )
    world = World(settings, now=stage.truth, get_jwks=lambda _: signer.jwks)
    world.add_account(ACCOUNT)
    key = world.add_access_key(ACCOUNT, user_name="admin")
    stage.kube._signer = signer

    def call(service: str, operation: str, **parameters: Any) -> Any:
        return world.dispatch(Call(service, operation, parameters, REGION, key[0]))

    provider = call("iam", "CreateOpenIDConnectProvider", Url=signer.issuer, ClientIDList=["a"], ThumbprintList=[])
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider["OpenIDConnectProviderArn"]},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{signer.issuer.removeprefix('https://')}:aud": "a"}},
    }
    connect = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}
    call("iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=_policy(trust), MaxSessionDuration=43200)
    call("iam", "PutRolePolicy", RoleName="r", PolicyName="connect", PolicyDocument=_policy(connect))
    users = [f"demo-{name}" for name in names]
    for user in users:
        call(
            "elasticache",
            "CreateUser",
            UserId=user,
            UserName=user,
            Engine="valkey",
            AccessString="on ~* +@read",
            AuthenticationMode={"Type": "iam"},
        )
    call("elasticache", "CreateUserGroup", UserGroupId="all", Engine="valkey", UserIds=users)
    world.add_replication_group(
        ACCOUNT, REGION, CACHE, engine="valkey", engine_version="8.0", host="127.0.0.1", port=6379
    )
    call(
        "elasticache",
        "ModifyReplicationGroup",
        ReplicationGroupId=CACHE,
        UserGroupIdsToAdd=["all"],
        ApplyImmediately=True,
    )
    return world, WorldSts(world)


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def staged(users: int, *, per_s: float = 5.0, real_sts: bool = True) -> Iterator[Day]:
    stage = Stage()
    stage.kube.put_service_account("shop", "app")
    names = [f"user-{number}" for number in range(users)]
    world = None
    if real_sts:
        world, stage.sts = make_world(stage, names, per_s=per_s)
    else:
        stage.sts.per_s = per_s
    day = Day(stage, Watcher(stage, world))
    try:
        stage.start()
        stage.advance(5.0)
        stage.start()
        for name in names:
            stage.put_user(order_for(name))
        yield day
    finally:
        stage.close()
    assert stage.troubles == []
    assert day.watcher.refused == []


def faulty_sts(day: Day, code: str) -> Fault:
    """Let every call for a session fail, until the fault is taken back."""
    world = day.watcher.world
    assert world is not None
    fault = Fault("sts", "AssumeRoleWithWebIdentity", error_code=code)
    world.settings.faults.append(fault)
    return fault


def test_two_thousand_users_through_a_day_of_disturbances():  # noqa: PLR0915  # one day, told in order
    with staged(2000) as day:
        stage, watcher, world = day.stage, day.watcher, day.watcher.world
        assert world is not None
        faults = world.settings.faults
        day.go(10 * MINUTE, "all users at once, STS at 5/s")
        assert len(watcher.ends) == 2000
        calm = [day.go(50 * MINUTE, "at rest")]

        # Twelve hours and more without a cold start: the sessions of the first hour end, and are renewed in between.
        fault = faulty_sts(day, "Outage")
        calm.append(day.go(5 * MINUTE, "STS away 5 min"))
        faults.remove(fault)
        calm.append(day.go(20 * MINUTE, "after it"))
        for number, order in enumerate(list(stage.orders.values())):
            stage.put_user(replace(order, refresh=f"burst-{number}", secret_labels={"burst": "1"}, generation=2))
        calm.append(day.go(20 * MINUTE, "a burst of 2,000 changes"))
        stage.api_latency_s = 2.0
        calm.append(day.go(20 * MINUTE, "API server answers after 2 s"))
        stage.api_latency_s = 0.02
        calm.append(day.go(9 * HOUR - stage.now_s, "at rest"))
        fault = faulty_sts(day, "Outage")
        calm.append(day.go(5 * MINUTE, "STS away 5 min as sessions are renewed"))
        faults.remove(fault)
        world.settings.web_identity_calls_per_s = 0.5
        calm.append(day.go(30 * MINUTE, "STS at one call in 2 s as sessions are renewed"))
        world.settings.web_identity_calls_per_s = 5.0
        calm.append(day.go(12.5 * HOUR - stage.now_s, "at rest past the sessions' end"))
        assert [name for _, name in stage.elections] == ["replica-1"]

        # From here on every new leader begins without sessions, at 5 calls a second.
        day.kill_leader()
        calm.append(day.go(30 * MINUTE, "leader killed"))
        stage.is_api_away = True
        cut_off = [day.go(5 * MINUTE, "API server away 5 min")]
        stage.is_api_away = False
        cut_off.append(day.go(10 * MINUTE, "catching up after it"))
        calm.append(day.go(30 * MINUTE, "at rest"))
        day.kill_all(restart_s=5 * MINUTE)
        cut_off.append(day.go(5 * MINUTE, "no operator for 5 min"))
        cut_off.append(day.go(10 * MINUTE, "catching up after it"))
        calm.append(day.go(30 * MINUTE, "at rest"))
        paused = stage.leader
        assert paused is not None
        paused.pause()
        calm.append(day.go(MINUTE, "leader stopped for a minute"))
        paused.resume()
        calm.append(day.go(20 * MINUTE, "after it"))
        for offset_s in (120.0, -120.0, 120.0):
            stage.next_offset = timedelta(seconds=offset_s)
            day.kill_leader(restart_s=0.0)
            calm.append(day.go(40 * MINUTE, "clocks 2 min off, taken over to and fro"))
        stage.next_offset = timedelta()
        for process in stage.processes:
            process.clock.offset = timedelta()
        calm.append(day.go(20 * MINUTE, "clocks put right"))
        stage.kube._checkpoint = b"forged"
        day.kill_all(restart_s=10.0)
        cut_off.append(day.go(15 * MINUTE, "killed, and no checkpoint"))
        calm.append(day.go(25 * HOUR - stage.now_s, "at rest"))

    report = "".join(f"\n{least:7.0f} s  {phase}" for phase, least in watcher.least.items())
    print(f"least life left, 2,000 users:{report}\n{watcher.logins} logins, {stage.writes} writes")  # noqa: T201  # figures for people
    assert min(calm) >= ENOUGH_S, report
    assert min(cut_off) > 0, report


def test_ten_thousand_users_are_on_schedule_for_an_hour():
    with staged(10_000, per_s=0.0, real_sts=False) as day:
        day.go(10 * MINUTE, "all users at once")
        leader = day.stage.leader
        assert leader is not None
        assert len(day.watcher.ends) == 10_000
        lateness, end = [], day.stage.now_s + HOUR
        while day.stage.now_s < end:
            day.go(LOOK_S, "on schedule")
            lateness.append(leader.tokens.lateness_s())

        assert max(lateness) < 1.0
        assert day.watcher.least["on schedule"] >= 445


@pytest.mark.parametrize(("users", "checkpoint"), [(3500, True), (2000, False)], ids=["by-expiry", "in-no-order"])
def test_a_cold_restart_carries_so_many_users_at_5_calls_a_second(users: int, checkpoint: bool):  # noqa: FBT001
    with staged(users, per_s=0.0, real_sts=False) as day:
        day.go(30 * MINUTE, "at rest")
        assert isinstance(day.stage.sts, PlainSts)
        day.stage.sts.per_s = 5.0
        if not checkpoint:
            day.stage.kube._checkpoint = None
        day.kill_leader()

        least = day.go(25 * MINUTE, "restart")

        print(f"{users} users: {least:.0f} s")  # noqa: T201  # as above
        assert least > 0
        assert day.watcher.remaining_s() >= ENOUGH_S
