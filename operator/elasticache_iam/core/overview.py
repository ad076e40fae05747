"""What `elasticache-iam status` tells: each resource in a word, what is wrong, and the next command.

All of it comes from the resources themselves, and from the lives of tokens that the operator has noted: no Secret is
looked at.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY, GROUP_KIND, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user, salvage_group, salvage_user
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser
from elasticache_iam.core.status import READY, STALLED, condition_of

Lives = Mapping[tuple[str, str], datetime]
"""When tokens end, by their user's uid and the cache's alias."""

SHORT_NAMES: Final = {GROUP_KIND: "ecug", USER_KIND: "eciu"}
_SUSPENDED: Final = "Suspended"
_PLAN_ONLY: Final = "PlanOnly"


class State(StrEnum):
    """Where a resource stands."""

    READY = "Ready"
    WAITING = "Waiting"
    STUCK = "Stuck"
    AT_REST = "AtRest"
    NOT_SEEN = "NotSeen"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a resource.

    Attributes:
        kind: Of the resource.
        namespace: Of the resource.
        name: Of the resource.
        reason: The condition's, or "" where it isn't a condition.
        message: What it is and what to do.
        next: The command to run next.
    """

    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    next: str


@dataclass(frozen=True, slots=True)
class TokenView:
    """The token for one cache.

    Attributes:
        cache: The cache's alias.
        cache_id: The cache.
        secret: Where it is; "" where there is none.
        expires_at: At least so long it lives; None if that isn't known.
    """

    cache: str
    cache_id: str
    secret: str
    expires_at: datetime | None

    def left_s(self, now: datetime) -> int | None:
        """Return the seconds that are left, at least; None if that isn't known."""
        return None if self.expires_at is None else max(0, int((self.expires_at - now).total_seconds()))


