"""The operator's planes on the sandbox's world: real boto3 adapter in process, the API server in memory."""

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from unittest.mock import patch

from tests.builders import ACCOUNT, OWNER, REGION, Manifest
from tests.fakes.kube import FakeKube, JwtSigner

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.aws.bridge import Bridge, Lane
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.aws.sts import BotoSts
from elasticache_iam.core.errors import OperatorError
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.mint import LoginOutcome, LoginResult, Report
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key, WorkQueue
from elasticache_iam.reconcile.reconciler import Reconciler
from elasticache_iam.reconcile.store import Store
from elasticache_iam.runtime.edge import Edge
from elasticache_iam.tokens.plane import TokenPlane, TokenSettings
from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.settings import Fault, WorldSettings
from elasticache_iam_sandbox.world.world import World

AUDIENCE = "elasticache-iam.dev/sign"
CLUSTER: Final = "main"
POLL_S: Final = 0.05
_READING: Final = ("Describe", "Get", "List", "Simulate")
_NOT_A_KUBE_WRITE: Final = ("get_", "list_", "is_", "load_", "create_event")
"""Events aren't counted: nothing is built on them, and dying there is dying between the writes beside them."""


@functools.cache
def signer() -> JwtSigner:
    """Return one cluster's key for all tests: making one takes a tenth of a second."""
    return JwtSigner()


class Tap:
    """Sees each call of one operator, and freezes it at one of its writes, as a crash does.

    Args:
        die_at: The number of the write, from 1; 0: never.
        carried_out: Whether that write still happens.
    """

    def __init__(self, die_at: int = 0, *, carried_out: bool = True) -> None:
        self.writes: list[str] = []
        self.died = asyncio.Event()
        self._die_at = die_at
        self._carried_out = carried_out

    def arm(self, die_at: int, *, carried_out: bool) -> None:
        """Count from now on."""
        self.writes.clear()
        self._die_at, self._carried_out = die_at, carried_out

    async def carry(self, name: str, work: Callable[[], Awaitable[Any]], *, is_write: bool) -> Any:
        if self.died.is_set():
            await _for_ever()
        is_last = False
        if is_write:
            self.writes.append(name)
            is_last = len(self.writes) == self._die_at
        if is_last and not self._carried_out:
            self.died.set()
            await _for_ever()
        try:
            answer = await work()
        except Exception:
            await self._die_if(is_last)
            raise
        await self._die_if(is_last)
        return answer

    async def _die_if(self, is_last: bool) -> None:  # noqa: FBT001  # one caller
        if is_last:
            self.died.set()
        if self.died.is_set():
            await _for_ever()

    def on_kube(self, kube: FakeKube) -> Any:
        """Return the cluster as this operator sees it."""
        return _TappedKube(kube, self)

    def on_lane(self, lane: Lane) -> None:
        """See the calls to AWS that a lane carries."""
        run = lane.run

        async def tapped(function: Any, *, service: str, operation: str, **options: Any) -> Any:
            return await self.carry(
                f"{service} {operation}",
                lambda: run(function, service=service, operation=operation, **options),
                is_write=not operation.startswith(_READING),
            )

        lane.run = tapped  # type: ignore[method-assign]


