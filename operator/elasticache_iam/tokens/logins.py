"""Trying out what was delivered: a login with a new token, never in the way of a refresh.

Whose login is tried when, and that a cache without a route holds up nobody who uses another, is `endpoints`' business.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from elasticache_iam.core.mint import CacheTarget, LoginOutcome, LoginResult, MintOrder, Report, Verified
from elasticache_iam.core.token import Token
from elasticache_iam.ports import CacheProbe, Clock
from elasticache_iam.tokens.endpoints import Endpoints

LOGIN_RETRIES: Final = 8
"""After 1, 2, 4 … 30 s: IAM tells its news slowly, so a first refusal proves little."""
UNREACHABLE_TRIES: Final = 3
UNREACHABLE_PAUSE_S: Final = 3600.0
"""After so many tries a Secret's next one comes with a token of an hour later: the operator has no route there."""
PROVEN_FOR_S: Final = 43200.0
"""A login that is younger than half a day isn't proven again when the day ends."""


@dataclass(slots=True)
class _Login:
    """What is being tried, always with the newest token: an old one may have ended meanwhile."""

    order: MintOrder
    target: CacheTarget
    token: Token
    task: asyncio.Task[None] | None = None


class _Tried(NamedTuple):
    """A try, with what it was made."""

    order: MintOrder
    target: CacheTarget
    token: Token
    result: LoginResult
    was_probed: bool
    """Or else another's try answers for it."""


@dataclass(slots=True)
class Proof:
    """Whether one Secret's tokens were seen to log in, and how far the tries have come."""

    is_needed: bool
    failed_rounds: int = 0
    running: _Login | None = None
    not_before: float = 0.0
    """Monotonic seconds."""
    was_proven: bool = False
    """The first login is past: others' go before the next."""
    proven_at: float = float("-inf")
    """Monotonic seconds; of this process's last login that worked."""
    day: int | None = None
    """On which of the key's days it was last looked at; None: not yet."""

    def ask_again(self) -> None:
        """Want a login with the next token: what is asked, or what logins depend on, has changed."""
        self.is_needed, self.failed_rounds = True, 0

    def begin_day(self, day: int, now_s: float) -> None:
        """Want a login once a day: what nobody sees may have changed, a boundary's document say.

        Args:
            day: Which of the key's days it is.
            now_s: Monotonic seconds.
        """
        is_new, self.day = self.day is not None and day > self.day, day
        if is_new and not self.is_needed and now_s - self.proven_at > PROVEN_FOR_S:
            self.ask_again()


class Logins:
    """Not thread-safe: it belongs to the token loop.

    Args:
        probe: Logs in.
        clock: For the pauses.
        report: Told what logging in showed.
        count: Told the outcome of each try.
        is_current: Whether an order's tokens for an alias still are what this proof is about.
        is_newest: Whether a login with an order's token for an alias says something about what is asked now.
    """

    def __init__(
        self,
        probe: CacheProbe,
        clock: Clock,
        *,
        report: Callable[[Report], None],
        count: Callable[[str], None],
        is_current: Callable[[MintOrder, str, Proof], bool],
        is_newest: Callable[[MintOrder, str], bool],
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._report = report
        self._count = count
        self._is_current = is_current
        self._is_newest = is_newest
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints = Endpoints(clock)

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, order: MintOrder, target: CacheTarget, proof: Proof, token: Token) -> None:
        """Begin to log in, one at a time for each Secret: where it fails for ever nothing may pile up."""
        running = proof.running
        if running is not None and running.order.generation == order.generation:
            running.order, running.target, running.token = order, target, token
            return
        if running is not None and running.task is not None:
            running.task.cancel()
        elif self._clock.monotonic() < proof.not_before:
            return
        login = proof.running = _Login(order, target, token)
        login.task = asyncio.create_task(self._verify(login, proof))
        self._tasks.add(login.task)
        login.task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End all tries."""
        for task in self._tasks:
            task.cancel()

    async def _verify(self, login: _Login, proof: Proof) -> None:
        try:
            await self._try(login, proof)
        finally:
            if proof.running is login:
                proof.running = None

    async def _try(self, login: _Login, proof: Proof) -> None:
        """Log in with the token until it works."""
        was_probed = False
        for attempt in range(LOGIN_RETRIES):
            tried = await self._ask(login, proof, is_first=not attempt, is_insistent=was_probed)
            if tried is None:
                return
            order, target, token, result, was_probed = tried
            if not self._is_current(order, target.alias, proof):
                return
            if result.outcome is LoginOutcome.LOGGED_IN and self._is_newest(order, target.alias):
                proof.is_needed, proof.was_proven = False, True
                proof.proven_at = self._clock.monotonic()
            # A young grant may be refused for a while: only a refusal that lasts is told.
            final = (
                result.outcome is not LoginOutcome.REFUSED or attempt >= LOGIN_RETRIES // 2 or proof.failed_rounds > 0
            )
            if final:
                life = (token.issued_at, token.expires_at)
                self._report(
                    Verified(order.key, order.uid, target.alias, order.generation, result, *life, chain=order.chain)
                )
            if result.outcome is LoginOutcome.LOGGED_IN:
                return
            if result.outcome is LoginOutcome.UNREACHABLE and (proof.failed_rounds or attempt + 1 >= UNREACHABLE_TRIES):
                proof.not_before = self._clock.monotonic() + UNREACHABLE_PAUSE_S
                break
            if was_probed:
                await asyncio.sleep(min(30.0, 2.0**attempt))
            else:
                await self._endpoints.until_reached((target.host, target.port))
        proof.failed_rounds += 1

    async def _ask(self, login: _Login, proof: Proof, *, is_first: bool, is_insistent: bool) -> _Tried | None:
        """Try once, or learn that another has just found the endpoint unreachable; None: it isn't wanted any more."""
        is_newcomer = is_first and not proof.failed_rounds and not proof.was_proven
        while True:
            address = (login.target.host, login.target.port)
            known = await self._endpoints.enter(
                address, lane=login.order.namespace, is_newcomer=is_newcomer, is_insistent=is_insistent
            )
            result: LoginResult | None = None
            try:
                if not self._is_current(login.order, login.target.alias, proof) or not proof.is_needed:
                    return None
                order, target, token = login.order, login.target, login.token
                if address != (target.host, target.port):  # it has moved while we waited
                    continue
                if known is not None:
                    return _Tried(order, target, token, known, was_probed=False)
                result = await self._probe.login(
                    host=target.host, port=target.port, username=order.user_id, password=token.text
                )
            finally:
                if known is None:
                    self._endpoints.leave(address, result)
            self._count(result.outcome.value)
            return _Tried(order, target, token, result, was_probed=True)
