"""Conditions: one per stage, `Ready` sums up, `Reconciling` and `Stalled` are there only while True.

Shapes and meaning follow metav1.Condition and kstatus, so `kubectl wait`, Flux, Helm and Argo CD understand them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeGuard

from elasticache_iam.api.base import Condition, ConditionStatus
from elasticache_iam.core.errors import OperatorError, PermanentError, RetryableError
from elasticache_iam.core.times import rfc3339

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
USER_SYNCED: Final = "UserSynced"
MEMBERSHIP_SYNCED: Final = "MembershipSynced"
ACCESS_GRANTED: Final = "AccessGranted"
TOKEN_DELIVERED: Final = "TokenDelivered"  # noqa: S105  # a condition's type
VERIFIED: Final = "Verified"
GROUP_SYNCED: Final = "GroupSynced"
DEFAULT_USER_HARDENED: Final = "DefaultUserHardened"
CACHES_ATTACHED: Final = "CachesAttached"

USER_STAGES: Final = (USER_SYNCED, MEMBERSHIP_SYNCED, ACCESS_GRANTED, TOKEN_DELIVERED, VERIFIED)
GROUP_STAGES: Final = (GROUP_SYNCED, DEFAULT_USER_HARDENED, CACHES_ATTACHED)

_AT_REST: Final = frozenset({"Suspended", "PlanOnly"})
"""Reasons of `Ready` with which nothing is on its way, because somebody wants it so."""

MESSAGE_LIMIT: Final = 4096
_REQUEST_ID: Final = re.compile(r" \(request id [^)]*\)")


@dataclass(frozen=True, slots=True)
class Stage:
    """What one pass found out about one stage.

    Attributes:
        type: The condition's type.
        status: True: as asked. False: not (yet). Unknown: can't be told.
        reason: CamelCase, one cause each.
        message: What it means and what to do.
        stalled: Only an edit helps.
        retry_after_s: When to look again, in seconds; None: nothing to wait for.
    """

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    stalled: bool = False
    retry_after_s: float | None = None
    is_passing: bool = False
    """A trouble that isn't worth a transition yet: a stage that is True stays so."""

    @classmethod
    def ok(cls, stage: str, reason: str, message: str = "") -> "Stage":
        """The stage is as asked."""
        return cls(stage, ConditionStatus.TRUE, reason, message)

    @classmethod
    def waiting(cls, stage: str, reason: str, message: str, *, retry_after_s: float) -> "Stage":
        """The stage comes right by itself, or when somebody else has done their part."""
        return cls(stage, ConditionStatus.FALSE, reason, message, retry_after_s=retry_after_s)

    @classmethod
    def blocked(cls, stage: str, reason: str, message: str, *, retry_after_s: float | None = None) -> "Stage":
        """Only an edit helps."""
        return cls(stage, ConditionStatus.FALSE, reason, message, stalled=True, retry_after_s=retry_after_s)

    @classmethod
    def unknown(cls, stage: str, reason: str, message: str) -> "Stage":
        """It can't be told; `Ready` doesn't depend on it."""
        return cls(stage, ConditionStatus.UNKNOWN, reason, message)

    @classmethod
    def failed(cls, stage: str, error: OperatorError, *, is_passing: bool = False, slow_s: float = 300.0) -> "Stage":
        """The error as a condition: retryable ones come back, permanent ones are looked at again slowly."""
        if isinstance(error, RetryableError):
            after_s = error.retry_after_s
            return cls(
                stage, ConditionStatus.FALSE, error.reason, error.message, retry_after_s=after_s, is_passing=is_passing
            )
        if isinstance(error, PermanentError):
            return cls.blocked(stage, error.reason, error.message, retry_after_s=slow_s)
        return cls.waiting(stage, error.reason, error.message, retry_after_s=slow_s)


@dataclass(frozen=True, slots=True)
class Summary:
    """New conditions, and which of them changed their status or reason (for Events)."""

    conditions: tuple[Condition, ...]
    transitions: tuple[Condition, ...] = field(default=())


