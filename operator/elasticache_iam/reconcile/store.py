"""The resources as last seen by the watch, with the index from groups to users.

They are kept packed. As dictionaries and models 10,000 users would be 300 MiB and 700,000 objects, and all threads wait
while Python's garbage collector looks at those: a second each time. Unpacked and parsed are only the latest in use.
"""

import json
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import FINALIZER
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user, salvage_user
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key

Body = Mapping[str, Any]
Resource = ElastiCacheIAMUser | UserGroup

PARSED: Final = 2048
"""So many are kept parsed, 16 KiB each; parsing one anew takes 0.2 ms."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A body as bytes, and which version of which object it is."""

    uid: str
    version: str
    content: bytes
    is_noted: bool
    """With a status of ours. What else changed until we wrote it comes with the watch, as the same version."""

    @classmethod
    def of(cls, body: Body, *, is_noted: bool = False) -> Self:
        uid, version = version_of(body)
        metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
        return cls(uid, version, zlib.compress(json.dumps({**body, "metadata": metadata}).encode(), level=1), is_noted)

    def unpack(self) -> Body:
        body: Body = json.loads(zlib.decompress(self.content))
        return body

    def is_newer_than(self, body: Body) -> bool:
        """Whether a watch event is older than what a write of ours was answered with.

        Resource versions of one kind are etcd's rising revisions; what can't be compared as numbers counts as new.
        """
        uid, version = version_of(body)
        if uid != self.uid:
            return False
        return version.isdecimal() and self.version.isdecimal() and int(version) < int(self.version)


