"""Who may try which cache's endpoint when: few at a time, first logins first, and no namespace before the others.

An endpoint that can't be reached costs seconds to find out, so one try answers for all who want to log in there: they
take no slot, and hold up nobody else's first login.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.turns import Turns
from elasticache_iam.ports import Clock

PARALLEL_LOGINS: Final = 8
PARALLEL_AT_ENDPOINT: Final = 2
UNREACHABLE_FOR_S: Final = 60.0
"""For so long a try that reached nothing answers for the others."""
_TIDY_AT: Final = 1000
_AT_ONCE: Final = float("inf")
"""Who stands in a line is due, whatever the clock says meanwhile."""

Address: TypeAlias = tuple[str, int]
"""Host and port."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """A login that waits; its answer is what is known of the endpoint, or None: go in."""

    answer: asyncio.Future[LoginResult | None]
    endpoint: "_Endpoint"
    lane: str
    is_newcomer: bool


@dataclass(slots=True)
class _Endpoint:
    waiting: Turns[_Ticket] = field(default_factory=Turns)
    called: set[_Ticket] = field(default_factory=set)
    """Those who stand in line for one of all slots."""
    inside: int = 0
    failure: LoginResult | None = None
    failed_until: float = 0.0
    """Monotonic seconds."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class Endpoints:
    """Not thread-safe: it belongs to the token loop.

    Args:
        clock: For what is remembered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._endpoints: dict[Address, _Endpoint] = {}
        self._line: Turns[_Ticket] = Turns()
        self._free = PARALLEL_LOGINS

    async def enter(
        self, address: Address, *, lane: str, is_newcomer: bool, is_insistent: bool = False
    ) -> LoginResult | None:
        """Wait for a slot.

        Args:
            address: The endpoint.
            lane: Whose login it is: newcomers of different lanes take turns.
            is_newcomer: Whether nothing is known about this login yet.
            is_insistent: Whether to try although the endpoint was found to be unreachable.

        Returns:
            What another login has found out about the endpoint, and there is no slot; None: go ahead, then `leave`.
        """
        endpoint = self._get(address)
        if endpoint.failure is not None and not is_insistent and self._clock.monotonic() < endpoint.failed_until:
            return endpoint.failure
        ticket = _Ticket(asyncio.get_running_loop().create_future(), endpoint, lane, is_newcomer)
        self._stand(endpoint.waiting, ticket)
        self._call(endpoint)
        try:
            return await ticket.answer
        except asyncio.CancelledError:
            if ticket.answer.done() and not ticket.answer.cancelled() and ticket.answer.result() is None:
                self.leave(address, None)
            else:
                endpoint.waiting.remove(ticket)
                self._line.remove(ticket)
                endpoint.called.discard(ticket)
                self._call(endpoint)
            raise

    def leave(self, address: Address, result: LoginResult | None) -> None:
        """Give the slot back, and tell what was found out; None: nothing."""
        endpoint = self._endpoints[address]
        self._free += 1
        endpoint.inside -= 1
        if result is not None and result.outcome is LoginOutcome.UNREACHABLE:
            endpoint.failure, endpoint.failed_until = result, self._clock.monotonic() + UNREACHABLE_FOR_S
            self._dismiss(endpoint, result)
        elif result is not None:
            endpoint.failure = None
            endpoint.reached.set()
            endpoint.reached = asyncio.Event()
        self._call(endpoint)

    async def until_reached(self, address: Address) -> None:
        """Wait until somebody reaches an endpoint, or the news that nobody does is too old."""
        endpoint = self._get(address)
        wait_s = endpoint.failed_until - self._clock.monotonic()
        if endpoint.failure is None or wait_s <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await endpoint.reached.wait()

    def _get(self, address: Address) -> _Endpoint:
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            if len(self._endpoints) > _TIDY_AT:
                now = self._clock.monotonic()
                self._endpoints = {where: one for where, one in self._endpoints.items() if _is_used(one, now)}
            endpoint = self._endpoints[address] = _Endpoint()
        return endpoint

    def _stand(self, turns: Turns[_Ticket], ticket: _Ticket) -> None:
        now = self._clock.monotonic()
        turns.put(ticket, due=now, rank=None if ticket.is_newcomer else now, lane=ticket.lane)

    def _call(self, endpoint: _Endpoint) -> None:
        """Put as many into the line for all slots as the endpoint bears, and let in whose turn it is there."""
        while endpoint.inside + len(endpoint.called) < PARALLEL_AT_ENDPOINT:
            called = endpoint.waiting.take(_AT_ONCE)
            if called is None:
                break
            endpoint.called.add(called[0])
            self._stand(self._line, called[0])
        while self._free:
            taken = self._line.take(_AT_ONCE)
            if taken is None:
                return
            ticket = taken[0]
            ticket.endpoint.called.discard(ticket)
            if not ticket.answer.done():  # cancelled: it leaves by itself
                self._free -= 1
                ticket.endpoint.inside += 1
                ticket.answer.set_result(None)

    def _dismiss(self, endpoint: _Endpoint, result: LoginResult) -> None:
        """Answer all who wait for an endpoint that can't be reached."""
        dismissed = [*endpoint.called, *endpoint.waiting]
        for ticket in dismissed:
            endpoint.waiting.remove(ticket)
            self._line.remove(ticket)
            if not ticket.answer.done():
                ticket.answer.set_result(result)
        endpoint.called.clear()


def _is_used(endpoint: _Endpoint, now: float) -> bool:
    return bool(len(endpoint.waiting) or endpoint.called or endpoint.inside or endpoint.failed_until > now)
