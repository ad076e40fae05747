"""Everything of one account and region, from paged reads that all resources share.

N users cost N/100 calls a pass, not N. Each part is read anew only if it is older than asked or a write of ours
touched it, and callers at the same time share one read.

All order is kept by one counter: a read is stamped when it starts, a write when it has ended. A read that started
before a write ended never counts as newer than the write, so a slow page can't bring the past back.
"""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from elasticache_iam.aws.api import PAGINATION_TOKEN, Api
from elasticache_iam.aws.observe import (
    first_member,
    observe_cache,
    observe_group,
    observe_role,
    observe_user,
    read_tags,
)
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.names import role_path
from elasticache_iam.core.state import CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedRole, ObservedUser
from elasticache_iam.ports import Clock

T = TypeVar("T")

PAGE_SIZE: Final = 100
"""ElastiCache's and Resource Groups Tagging's largest page."""
IAM_PAGE_SIZE: Final = 1000
TAGGED_TYPES: Final = ("elasticache:user", "elasticache:usergroup", "elasticache:replicationgroup")
TAG_INDEX_DELAY_S: Final = 600.0
"""How long tags that we sent are believed although the tagging index doesn't show the object: it is filled later."""
MOST_ROLES_READ_ALONE: Final = 25
"""Beyond this many roles without details, the account's pages are cheaper than three calls each."""


class Sequence:
    """Rising numbers, from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def next(self) -> int:
        """Return a number greater than all before it."""
        with self._lock:
            return next(self._numbers)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one read found. `stamp` and `at` (monotonic seconds) are of its start: older than that nothing is."""

    value: T
    stamp: int
    at: float


class Part(Generic[T]):
    """One kind of object, read as a whole and kept."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, clock: Clock, sequence: Sequence) -> None:
        self._read = read
        self._clock = clock
        self._sequence = sequence
        self._reading: Reading[T] | None = None
        self._flight: asyncio.Task[Reading[T]] | None = None
        self._flight_stamp = 0
        self._touched = 0

    @property
    def latest(self) -> Reading[T]:
        """The newest reading: what others read while one waited included. LookupError before the first."""
        if self._reading is None:
            raise LookupError("nothing was read yet")
        return self._reading

    def invalidate(self) -> None:
        """Make what was read so far stale: call it when a write has ended, well or badly. From any thread."""
        self._touched = self._sequence.next()

    async def get(self, max_age_s: float, *, after: int = 0) -> Reading[T]:
        """Return a reading no older than asked and not from before a write that has ended by now.

        A read that others started meanwhile is shared. It goes on if a caller is cancelled.

        Args:
            max_age_s: The most that may have passed since the read started.
            after: The read must have started after this stamp.
        """
        needed = max(self._touched, after)
        while True:
            kept = self._reading
            if kept is not None and kept.stamp > needed and self._clock.monotonic() - kept.at < max_age_s:
                return kept
            if self._flight is None:
                self._flight_stamp = self._sequence.next()
                self._flight = asyncio.create_task(self._fly(self._flight_stamp))
                self._flight.add_done_callback(self._land)
            if self._flight_stamp > needed:
                return await asyncio.shield(self._flight)
            await asyncio.wait((self._flight,))  # started before our write ended, so it may have missed it

    async def _fly(self, stamp: int) -> Reading[T]:
        at = self._clock.monotonic()
        self._reading = Reading(await self._read(), stamp, at)
        return self._reading

    def _land(self, flight: asyncio.Task[Reading[T]]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # seen by those who wait; nobody may be left to


@dataclass(frozen=True, slots=True)
class RoleDetails:
    """What ListRoles doesn't tell."""

    policies: Mapping[str, Mapping[str, Any]]
    boundary: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KnownRole:
    """What we know of one role from a write, or a read of it alone. `role` None: it is gone."""

    stamp: int
    role: ObservedRole | None
    is_certain: bool = True
    """False while a write of ours has no clear outcome: read the role."""


@dataclass(frozen=True, slots=True)
class KnownTags:
    """The tags that we sent with a creation, or read of one object alone; {} after its deletion."""

    stamp: int
    at: float
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _ReplicationGroups:
    """Replication groups as AWS answers them: values need the engine versions beside them."""

    groups: tuple[Mapping[str, Any], ...]

    @property
    def members(self) -> frozenset[str]:
        """The members that tell engine versions. One that is being created has none yet, and needs none."""
        available = (group for group in self.groups if group.get("Status") == "available")
        return frozenset(filter(None, map(first_member, available)))