class Store:
    """Bodies by key. It belongs to the loop of the control plane."""

    def __init__(self) -> None:
        self._bodies: dict[Key, _Packed] = {}
        self._parsed: OrderedDict[Key, Resource | InvalidResourceError] = OrderedDict()
        self._users_in_aws: set[Key] = set()
        self._ending_users: dict[Key, Body] = {}
        """Unpacked: the guard looks at all of them for each."""
        self._users_of: defaultdict[Key, set[Key]] = defaultdict(set)
        self._groups_of: dict[Key, frozenset[Key]] = {}

    def copy(self) -> "Store":
        """Return a store of its own with the same resources, which are shared: they never change."""
        other = Store()
        other._bodies, other._parsed = dict(self._bodies), self._parsed.copy()
        other._users_in_aws, other._ending_users = set(self._users_in_aws), dict(self._ending_users)
        other._users_of = defaultdict(set, {group: set(users) for group, users in self._users_of.items()})
        other._groups_of = dict(self._groups_of)
        return other

    def observe(self, key: Key, body: Body, *, is_noted: bool = False) -> None:
        """Remember the newest body of a resource; an older version of the same object is no news."""
        known = self._bodies.get(key)
        if known is not None and known.is_newer_than(body):
            return
        self._bodies[key] = _Packed.of(body, is_noted=is_noted)
        self._parsed.pop(key, None)
        if key.plural == USERS:
            (self._users_in_aws.add if is_in_aws(body) else self._users_in_aws.discard)(key)
            self._ending_users.pop(key, None)
            if body["metadata"].get("deletionTimestamp"):
                self._ending_users[key] = body
            self._index(key, frozenset(_group_keys(body, key.namespace)))

    def note_status(self, key: Key, uid: str, status: Mapping[str, Any], *, resource_version: str) -> None:
        """Remember a status that we just wrote, until the watch brings it: the next pass builds on it."""
        known = self._bodies.get(key)
        if known is not None and known.uid == uid:
            body = known.unpack()
            metadata = {**body["metadata"], "resourceVersion": resource_version}
            self.observe(key, {**body, "metadata": metadata, "status": status}, is_noted=True)

    def forget(self, key: Key) -> None:
        """Drop a resource that is gone."""
        self._bodies.pop(key, None)
        self._parsed.pop(key, None)
        if key.plural == USERS:
            self._users_in_aws.discard(key)
            self._ending_users.pop(key, None)
            self._index(key, frozenset())

    def __contains__(self, key: Key) -> bool:
        return key in self._bodies

    def body(self, key: Key) -> Body | None:
        """Return the newest body, but for its managedFields; a copy."""
        known = self._bodies.get(key)
        return known.unpack() if known is not None else None

    def version(self, key: Key) -> tuple[str, str] | None:
        """Return the newest body's uid and resourceVersion."""
        known = self._bodies.get(key)
        return (known.uid, known.version) if known is not None else None

    def is_known(self, key: Key, body: Body) -> bool:
        """Whether a body is the very version that is here, as when all is listed anew."""
        known = self._bodies.get(key)
        if known is None or known.is_noted or not known.version:
            return False
        return (known.uid, known.version) == version_of(body)

    def user(self, key: Key) -> ElastiCacheIAMUser | None:
        """Return a user; raises InvalidResourceError."""
        found = self._parse(key, parse_user)
        return found if isinstance(found, ElastiCacheIAMUser) else None

    def group(self, key: Key) -> UserGroup | None:
        """Return a group; raises InvalidResourceError."""
        found = self._parse(key, parse_group)
        return found if isinstance(found, UserGroup) else None

    def users_of(self, group: Key) -> Iterator[ElastiCacheIAMUser]:
        """Yield the users that name a group; those that can't be parsed are left out."""
        for key in sorted(self._users_of.get(group, ())):
            try:
                user = self.user(key)
            except InvalidResourceError:
                continue
            if user is not None:
                yield user

    def broken_users_of(self, group: Key) -> Iterator[ElastiCacheIAMUser]:
        """Yield what can be told of the users that name a group and can't be parsed."""
        for key in sorted(self._users_of.get(group, ())):
            try:
                self.user(key)
            except InvalidResourceError:
                yield salvage_user(self._bodies[key].unpack())

    def group_keys_of(self, user: Key) -> tuple[Key, ...]:
        """Return the keys of the groups that a user names."""
        return tuple(sorted(self._groups_of.get(user, ())))

    def user_keys_of(self, group: Key) -> tuple[Key, ...]:
        """Return the keys of the users that name a group."""
        return tuple(sorted(self._users_of.get(group, ())))

    def groups(self) -> Iterator[UserGroup]:
        """Yield all groups that can be parsed."""
        for key in tuple(self._bodies):
            if key.plural != GROUPS:
                continue
            try:
                group = self.group(key)
            except InvalidResourceError:
                continue
            if group is not None:
                yield group

    def count_users_in_aws(self, group: Key | None = None) -> int:
        """Return how many users, or how many of a group's, exist in AWS as far as their status tells."""
        return len(self._users_in_aws if group is None else self._users_in_aws & self._users_of.get(group, set()))

    def ending_users(self) -> tuple[tuple[Key, Body], ...]:
        """Return the users that are being deleted."""
        return tuple(self._ending_users.items())

    def all_keys(self) -> tuple[Key, ...]:
        """Return all keys."""
        return tuple(self._bodies)

    def _parse(self, key: Key, parse: Callable[[Body], Resource]) -> Resource | None:
        known = self._bodies.get(key)
        if known is None:
            return None
        found = self._parsed.pop(key, None)
        if found is None:
            try:
                found = parse(known.unpack())
            except InvalidResourceError as error:
                found = error
        self._parsed[key] = found  # as the latest in use
        if len(self._parsed) > PARSED:
            self._parsed.popitem(last=False)
        if isinstance(found, InvalidResourceError):
            raise found.with_traceback(None)  # else it would grow by each raise
        return found

    def _index(self, key: Key, groups: frozenset[Key]) -> None:
        for group in self._groups_of.pop(key, frozenset()) - groups:
            self._users_of[group].discard(key)
            if not self._users_of[group]:
                del self._users_of[group]
        for group in groups:
            self._users_of[group].add(key)
        if groups:
            self._groups_of[key] = groups


def is_in_aws(body: Body) -> bool:
    """Whether a user's status tells that it exists in AWS. Only we write that, once we have made or adopted it."""
    status = body.get("status")
    return (
        FINALIZER in body["metadata"].get("finalizers", ()) and isinstance(status, Mapping) and bool(status.get("arn"))
    )


def version_of(body: Body) -> tuple[str, str]:
    """Return which version of which object a body is: its uid and resourceVersion."""
    metadata = body["metadata"]
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))


def group_key(user: ElastiCacheIAMUser) -> Key:
    """Return the key of the group that a user names."""
    ref = user.spec.groups[0]
    return Key(GROUPS, ref.namespace or user.metadata.namespace, ref.name)


def user_key(user: ElastiCacheIAMUser) -> Key:
    """Return a user's own key."""
    return Key(USERS, user.metadata.namespace, user.metadata.name)


def _group_keys(body: Body, namespace: str) -> Iterator[Key]:
    spec = body.get("spec")
    groups = spec.get("groups") if isinstance(spec, Mapping) else None
    for ref in groups if isinstance(groups, list) else ():
        if isinstance(ref, Mapping) and isinstance(ref.get("name"), str):
            yield Key(GROUPS, str(ref.get("namespace") or namespace), ref["name"])