class _TappedKube:
    def __init__(self, kube: FakeKube, tap: Tap) -> None:
        self._kube = kube
        self._tap = tap

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._kube, method)
        name, is_write = f"kubernetes {method}", not method.startswith(_NOT_A_KUBE_WRITE)

        async def tapped(*arguments: Any, **options: Any) -> Any:
            return await self._tap.carry(name, lambda: call(*arguments, **options), is_write=is_write)

        async def listed(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
            async def read() -> list[Any]:
                return [body async for body in call(*arguments, **options)]

            for body in await self._tap.carry(name, read, is_write=False):
                yield body

        return listed if inspect.isasyncgenfunction(call) else tapped


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class HeldClock:
    """The real clock, plus what a test adds."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self._start = asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.offset.total_seconds()


class OpenFence:
    """This process may write, unless a test says otherwise."""

    error: OperatorError | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def left_s(self) -> float:
        return 15.0


@dataclass(slots=True)
class ScriptedProbe:
    """Answers what the test says, and remembers who tried to log in."""

    result: LoginResult = field(default_factory=lambda: LoginResult(LoginOutcome.LOGGED_IN))
    tried: list[str] = field(default_factory=list)

    async def login(self, *, host: str, port: int, username: str, password: str) -> LoginResult:
        assert host
        assert port
        assert password
        self.tried.append(username)
        return self.result


class Operator:
    """One running operator."""

    def __init__(
        self,
        ground: "Ground",
        config: Mapping[str, Any] | None = None,
        *,
        tap: Tap | None = None,
        paces: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        settings = {
            "owner": OWNER,
            "region": REGION,
            "account": ACCOUNT,
            "oidcIssuer": ground.signer.issuer,
            "pollInterval": POLL_S,
        }
        self.config = OperatorConfig.model_validate({**settings, **(config or {})})
        self.ground = ground
        self.fence = OpenFence()
        self.clock = ground.clock
        self.bridge = ground.make_bridge()
        self.tap = tap or Tap()
        kube = self.tap.on_kube(ground.kube)
        access_key_id, secret_access_key, *token = ground.operator_key
        session = ground.aws.session(access_key_id, secret_access_key, REGION, *token)
        installation = Installation(
            self.config, self.config.region or REGION, ACCOUNT, ground.signer.issuer, principal=ground.principal
        )
        places = AwsPlaces(
            session,
            installation=installation,
            bridge=self.bridge,
            fence=self.fence,
            clock=self.clock,
            new_session=ground.new_session,
            service_per_s=paces[0],
            iam_per_s=paces[1],
        )
        sts = BotoSts(session, region=REGION, bridge=self.bridge)
        for lane in (self.bridge.control, self.bridge.sts):
            self.tap.on_lane(lane)
        self.tokens = TokenPlane(
            TokenSettings(
                owner=self.config.owner,
                audience=self.config.audience,
                token_s=self.config.token_seconds,
                ca_pem=self.config.cache_ca,
                verify_logins=self.config.verify_logins,
                signing=self.config.signing,
            ),
            kube=kube,
            sts=sts,
            probe=ground.probe,
            clock=self.clock,
            fence=self.fence,
            report=self._receive,
        )
        self.plane = Plane(
            installation=installation,
            aws=places,
            kube=kube,
            store=Store(),
            queue=WorkQueue(self.clock),
            clock=self.clock,
            stop_minting=self.tokens.stop,
            allow_minting=lambda key: self.tokens.allow(key, self.edge.order(key)),
            get_ahead=lambda: places.ahead,
            pod_identity=places.pod_identity(),
        )
        self.edge = Edge(self.plane, self.tokens.observe)
        self._reconciler = Reconciler(self.plane)
        self.passes = 0
        self._tasks: list[asyncio.Task[None]] = []

    def _receive(self, report: Report) -> None:
        self.plane.receive(report)

    async def work(self, key: Key) -> float | None:
        self.passes += 1
        return await self._reconciler.reconcile(key)

    def _see(self, kind: str, change: str, body: Any) -> None:
        plural = {"ElastiCacheIAMUser": USERS, "UserGroup": GROUPS}.get(kind)
        if plural is not None:
            asyncio.get_running_loop().call_soon(self.edge.see, plural, change, body)

    async def start(self) -> None:
        self.ground.kube.on_change.append(self._see)
        for plural in (GROUPS, USERS):
            async for body in self.ground.kube.list_resources(plural):
                self.edge.see(plural, None, body)
        await self.tokens.load_checkpoint()
        self._tasks = [
            asyncio.create_task(self.tokens.run()),
            asyncio.create_task(self.plane.queue.run(self.work, workers=8)),
        ]

    async def kill(self) -> None:
        """End at once, as a crash does: nothing is saved."""
        if self._see in self.ground.kube.on_change:
            self.ground.kube.on_change.remove(self._see)
        tasks = [*self._tasks, *self.tokens._running.values(), *self.tokens._logins._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        self.bridge.close()

    @property
    def is_alive(self) -> bool:
        return bool(self._tasks)

    def look_at_the_clock(self) -> None:
        """Let the loops see that time was moved."""
        self.plane.queue.look_again()
        self.tokens._changed.set()


class Ground:
    """The world, the cluster in memory, and the operators that a test starts."""

    def __init__(self, settings: WorldSettings, *, verify_signatures: bool = True) -> None:
        self.settings = settings
        self.signer = signer()
        self.get_jwks: Callable[[str], Mapping[str, Any]] = lambda _: self.signer.jwks
        self.clock = self._make_clock()
        self.kube = FakeKube(signer=self.signer, now=self.clock.now)
        self.probe = ScriptedProbe()
        self.world = World(settings, now=self.clock.now, get_jwks=lambda issuer: self.get_jwks(issuer))  # noqa: PLW0108  # it changes
        self.aws = self._make_aws(self.world, verify_signatures=verify_signatures)
        self.world.add_account(ACCOUNT)
        self.world.add_cluster(ACCOUNT, REGION, CLUSTER, self.signer.issuer)
        self.admin_key = self.world.add_access_key(ACCOUNT, user_name="admin")
        policy = operator_policy(
            owner=OWNER,
            partition="aws",
            account=ACCOUNT,
            region=REGION,
            existing_roles=True,
            pod_identity_cluster=CLUSTER,
        )
        self.operator_key: tuple[str, ...] = self.world.add_access_key(ACCOUNT, user_name="operator", policy=policy)
        self.principal = ""
        self.admin = self.aws.session(*self.admin_key, REGION)
        self.elasticache = self.admin.client("elasticache")
        self.iam = self.admin.client("iam")
        self.iam.create_open_id_connect_provider(
            Url=self.signer.issuer, ClientIDList=["sts.amazonaws.com", AUDIENCE], ThumbprintList=[]
        )
        self._operators: list[Operator] = []

    def _make_clock(self) -> HeldClock:
        return HeldClock()

    def _make_aws(self, world: World, *, verify_signatures: bool) -> InProcessAws:
        return InProcessAws(world, verify_signatures=verify_signatures)

    def make_bridge(self) -> Bridge:
        """Return the lanes of one operator."""
        return Bridge()

    def become_role(self, **policy: Any) -> None:
        """Give operators to come a role instead of a user, as they have in a cluster; `policy` as `operator_policy`."""
        document = operator_policy(owner=OWNER, partition="aws", account=ACCOUNT, region=REGION, **policy)
        trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
        made = self.iam.create_role(
            RoleName="elasticache-iam-operator",
            Path="/platform/",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            MaxSessionDuration=43200,
        )
        self.principal = made["Role"]["Arn"]
        self.iam.put_role_policy(
            RoleName="elasticache-iam-operator", PolicyName="operator", PolicyDocument=json.dumps(document)
        )
        session = self.admin.client("sts").assume_role(
            RoleArn=self.principal, RoleSessionName="pod", DurationSeconds=43200
        )["Credentials"]
        self.operator_key = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])

    def new_session(self) -> Any:
        """Return a session whose clients the world answers, without credentials yet."""
        return self.aws.session("unused", "unused", REGION)

    def add_cache(self, cache_id: str = "orders-prod", *, allow: str | None = OWNER, **options: Any) -> None:
        """Put a replication group there, open, consenting to us."""
        tags = {"elasticache-iam.dev/allow": allow} if allow else {}
        defaults = {"engine": "redis", "engine_version": "7.1.0", "host": "127.0.0.1", "port": 6379}
        self.world.add_replication_group(ACCOUNT, REGION, cache_id, tags=tags, **{**defaults, **options})

    async def start(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        tap: Tap | None = None,
        paces: tuple[float, float] = (0.0, 0.0),
    ) -> Operator:
        """Start an operator; `paces`: its calls a second to ElastiCache and to IAM, 0: no limit."""
        operator = Operator(self, config, tap=tap, paces=paces)
        self._operators.append(operator)
        await operator.start()
        return operator

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests, with the ServiceAccounts that users name."""
        for manifest in manifests:
            for account in manifest["spec"].get("serviceAccounts", ()):
                self.kube.put_service_account(manifest["metadata"]["namespace"], account)
            self.kube.put(manifest)

    def conditions(self, plural: str, namespace: str, name: str) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition."""
        body = self.kube.get(plural, namespace, name) or {}
        return {
            condition["type"]: (condition["status"], condition["reason"])
            for condition in body.get("status", {}).get("conditions", ())
        }

    def condition(self, plural: str, namespace: str, name: str, kind: str) -> Any:
        """Return one condition whole."""
        body = self.kube.get(plural, namespace, name) or {}
        found = [c for c in body.get("status", {}).get("conditions", ()) if c["type"] == kind]
        return found[0] if found else None

    async def until(self, what: Any, *, timeout_s: float = 60.0) -> Any:
        """Wait until a predicate holds, and return what it said; the failure shows all conditions."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            with self.aws.lock:
                self.world.advance()
            found = what()
            if found:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"not within {timeout_s} s; conditions: {self.all_conditions()}")

    async def later(self, what: Any, *, step_s: float = 60.0) -> Any:
        """Wait until a predicate holds, and let time pass while nothing happens: some retries take minutes."""
        for _ in range(40):
            for operator in self._operators:
                if operator.is_alive:
                    await self.until_quiet(operator)
            try:
                return await self.until(what, timeout_s=0.05)
            except AssertionError:
                self.pass_time(step_s)
        return await self.until(what)

    def is_ready(self, plural: str = USERS, namespace: str = "shop", name: str = "checkout") -> bool:
        return self.conditions(plural, namespace, name).get("Ready", ("", ""))[0] == "True"

    async def until_ready(
        self, plural: str = USERS, namespace: str = "shop", name: str = "checkout", *, timeout_s: float = 60.0
    ) -> None:
        await self.until(lambda: self.is_ready(plural, namespace, name), timeout_s=timeout_s)

    async def until_reason(self, reason: str, *, of: tuple[str, str, str] = (USERS, "shop", "checkout")) -> None:
        await self.until(lambda: self.conditions(*of).get("Ready", ("", ""))[1] == reason)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, for AWS and the cluster too."""
        self.clock.offset += timedelta(seconds=seconds)
        for operator in self._operators:
            operator.look_at_the_clock()

    def fault(self, service: str, operation: str, error_code: str, *, times: int | None = None, **more: Any) -> Fault:
        """Let the next calls of an operation fail."""
        fault = Fault(service, operation, error_code=error_code, remaining=times, **more)
        self.settings.faults.append(fault)
        return fault

    def calls(self, operation: str) -> int:
        """Return how often AWS was asked for an operation."""
        return sum(count for (_, name), count in self.world.call_counts().items() if name == operation)

    # -- what there is --------------------------------------------------------------------------------------------

    def in_aws(self) -> dict[str, Any]:
        """Return all that the account holds and that operators could touch, as values that two runs share."""
        with self.aws.lock:
            account = self.world._state.accounts[ACCOUNT]
            region = account.region(REGION)
            return {
                "users": {
                    user.user_id: (
                        user.user_name,
                        user.engine,
                        user.status,
                        user.access_string,
                        user.auth_mode,
                        _stable(user.tags),
                    )
                    for user in region.users.values()
                },
                "groups": {
                    group.group_id: (group.engine, group.status, sorted(group.user_ids), _stable(group.tags))
                    for group in region.groups.values()
                },
                "caches": {
                    cache.cache_id: (cache.status, cache.group_id, dict(cache.tags)) for cache in region.caches.values()
                },
                "roles": {
                    role.name: (json.loads(role.trust.text), _texts(role.inline_policies), _stable(role.tags))
                    for role in account.roles.by_name.values()
                },
                "roles' limits": {
                    role.name: (role.boundary_arn, role.max_session_s) for role in account.roles.by_name.values()
                },
            }

    def in_kubernetes(self) -> dict[str, Any]:
        """Return resources by what operators write to them, and Secrets by their keys; without times and uids."""
        found: dict[str, Any] = {}
        for plural, namespace, name in list(self.kube._objects):
            body = self.kube.get(plural, namespace, name) or {}
            if plural in {USERS, GROUPS}:
                found[f"{plural} {namespace}/{name}"] = (
                    body["metadata"].get("finalizers", []),
                    self.conditions(plural, namespace, name),
                )
            elif plural == "secrets":
                found[f"{plural} {namespace}/{name}"] = sorted(body.get("data", {}))
        return found

    async def until_quiet(self, operator: Operator) -> None:
        """Wait until nothing is due."""
        calm = 0
        for _ in range(6000):
            calm = calm + 1 if operator.plane.queue.is_idle else 0
            if calm > 5:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the operator never comes to rest")

    def all_conditions(self) -> Any:
        return {
            (plural, namespace, name): self.kube.get(plural, namespace, name)["status"]  # type: ignore[index]
            for plural, namespace, name in list(self.kube._objects)
            if plural in {USERS, GROUPS}
        }

    async def close(self) -> None:
        for operator in self._operators:
            await operator.kill()


def _stable(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key != "elasticache-iam.dev/uid"}


def _texts(policies: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.loads(policy.text) for name, policy in policies.items()}


@asynccontextmanager
async def ground(*, verify_signatures: bool = True, **settings: Any) -> AsyncIterator[Ground]:
    options: dict[str, Any] = {"web_identity_calls_per_s": 0.0, **settings}
    made = Ground(WorldSettings(**options), verify_signatures=verify_signatures)
    # botocore's retries stay, without their pauses of up to seconds.
    with (
        patch("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0),
        patch("botocore.auth.get_current_datetime", lambda **_: made.clock.now().replace(tzinfo=None)),
    ):
        try:
            yield made
        finally:
            await made.close()
