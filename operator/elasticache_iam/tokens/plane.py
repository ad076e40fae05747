"""The loop that keeps every Secret fresh.

One heap of due times; of what is due the token that ends first, and new users beside any backlog. A refresh is:
credentials (from memory; who has none waits for them elsewhere, see `renewals`), sign (offline), one write. A failure
keeps the old token and comes back soon. New users of different namespaces take turns, and who fails by their own fault
comes after all others: nobody's mistakes or impatience cost another one's tokens.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

import structlog

from elasticache_iam.api.config import Signing
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    NotFoundError,
    NotLeaderError,
    NotOwnedError,
    OperatorError,
    PermanentError,
    ResourceQuotaExceededError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.mint import (
    CacheTarget,
    Delivered,
    DeliveryFailed,
    MintOrder,
    Report,
)
from elasticache_iam.core.refresh import next_refresh, proof_day, retry_delay_s, spread_of
from elasticache_iam.core.status import ACCESS_GRANTED, TOKEN_DELIVERED
from elasticache_iam.core.token import Credentials, Token, sign_token
from elasticache_iam.core.turns import Turns
from elasticache_iam.delivery.secret import render_secret
from elasticache_iam.delivery.template import DeliveryTemplateError, TemplateCache
from elasticache_iam.ports import CacheProbe, Clock, Document, Fence, Sts, TokenKube
from elasticache_iam.tokens.checkpoint import MAX_AHEAD, Life, decode, encode
from elasticache_iam.tokens.logins import Logins, Proof
from elasticache_iam.tokens.renewals import Renewals
from elasticache_iam.tokens.sessions import Sessions

log = structlog.get_logger("tokens")

UserKey = tuple[str, str]
Entry = tuple[str, str, str]
"""Namespace, name, alias: one Secret."""

PARALLEL_REFRESHES: Final = 32
CHECKPOINT_S: Final = 60.0
CHECKPOINT_TRIES: Final = 15
CHECKPOINT_PAUSE_S: Final = 2.0
FOREIGN_SECRET_S: Final = 60.0
"""How often to look whether somebody else's Secret has made room."""
TEMPLATE_PAUSE_S: Final = 30.0
"""At least between two tries of a template that fails."""
NOT_LEADER_S: Final = 2.0
ASK_PAUSE_S: Final = 30.0
"""Between two tries that are made because somebody asks, while a user's refreshes fail: whoever asks all the time gets
no more than others."""
BUG_PAUSE_S: Final = 30.0
"""Until a Secret is tried again that a bug of ours left without a next time."""
REPAIR_PAUSE_S: Final = 30.0
"""Between two repairs of one Secret: somebody else may delete it, or put it back as they want it, each time."""
CLOCK_STEP_S: Final = 30.0
"""A wall clock that was set back by more made tokens dated in the future, which AWS refuses: all are made anew."""
LONGEST_SLEEP_S: Final = 60.0
"""How often to look at the clock at least."""
PROPAGATION_S: Final = 120.0
"""For so long after a role was made or changed "access denied" may only mean that not all of IAM knows it yet.

Source: IAM user guide, "Changes that I make are not always immediately visible"; seen are seconds, at times a minute.
"""
PROPAGATION_RETRY_S: Final = 8.0
"""The longest pause between two tries in that time: the role's first user waits for it."""
PATIENT_ATTEMPTS: Final = 4
"""So many of them, about 10 s, aren't even told."""
PROOF_SPREAD_S: Final = 60.0
"""Over so many seconds the users whose chain has changed get the token that is tried: a cache may have thousands."""
_DENIALS_OF_STS: Final = frozenset({"AccessDenied", "AccessDeniedException"})


class Fault(StrEnum):
    """Whose doing it is that a token isn't replaced, as far as can be told."""

    OWN = "own"
    """Its user's: a template that can't be rendered, a role that refuses, a Secret of somebody else in its place, a
    namespace without room for it."""
    OPERATOR = "operator"
    """Ours, AWS's or the API server's; and that of all tokens with which nothing is wrong."""


