"""A ground without real time: the loop's clock jumps to what is due next, and AWS answers in place.

All of an operator and its world runs on one thread, so two runs of the same story make the same calls in the same
order: a story can be played again and disturbed at any call. Minutes of retries cost nothing. boto3's clients, which
are slow to make, are kept from one ground to the next, and take a shortcut around HTTP; `harness.ground` is the same
ground with whole calls.
"""

import asyncio
import pickle
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, ClassVar, Final, TypeVar
from unittest.mock import patch

from botocore.awsrequest import HeadersDict
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ConnectionClosedError, ParamValidationError
from botocore.handlers import json_decode_policies
from botocore.parsers import create_parser
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from botocore.validate import ParamValidator
from structlog.processors import format_exc_info
from structlog.testing import capture_logs
from tests.builders import ACCOUNT, OWNER, REGION
from tests.world.harness import Ground, HeldClock, Operator, Tap, _stable

from elasticache_iam.api.keys import ANNOTATION_EXPIRES_AT, LABEL_MANAGED_BY, MANAGED_BY
from elasticache_iam.aws.bridge import Bridge, Lane, LaneSize, _call
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.runtime.edge import resync_forever
from elasticache_iam_sandbox.wire.codec import Target, render_error, render_result
from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.accounts import AccessKey
from elasticache_iam_sandbox.world.authorization import Permissions, authorize, find_refusal, permissions_of
from elasticache_iam_sandbox.world.call import AwsError, Call
from elasticache_iam_sandbox.world.request import Grant
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

T = TypeVar("T")
START: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PATIENCE_S: Final = 7200.0
"""Virtual seconds: no retry is slower than an hour."""
POLL_S: Final = 3.0
_READING: Final = ("Describe", "Get", "List")
RESYNC_S: Final = 600.0
"""How often the operator lists all resources anew; its default."""


class StandstillError(AssertionError):
    """Everything waits for something that will never happen: a wake-up was lost."""


class _Jump(selectors.SelectSelector):
    """Doesn't wait: it moves the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandstillError("nothing is scheduled, and everything waits")
        self.now_s += max(0.0, timeout)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by sleeping, and then at once."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


def play(story: Coroutine[Any, Any, T]) -> T:
    """Run a story on virtual time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(story)


class VirtualClock(HeldClock):
    """The loop's time, plus what a test adds; the same in each run."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time()) + self.offset


class _LaneInPlace(Lane):
    """Carries a call out where it is made: no thread, and still a turn of the loop as a real one takes."""

    async def run(self, function: Callable[[], T], *, service: str, operation: str, observe: Any = None) -> T:
        await asyncio.sleep(0)
        return _call(function, service, operation, observe)


class BridgeInPlace(Bridge):
    """Both lanes, without threads."""

    def __init__(self) -> None:
        size = LaneSize(workers=1, queue=1, timeout_s=1.0)
        self.control = _LaneInPlace("aws", size)
        self.sts = _LaneInPlace("sts", size)


class _Shortcut:
    """Answers a client's calls without HTTP, ten times as fast.

    Parameters are checked as boto3 does, and an answer takes the real way once: from then on the same output of the
    world is the same answer. What botocore tries again by itself is tried again here.
    """

    _ANSWERS: ClassVar[dict[tuple[str, str, str], bytes]] = {}

    def __init__(self, aws: "KeptAws", client: Any, attempts: int) -> None:
        self._aws = aws
        self._client = client
        self._attempts = attempts
        client._make_api_call = self._call

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        model = self._client.meta.service_model.operation_model(operation)
        report = ParamValidator().validate(parameters, model.input_shape)
        if report.has_errors():
            raise ParamValidationError(report=report.generate_report())
        status, answer = self._answer(model, parameters)
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        raise self._client.exceptions.from_code(answer["Error"]["Code"])(answer, operation)

    def _answer(self, model: Any, parameters: Mapping[str, Any]) -> tuple[int, Any]:
        credentials = self._client._request_signer._credentials
        call = Call(
            service=self._client.meta.service_model.service_name,
            operation=model.name,
            parameters=parameters,
            region=self._client.meta.region_name,
            access_key_id=credentials.access_key if model.auth_type != "none" else None,
        )
        for last in (*[False] * (self._attempts - 1), True):
            try:
                output = self._aws.world.dispatch(call)
            except ConnectionError as error:
                if last:
                    raise ConnectionClosedError(endpoint_url="https://sandbox") from error
            except AwsError as error:
                if last or not _is_retried(error):
                    return self._parse(model, error)
            else:
                return self._parse(model, output)
        raise AssertionError("no attempt was the last")

    def _parse(self, model: Any, output: Any) -> tuple[int, Any]:
        service = model.service_model
        said = (output.code, output.message, output.http_status) if isinstance(output, AwsError) else output
        key = (service.service_name, model.name, repr(said))
        kept = self._ANSWERS.get(key)
        if kept is None:
            protocol = service.resolved_protocol
            target = Target(service.service_name, model.name, protocol, REGION, None, {})
            response = render_error(target, output) if isinstance(output, AwsError) else render_result(target, output)
            headers = HeadersDict(response.headers)
            raw = {"headers": headers, "status_code": response.status, "body": response.body}
            parsed = create_parser(protocol).parse(raw, model.output_shape)
            if service.service_name == "iam":
                json_decode_policies(parsed, model)
            kept = pickle.dumps((response.status, parsed))
            if service.service_name != "sts":  # no two sessions are alike
                self._ANSWERS[key] = kept
        return pickle.loads(kept)  # noqa: S301  # our own; a copy, as callers may change it


def _is_retried(error: AwsError) -> bool:
    """Whether botocore's standard mode tries again by itself."""
    return (
        error.http_status in TransientRetryableChecker._TRANSIENT_STATUS_CODES
        or error.code in TransientRetryableChecker._TRANSIENT_ERROR_CODES
        or error.code in ThrottledRetryableChecker._THROTTLED_ERROR_CODES
        or error.code == "IDPCommunicationError"
    )