def condition_of(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of a kind; None if there is none."""
    return next((condition for condition in conditions if condition.type == kind), None)


def was_true(conditions: Iterable[Condition], kind: str, generation: int) -> bool:
    """Whether a status says that a stage was as asked, of what is asked now."""
    found = condition_of(conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE and found.observed_generation == generation


def summarise(
    previous: Iterable[Condition],
    stages: Iterable[Stage],
    *,
    order: tuple[str, ...],
    generation: int,
    now: datetime,
    ready_message: str = "",
) -> Summary:
    """Return the conditions of a resource after a pass.

    Args:
        previous: The conditions in the status.
        stages: What this pass found out; a stage that it did not reach keeps its condition, or is Unknown.
        order: All stages of the kind, in the order of the work.
        generation: metadata.generation that was looked at.
        now: Aware, in UTC.
        ready_message: What `Ready` says when it is True.
    """
    before = {condition.type: condition for condition in previous}
    found = {stage.type: stage for stage in stages}
    drafts: dict[str, Condition] = {}
    for stage_type in order:
        stage = found.get(stage_type)
        held = before.get(stage_type)
        if stage is not None and stage.is_passing and _still_holds(held, generation):
            drafts[stage_type] = held
        elif stage is not None:
            drafts[stage_type] = _draft(stage_type, stage.status, stage.reason, stage.message, generation)
        elif stage_type in before:
            drafts[stage_type] = before[stage_type]
        else:
            drafts[stage_type] = _draft(
                stage_type, ConditionStatus.UNKNOWN, "Pending", "an earlier stage isn't done yet", generation
            )
    drafts[READY] = _ready(order, drafts, found, generation, ready_message)
    stalled = next((stage for stage in found.values() if stage.stalled), None)
    if stalled is not None:
        drafts[STALLED] = _draft(STALLED, ConditionStatus.TRUE, stalled.reason, stalled.message, generation)
    elif drafts[READY].status is not ConditionStatus.TRUE and drafts[READY].reason not in _AT_REST:
        ready = drafts[READY]
        drafts[RECONCILING] = _draft(RECONCILING, ConditionStatus.TRUE, ready.reason, ready.message, generation)
    stamp = rfc3339(now)
    conditions = tuple(_stamp(drafts[key], before.get(key), stamp) for key in _sorted(drafts, order))
    transitions = tuple(
        condition
        for condition in conditions
        if (old := before.get(condition.type)) is None
        or (old.status, old.reason) != (condition.status, condition.reason)
    )
    return Summary(conditions, transitions)


def next_look_s(stages: Iterable[Stage]) -> float | None:
    """Return the soonest `retry_after_s` of a pass; None if nothing is waited for."""
    waits = [stage.retry_after_s for stage in stages if stage.retry_after_s is not None]
    return min(waits) if waits else None


def _draft(kind: str, status: ConditionStatus, reason: str, message: str, generation: int) -> Condition:
    text = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
    return Condition(type=kind, status=status, reason=reason, message=text, observed_generation=generation)


def _ready(
    order: tuple[str, ...],
    drafts: Mapping[str, Condition],
    found: Mapping[str, Stage],
    generation: int,
    message_if_true: str,
) -> Condition:
    """Sum up: a stage that was looked at and isn't True comes first; Unknown `Verified` doesn't count."""
    missing = [drafts[stage_type] for stage_type in order if not _is_done(drafts[stage_type])]
    if not missing:
        return _draft(READY, ConditionStatus.TRUE, READY, message_if_true, generation)
    cause = next((condition for condition in missing if condition.type in found), missing[0])
    message = f"{cause.type}: {cause.message}" if cause.reason == "Pending" else cause.message
    return _draft(READY, ConditionStatus.FALSE, cause.reason, message, generation)


def _is_done(condition: Condition) -> bool:
    can_not_be_told = condition.status is ConditionStatus.UNKNOWN and condition.reason != "Pending"
    return condition.status is ConditionStatus.TRUE or (condition.type == VERIFIED and can_not_be_told)


def _still_holds(held: Condition | None, generation: int) -> TypeGuard[Condition]:
    """Whether a condition is True of what is asked now: an edit that AWS hasn't seen must not look done."""
    return held is not None and held.status is ConditionStatus.TRUE and held.observed_generation == generation


def _stamp(new: Condition, old: Condition | None, stamp: str) -> Condition:
    same = old is not None and old.status is new.status and old.last_transition_time
    return new.model_copy(
        update={
            "last_transition_time": old.last_transition_time if old and same else stamp,
            "message": old.message if old and _says_the_same(old.message, new.message) else new.message,
        }
    )


def _says_the_same(old: str, new: str) -> bool:
    """Whether two messages differ in AWS's request ids at most: the same failure again is no news."""
    return _REQUEST_ID.sub("", old) == _REQUEST_ID.sub("", new)


def _sorted(drafts: Mapping[str, Condition], order: tuple[str, ...]) -> list[str]:
    return [key for key in (READY, *order, RECONCILING, STALLED) if key in drafts]
