"""Plays a scenario with one disturbance, and compares its end with that of the undisturbed run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tests.world.harness import Tap, _for_ever
from tests.world.scenarios import Scenario
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.core.errors import OperatorError

SETTLING_S: Final = 30.0
"""For what goes on beside the story: logins, Events, passes that find nothing to do."""
REFRESH_S: Final = 480.0
"""By then every token was replaced: at half of its 900 s at the latest."""


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


@dataclass(frozen=True)
class End:
    """How a run ended."""

    aws: Any
    kubernetes: Any
    created: dict[tuple[str, str], int]
    troubles: tuple[str, ...]
    """What must never happen."""
    shown: frozenset[tuple[str, str, str]]


@dataclass(frozen=True)
class Rehearsal:
    """An undisturbed run."""

    steps: tuple[Step, ...]
    end: End

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


def perform(scenario: Scenario, tap: StepTap) -> End:
    """Play a scenario with an operator that is disturbed, and one more if that dies."""
    return play(_perform(scenario, tap))


async def _perform(scenario: Scenario, tap: StepTap) -> End:
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
        aws, kubernetes = world.in_aws(), world.in_kubernetes()
        await asyncio.sleep(REFRESH_S)
        return End(
            aws=aws,
            kubernetes=kubernetes,
            created=dict(world.created),
            troubles=(*world.failures(), *world.violations, *world.stale_secrets()),
            shown=frozenset(world.shown),
        )


async def _tell(story: AsyncIterator[None]) -> None:
    async for _ in story:
        raise AssertionError("a scenario has one yield")


async def _settle(telling: asyncio.Task[None]) -> None:
    await asyncio.wait({telling})
    await asyncio.sleep(SETTLING_S)


def differences(end: End, expected: End) -> list[str]:
    """Return what is otherwise than at the undisturbed run's end."""
    found = list(end.troubles)
    found += [
        f"{part} {key}: {there.get(key)} instead of {asked.get(key)}"
        for part, there, asked in (
            *((kind, end.aws[kind], expected.aws[kind]) for kind in expected.aws),
            ("kubernetes", end.kubernetes, expected.kubernetes),
            ("created", end.created, expected.created),
        )
        for key in {**there, **asked}
        if there.get(key) != asked.get(key)
    ]
    return found