@dataclass(slots=True)
class _State:
    """What is known about one Secret; `life` is None while no token of ours is known to be in it."""

    secret_uid: str
    life: Life | None = None
    attempts: int = 0
    told: str = ""
    delivered: bool = False
    refresh: str = ""
    """The answered value of the annotation."""
    asked: str = ""
    """The value that was last taken note of."""
    asked_try_at: float = float("-inf")
    """When it was last tried because somebody asks, while it failed, or will be; monotonic seconds."""
    repaired_at: float = float("-inf")
    """When it was last made anew because somebody had deleted or changed it, or will be; monotonic seconds."""
    asked_at: float | None = None
    """Since when, in the wall clock's seconds, somebody waits for the next token: it is as urgent as a first one."""
    is_own_fault: bool = False
    """What keeps failing fails for this user alone: it must not go before others that can be helped."""
    fault: Fault = Fault.OPERATOR
    proof: Proof = field(default_factory=lambda: Proof(is_needed=True))
    young_until: float = 0.0
    """Monotonic seconds: until then the role may not be known everywhere."""

    def is_news(self, refresh: str) -> bool:
        """Whether the annotation `refresh` asks for something that it hasn't asked for before."""
        return bool(refresh) and refresh not in {self.refresh, self.asked}


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The part of the configuration that the token plane follows."""

    owner: str
    audience: str
    token_s: int
    ca_pem: str | None
    verify_logins: bool
    signing: Signing = Signing.WEB_IDENTITY


@dataclass(frozen=True, slots=True)
class Counting:
    """Where the metrics count; by default nowhere."""

    refresh: Callable[[str], None] = lambda _: None
    """Told the result of each refresh: ok, or the reason of its failure."""
    login: Callable[[str], None] = lambda _: None
    """Told the outcome of each login."""
    replaced: Callable[[float], None] = lambda _: None
    """Told, in seconds, what life a token had left when it was replaced."""
    waiting: Callable[[int], None] = lambda _: None
    """Told how many users wait for a session of STS: how far a cold start is."""


class TokenPlane:
    """Not thread-safe: all methods run on the token loop, where `report` is called too."""

    def __init__(
        self,
        settings: TokenSettings,
        *,
        kube: TokenKube,
        sts: Sts,
        probe: CacheProbe,
        clock: Clock,
        fence: Fence,
        report: Callable[[Report], None],
        counting: Counting = Counting(),  # frozen
    ) -> None:
        self._settings = settings
        self._kube = kube
        self._clock = clock
        self._fence = fence
        self._report = report
        self._sessions = Sessions(
            kube,
            sts,
            clock,
            audience=settings.audience,
            token_s=settings.token_s,
            signing=settings.signing,
            owner=settings.owner,
        )
        self._renewals = Renewals(self._sessions, clock, settled=self._renewed, waiting=counting.waiting)
        self._turns: Turns[Entry] = Turns()
        self._waiting: dict[str, dict[Entry, float]] = {}
        """By uid what is due (and since when) and waits for its user's session."""
        self._orders: dict[UserKey, MintOrder] = {}
        self._states: dict[Entry, _State] = {}
        """Each of them is in `_turns` or in `_waiting`, or its refresh is under way: else nothing would come of it."""
        self._templates = TemplateCache()
        self._stopped: set[UserKey] = set()
        self._running: dict[Entry, asyncio.Task[None]] = {}
        self._again: set[Entry] = set()
        self._logins = Logins(
            probe, clock, report=report, count=counting.login, is_current=self._is_proof_of, is_newest=self._is_newest
        )
        self._changed = asyncio.Event()
        self._checkpoint: dict[tuple[str, str], Life] = {}
        self._saved: bytes = b""
        self._counting = counting
        self._ahead = self._now() - clock.monotonic()
        self._runs = False
        self._looks_at = float("inf")
        """When, in monotonic seconds, the loop looks at the schedule next; read by other threads."""

    # -- what to mint -------------------------------------------------------------------------------------------------

    def observe(self, key: UserKey, order: MintOrder | None) -> None:
        """Take what a resource asks to mint now; None: nothing."""
        if order is None or key in self._stopped:
            self._drop(key)
            return
        before = self._orders.get(key)
        if before is not None and before.uid != order.uid:
            self._drop(key)
            before = None
        self._orders[key] = order
        if not order.template:
            self._templates.forget(key)
        if before is not None:
            for entry in _entries(before) - _entries(order):
                self._drop_entry(entry)
        for target in order.caches:
            self._observe_target(order, target, before)

    def _observe_target(self, order: MintOrder, target: CacheTarget, before: MintOrder | None) -> None:
        entry = (order.namespace, order.name, target.alias)
        state = self._states.get(entry)
        if state is None:
            self._begin(entry, order, target)
            return
        _follow_others(order, target, state)
        asks_login = before is not None and order.needs_verify and order.generation != before.generation
        if before is not None and _content(before, target.alias) != _content(order, target.alias):
            asks_login = True
        if asks_login:
            state.proof.ask_again()
            state.young_until = self._clock.monotonic() + PROPAGATION_S
        elif before is not None and before.chain and order.chain != before.chain:
            # Nothing new is asked, so that no application waits for it: soon, and not all at once.
            state.proof.ask_again()
            soon = self._now() + PROOF_SPREAD_S * spread_of(entry)
            self._put(entry, min(soon, self._due(entry, state)))
        is_asked = state.is_news(order.refresh)
        state.asked = order.refresh
        if is_asked or asks_login:
            state.proof.not_before = 0.0
            state.asked_at = self._now()
        if asks_login:
            state.is_own_fault = False
            self._put(entry, self._now())
        elif is_asked and state.attempts:
            self._try_sooner(entry, state)
        elif is_asked:
            self._put(entry, min(self._now(), self._since(entry)))

    def _begin(self, entry: Entry, order: MintOrder, target: CacheTarget) -> None:
        """Take a Secret that wasn't known, whether or not it is there already."""
        life = self._checkpoint.get((order.uid, target.alias)) if target.secret_uid else None
        state = self._states[entry] = _State(
            target.secret_uid,
            life=life,
            delivered=bool(target.secret_uid),
            proof=Proof(order.needs_verify, was_proven=not order.needs_verify),
        )
        state.asked = order.refresh
        if target.secret_uid:
            state.refresh = order.refresh
            if self._runs:
                # Not from before our time: minting ended and begins anew. Nobody gets ahead of tokens that end by that.
                state.asked_at = self._now()
            self._put(entry, self._due(entry, state))
        else:
            state.young_until = self._clock.monotonic() + PROPAGATION_S
            self._put(entry, self._now())

    def _try_sooner(self, entry: Entry, state: _State) -> None:
        """Try again what fails, because somebody asks for it: at once, but not again and again."""
        now_s = self._clock.monotonic()
        if state.asked_try_at > now_s:  # one is to come
            return
        due = self._turns.due_of(entry)
        at_s = max(now_s, state.asked_try_at + ASK_PAUSE_S)
        if due is None:  # the try that is under way may have missed what was mended
            state.asked_try_at = max(at_s, now_s + ASK_PAUSE_S)
            return
        state.asked_try_at = at_s
        self._put(entry, min(due, self._now() + at_s - now_s))

    def delivered(self) -> dict[str, UserKey]:
        """Return whose all Secrets are that are known to have been written, by uid."""
        return {state.secret_uid: entry[:2] for entry, state in self._states.items() if state.secret_uid}

    def restore(self, key: UserKey, secret_uid: str) -> None:
        """Make a Secret anew: somebody has deleted or changed it. One that isn't a user's any more is no news.

        Now, or when the pause since its last repair is over: it is the same Secret to us whatever its uid.
        """
        order = self._orders.get(key)
        for target in order.caches if order is not None else ():
            entry = (*key, target.alias)
            state = self._states.get(entry)
            if state is not None and state.secret_uid == secret_uid:
                self._repair(entry, state)

    def _repair(self, entry: Entry, state: _State) -> None:
        now_s = self._clock.monotonic()
        if state.repaired_at > now_s:  # it is to come
            return
        log.warning("a Secret was deleted or changed by somebody else", namespace=entry[0], name=entry[1])
        state.repaired_at = max(now_s, state.repaired_at + REPAIR_PAUSE_S)
        state.asked_at = self._now()
        self._put(entry, min(self._since(entry), self._now() + state.repaired_at - now_s))

    async def stop(self, key: UserKey) -> None:
        """End minting for a user and return once no write of it is under way; it stays ended until `allow`."""
        self._stopped.add(key)
        tasks = [task for entry, task in self._running.items() if entry[:2] == key]
        self._drop(key)
        if tasks:
            await asyncio.wait(tasks)

    def allow(self, key: UserKey, order: MintOrder | None = None) -> None:
        """Take `stop` back and follow the order, and those to come; without a stop nothing changes."""
        if key in self._stopped:
            self._stopped.discard(key)
            self.observe(key, order)

    # -- what is going on ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._states)

    def count_by_state(self) -> dict[str, int]:
        """Return the number of Secrets that are fresh, due (now, or never delivered yet), and failing."""
        counts = {"fresh": 0, "due": 0, "failing": 0}
        now = self._now()
        for entry, state in self._states.items():
            due = self._turns.due_of(entry) or 0.0
            name = "failing" if state.attempts else "due" if state.life is None or due <= now else "fresh"
            counts[name] += 1
        return counts

    def lateness_s(self) -> float:
        """Return for how long the most overdue delivery or refresh has been due, in seconds.

        Those that fail by their user's own fault don't count: that they come after all others is as it should be.
        """
        now = self._now()
        since = (
            due
            for entries in self._waiting.values()
            for entry, due in entries.items()
            if not self._states[entry].is_own_fault
        )
        return max(self._turns.lateness(now), now - min(since, default=now))

    def waiting(self) -> int:
        """Return how many users wait for a session of STS."""
        return len(self._renewals)

    def min_remaining_s(self) -> dict[Fault, float | None]:
        """Return the seconds until the first delivered token expires, negative if one has; None without tokens.

        By whose doing it is that their refresh fails, if it does.
        """
        now = self._clock.now()
        least: dict[Fault, float | None] = dict.fromkeys(Fault)
        for state in self._states.values():
            if state.life is not None:
                left_s, known_s = (state.life.expires_at - now).total_seconds(), least[state.fault]
                least[state.fault] = left_s if known_s is None else min(left_s, known_s)
        return least

    def stalled_s(self) -> float:
        """Return for how long the loop should have looked at the schedule and has not. Any thread may ask."""
        return max(0.0, self._clock.monotonic() - self._looks_at)

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Refresh until cancelled; then finish what is in flight for at most a second."""
        self._runs = True
        self._checkpoint = {}  # what it says of those that come later is old by then
        self._fetch_sessions_early()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._save_checkpoints())
                tasks.create_task(self._renewals.run())
                tasks.create_task(self._refresh_for_ever())
        finally:
            self._logins.cancel()
            if self._running:
                await asyncio.wait(list(self._running.values()), timeout=1.0)

    def _fetch_sessions_early(self) -> None:
        """Begin to fetch all sessions that will be needed, in order of expiry, before the first token is due.

        A new leader has none, all are needed within half a token's life, and STS has no time to lose: users who came
        together fall due together.
        """
        for entry, state in self._states.items():
            order = self._orders.get(entry[:2])
            with contextlib.suppress(ValueError):  # what no session could serve; its refresh tells
                if order is not None and state.delivered and self._sessions.get(order) is None:
                    self._renewals.want(order, rank=self._rank(state), is_last=state.is_own_fault)

    async def _refresh_for_ever(self) -> None:
        slots = asyncio.Semaphore(PARALLEL_REFRESHES)
        while True:
            await slots.acquire()
            entry, due = await self._next()
            task = asyncio.create_task(self._refresh(entry, due))
            self._running[entry] = task
            task.add_done_callback(partial(self._finished, entry, slots))

    async def load_checkpoint(self) -> None:
        """Read the checkpoint, before `run`. A missing or broken one only means earlier refreshes.

        All at once, that is, and in no order: while the API server is away, when nothing could be delivered anyway,
        reading is tried again.
        """
        content = await self._read_checkpoint()
        if content is None:
            return
        self._checkpoint = decode(content, token_s=self._settings.token_s, now=self._clock.now())
        if not self._checkpoint:
            log.warning("nothing usable in the checkpoint; tokens are refreshed early", size=len(content))
        for entry, state in self._states.items():  # seen while another replica led
            order = self._orders.get(entry[:2])
            if order is not None and state.life is None and state.secret_uid:
                self._take_over(order, state, self._checkpoint.get((order.uid, entry[2])))
                self._put(entry, self._due(entry, state))

    @staticmethod
    def _take_over(order: MintOrder, state: _State, life: Life | None) -> None:
        """Take what the leader before us delivered; what was asked of it until shortly before then, it has answered."""
        state.life, state.delivered = life, True
        asked_at, written_at = state.asked_at, (life.issued_at - MAX_AHEAD).timestamp() if life is not None else 0.0
        if asked_at is not None and asked_at < written_at:  # its clock may have been ahead of ours
            state.asked_at, state.refresh = None, order.refresh

    async def _read_checkpoint(self) -> bytes | None:
        for last in (*[False] * (CHECKPOINT_TRIES - 1), True):
            try:
                return await self._kube.load_checkpoint()
            except OperatorError as error:
                if last or not isinstance(error, UnavailableError | ThrottledError):
                    log.warning("checkpoint not read; tokens are refreshed early", reason=error.reason)
                    return None
            await asyncio.sleep(CHECKPOINT_PAUSE_S)
        return None

    async def save_checkpoint(self) -> None:
        """Write the checkpoint, best effort; none before the first token."""
        lives = {
            (order.uid, entry[2]): state.life
            for entry, state in self._states.items()
            if state.life is not None and (order := self._orders.get(entry[:2])) is not None
        }
        content = encode(lives, now=self._clock.now())
        if not lives and not self._saved:
            return
        try:
            await self._kube.save_checkpoint(content)
            self._saved = content
        except OperatorError as error:
            log.warning("checkpoint not written", reason=error.reason)

    async def _save_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            await self.save_checkpoint()

    async def _next(self) -> tuple[Entry, float]:
        """Return whose turn it is, and since when it has been due."""
        while True:
            now = self._now()
            self._looks_at = self._clock.monotonic()
            self._look_at_the_clock()
            taken = self._turns.take(now)
            if taken is not None and taken[0] in self._running:
                self._again.add(taken[0])
                continue
            if taken is not None:
                return taken
            self._changed.clear()
            due = self._turns.next_due()
            pause_s = LONGEST_SLEEP_S if due is None else min(LONGEST_SLEEP_S, max(0.0, due - now))
            self._looks_at += pause_s
            # Not wait_for: until Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    def _look_at_the_clock(self) -> None:
        """Make all due now if the wall clock was set back since the last look."""
        ahead = self._now() - self._clock.monotonic()
        before, self._ahead = self._ahead, ahead
        if ahead > before - CLOCK_STEP_S:
            return
        log.warning("the clock was set back; all tokens are made anew", seconds=round(before - ahead))
        for entry in self._states:
            self._put(entry, self._now())

    def _finished(self, entry: Entry, slots: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        self._running.pop(entry, None)
        slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log_bug(entry, error)
        if entry in self._again:
            self._again.discard(entry)
            if entry in self._states:
                self._put(entry, self._now())
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        """Give an entry a next time if it has none, whatever went wrong: nothing else would ever bring it back."""
        if entry in self._states and entry not in self._running and self._since(entry) == float("inf"):
            self._put(entry, self._now() + BUG_PAUSE_S)

    # -- one refresh --------------------------------------------------------------------------------------------------

    async def _refresh(self, entry: Entry, due: float) -> None:
        order, state = self._orders.get(entry[:2]), self._states.get(entry)
        target = _target(order, entry[2]) if order is not None else None
        if order is None or state is None or target is None:
            return
        try:
            self._fence.check()
            credentials = self._sessions.get(order)
            if credentials is None:
                self._waiting.setdefault(order.uid, {})[entry] = due
                self._renewals.want(order, rank=self._rank(state), is_last=state.is_own_fault)
                return
            if self._sessions.is_due(order):
                end = self._sessions.end_of(order)
                self._renewals.want(order, rank=end.timestamp() if end is not None else due)
            token = self._sign(order, target, credentials)
            await self._deliver(entry, order, target, state, token)
        except NotLeaderError:
            if self._states.get(entry) is state:
                self._put(entry, self._now() + NOT_LEADER_S)
        except OperatorError as error:
            self._failed(entry, order, state, TOKEN_DELIVERED, error)
        except ValueError as error:
            self._failed(entry, order, state, TOKEN_DELIVERED, PermanentError(str(error), reason="InvalidSpec"))
        except Exception as error:  # noqa: BLE001
            # A bug in one user's refresh must not end all others': loud, and again soon. Only the type is shown:
            # an unforeseen exception's text could hold anything.
            _log_bug(entry, error)
            failure = OperatorError("unexpected failure; see the operator's log")
            self._failed(entry, order, state, TOKEN_DELIVERED, failure)

    def _renewed(self, order: MintOrder, error: OperatorError | None) -> None:
        """Go on with what has waited for a session, or for the news that there is none."""
        entries = self._waiting.pop(order.uid, {})
        now = self._orders.get(order.key)
        if now is None or now.uid != order.uid:
            return
        failure = error if self._sessions.is_for_same(order, now) else None
        for entry, due in entries.items():
            try:
                self._go_on(entry, now, due, failure)
            except Exception as bug:  # noqa: BLE001
                _log_bug(entry, bug)
            finally:
                self._keep(entry)

    def _go_on(self, entry: Entry, order: MintOrder, due: float, error: OperatorError | None) -> None:
        state = self._states.get(entry)
        if state is None:
            return
        if error is None:
            self._put(entry, due)
        elif isinstance(error, NotLeaderError):
            self._put(entry, self._now() + NOT_LEADER_S)
        else:
            self._failed(entry, order, state, ACCESS_GRANTED, error)

    def _sign(self, order: MintOrder, target: CacheTarget, credentials: Credentials) -> Token:
        return sign_token(
            credentials,
            service=target.service,
            region=target.region,
            cache_id=target.cache_id,
            user_id=order.user_id,
            now=self._clock.now(),
            serverless=target.serverless,
            expires_s=self._settings.token_s,
        )

    async def _deliver(self, entry: Entry, order: MintOrder, target: CacheTarget, state: _State, token: Token) -> None:
        body = render_secret(
            order,
            target,
            token=token,
            owner=self._settings.owner,
            ca_pem=self._settings.ca_pem,
            templates=self._templates,
        )
        if not self._is_current(entry, state):
            return  # stopped or replaced while we waited for credentials
        uid = await self._write(entry, order, target, state, body)
        if uid is None:
            return
        if self._states.get(entry) is not state:
            # Ended or replaced while we wrote: whoever did that must know the Secret, to delete it.
            self._report(
                Delivered(order.key, order.uid, target.alias, uid, expires_at=token.expires_at, refresh=order.refresh)
            )
            return
        changed = not state.delivered or uid != state.secret_uid or state.refresh != order.refresh or bool(state.told)
        state.secret_uid, state.delivered, state.refresh = uid, True, order.refresh
        state.attempts, state.told, state.is_own_fault, state.fault = 0, "", False, Fault.OPERATOR
        now = self._orders.get(order.key, order)  # an edit may have come while we wrote
        if (now.refresh, *_content(now, target.alias)) == (order.refresh, *_content(order, target.alias)):
            state.asked_at = None
        if state.life is not None:
            self._counting.replaced((state.life.expires_at - self._clock.now()).total_seconds())
        state.life = Life(token.issued_at, token.expires_at)
        self._counting.refresh("ok")
        repair_s = state.repaired_at - self._clock.monotonic()
        due = self._due(entry, state)
        if (asked := self._turns.due_of(entry)) is not None:  # while we wrote: a repair, say
            due = min(due, asked)
        self._put(entry, min(due, self._now() + repair_s) if repair_s > 0 else due)
        if changed:
            self._report(
                Delivered(order.key, order.uid, target.alias, uid, expires_at=token.expires_at, refresh=order.refresh)
            )
        state.proof.begin_day(proof_day(self._clock.now(), spread=spread_of(entry)), self._clock.monotonic())
        if state.proof.is_needed and self._settings.verify_logins:
            self._logins.begin(order, target, state.proof, token)

    async def _write(
        self, entry: Entry, order: MintOrder, target: CacheTarget, state: _State, body: Document
    ) -> str | None:
        """Write the Secret and return its uid: one request where we know the Secret, else the first delivery."""
        if state.secret_uid:
            try:
                await self._kube.replace_secret(order.namespace, target.secret_name, uid=state.secret_uid, body=body)
            except NotFoundError:
                state.secret_uid = ""  # deleted, or another one has its name
            else:
                return state.secret_uid
        if not self._is_current(entry, state):
            return None
        try:
            return await self._kube.create_secret(order.namespace, body)
        except AlreadyExistsError:
            # Ours from before a crash, or somebody else's: the server itself decides by our ownerReference.
            return await self._kube.reclaim_secret(order.namespace, target.secret_name, body=body)

    def _failed(self, entry: Entry, order: MintOrder, state: _State, stage: str, error: OperatorError) -> None:
        if self._states.get(entry) is not state:
            return
        self._counting.refresh(error.reason)
        state.attempts += 1
        permanent = isinstance(error, PermanentError)
        remaining = (state.life.expires_at - self._clock.now()).total_seconds() if state.life is not None else 0.0
        spread = spread_of(entry)
        delay = FOREIGN_SECRET_S if permanent else retry_delay_s(state.attempts, spread=spread, remaining_s=remaining)
        if isinstance(error, DeliveryTemplateError):
            # Only an edit helps, which doesn't wait: no more work than with success, and a second try in time.
            life_s = min(self._settings.token_s, remaining) if remaining > 0 else self._settings.token_s
            delay = max(TEMPLATE_PAUSE_S, life_s / 2)
        reason = "SecretConflict" if isinstance(error, NotOwnedError) else error.reason
        is_denied = isinstance(error, AccessDeniedError) and error.code in _DENIALS_OF_STS
        is_news_travelling = is_denied and self._clock.monotonic() < state.young_until
        if is_news_travelling:
            reason, delay = "Propagating", min(delay, PROPAGATION_RETRY_S)
        # A right that the operator lacks, or an issuer that AWS doesn't know, is no single user's fault.
        is_own = permanent or is_denied or isinstance(error, NotFoundError | ResourceQuotaExceededError)
        state.fault = Fault.OWN if is_own else Fault.OPERATOR
        state.is_own_fault = state.fault is Fault.OWN and not is_news_travelling
        if (asked_s := state.asked_try_at - self._clock.monotonic()) > 0:
            delay = min(delay, asked_s)
        self._put(entry, self._now() + delay)
        told = f"{stage}/{reason}/{order.generation}"
        if told == state.told or (is_news_travelling and state.attempts <= PATIENT_ATTEMPTS):
            return
        state.told = told
        log.warning(
            "token not refreshed",
            namespace=order.namespace,
            name=order.name,
            alias=entry[2],
            stage=stage,
            reason=reason,
            message=error.message,
        )
        self._report(
            DeliveryFailed(
                order.key, order.uid, entry[2], stage=stage, reason=reason, message=error.message, permanent=permanent
            )
        )

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _put(self, entry: Entry, due: float) -> None:
        """Make an entry due, wherever it is now."""
        self._stop_waiting(entry)
        state = self._states[entry]
        self._turns.put(entry, due=due, rank=self._rank(state), lane=entry[0], is_last=state.is_own_fault)
        self._changed.set()

    def _since(self, entry: Entry) -> float:
        """Return when an entry is or was due; infinity for one whose refresh is under way."""
        order = self._orders.get(entry[:2])
        waiting = self._waiting.get(order.uid, {}) if order is not None else {}
        due = self._turns.due_of(entry)
        return waiting.get(entry, float("inf")) if due is None else due

    @staticmethod
    def _rank(state: _State) -> float | None:
        """Return an entry's place among those that are due: when what its Secret holds ends, None for new ones."""
        if state.is_own_fault:
            return None if state.life is None else state.life.expires_at.timestamp()
        if state.asked_at is not None or not state.delivered:
            return None
        return 0.0 if state.life is None else state.life.expires_at.timestamp()

    def _due(self, entry: Entry, state: _State) -> float:
        if state.life is None or state.asked_at is not None:
            return self._now()
        return next_refresh(state.life.issued_at, state.life.expires_at, spread=spread_of(entry)).timestamp()

    def _is_current(self, entry: Entry, state: _State) -> bool:
        return self._states.get(entry) is state and entry[:2] not in self._stopped

    def _is_proof_of(self, order: MintOrder, alias: str, proof: Proof) -> bool:
        state = self._states.get((order.namespace, order.name, alias))
        return state is not None and state.proof is proof and order.key not in self._stopped

    def _is_newest(self, order: MintOrder, alias: str) -> bool:
        """Whether a login with an order's token says something about what is asked now."""
        now = self._orders.get(order.key)
        if now is None or now.generation != order.generation:
            return False
        return (now.chain, *_content(now, alias)) == (order.chain, *_content(order, alias))

    def _drop(self, key: UserKey) -> None:
        order = self._orders.pop(key, None)
        if order is None:
            return
        self._templates.forget(key)
        self._renewals.forget(order.uid)
        self._sessions.forget(order.uid)
        self._waiting.pop(order.uid, None)
        for entry in _entries(order):
            self._drop_entry(entry)

    def _stop_waiting(self, entry: Entry) -> None:
        order = self._orders.get(entry[:2])
        if order is not None and (waiting := self._waiting.get(order.uid)) is not None:
            waiting.pop(entry, None)

    def _drop_entry(self, entry: Entry) -> None:
        self._states.pop(entry, None)
        self._turns.remove(entry)
        self._stop_waiting(entry)
        self._again.discard(entry)


