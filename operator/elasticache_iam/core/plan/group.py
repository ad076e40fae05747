"""The AWS user group of a UserGroup, its default user and its members."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from elasticache_iam.core.errors import BusyError, InvalidSpecError
from elasticache_iam.core.state import ObservedGroup, ObservedUser

BUILT_IN_DEFAULT: Final = "default"
"""AWS's own user: full access, no password. Never changed, only kept out. Our replacement has its name, not its id."""

DEFAULT_USER_ACCESS: Final = "off ~* -@all"
"""What our replacement may do: nothing, and nobody can log in as it."""


@dataclass(frozen=True, slots=True)
class DesiredGroup:
    """What the resource asks for.

    Attributes:
        default_user_id: Our disabled replacement of the user named default; None where none is needed.
        default_user_tags: Its tags.
        member_ids: Who must be in: our users that are admitted, and the spec's `members`. Who isn't active yet joins
            later; who is in and being modified stays.
    """

    group_id: str
    engine: str
    tags: Mapping[str, str]
    default_user_id: str | None
    default_user_tags: Mapping[str, str]
    member_ids: frozenset[str]


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


GroupAction: TypeAlias = CreateDefaultUser | DisableDefaultUser | CreateGroup | ModifyGroup


def plan_group(
    desired: DesiredGroup,
    observed: ObservedGroup | None,
    *,
    users: Mapping[str, ObservedUser],
    ours: frozenset[str],
) -> tuple[GroupAction, ...]:
    """Return the next actions; () means that group, default user and membership are as asked.

    Args:
        desired: What is asked.
        observed: What AWS has; the caller has made sure that it is ours.
        users: All users of the account and region, by id.
        ours: Ids of users that carry our ownership tags: the only ones we ever remove.

    Raises:
        BusyError: AWS is at work on something that must be done first.
        InvalidSpecError: The group can't be brought there.
    """
    default = desired.default_user_id
    if default is not None and (action := _plan_default_user(desired, default, users.get(default))) is not None:
        return (action,)
    wanted = desired.member_ids | ({default} if default is not None else set())
    can_join = frozenset(user_id for user_id in wanted if _can_join(users.get(user_id), desired.engine))
    if observed is None:
        first = can_join | ({BUILT_IN_DEFAULT} if default is None and desired.engine == "redis" else set())
        return (CreateGroup(desired.group_id, desired.engine, first, desired.tags),)
    if observed.status == "deleting":
        raise BusyError(f"AWS is still deleting an earlier group {desired.group_id}; it is created anew after that")
    has = observed.future_user_ids
    add = can_join - has
    defaults = frozenset(user_id for user_id in has if is_named_default(user_id, users))
    remove = (has & ours) - wanted - defaults
    if observed.engine != desired.engine:
        add = frozenset()
        if not remove:  # who has to go goes all the same
            raise InvalidSpecError(
                f"group {desired.group_id} has engine {observed.engine}, the resource says {desired.engine}; "
                "changing the engine of a group comes in a later version"
            )
    elif default is not None:
        remove |= defaults - wanted  # swapped in one call: a redis group is never without a default user
    if not add and not remove:
        return ()
    if not observed.is_active:
        raise BusyError(f"group {desired.group_id} is {observed.status}; its members are changed after that")
    return (ModifyGroup(desired.group_id, add=add, remove=remove),)


def _plan_default_user(desired: DesiredGroup, user_id: str, live: ObservedUser | None) -> GroupAction | None:
    """Return what takes our replacement of the default user to where it is of use, None when it is there."""
    if live is None:
        return CreateDefaultUser(user_id, desired.engine, desired.default_user_tags)
    if not live.is_active:
        raise BusyError(f"the replacement of the default user, {user_id}, is {live.status}")
    return None if "off" in live.access_string.split() else DisableDefaultUser(user_id)


def is_named_default(user_id: str, users: Mapping[str, ObservedUser]) -> bool:
    """Whether it is a user that a redis group can't be without: AWS's own, or any other of its name."""
    live = users.get(user_id)
    return user_id == BUILT_IN_DEFAULT or (live is not None and live.user_name == BUILT_IN_DEFAULT)


def _can_join(user: ObservedUser | None, engine: str) -> bool:
    """Whether AWS would take a user into a group: with one that it doesn't, it takes none. Valkey takes any engine."""
    return user is not None and user.is_active and (engine != "redis" or user.engine == engine)
