"""A plan as a value: every write, and what it means for roles, access and clients that are connected now.

What it means is read off two inventories, before and after: it holds for whatever way led from one to the other.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.api.keys import TAG_NAME, TAG_NAMESPACE
from elasticache_iam.core.access import load_catalogues, parse_access_string, same_access
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.rules import AccessRules, shown
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.plan.group import BUILT_IN_DEFAULT
from elasticache_iam.core.state import CacheRef, Inventory, ObservedCache, ObservedRole, ObservedUser, Place

_NAMED_COMMANDS: Final = 6
"""So many commands are named, of the others the number is told."""
_CONTEXT_LINES: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Whose pass it is."""

    kind: str
    namespace: str
    name: str

    @property
    def where(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """One call to AWS, in the order in which they would be made."""

    resource: Resource
    place: Place
    call: Call


@dataclass(frozen=True, slots=True)
class KubeChange:
    """One object in the cluster that would come, change or go; our own status and finalizers aren't told."""

    resource: Resource
    mark: str
    kind: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class RoleDiff:
    """How one document of a role would change: its trust, a policy, its boundary."""

    role_name: str
    document: str
    lines: tuple[str, ...]
    """As in a unified diff: a space, + or - in front of each."""


@dataclass(frozen=True, slots=True)
class AccessChange:
    """What one user may do on one cache, before and after; None: it can't log in there."""

    user_id: str
    who: str
    """Namespace/name of its resource, "" if it isn't one."""
    cache: CacheRef
    before: str | None
    after: str | None

    @property
    def mark(self) -> str:
        """`+` gains access, `-` loses it, `~` has another."""
        if self.before is None:
            return "+"
        return "-" if self.after is None else "~"


@dataclass(frozen=True, slots=True)
class Cut:
    """Live connections that AWS would end, or that would be left without a right to log in."""

    cache: CacheRef
    clients: str
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a resource would still wait for once everything is done: a condition that isn't True."""

    resource: Resource
    condition: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that belongs to a write: what was found changed behind our back."""

    resource: Resource
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that would be done, and what comes of it. Two looks at an unchanged world give equal plans."""

    resources: tuple[Resource, ...] = ()
    steps: tuple[Step, ...] = ()
    kube: tuple[KubeChange, ...] = ()
    roles: tuple[RoleDiff, ...] = ()
    access: tuple[AccessChange, ...] = ()
    cuts: tuple[Cut, ...] = ()
    held: tuple[Held, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written."""
        return not self.steps and not self.kube


def compare_roles(
    before: Mapping[str, ObservedRole | None], after: Mapping[str, ObservedRole | None]
) -> Iterator[RoleDiff]:
    """Yield how the documents of roles differ, for those in `before`."""
    for name in sorted(before):
        was, becomes = before[name], after.get(name)
        old, new = _documents(was), _documents(becomes)
        if was is not None and becomes is not None:  # else the call that makes the role tells
            old, new = old | _settings(was), new | _settings(becomes)
        for title in dict.fromkeys((*old, *new)):
            if old.get(title) == new.get(title):
                continue
            lines = difflib.unified_diff(
                old.get(title, "").splitlines(), new.get(title, "").splitlines(), lineterm="", n=_CONTEXT_LINES
            )
            shown_lines = tuple("  …" if line.startswith("@@") else line for line in list(lines)[2:])
            yield RoleDiff(name, title, shown_lines[1:])  # the first … tells nothing


def _documents(role: ObservedRole | None) -> dict[str, str]:
    if role is None:
        return {}
    documents: dict[str, str] = {"trust policy": _pretty(role.trust)}
    documents |= {f"inline policy {name}": _pretty(text) for name, text in sorted((role.policies or {}).items())}
    return documents


def _settings(role: ObservedRole) -> dict[str, str]:
    return {"permissions boundary": role.boundary or "", "longest session": f"{role.max_session_s} s"}


def _pretty(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2)


def compare_access(before: Inventory, after: Inventory) -> Iterator[AccessChange]:
    """Yield who gains, loses or changes access to which caches, by membership, attachment and access strings."""
    old, new = _accesses(before), _accesses(after)
    for user_id, cache in sorted({*old, *new}):
        was, becomes = old.get((user_id, cache)), new.get((user_id, cache))
        if was == becomes or (was is not None and becomes is not None and same_access(was, becomes)):
            continue
        yield AccessChange(user_id, _who(user_id, after, before), cache, was, becomes)


def _accesses(inventory: Inventory) -> dict[tuple[str, CacheRef], str]:
    """Return the access string of every user on every cache that it can log in to."""
    return {
        (user.user_id, cache.ref): shown(user.access_string)
        for cache in inventory.caches.values()
        for user in _members(cache, inventory)
        if user.user_name != BUILT_IN_DEFAULT and parse_access_string(user.access_string).enabled
    }


def _members(cache: ObservedCache, inventory: Inventory) -> Iterator[ObservedUser]:
    for group_id in sorted(cache.group_ids):
        group = inventory.groups.get(group_id)
        for user_id in sorted(group.user_ids) if group is not None else ():
            if (user := inventory.users.get(user_id)) is not None:
                yield user


def _who(user_id: str, *inventories: Inventory) -> str:
    for inventory in inventories:
        user = inventory.users.get(user_id)
        tags = inventory.tags.get(user.arn, {}) if user is not None else {}
        if TAG_NAMESPACE in tags and TAG_NAME in tags:
            return f"{tags[TAG_NAMESPACE]}/{tags[TAG_NAME]}"
    return ""


def compare_connections(before: Inventory, after: Inventory) -> Iterator[Cut]:
    """Yield whose live connections would end.

    AWS ends the connections of a user that leaves a cache's group. A changed access string, `off` too, leaves them open
    with other rights. Source: ElastiCache user guide, "Role-Based Access Control".
    """
    for ref in sorted(before.caches.keys() & after.caches.keys()):
        old, new = before.caches[ref], after.caches[ref]
        yield from _anonymous_cut(old, new, before, after)
        stays = {user.user_id for user in _members(new, after)}
        for user in _members(old, before):
            if user.user_id in stays or user.user_name == BUILT_IN_DEFAULT:
                continue
            who = _who(user.user_id, before)
            clients = f"user {user.user_id}" + (f" ({who})" if who else "")
            why = "its connections end as it leaves the group" if user.user_id in after.users else "it is deleted"
            yield Cut(ref, clients, why)


def _anonymous_cut(old: ObservedCache, new: ObservedCache, before: Inventory, after: Inventory) -> Iterator[Cut]:
    was, becomes = _anonymous_access(old, before), _anonymous_access(new, after)
    if was is None or becomes is not None:
        return
    if not old.group_ids:
        clients = "all that log in without a user, or with an AUTH token"
        yield Cut(old.ref, clients, f"the cache is open today and gets the group {', '.join(sorted(new.group_ids))}")
    else:
        yield Cut(
            old.ref, "all that log in as default, or not at all", "the user named default is replaced or disabled"
        )


def _anonymous_access(cache: ObservedCache, inventory: Inventory) -> str | None:
    """Return what clients may do that name no user; None: nothing."""
    if not cache.group_ids:
        return "on ~* +@all"
    for user in _members(cache, inventory):
        if user.user_name == BUILT_IN_DEFAULT and parse_access_string(user.access_string).enabled:
            return user.access_string
    return None


def tell_difference(before: str, after: str) -> Iterator[str]:
    """Yield in words how two access strings differ; nothing if that can't be told in a few words."""
    old, new = parse_access_string(before), parse_access_string(after)
    if old.enabled != new.enabled:
        yield "may log in" if new.enabled else "may not log in any more"
    if old.selectors or new.selectors or old.others or new.others:
        return
    yield from _patterns("keys", _keys(old), _keys(new))
    yield from _patterns("channels", old.root.channels, new.root.channels)
    yield from _commands(old, new)


def _keys(rules: AccessRules) -> tuple[str, ...]:
    return tuple(key.text for key in rules.root.keys)


def _patterns(what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    gained, lost = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    if gained:
        yield f"gains {what} {', '.join(gained)}"
    if lost:
        yield f"loses {what} {', '.join(lost)}"


def _commands(old: AccessRules, new: AccessRules) -> Iterator[str]:
    """Yield the difference in commands on the newest engine that we know."""
    catalogue = load_catalogues()[-1]
    was, becomes = grant(old.root.commands, catalogue), grant(new.root.commands, catalogue)
    for verb, names in (("gains", becomes.exceeding(was)), ("loses", was.exceeding(becomes))):
        if names:
            listed = ", ".join(name.upper().replace("|", " ") for name in names[:_NAMED_COMMANDS])
            more = len(names) - _NAMED_COMMANDS
            yield f"{verb} {'command' if len(names) == 1 else 'commands'} {listed}" + (
                f" and {more} more" if more > 0 else ""
            )