class _Deaf:
    """A client's events, of which there are none: what each operator registers there would pile up."""

    def register(self, *_: Any, **__: Any) -> None:
        pass


class _KeptSession:
    """A boto3 session whose clients come from the process's store of them."""

    def __init__(self, aws: "KeptAws", credentials: Credentials) -> None:
        self._aws = aws
        self._credentials = credentials
        self._session = SimpleNamespace(set_config_variable=lambda *_: None)

    def client(self, service: str, *, config: Any = None, **_: Any) -> Any:
        return self._aws.kept_client(service, self._credentials, config)


class _AssumedSession:
    """The same for credentials that the operator fetches itself, which it puts where botocore keeps them."""

    def __init__(self, aws: "KeptAws") -> None:
        self._aws = aws
        self._session = SimpleNamespace(_credentials=None, set_config_variable=lambda *_: None)

    def client(self, service: str, *, config: Any = None, **_: Any) -> Any:
        return self._aws.assumed_client(service, self._session._credentials, config)


class KeptAws(InProcessAws):
    """One world after the other behind the same clients."""

    def __init__(self) -> None:
        self._clients: dict[tuple[Any, ...], Any] = {}

    def enter(self, world: World) -> None:
        """Answer for another world from now on."""
        super().__init__(world, verify_signatures=False)

    def session(self, access_key_id: str, secret: str, region: str, session_token: str | None = None) -> Any:
        return _KeptSession(self, Credentials(access_key_id, secret, session_token))

    def new_session(self) -> Any:
        """Return a session that gets credentials of another account by itself."""
        return _AssumedSession(self)

    def assumed_client(self, service: str, credentials: Any, config: Any) -> Any:
        """Return a client with credentials that aren't fetched yet."""
        return self._kept("assumed", service, credentials, config)

    def kept_client(self, service: str, credentials: Credentials, config: Any) -> Any:
        """Return a client that signs with these credentials; there is one for each principal."""
        identity = self.world.signing_identity(credentials.access_key)
        return self._kept(identity.principal_arn if identity is not None else "", service, credentials, config)

    def _kept(self, principal: str, service: str, credentials: Any, config: Any) -> Any:
        attempts = (config.retries or {}).get("total_max_attempts") if config is not None else None
        region = config.region_name if config is not None else REGION
        key = (principal, service, region, attempts)
        client = self._clients.get(key)
        if client is None:
            session = super().session("unused", "unused", REGION)
            client = self._clients[key] = session.client(service, config=config)  # type: ignore[call-overload]
            _Shortcut(self, client, attempts or 1)
            client.meta.events = _Deaf()
        client._request_signer._credentials = credentials
        return client


@cache
def kept_aws() -> KeptAws:
    """Return this process's clients."""
    return KeptAws()


class VirtualOperator(Operator):
    """An operator that lists its resources anew now and then, as the real one does."""

    async def start(self) -> None:
        await super().start()
        resync = resync_forever(self.edge, interval_s=RESYNC_S, report=lambda *_: None)
        self._tasks.append(asyncio.create_task(resync))


