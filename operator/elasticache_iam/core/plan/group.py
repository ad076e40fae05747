"""The AWS user group of a UserGroup: its default user, its members, its engine and its tags."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from elasticache_iam.core.access import parse_access_string
from elasticache_iam.core.errors import BusyError, InvalidSpecError, OperatorError
from elasticache_iam.core.state import ObservedGroup, ObservedUser

BUILT_IN_DEFAULT: Final = "default"
"""AWS's own user: full access, no password. Never changed, only kept out. Our replacement has its name, not its id."""

DEFAULT_USER_ACCESS: Final = "off ~* -@all"
"""What our replacement may do: nothing, and nobody can log in as it."""

MAX_MEMBERS: Final = 100
"""AWS's quota of users in a group or ACL; a call that would go beyond it takes nobody in.

Source: quotas of ElastiCache and MemoryDB, users per user group and users per ACL.
"""

MANY_MEMBERS: Final = 90
"""From here on a group's condition tells how full it is."""

_FORETOLD_STEPS: Final = 8
"""More than there are steps: default user, members, engine."""

_SYSTEM_MANAGED: Final = "default."
"""How the ids of users begin that AWS manages itself; ids of others hold no dot."""


@dataclass(frozen=True, slots=True)
class DesiredGroup:
    """What the resource asks for.

    Attributes:
        engine: valkey or redis; "" in MemoryDB, whose ACLs have none and need no user named default.
        default_user_id: Our disabled replacement of the user named default; None where that is left to others.
        default_user_tags: Its tags.
        member_ids: Who must be in: our users that are admitted, and the spec's `members`; where there isn't room for
            all, the first ones. Who isn't active yet joins later; who is in and being modified stays.
        is_exclusive: Whether members that nobody asked for go, although we didn't add them.
        is_lent: Whether the group is somebody else's, of which nothing but our own members is changed.
    """

    group_id: str
    engine: str
    tags: Mapping[str, str]
    default_user_id: str | None
    default_user_tags: Mapping[str, str]
    member_ids: tuple[str, ...]
    is_exclusive: bool = False
    is_lent: bool = False


