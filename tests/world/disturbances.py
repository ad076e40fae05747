"""Plays a scenario with one disturbance, and compares its end with that of the undisturbed run."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from moto.core.utils import get_service_model
from tests.world.harness import Tap, _for_ever
from tests.world.scenarios import SCENARIOS, Scenario
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.aws.errors import COMMON, ERRORS
from elasticache_iam.core.errors import NotFoundError, OperatorError, UnavailableError
from elasticache_iam.kube.errors import ApiStatus, to_error

CONDITIONS: Final = Path(__file__).parents[2] / "docs/reference/conditions.md"
_NOT_FOR_PEOPLE: Final = re.compile(r"Traceback|File \"|\bself\b|<class|object at 0x|\n")
SETTLING_S: Final = 30.0
"""For what goes on beside the story: logins, Events, passes that find nothing to do."""
LATEST_RETRY_S: Final = 3600.0
REFRESH_S: Final = 480.0
"""By then every token was replaced: at half of its 900 s at the latest."""

TRIES: Final = 3
"""botocore's own, for what it retries."""
HTTP_STATUSES: Final = {
    "InternalFailure": 500,
    "InternalError": 500,
    "ServiceFailure": 500,
    "ServiceUnavailable": 503,
    "AccessDenied": 403,
}
KUBERNETES_REASONS: Final = {
    "403": "Forbidden",
    "404": "NotFound",
    "409": "Conflict",
    "422": "Invalid",
    "429": "TooManyRequests",
    "500": "InternalError",
    "503": "ServiceUnavailable",
}
_MISSING_IS_AN_ANSWER: Final = frozenset(
    {"get_service_account_annotations", "is_namespace_ending", "delete_secret", "load_checkpoint"}
)
_KINDS: Final = ("Throttling", "AccessDenied", "InternalFailure", "InvalidParameterValue", "SomethingNew")


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the operator: `elasticache CreateUser`, `kubernetes patch_status`."""

    name: str
    is_write: bool


class StepTap(Tap):
    """Notes every call, reads too, and leaves it to a subclass what happens at one of them."""

    world: VirtualGround

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.is_over = False

    async def carry(self, name: str, work: Callable[[], Awaitable[Any]], *, is_write: bool) -> Any:
        if self.died.is_set():
            await _for_ever()
        if self.is_over:
            return await work()
        self.steps.append(Step(name, is_write))
        answer = await self.disturb(len(self.steps), name, work)
        if self.died.is_set():
            await _for_ever()
        return answer

    async def disturb(self, _number: int, _name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        return await work()


class Crash(StepTap):
    """Freezes the operator for ever at one call.

    Args:
        at: The number of the call, from 1.
        carried_out: Whether that call still happens.
    """

    def __init__(self, at: int, *, carried_out: bool) -> None:
        super().__init__()
        self._at = at
        self._carried_out = carried_out

    async def disturb(self, number: int, _name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if number != self._at:
            return await work()
        if self._carried_out:
            with contextlib.suppress(OperatorError):
                await work()
        self.died.set()
        return await _for_ever()

    def __str__(self) -> str:
        return f"a crash {'after' if self._carried_out else 'before'} call {self._at}"


class Failure(StepTap):
    """Has one call fail, once; botocore's own second and third try of it too where `times` is 3.

    Args:
        at: The number of the call, from 1.
        what: A code of AWS, `Outage` or `LostAnswer`; of the API server an HTTP status, `lost` or `lost answer`.
        times: How many answers of AWS.
    """

    def __init__(self, at: int, what: str, *, times: int = TRIES) -> None:
        super().__init__()
        self._at = at
        self._what = what
        self._times = times

    async def disturb(self, number: int, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if number != self._at:
            return await work()
        service, _, operation = name.partition(" ")
        if service != "kubernetes":
            return await self._fail_aws(service, operation, work)
        if self._what == "lost answer":
            await work()
        raise kubernetes_error(operation, self._what)

    async def _fail_aws(self, service: str, operation: str, work: Callable[[], Awaitable[Any]]) -> Any:
        status = HTTP_STATUSES.get(self._what, 400)
        fault = self.world.fault(service, operation, self._what, times=self._times, http_status=status)
        try:
            return await work()
        finally:
            self.world.settings.faults.remove(fault)

    def __str__(self) -> str:
        return f"{self._what} at call {self._at}"


def kubernetes_error(method: str, what: str) -> OperatorError:
    """Return what our adapter makes of an answer of the API server, or of none."""
    if what.startswith("lost"):
        return UnavailableError(f"{method}: no answer (ServerDisconnectedError)", code="ServerDisconnectedError")
    status = ApiStatus(int(what), KUBERNETES_REASONS[what], "a fault of the test")
    return to_error(status, what=method, confidential="secret" in method)


def kubernetes_failures(step: Step) -> tuple[str, ...]:
    """Return what the API server may answer to a call, but for what the adapter takes for an answer."""
    failures = [*KUBERNETES_REASONS, "lost"]
    if step.name.removeprefix("kubernetes ") in _MISSING_IS_AN_ANSWER:
        failures.remove("404")
    return (*failures, "lost answer") if step.is_write else tuple(failures)


@cache
def aws_failures(service: str, operation: str, *, thorough: bool) -> tuple[str, ...]:
    """Return the codes that an operation may answer with: its model's, and those of any service (one of each kind).

    "It isn't there" is an answer to who asks or deletes; AWS says it of what is there only where it lies.
    """
    model = get_service_model(service).operation_model(operation)
    modelled = {str(shape.error_code) for shape in model.error_shapes}
    if operation.startswith(("Get", "List", "Delete")):
        modelled -= {code for code in modelled if (rule := ERRORS.get(code)) and rule.error is NotFoundError}
    return (*dict.fromkeys([*sorted(modelled), *(COMMON if thorough else _KINDS), "SomethingNew", "Outage"]),)


@dataclass(frozen=True)
class End:
    """How a run ended."""

    aws: Any
    kubernetes: Any
    created: dict[tuple[str, str], int]
    troubles: tuple[str, ...]
    """What must never happen."""
    shown: frozenset[tuple[str, str, str]]
    is_orphaned: bool
    """Whether something was left in AWS as its namespace ended."""
    called: frozenset[tuple[str, str]]
    """What the operator called, by service and operation."""
    asked: frozenset[str]
    """Actions that AWS looked for in its policy."""


@dataclass(frozen=True)
class Rehearsal:
    """An undisturbed run."""

    steps: tuple[Step, ...]
    end: End

    def failures(self, *, thorough: frozenset[str] = frozenset()) -> Iterator[Failure]:
        """Yield a failure of every kind at each call: of each kind of error that the operator tells apart one.

        Args:
            thorough: Calls that are to fail in every way there is, the first time that they are made.
        """
        seen: set[str] = set()
        for number, step in enumerate(self.steps, start=1):
            service, _, operation = step.name.partition(" ")
            if service == "kubernetes":
                codes = kubernetes_failures(step)
            elif step.name in seen:
                codes = (*_KINDS, "Outage")
            else:
                codes = aws_failures(service, operation, thorough=step.name in thorough)
            seen.add(step.name)
            yield from (Failure(number, code) for code in codes)
            if step.is_write and service != "kubernetes":
                yield Failure(number, "LostAnswer", times=1)
                yield Failure(number, "LostAnswer")

    def crash_points(self) -> Iterator[Crash]:
        """Yield a crash before and one after each write took effect, and one at each read."""
        for number, step in enumerate(self.steps, start=1):
            yield Crash(number, carried_out=False)
            if step.is_write:
                yield Crash(number, carried_out=True)


@cache
def rehearse(scenario: Scenario) -> Rehearsal:
    """Play a scenario undisturbed."""
    tap = StepTap()
    end = perform(scenario, tap)
    assert not end.troubles
    return Rehearsal(tuple(tap.steps), end)


def perform(scenario: Scenario, tap: StepTap, expected: End | None = None) -> End:
    """Play a scenario with an operator that is disturbed, and one more if that dies.

    Args:
        scenario: What is played.
        tap: What happens to the operator.
        expected: The undisturbed end. A story may have ended while something beside it still waits for its retry; this
            is waited for.
    """
    return play(_perform(scenario, tap, expected))


async def _perform(scenario: Scenario, tap: StepTap, expected: End | None) -> End:
    async with virtual_ground(**scenario.settings) as world:
        story = scenario.story(world)
        await anext(story)
        tap.world = world
        starting = asyncio.create_task(world.start(tap=tap))
        telling = asyncio.create_task(_tell(story))
        dying = asyncio.create_task(tap.died.wait())
        settled = asyncio.create_task(_settle(telling))
        await asyncio.wait({settled, dying}, return_when=asyncio.FIRST_COMPLETED)
        if tap.died.is_set():
            starting.cancel()
            await asyncio.wait({starting})
            await world.kill_all()
            await world.start()
        await telling
        await _settle(telling)
        tap.is_over = True
        if expected is not None:
            with contextlib.suppress(AssertionError):
                await world.until(
                    lambda: (world.in_aws(), world.in_kubernetes()) == (expected.aws, expected.kubernetes),
                    timeout_s=LATEST_RETRY_S,
                )
        aws, kubernetes = world.in_aws(), world.in_kubernetes()
        await asyncio.sleep(REFRESH_S)
        return End(
            aws=aws,
            kubernetes=kubernetes,
            created=dict(world.created),
            troubles=(*world.failures(), *world.violations, *world.stale_secrets()),
            shown=frozenset(world.shown),
            is_orphaned=any(line["event"] == "orphaned" for line in world.lines),
            called=frozenset(world.called),
            asked=frozenset(world.asked),
        )


async def _tell(story: AsyncIterator[None]) -> None:
    async for _ in story:
        raise AssertionError("a scenario has one yield")


async def _settle(telling: asyncio.Task[None]) -> None:
    await asyncio.wait({telling})
    await asyncio.sleep(SETTLING_S)


def differences(end: End, expected: End) -> list[str]:
    """Return what is otherwise than at the undisturbed run's end.

    In a namespace that ends a deletion doesn't wait for somebody to give a right back: what is left stays in AWS.
    """
    found = list(end.troubles)
    found += [
        f"{part} {key}: {there.get(key)} instead of {asked.get(key)}"
        for part, there, asked in (
            *((kind, end.aws[kind], expected.aws[kind]) for kind in expected.aws if not end.is_orphaned),
            ("kubernetes", end.kubernetes, expected.kubernetes),
            ("created", end.created, expected.created),
        )
        for key in {**there, **asked}
        if there.get(key) != asked.get(key)
    ]
    return found


@cache
def first_calls() -> Mapping[str, frozenset[str]]:
    """Return by scenario the calls that no scenario before it makes."""
    found: dict[str, frozenset[str]] = {}
    seen: set[str] = set()
    for scenario in SCENARIOS.values():
        names = {step.name for step in rehearse(scenario).steps}
        found[scenario.name] = frozenset(names - seen)
        seen |= names
    return found


@cache
def documented_reasons() -> frozenset[str]:
    """Return the reasons that docs/reference/conditions.md explains."""
    return frozenset(re.findall(r"^\| `(\w+)` \|", CONDITIONS.read_text(), re.MULTILINE))


def unfit_messages(shown: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return conditions that tell people nothing: an unknown reason, a stack trace, a Python name."""
    return [
        f"{kind} {reason}: {message}"
        for kind, reason, message in sorted(shown)
        if reason not in documented_reasons() or _NOT_FOR_PEOPLE.search(message)
    ]


def troubles_of(scenario: Scenario, tap: StepTap, rehearsal: Rehearsal) -> list[str]:
    """Return what a disturbance changes in the end or has shown to people; a story that never ends is one, too."""
    try:
        end = perform(scenario, tap, rehearsal.end)
    except AssertionError as error:
        return [str(error)[:2000]]
    return differences(end, rehearsal.end) + unfit_messages(end.shown)