@dataclass(frozen=True, slots=True)
class GroupView:
    """A UserGroup."""

    resource: UserGroup
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class UserView:
    """An ElastiCacheIAMUser."""

    resource: ElastiCacheIAMUser
    state: State
    reason: str
    group: str
    """Namespace and name of its UserGroup."""
    tokens: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """All there is, and what is wrong.

    Attributes:
        groups: By namespace and name.
        users: By namespace and name.
        problems: Of both, groups first: a user often waits for its group.
        notes: What couldn't be looked at.
        now: When; aware, in UTC.
    """

    groups: tuple[GroupView, ...]
    users: tuple[UserView, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    now: datetime


def look_over(
    groups: Iterable[Mapping[str, Any]],
    users: Iterable[Mapping[str, Any]],
    *,
    lives: Lives | None,
    now: datetime,
    operator_namespace: str,
    notes: tuple[str, ...] = (),
) -> Overview:
    """Return where resources stand.

    Args:
        groups: Documents from the API server.
        users: Documents from the API server.
        lives: When tokens end; None: not known.
        now: Aware, in UTC.
        operator_namespace: Where the operator runs, for commands.
        notes: What couldn't be looked at.
    """
    group_views, user_views = [], []
    problems: list[Problem] = []
    for body in sorted(groups, key=_key):
        group, fault = _read_group(body)
        state, reason = _state(group, body)
        group_views.append(GroupView(group, state, reason))
        problems += _problems(group, GROUP_KIND, state, fault, operator_namespace)
    for body in sorted(users, key=_key):
        user, fault = _read_user(body)
        state, reason = _state(user, body)
        tokens = tuple(_tokens(user, lives))
        user_views.append(UserView(user, state, reason, _group_of(user), tokens))
        problems += _problems(user, USER_KIND, state, fault, operator_namespace)
        if state is State.READY:
            problems += _ended(user, tokens, now)
    return Overview(tuple(group_views), tuple(user_views), tuple(problems), notes, now)


def _key(body: Mapping[str, Any]) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _read_group(body: Mapping[str, Any]) -> tuple[UserGroup, str]:
    try:
        return parse_group(body), ""
    except InvalidResourceError as error:
        return salvage_group(body), str(error)


def _read_user(body: Mapping[str, Any]) -> tuple[ElastiCacheIAMUser, str]:
    try:
        return parse_user(body), ""
    except InvalidResourceError as error:
        return salvage_user(body), str(error)


def _group_of(user: ElastiCacheIAMUser) -> str:
    wanted = user.spec.groups[0]
    return f"{wanted.namespace or user.metadata.namespace}/{wanted.name}"


def _state(resource: UserGroup | ElastiCacheIAMUser, body: Mapping[str, Any]) -> tuple[State, str]:
    ready = condition_of(resource.status.conditions, READY)
    if ready is None:
        return State.NOT_SEEN, ""
    if resource.metadata.is_deleting:
        return State.WAITING, "Deleting" if ready.status is ConditionStatus.TRUE else ready.reason
    if resource.status.observed_generation != body["metadata"].get("generation", 0):
        return State.NOT_SEEN, ready.reason
    if ready.status is ConditionStatus.TRUE:
        return State.READY, ready.reason
    if ready.reason in {_SUSPENDED, _PLAN_ONLY}:
        return State.AT_REST, ready.reason
    stalled = condition_of(resource.status.conditions, STALLED)
    if stalled is not None and stalled.status is ConditionStatus.TRUE:
        return State.STUCK, ready.reason
    return State.WAITING, ready.reason


def _tokens(user: ElastiCacheIAMUser, lives: Lives | None) -> Iterator[TokenView]:
    for cache in user.status.caches:
        delivers = user.spec.delivery.mode is DeliveryMode.SECRET and cache.secret is not None
        expires_at = lives.get((user.metadata.uid, cache.name)) if lives is not None and delivers else None
        yield TokenView(cache.name, cache.id, cache.secret.name if cache.secret and delivers else "", expires_at)


# -- what is wrong, and what to do ------------------------------------------------------------------------------------


def _problems(
    resource: UserGroup | ElastiCacheIAMUser, kind: str, state: State, fault: str, operator_namespace: str
) -> Iterator[Problem]:
    meta = resource.metadata
    short, where = SHORT_NAMES[kind], f"-n {meta.namespace}"
    ready = condition_of(resource.status.conditions, READY)

    def problem(reason: str, message: str, command: str) -> Problem:
        return Problem(kind, meta.namespace, meta.name, reason, message, command)

    describe = f"kubectl {where} describe {short} {meta.name}"
    if fault:
        yield problem("InvalidSpec", fault, f"kubectl {where} edit {short} {meta.name}")
    elif state is State.NOT_SEEN:
        message = "the operator hasn't looked at it yet" if ready is None else "its newest version isn't looked at yet"
        check = f"kubectl -n {operator_namespace} get pods   # is the operator running, and does it watch {where[3:]}?"
        yield problem("", message, check)
    elif state is State.AT_REST and ready is not None and ready.reason == _SUSPENDED:
        yield problem(ready.reason, "suspended: no tokens are made", f"elasticache-iam resume {meta.name} {where}")
    elif state is State.AT_REST and ready is not None:
        message = "it is only planned (status.plan), nothing is done"
        yield problem(ready.reason, message, f"kubectl {where} annotate {short} {meta.name} {ANNOTATION_PLAN_ONLY}-")
    elif state is not State.READY and ready is not None:
        explain = kind == USER_KIND and not meta.is_deleting
        command = f"elasticache-iam verify {meta.name} {where}" if explain else describe
        yield problem("Deleting" if meta.is_deleting else ready.reason, ready.message, command)
    if meta.is_paused:
        message = "paused: nothing is put right, though tokens are refreshed"
        yield problem("", message, f"kubectl {where} annotate {short} {meta.name} {ANNOTATION_PAUSED}-")


def _ended(user: ElastiCacheIAMUser, tokens: Iterable[TokenView], now: datetime) -> Iterator[Problem]:
    meta = user.metadata
    for token in tokens:
        if token.left_s(now) == 0:
            message = f"by the operator's last note the token for {token.cache} has ended"
            command = f"elasticache-iam verify {meta.name} -n {meta.namespace}"
            yield Problem(USER_KIND, meta.namespace, meta.name, "", message, command)


# -- for programs -----------------------------------------------------------------------------------------------------


def overview_document(overview: Overview) -> dict[str, Any]:
    """Return an overview as a JSON document. Its keys stay; more may come."""
    return {
        "groups": [_group_document(view) for view in overview.groups],
        "users": [_user_document(view, overview.now) for view in overview.users],
        "problems": [
            {
                "kind": problem.kind,
                "namespace": problem.namespace,
                "name": problem.name,
                "reason": problem.reason or None,
                "message": problem.message,
                "next": problem.next,
            }
            for problem in overview.problems
        ],
        "notes": list(overview.notes),
    }


def _group_document(view: GroupView) -> dict[str, Any]:
    group = view.resource
    return {
        **_named(group, view.state, view.reason),
        "engine": group.spec.engine.value,
        "members": group.status.members,
        "caches": [
            {
                "name": cache.name,
                "id": cache.id,
                "state": cache.state or None,
                "engineVersion": cache.engine_version or None,
                "host": cache.host or None,
                "port": cache.port or None,
            }
            for cache in group.status.caches
        ],
    }


def _user_document(view: UserView, now: datetime) -> dict[str, Any]:
    user = view.resource
    return {
        **_named(user, view.state, view.reason),
        "group": view.group,
        "role": user.status.role.arn if user.status.role is not None else None,
        "delivery": user.spec.delivery.mode.value,
        "tokens": [
            {
                "cache": token.cache,
                "cacheId": token.cache_id,
                "secret": token.secret or None,
                "secondsLeft": token.left_s(now),
            }
            for token in view.tokens
        ],
    }


def _named(resource: UserGroup | ElastiCacheIAMUser, state: State, reason: str) -> dict[str, Any]:
    ready = condition_of(resource.status.conditions, READY)
    return {
        "namespace": resource.metadata.namespace,
        "name": resource.metadata.name,
        "id": resource.status.id or None,
        "ready": state is State.READY,
        "state": state.value,
        "reason": reason or None,
        "message": ready.message if ready is not None else None,
        "since": ready.last_transition_time if ready is not None else None,
    }