@dataclass(frozen=True, slots=True)
class CreateDefaultUser:
    """Create the disabled user named default."""

    user_id: str
    engine: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DisableDefaultUser:
    """Switch the user named default off again: somebody has changed it behind our back."""

    user_id: str


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """Create the group with its first members."""

    group_id: str
    engine: str
    user_ids: frozenset[str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModifyGroup:
    """Change members: all or nothing, one at a time per group."""

    group_id: str
    add: frozenset[str]
    remove: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetGroupEngine:
    """Make a redis group a valkey one."""

    group_id: str
    engine: str


GroupAction: TypeAlias = CreateDefaultUser | DisableDefaultUser | CreateGroup | ModifyGroup | SetGroupEngine


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """Who joins and who leaves, and who can't join.

    Attributes:
        without_room: Who could join if the group weren't full.
        refused: Whom AWS wouldn't take, and why. One of them in a call, and it takes nobody.
    """

    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    without_room: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def plan_group(
    desired: DesiredGroup,
    observed: ObservedGroup | None,
    *,
    users: Mapping[str, ObservedUser],
    ours: frozenset[str],
    redis_caches: frozenset[str] = frozenset(),
) -> tuple[GroupAction, ...]:
    """Return the next actions; () means that group, default user, membership and engine are as asked.

    Args:
        desired: What is asked.
        observed: What AWS has; the caller has made sure that it is ours.
        users: All users of the account and region, by id.
        ours: Ids of users that carry our ownership tags: unless the resource asks for more, all we ever remove.
        redis_caches: The caches that the group is on and that run redis: no valkey group can be there.

    Raises:
        BusyError: AWS is at work on something that must be done first.
        InvalidSpecError: The group can't be brought there.
    """
    if observed is not None and observed.status == "deleting":
        raise BusyError(f"AWS is still deleting an earlier group {desired.group_id}; it is created anew after that")
    default = needed_default_user(desired, observed)
    first, trouble = _prepare_default_user(desired, observed, default, users.get(default or ""))
    if observed is None:
        if trouble is not None:
            raise trouble
        return first or (_create(desired, users, default),)
    members = plan_members(desired, observed, users=users, ours=ours)
    is_changing = bool(members.add or members.remove)
    if is_changing and observed.is_active:  # who has to go doesn't wait for the default user
        return (*first, ModifyGroup(desired.group_id, add=members.add, remove=members.remove))
    if first:
        return first
    change = () if is_changing else _plan_engine(desired, observed, users=users, redis_caches=redis_caches)
    if not observed.is_active and (is_changing or change):
        trouble = BusyError(f"group {desired.group_id} is {observed.status}; it is changed after that")
    if trouble is not None and (is_changing or change or default not in observed.future_user_ids):
        raise trouble
    return change


def plan_members(
    desired: DesiredGroup, observed: ObservedGroup, *, users: Mapping[str, ObservedUser], ours: frozenset[str]
) -> MemberPlan:
    """Return who joins and leaves a group that is there. Arguments as of `plan_group`."""
    has = observed.future_user_ids
    default = needed_default_user(desired, observed)
    wanted = frozenset(desired.member_ids)
    defaults = frozenset(user_id for user_id in has if is_named_default(user_id, users))
    removable = has if desired.is_exclusive else has & ours
    remove = removable - wanted - defaults - {desired.default_user_id}
    remove = frozenset(user_id for user_id in remove if not user_id.startswith(_SYSTEM_MANAGED))
    add: list[str] = []
    if default is not None and default not in has and _is_usable(users.get(default)):
        add.append(default)
        remove |= defaults  # swapped in one call: a redis group is never without a default user
    elif default in has:
        remove |= defaults - {default}
    # Nobody joins a group that can't become what the resource says it is.
    asked = () if (observed.engine, desired.engine) == ("valkey", "redis") else desired.member_ids
    return _fill(asked, add, remove, has, engine=observed.engine, users=users)


def _fill(
    member_ids: Iterable[str],
    add: list[str],
    remove: frozenset[str],
    has: frozenset[str],
    *,
    engine: str,
    users: Mapping[str, ObservedUser],
) -> MemberPlan:
    """Let those in that AWS takes, in their order, as long as there is room."""
    staying = has - remove
    names = {users[user_id].user_name for user_id in (*staying, *add) if user_id in users}
    without_room: list[str] = []
    refused: dict[str, str] = {}
    for user_id in member_ids:
        live = users.get(user_id)
        if user_id in staying:
            continue
        why = _why_refused(live, engine, names)
        if live is None or why:
            refused[user_id] = why
        elif not live.is_active:
            continue
        elif len(staying) + len(add) >= MAX_MEMBERS:
            without_room.append(user_id)
        else:
            add.append(user_id)
            names.add(live.user_name)
    return MemberPlan(frozenset(add), remove, tuple(without_room), refused)


def _why_refused(user: ObservedUser | None, engine: str, names: set[str]) -> str:
    """Return why AWS wouldn't take a user into a group with this engine and these user names; "" if it would."""
    if user is None:
        return "there is no such user in AWS"
    if user.status == "deleting":
        return "AWS is deleting it"
    if user.user_name in names:
        return f"another member is named {user.user_name}"
    if engine == "redis" and user.engine != "redis":
        return f"it has engine {user.engine}, and a redis group takes redis users only"
    if engine == "valkey" and _needs_no_password(user):
        return "it needs no password, and a valkey group takes no such users"
    return ""


def needed_default_user(desired: DesiredGroup, observed: ObservedGroup | None) -> str | None:
    """Return our replacement of the default user where it is needed: as long as AWS has a redis group, or it's in."""
    default = desired.default_user_id
    engine = observed.engine if observed is not None else desired.engine
    is_in = observed is not None and default in observed.future_user_ids
    return default if engine == "redis" or is_in else None


def _prepare_default_user(
    desired: DesiredGroup, observed: ObservedGroup | None, user_id: str | None, live: ObservedUser | None
) -> tuple[tuple[GroupAction, ...], BusyError | None]:
    """Return what takes our replacement of the default user to where it is of use, and what that waits for."""
    if user_id is None:
        return (), None
    if live is None:
        engine = observed.engine if observed is not None else desired.engine
        return (CreateDefaultUser(user_id, engine, desired.default_user_tags),), None
    if not live.is_active:
        return (), BusyError(f"the replacement of the default user, {user_id}, is {live.status}")
    return (DisableDefaultUser(user_id),) if parse_access_string(live.access_string).enabled else (), None


def _is_usable(default: ObservedUser | None) -> bool:
    """Whether our replacement of the default user can be swapped in: there, and able to do nothing."""
    return default is not None and default.is_active and not parse_access_string(default.access_string).enabled


def _create(desired: DesiredGroup, users: Mapping[str, ObservedUser], default: str | None) -> CreateGroup:
    first = [default] if default is not None else [BUILT_IN_DEFAULT] if desired.engine == "redis" else []
    members = _fill(desired.member_ids, first, frozenset(), frozenset(), engine=desired.engine, users=users)
    return CreateGroup(desired.group_id, desired.engine, members.add, desired.tags)


def _plan_engine(
    desired: DesiredGroup,
    observed: ObservedGroup,
    *,
    users: Mapping[str, ObservedUser],
    redis_caches: frozenset[str],
) -> tuple[GroupAction, ...]:
    """Return the change of engine, the last step: members are as they can be in a group of the old one."""
    if observed.engine == desired.engine:
        return ()
    if desired.is_lent or (observed.engine, desired.engine) != ("redis", "valkey"):
        raise InvalidSpecError(
            f"group {desired.group_id} has engine {observed.engine}, the resource says {desired.engine}, and no change "
            f"of ours leads there: set engine: {observed.engine}, in a new UserGroup if it is immutable here",
            reason="EngineMismatch",
        )
    if redis_caches:
        raise InvalidSpecError(
            f"group {desired.group_id} can't become a valkey group while it is on redis cache "
            f"{', '.join(sorted(redis_caches))}: upgrade the cache to valkey first, or set spec.engine: redis in a "
            "new UserGroup",
            reason="EngineMismatch",
        )
    passwordless = sorted(
        user_id for user_id in observed.future_user_ids if user_id in users and _needs_no_password(users[user_id])
    )
    if passwordless:
        raise InvalidSpecError(
            f"group {desired.group_id} can't become a valkey group while {', '.join(passwordless)} is in it, which "
            "needs no password: take it out, or give it a password or IAM",
            reason="PasswordlessMember",
        )
    return (SetGroupEngine(desired.group_id, desired.engine),)


def is_full(group: ObservedGroup) -> bool:
    """Whether AWS takes nobody else into a group."""
    return len(group.future_user_ids) >= MAX_MEMBERS


def is_named_default(user_id: str, users: Mapping[str, ObservedUser]) -> bool:
    """Whether it is a user that a redis group can't be without: AWS's own, or any other of its name."""
    live = users.get(user_id)
    return user_id == BUILT_IN_DEFAULT or (live is not None and live.user_name == BUILT_IN_DEFAULT)


def _needs_no_password(user: ObservedUser) -> bool:
    return user.auth_mode == "no-password"


def foretell_group(
    desired: DesiredGroup, observed: ObservedGroup, *, users: Mapping[str, ObservedUser]
) -> tuple[GroupAction, ...]:
    """Return all actions that taking over a group brings, as if AWS took no time. Arguments as of `plan_group`."""
    told: list[GroupAction] = []
    there = dict(users)
    try:
        for _ in range(_FORETOLD_STEPS):
            actions = plan_group(desired, observed, users=there, ours=frozenset())
            if not actions:
                break
            for action in actions:
                observed = _imagine(action, observed, there)
            told += actions
    except OperatorError:
        pass  # what comes after that can't be told now
    return tuple(told)


def _imagine(action: GroupAction, group: ObservedGroup, users: dict[str, ObservedUser]) -> ObservedGroup:
    match action:
        case CreateDefaultUser(user_id, engine):
            users[user_id] = ObservedUser(
                user_id, BUILT_IN_DEFAULT, "", engine, "active", DEFAULT_USER_ACCESS, auth_mode="password"
            )
        case DisableDefaultUser(user_id):
            users[user_id] = replace(users[user_id], access_string=DEFAULT_USER_ACCESS)
        case ModifyGroup():
            return replace(group, user_ids=(group.future_user_ids | action.add) - action.remove)
        case SetGroupEngine(_, engine):
            return replace(group, engine=engine)
        case CreateGroup():
            pass
    return group


def describe(action: GroupAction) -> str:
    """Return what an action would do, for people."""
    match action:
        case CreateDefaultUser():
            return f"create the disabled default user {action.user_id}"
        case DisableDefaultUser():
            return f"disable the default user {action.user_id}"
        case CreateGroup():
            return f"create the group {action.group_id} with {_listed(action.user_ids) or 'no members'}"
        case ModifyGroup():
            changes = [("add", action.add), ("remove", action.remove)]
            return ", ".join(f"{verb} {_listed(user_ids)}" for verb, user_ids in changes if user_ids)
        case SetGroupEngine():
            return f"make it a {action.engine} group"


def _listed(user_ids: Iterable[str]) -> str:
    return ", ".join(sorted(user_ids))