def _log_bug(entry: Entry, error: BaseException) -> None:
    log.error("a refresh failed unexpectedly", namespace=entry[0], name=entry[1], error=type(error).__name__)


def _follow_others(order: MintOrder, target: CacheTarget, state: _State) -> None:
    """Take what another replica has done since: made the Secret anew, proven a login."""
    if state.life is None:
        state.secret_uid = target.secret_uid or state.secret_uid
        state.proof.is_needed = state.proof.is_needed and order.needs_verify
    elif not state.secret_uid:
        state.secret_uid = target.secret_uid


def _entries(order: MintOrder) -> set[Entry]:
    return {(order.namespace, order.name, target.alias) for target in order.caches}


def _target(order: MintOrder, alias: str) -> CacheTarget | None:
    return next((target for target in order.caches if target.alias == alias), None)


def _content(order: MintOrder, alias: str) -> tuple[object, ...]:
    """Return what a Secret's content depends on, but for the token's own life."""
    target = _target(order, alias)
    place = None if target is None else (target.cache_id, target.arn, target.host, target.port, target.reader_host)
    return (
        order.user_id,
        order.role_arn,
        order.role_id,
        order.service_account,
        dict(order.secret_labels),
        dict(order.secret_annotations),
        dict(order.template),
        place,
    )
