"""The resources as last seen by the watch, parsed once per version, with the index from groups to users."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import FINALIZER
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user, salvage_user
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key

Body = Mapping[str, Any]
Resource = ElastiCacheIAMUser | UserGroup


class Store:
    """Bodies by key. It belongs to the loop of the control plane."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Body] = {}
        self._parsed: dict[Key, Resource | InvalidResourceError] = {}
        self._users_in_aws: set[Key] = set()
        self._ending_users: set[Key] = set()
        self._users_of: defaultdict[Key, set[Key]] = defaultdict(set)
        self._groups_of: dict[Key, frozenset[Key]] = {}

    def copy(self) -> "Store":
        """Return a store of its own with the same resources, which are shared: they never change."""
        other = Store()
        other._bodies, other._parsed = dict(self._bodies), dict(self._parsed)
        other._users_in_aws, other._ending_users = set(self._users_in_aws), set(self._ending_users)
        other._users_of = defaultdict(set, {group: set(users) for group, users in self._users_of.items()})
        other._groups_of = dict(self._groups_of)
        return other

    def observe(self, key: Key, body: Body) -> None:
        """Remember the newest body of a resource; an older version of the same object is no news."""
        if _is_older(body, self._bodies.get(key)):
            return
        self._bodies[key] = body
        self._parsed.pop(key, None)
        if key.plural == USERS:
            (self._users_in_aws.add if is_in_aws(body) else self._users_in_aws.discard)(key)
            (self._ending_users.add if body["metadata"].get("deletionTimestamp") else self._ending_users.discard)(key)
            self._index(key, frozenset(_group_keys(body, key.namespace)))

    def note_status(self, key: Key, uid: str, status: Mapping[str, Any], *, resource_version: str) -> None:
        """Remember a status that we just wrote, until the watch brings it: the next pass builds on it."""
        body = self._bodies.get(key)
        if body is not None and body["metadata"].get("uid") == uid:
            metadata = {**body["metadata"], "resourceVersion": resource_version}
            self.observe(key, {**body, "metadata": metadata, "status": status})

    def forget(self, key: Key) -> None:
        """Drop a resource that is gone."""
        self._bodies.pop(key, None)
        self._parsed.pop(key, None)
        if key.plural == USERS:
            self._users_in_aws.discard(key)
            self._ending_users.discard(key)
            self._index(key, frozenset())

    def body(self, key: Key) -> Body | None:
        """Return the newest body."""
        return self._bodies.get(key)

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
                yield salvage_user(self._bodies[key])

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

    def ending_user_keys(self) -> tuple[Key, ...]:
        """Return the keys of users that are being deleted."""
        return tuple(self._ending_users)

    def all_keys(self) -> tuple[Key, ...]:
        """Return all keys."""
        return tuple(self._bodies)

    def _parse(self, key: Key, parse: Callable[[Body], Resource]) -> Resource | None:
        body = self._bodies.get(key)
        if body is None:
            return None
        found = self._parsed.get(key)
        if found is None:
            try:
                found = parse(body)
            except InvalidResourceError as error:
                found = error
            self._parsed[key] = found
        if isinstance(found, InvalidResourceError):
            raise found
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


def _is_older(body: Body, known: Body | None) -> bool:
    """Whether a watch event is older than what a write of ours was answered with.

    Resource versions of one kind are etcd's rising revisions; what can't be compared as numbers counts as new.
    """
    if known is None or known["metadata"].get("uid") != body["metadata"].get("uid"):
        return False
    new, old = (str(one["metadata"].get("resourceVersion", "")) for one in (body, known))
    return new.isdecimal() and old.isdecimal() and int(new) < int(old)


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