class VirtualGround(Ground):
    """A ground on virtual time. One at a time in a process.

    Attributes:
        lines: What was logged.
        uncaught: Exceptions that reached the loop.
        shown: Every condition that was ever written: kind, reason, message.
        created: How often a creation took effect, by operation and id.
        called: What operators called, by service and operation.
        asked: Actions that AWS looked for in their policy.
        config: What operators to come are configured with.
        violations: What must not be, not even for a moment, and was.
    """

    def __init__(self, settings: WorldSettings) -> None:
        self.lines: list[Any] = []
        self.uncaught: list[str] = []
        self.shown: set[tuple[str, str, str]] = set()
        self.created: Counter[tuple[str, str]] = Counter()
        self.called: set[tuple[str, str]] = set()
        self.asked: set[str] = set()
        self.config: dict[str, Any] = {}
        self.violations: list[str] = []
        self._guarded: set[str] = set()
        self._hardened: set[str] = set()
        super().__init__(settings, verify_signatures=False)
        self._dispatch = self.world.dispatch
        self.world.dispatch = self._watch  # type: ignore[method-assign]
        self.kube.on_change.append(self._note_conditions)

    def _make_clock(self) -> HeldClock:
        return VirtualClock()

    def _make_aws(self, world: World, *, verify_signatures: bool) -> InProcessAws:
        kept_aws().enter(world)
        return kept_aws()

    def make_bridge(self) -> Bridge:
        return BridgeInPlace()

    def new_session(self) -> Any:
        return kept_aws().new_session()

    async def start(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        tap: Tap | None = None,
        paces: tuple[float, float] = (0.0, 0.0),
    ) -> Operator:
        options = {"pollInterval": POLL_S, **self.config, **(config or {})}
        operator = VirtualOperator(self, options, tap=tap, paces=paces)
        self._operators.append(operator)
        await operator.start()
        return operator

    def grant(self, **policy: Any) -> None:
        """Give operators to come other rights; `policy` as `operator_policy`."""
        fixed = {"owner": OWNER, "partition": "aws", "account": ACCOUNT, "region": REGION}
        document = operator_policy(**{**fixed, **policy})
        self.operator_key = self.world.add_access_key(ACCOUNT, user_name="operator-of-options", policy=document)

    async def until(self, what: Any, *, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until a predicate holds, looking soon first and then less often; it costs no real time."""
        loop, pause_s = asyncio.get_running_loop(), 0.01
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            self.world.advance()
            if found := what():
                return found
            await asyncio.sleep(pause_s)
            pause_s = min(10.0, pause_s * 1.3)
        raise AssertionError(f"not within {timeout_s} s; {self.failures()}; conditions: {self.all_conditions()}")

    async def until_ready(
        self,
        plural: str = USERS,
        namespace: str = "shop",
        name: str = "checkout",
        *,
        timeout_s: float = PATIENCE_S,
    ) -> None:
        await super().until_ready(plural, namespace, name, timeout_s=timeout_s)

    def in_aws(self) -> dict[str, Any]:
        """Return serverless caches and MemoryDB's objects, too."""
        account = self.world._state.accounts[ACCOUNT]
        serverless, memorydb = account.region(REGION).serverless_caches, account.memorydb(REGION)
        return {
            **super().in_aws(),
            "serverless caches": {cache.name: (cache.lifecycle, cache.group_id) for cache in serverless.values()},
            "MemoryDB users": {
                user.name: (user.status, user.access_string, user.auth_mode, _stable(user.tags))
                for user in memorydb.users.values()
            },
            "MemoryDB ACLs": {
                acl.name: (acl.lifecycle, sorted(acl.user_names), _stable(acl.tags)) for acl in memorydb.acls.values()
            },
            "MemoryDB clusters": {
                cluster.name: (cluster.lifecycle, cluster.acl_name) for cluster in memorydb.clusters.values()
            },
        }

    def failures(self) -> list[str]:
        """Return the operator's own faults: what it logged of them, and what nobody caught."""
        logged = [str(line) for line in self.lines if "unexpectedly" in line["event"]]
        return logged + self.uncaught

    def stale_secrets(self) -> list[str]:
        """Return the Secrets of ours that hold a token which has ended, or is about to."""
        found = []
        for namespace, name in self.kube.secret_names():
            metadata = (self.kube.get("secrets", namespace, name) or {})["metadata"]
            if metadata.get("labels", {}).get(LABEL_MANAGED_BY) != MANAGED_BY:
                continue
            expires_at = datetime.fromisoformat(metadata["annotations"][ANNOTATION_EXPIRES_AT])
            if expires_at < self.clock.now() + timedelta(seconds=300):
                found.append(f"the token of Secret {namespace}/{name} isn't refreshed")
        return found

    async def kill_all(self) -> None:
        """End all operators, as crashes do."""
        for operator in self._operators:
            await operator.kill()

    def note_grants(self, service: str, key: AccessKey, region: str, now: datetime, grants: Iterable[Grant]) -> None:
        """Stand in for the world's `authorize`, and note what is asked of the operator."""
        asked = tuple(grants)
        if self._is_operators(key):
            self.asked |= {grant.action for grant in asked}
        authorize(service, key, region, now, asked)

    def note_refusal(self, permissions: Permissions, action: str, *rest: Any) -> Any:
        """Stand in for STS's own look at a caller's policy."""
        if permissions.identity is not None:
            self.asked.add(action)
        return find_refusal(permissions, action, *rest)

    def _is_operators(self, key: AccessKey | None) -> bool:
        """Whether a key is the operator's, here or in another account; unsigned calls are, too.

        Only operators have a policy: administrators may do anything, and workloads call nothing of AWS but by a login.
        """
        return key is None or permissions_of(key, self.clock.now())[0].identity is not None

    def seconds_left(self, expires_at: datetime) -> float:
        """Stand in for botocore's look at the real clock: how long credentials of another account are still good."""
        return (expires_at - self.clock.now()).total_seconds()

    def _watch(self, call: Call) -> Any:
        key = self.world._state.access_keys.get(call.access_key_id or "")
        if self._is_operators(key):
            self.called.add((call.service, call.operation))
        try:
            output = self._dispatch(call)
        except ConnectionError as error:
            if "answer was lost" in str(error):
                self._note(call)
            raise
        self._note(call)
        return output

    def _note(self, call: Call) -> None:
        """Look at what a call that took effect has done."""
        if call.operation.startswith("Create"):
            self.created[call.operation, _id_in(call)] += 1
        if not call.operation.startswith(_READING):
            self._look_for_violations(call)

    def _look_for_violations(self, call: Call) -> None:
        """Look for what must never be, not even for a moment: an open cache, an open default user."""
        region = self.world._state.accounts[ACCOUNT].region(REGION)
        guarded = {cache.cache_id for cache in region.caches.values() if cache.group_id is not None}
        is_ours = call.access_key_id == self.operator_key[0]
        if is_ours and (opened := (self._guarded - guarded) & set(region.caches)):
            self.violations.append(f"{call.operation} opened cache {', '.join(opened)}")
        self._guarded = guarded
        hardened = set()
        for group in region.groups.values():
            defaults = {
                id_ for id_ in group.user_ids if id_ in region.users and region.users[id_].user_name == "default"
            }
            if group.engine == "redis" and len(defaults) != 1:
                self.violations.append(f"{call.operation} left {group.group_id} with default users {sorted(defaults)}")
            if defaults and "default" not in defaults:
                hardened.add(group.group_id)
            elif is_ours and group.group_id in self._hardened and group.engine == "redis":
                self.violations.append(f"{call.operation} put the open default user back into {group.group_id}")
        self._hardened = hardened

    def _note_conditions(self, kind: str, _change: str, body: Any) -> None:
        status = body.get("status")
        conditions = status.get("conditions") if isinstance(status, Mapping) else ()
        for condition in conditions or ():
            if isinstance(condition, Mapping) and "lastTransitionTime" in condition:
                self.shown.add((kind, condition["reason"], condition["message"]))


def _id_in(call: Call) -> str:
    """Return the id of what a call creates."""
    names = ("UserId", "UserName", "UserGroupId", "ACLName", "RoleName", "Url")
    return next((str(call.parameters[name]) for name in names if name in call.parameters), "")


@asynccontextmanager
async def virtual_ground(**settings: Any) -> AsyncIterator[VirtualGround]:
    """Make a ground, and close it."""
    options: dict[str, Any] = {"web_identity_calls_per_s": 0.0, **settings}
    with capture_logs(processors=[format_exc_info]) as lines:
        made = VirtualGround(WorldSettings(**options))
        made.lines = lines
        asyncio.get_running_loop().set_exception_handler(lambda _, context: made.uncaught.append(repr(context)))
        with (
            patch("elasticache_iam_sandbox.world.world.authorize", made.note_grants),
            patch("elasticache_iam_sandbox.world.sts.find_refusal", made.note_refusal),
            patch.object(
                RefreshableCredentials, "_seconds_remaining", lambda held: made.seconds_left(held._expiry_time)
            ),
        ):
            try:
                yield made
            finally:
                await made.close()