@dataclass(frozen=True, slots=True)
class _Roles:
    """Roles by name; `unclear` are those that only a read of them alone makes clear, or pages newer than the stamps."""

    by_name: Mapping[str, ObservedRole]
    unclear: tuple[str, ...]
    list_after: int
    details_after: int


@dataclass(frozen=True, slots=True)
class _Merged(Generic[T]):
    """What two readings and single facts made together; made anew only when one of them changed."""

    key: tuple[int, ...]
    value: T


class CachedInventory:
    """The inventory, and what writes of ours tell about it.

    `get` and `read_role` belong to one event loop. What notes something may come from worker threads.
    """

    def __init__(self, api: Api, *, owner: str, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._path = role_path(owner)
        self._sequence = Sequence()
        self.users = self.part(self._read_users)
        self.groups = self.part(self._read_groups)
        self.replication_groups = self.part(self._read_replication_groups)
        self._members = self.part(self._read_members)
        self._roles = self.part(self._read_roles)
        self._role_details = self.part(self._read_role_details)
        self._tags = self.part(self._read_tags)
        self._absent_members: frozenset[str] = frozenset()
        self._lock = threading.Lock()  # guards the next four
        self._known_roles: dict[str, KnownRole] = {}
        self._known_tags: dict[str, KnownTags] = {}
        self._roles_version = 0
        self._tags_version = 0
        self._reading_alone = asyncio.Lock()
        self._merged_caches: _Merged[Mapping[CacheRef, ObservedCache]] = _Merged((), {})
        self._merged_roles: _Merged[_Roles] = _Merged((), _Roles({}, (), 0, 0))
        self._merged_tags: _Merged[Mapping[str, Mapping[str, str]]] = _Merged((), {})

    async def get(self, *, max_age_s: float, slow_max_age_s: float) -> Inventory:
        """Return what AWS has, no older than asked."""
        _, _, caches, roles, _ = await asyncio.gather(
            self.users.get(max_age_s),
            self.groups.get(max_age_s),
            self._get_caches(max_age_s, slow_max_age_s),
            self._get_roles(max_age_s, slow_max_age_s),
            self._tags.get(slow_max_age_s),
        )
        return Inventory(
            users=self.users.latest.value,
            groups=self.groups.latest.value,
            caches=caches,
            roles=roles,
            tags=self._merge_tags(),
        )

    async def read_role(self, name: str) -> ObservedRole | None:
        """Read one role with its policies; None if there is none."""
        stamp = self._sequence.next()
        try:
            answer = await self._api.call("iam", "GetRole", {"RoleName": name})
            names = [
                policy
                async for page in self._api.pages("iam", "ListRolePolicies", {"RoleName": name})
                for policy in page["PolicyNames"]
            ]
            policies = {policy: await self._read_role_policy(name, policy) for policy in names}
        except NotFoundError:
            self._remember_role(name, KnownRole(stamp, None))
            return None
        role = observe_role(answer["Role"], policies=policies, is_whole=True)
        if role.path == self._path:
            self._remember_role(name, KnownRole(stamp, role))
        return role

    # -- what our own writes tell -----------------------------------------------------------------------------------

    def known_role(self, name: str) -> ObservedRole | None:
        """Return the role with its details as last seen; None if something about it isn't certain."""
        with self._lock:
            known = self._known_roles.get(name)
        if known is not None and not known.is_certain:
            return None
        role = known.role if known is not None else self._merged_roles.value.by_name.get(name)
        return role if role is not None and role.policies is not None else None

    def note_role(self, role: ObservedRole) -> None:
        """Remember how our write left a role."""
        if role.path == self._path:
            self._remember_role(role.name, KnownRole(self._sequence.next(), role))

    def note_no_role(self, name: str) -> None:
        """Remember that a role is gone."""
        self._remember_role(name, KnownRole(self._sequence.next(), None))

    def doubt_role(self, name: str) -> None:
        """Have a role read, unless what a write did to it is noted before anybody looks."""
        self._remember_role(name, KnownRole(self._sequence.next(), None, is_certain=False))

    def note_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """Remember the tags that we sent with a creation; {} for a deletion."""
        self.start_reading_tags()(arn, tags)

    def start_reading_tags(self) -> Callable[[str, Mapping[str, str]], None]:
        """Return what to call with an object's own tags once they are read: they count from now."""
        stamp, at = self._sequence.next(), self._clock.monotonic()

        def remember(arn: str, tags: Mapping[str, str]) -> None:
            with self._lock:
                before = self._known_tags.get(arn)
                if before is None or before.stamp < stamp:
                    self._known_tags[arn] = KnownTags(stamp, at, dict(tags))
                    self._tags_version += 1

        return remember

    def _remember_role(self, name: str, known: KnownRole) -> None:
        with self._lock:
            before = self._known_roles.get(name)
            if before is None or before.stamp < known.stamp:
                self._known_roles[name] = known
                self._roles_version += 1

    # -- parts put together -----------------------------------------------------------------------------------------

    async def _get_caches(self, max_age_s: float, slow_max_age_s: float) -> Mapping[CacheRef, ObservedCache]:
        """Return the caches. Engine versions change rarely: slow clock, or when a replication group is new."""
        groups = await self.replication_groups.get(max_age_s)
        members = await self._members.get(slow_max_age_s)
        if groups.value.members - members.value.keys() - self._absent_members:
            members = await self._members.get(slow_max_age_s, after=groups.stamp)
            self._absent_members = groups.value.members - members.value.keys()
        groups, members = self.replication_groups.latest, self._members.latest
        key = (groups.stamp, members.stamp)
        if self._merged_caches.key != key:
            observed = [
                observe_cache(group, members.value.get(first_member(group), {})) for group in groups.value.groups
            ]
            self._merged_caches = _Merged(key, {cache.ref: cache for cache in observed})
        return self._merged_caches.value

    async def _get_roles(self, max_age_s: float, slow_max_age_s: float) -> Mapping[str, ObservedRole]:
        """Return the roles under our path: from pages, but single ones as we know them better, or read them alone."""
        await asyncio.gather(self._roles.get(max_age_s), self._role_details.get(slow_max_age_s))
        roles = self._merge_roles()
        if len(roles.unclear) > MOST_ROLES_READ_ALONE:
            await asyncio.gather(
                self._roles.get(max_age_s, after=roles.list_after),
                self._role_details.get(slow_max_age_s, after=roles.details_after),
            )
            roles = self._merge_roles()
        if roles.unclear:
            async with self._reading_alone:  # others may have read them while we waited
                for name in self._merge_roles().unclear[:MOST_ROLES_READ_ALONE]:
                    await self.read_role(name)
            roles = self._merge_roles()
        return roles.by_name

    def _merge_roles(self) -> _Roles:
        listed, details = self._roles.latest, self._role_details.latest
        with self._lock:
            key = (listed.stamp, details.stamp, self._roles_version)
            if self._merged_roles.key != key:
                for name, known in list(self._known_roles.items()):
                    if known.stamp < listed.stamp and known.stamp < details.stamp:
                        del self._known_roles[name]  # both pages are newer
                self._merged_roles = _Merged(key, _merge_roles(listed, details, self._known_roles))
            return self._merged_roles.value

    def _merge_tags(self) -> Mapping[str, Mapping[str, str]]:
        """Return the tags by ARN: the index's, but what we know better."""
        indexed = self._tags.latest
        with self._lock:
            key = (indexed.stamp, self._tags_version)
            if self._merged_tags.key != key:
                now = self._clock.monotonic()
                for arn, known in list(self._known_tags.items()):
                    caught_up = arn in indexed.value or not known.tags or now - known.at > TAG_INDEX_DELAY_S
                    if known.stamp < indexed.stamp and caught_up:
                        del self._known_tags[arn]
                tags = {**indexed.value, **{arn: known.tags for arn, known in self._known_tags.items()}}
                self._merged_tags = _Merged(key, {arn: tags_of for arn, tags_of in tags.items() if tags_of})
            return self._merged_tags.value

    # -- reads ------------------------------------------------------------------------------------------------------

    def part(self, read: Callable[[], Awaitable[T]]) -> Part[T]:
        """Return something else to be read as a whole and kept."""
        return Part(read, clock=self._clock, sequence=self._sequence)

    async def _items(
        self, service: str, operation: str, field: str, parameters: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        async for page in self._api.pages(service, operation, parameters):
            for item in page[field]:
                yield item

    async def _read_role_policy(self, role_name: str, policy_name: str) -> Mapping[str, Any]:
        answer = await self._api.call("iam", "GetRolePolicy", {"RoleName": role_name, "PolicyName": policy_name})
        document: Mapping[str, Any] = answer["PolicyDocument"]
        return document

    async def _read_users(self) -> dict[str, ObservedUser]:
        users = self._items("elasticache", "DescribeUsers", "Users", {"MaxRecords": PAGE_SIZE})
        return {user["UserId"]: observe_user(user) async for user in users}

    async def _read_groups(self) -> dict[str, ObservedGroup]:
        groups = self._items("elasticache", "DescribeUserGroups", "UserGroups", {"MaxRecords": PAGE_SIZE})
        return {group["UserGroupId"]: observe_group(group) async for group in groups}

    async def _read_replication_groups(self) -> _ReplicationGroups:
        groups = self._items("elasticache", "DescribeReplicationGroups", "ReplicationGroups", {"MaxRecords": PAGE_SIZE})
        return _ReplicationGroups(tuple([group async for group in groups]))

    async def _read_members(self) -> dict[str, Mapping[str, Any]]:
        members = self._items("elasticache", "DescribeCacheClusters", "CacheClusters", {"MaxRecords": PAGE_SIZE})
        return {
            member["CacheClusterId"]: {name: member.get(name, "") for name in ("Engine", "EngineVersion")}
            async for member in members
        }

    async def _read_roles(self) -> dict[str, ObservedRole]:
        roles = self._items("iam", "ListRoles", "Roles", {"PathPrefix": self._path, "MaxItems": IAM_PAGE_SIZE})
        return {role["RoleName"]: observe_role(role) async for role in roles}

    async def _read_role_details(self) -> dict[str, RoleDetails]:
        roles = self._items(
            "iam",
            "GetAccountAuthorizationDetails",
            "RoleDetailList",
            {"Filter": ["Role"], "MaxItems": IAM_PAGE_SIZE},
        )
        return {role["RoleName"]: _read_details(role) async for role in roles if role.get("Path") == self._path}

    async def _read_tags(self) -> dict[str, Mapping[str, str]]:
        pages = self._api.pages(
            "resourcegroupstaggingapi",
            "GetResources",
            {"ResourceTypeFilters": list(TAGGED_TYPES), "ResourcesPerPage": PAGE_SIZE},
            cursor=PAGINATION_TOKEN,
        )
        return {
            resource["ResourceARN"]: tags
            async for page in pages
            for resource in page["ResourceTagMappingList"]
            if (tags := read_tags(resource.get("Tags", ())))
        }


def _read_details(role: Mapping[str, Any]) -> RoleDetails:
    """Return what GetAccountAuthorizationDetails tells beyond ListRoles."""
    return RoleDetails(
        policies={policy["PolicyName"]: policy["PolicyDocument"] for policy in role.get("RolePolicyList", ())},
        boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        tags=read_tags(role.get("Tags", ())),
    )


def _merge_roles(
    listed: Reading[dict[str, ObservedRole]],
    details: Reading[dict[str, RoleDetails]],
    known_roles: Mapping[str, KnownRole],
) -> _Roles:
    """Put together what the two pages and single facts tell; the newest wins, field by field."""
    roles = {name: _with_details(role, details.value.get(name)) for name, role in listed.value.items()}
    unclear: set[str] = set()
    doubted_at = 0
    for name, known in known_roles.items():
        if not known.is_certain:
            unclear.add(name)
            doubted_at = max(doubted_at, known.stamp)
        elif known.stamp > listed.stamp:
            if known.role is None:
                roles.pop(name, None)
            else:
                roles[name] = known.role
        elif name in listed.value and known.stamp > details.stamp:
            roles[name] = _with_details(listed.value[name], _details_of(known.role))
    unclear |= {name for name, role in roles.items() if role.policies is None}
    return _Roles(roles, tuple(sorted(unclear)), doubted_at, max(doubted_at, listed.stamp))


def _details_of(role: ObservedRole | None) -> RoleDetails | None:
    """Return the details of a role, None if they aren't known."""
    if role is None or role.policies is None or role.tags is None:
        return None
    return RoleDetails(role.policies, role.boundary, role.tags)


def _with_details(role: ObservedRole, details: RoleDetails | None) -> ObservedRole:
    """Return a listed role with its details, where they are known."""
    if details is None:
        return role
    return replace(role, policies=details.policies, boundary=details.boundary, tags=details.tags)
