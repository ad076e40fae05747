"""ElastiCache in one account and region: users, user groups, replication groups and serverless caches."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.aws.api import NEXT_TOKEN, Api
from elasticache_iam.aws.directory import check_attachable, listed
from elasticache_iam.aws.errors import gone_is_success, is_no_operation, is_unknown_operation
from elasticache_iam.aws.observe import (
    first_member,
    observe_group,
    observe_replication_group,
    observe_serverless_cache,
    observe_user,
    write_tags,
)
from elasticache_iam.aws.part import Merged, Part, Sequence
from elasticache_iam.aws.tags import TagCalls, Tags
from elasticache_iam.core.errors import AccessDeniedError, InvalidSpecError, OperatorError
from elasticache_iam.core.plan.group import DEFAULT_USER_ACCESS
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedUser
from elasticache_iam.ports import Clock

PAGE_SIZE: Final = 100
"""ElastiCache's largest page."""
SERVERLESS_PAGE_SIZE: Final = 50
"""DescribeServerlessCaches' default; a larger one isn't documented."""

_TAGS: Final = TagCalls(
    service="elasticache",
    arn="ResourceName",
    read="ListTagsForResource",
    add="AddTagsToResource",
    remove="RemoveTagsFromResource",
    indexed=(
        "elasticache:user",
        "elasticache:usergroup",
        "elasticache:replicationgroup",
        "elasticache:serverlesscache",
    ),
)
_DISCARDED_PASSWORD_BYTES: Final = 48
"""64 characters of base64; ElastiCache takes 16 to 128."""


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
class _ServerlessCaches:
    """Serverless caches, or why they can't be listed."""

    caches: Mapping[CacheRef, ObservedCache]
    refusal: OperatorError | None = None


class ElastiCache:
    """Implements `Directory`, for one event loop.

    Args:
        api: Calls in the region.
        clock: Its monotonic side tells the age of readings.
    """

    def __init__(self, api: Api, *, clock: Clock) -> None:
        self._api = api
        sequence = Sequence()
        self._users = Part(self._read_users, clock=clock, sequence=sequence)
        self._groups = Part(self._read_groups, clock=clock, sequence=sequence)
        self._replication_groups = Part(self._read_replication_groups, clock=clock, sequence=sequence)
        self._members = Part(self._read_members, clock=clock, sequence=sequence)
        self._serverless_caches = Part(self._read_serverless_caches, clock=clock, sequence=sequence)
        self._tags = Tags(api, _TAGS, clock=clock, sequence=sequence, on_busy=self._users.invalidate)
        self._absent_members: frozenset[str] = frozenset()
        self._merged: Merged[Mapping[CacheRef, ObservedCache]] = Merged((), {})
        self.list_tags, self.set_tags, self.remove_tags = self._tags.read, self._tags.add, self._tags.remove

    # -- lists ------------------------------------------------------------------------------------------------------

    async def refresh(self, *, max_age_s: float, slow_max_age_s: float) -> None:
        """Read what is older than asked."""
        await asyncio.gather(
            self._users.get(max_age_s),
            self._groups.get(max_age_s),
            self._refresh_replication_groups(max_age_s, slow_max_age_s),
            self._refresh_serverless_caches(max_age_s),
            self._tags.refresh(slow_max_age_s),
        )

    def latest(self) -> Inventory:
        """Return all but the roles, as last read."""
        return Inventory(
            users=self._users.latest.value,
            groups=self._groups.latest.value,
            caches=self._merge_caches(),
            tags=self._tags.latest(),
        )

    async def _refresh_replication_groups(self, max_age_s: float, slow_max_age_s: float) -> None:
        """Read replication groups. Engine versions change rarely: slow clock, or when a replication group is new."""
        groups = await self._replication_groups.get(max_age_s)
        members = await self._members.get(slow_max_age_s)
        if groups.value.members - members.value.keys() - self._absent_members:
            members = await self._members.get(slow_max_age_s, after=groups.stamp)
            self._absent_members = groups.value.members - members.value.keys()

    async def _refresh_serverless_caches(self, max_age_s: float) -> None:
        """Read serverless caches.

        Raises:
            OperatorError: They can't be listed although a group is used by one. Else they can't matter: see the read.
        """
        serverless = await self._serverless_caches.get(max_age_s)
        if serverless.value.refusal is not None:
            groups = await self._groups.get(max_age_s)
            if any(group.serverless_cache_names for group in groups.value.values()):
                raise serverless.value.refusal

    def _merge_caches(self) -> Mapping[CacheRef, ObservedCache]:
        groups, members = self._replication_groups.latest, self._members.latest
        serverless = self._serverless_caches.latest
        key = (groups.stamp, members.stamp, serverless.stamp)
        if self._merged.key != key:
            observed = [
                observe_replication_group(group, members.value.get(first_member(group), {}))
                for group in groups.value.groups
            ]
            self._merged = Merged(key, {**{cache.ref: cache for cache in observed}, **serverless.value.caches})
        return self._merged.value

    async def _read_users(self) -> dict[str, ObservedUser]:
        users = self._api.items("elasticache", "DescribeUsers", "Users", {"MaxRecords": PAGE_SIZE})
        return {user["UserId"]: observe_user(user) async for user in users if not _is_managed(user["UserId"])}

    async def _read_groups(self) -> dict[str, ObservedGroup]:
        groups = self._api.items("elasticache", "DescribeUserGroups", "UserGroups", {"MaxRecords": PAGE_SIZE})
        return {
            group["UserGroupId"]: observe_group(group)
            async for group in groups
            if not _is_managed(group["UserGroupId"])
        }

    async def _read_replication_groups(self) -> _ReplicationGroups:
        groups = self._api.items(
            "elasticache", "DescribeReplicationGroups", "ReplicationGroups", {"MaxRecords": PAGE_SIZE}
        )
        return _ReplicationGroups(tuple([group async for group in groups]))

    async def _read_members(self) -> dict[str, Mapping[str, Any]]:
        members = self._api.items("elasticache", "DescribeCacheClusters", "CacheClusters", {"MaxRecords": PAGE_SIZE})
        return {
            member["CacheClusterId"]: {name: member.get(name, "") for name in ("Engine", "EngineVersion")}
            async for member in members
        }

    async def _read_serverless_caches(self) -> _ServerlessCaches:
        """Read the serverless caches. Older policies lack the right to, and not every region has them."""
        pages = self._api.items(
            "elasticache",
            "DescribeServerlessCaches",
            "ServerlessCaches",
            {"MaxResults": SERVERLESS_PAGE_SIZE},
            cursor=NEXT_TOKEN,
        )
        try:
            observed = [observe_serverless_cache(cache) async for cache in pages]
        except AccessDeniedError as error:
            return _ServerlessCaches({}, error)
        except InvalidSpecError as error:
            if not is_unknown_operation(error):
                raise
            return _ServerlessCaches({}, error)
        return _ServerlessCaches({cache.ref: cache for cache in observed})

    # -- users ------------------------------------------------------------------------------------------------------

    async def create_user(
        self, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]
    ) -> ObservedUser:
        """Create an IAM-mode user whose name is its id. Raises AlreadyExistsError."""
        return await self._create_user(
            {
                "UserId": user_id,
                "UserName": user_id,
                "Engine": engine,
                "AccessString": access_string,
                "AuthenticationMode": {"Type": "iam"},
            },
            tags,
        )

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:
        """Create a user *named* default that nobody can be.

        It has a password rather than none: a user without one would keep its group from becoming a valkey one.
        """
        return await self._create_user(
            {
                "UserId": user_id,
                "UserName": "default",
                "Engine": engine,
                "AccessString": DEFAULT_USER_ACCESS,
                "AuthenticationMode": {
                    "Type": "password",
                    "Passwords": [secrets.token_urlsafe(_DISCARDED_PASSWORD_BYTES)],
                },
            },
            tags,
        )

    async def _create_user(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> ObservedUser:
        answer = await self._api.call(
            "elasticache", "CreateUser", {**parameters, "Tags": write_tags(tags)}, on_end=self._users.invalidate
        )
        user = observe_user(answer)
        self._tags.note(user.arn, tags)
        return user

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """Replace a user's access string. Raises BusyError unless it is active."""
        answer = await self._api.call(
            "elasticache",
            "ModifyUser",
            {"UserId": user_id, "AccessString": access_string},
            on_end=self._touch_members,  # its groups are busy with it
        )
        return observe_user(answer)

    async def set_iam_mode(self, user_id: str) -> ObservedUser:
        """Make a user log in by IAM again. Raises BusyError unless it is active."""
        answer = await self._api.call(
            "elasticache",
            "ModifyUser",
            {"UserId": user_id, "AuthenticationMode": {"Type": "iam"}},
            on_end=self._touch_members,
        )
        return observe_user(answer)

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; a missing one is success."""
        with gone_is_success("UserNotFound"):
            answer = await self._api.call("elasticache", "DeleteUser", {"UserId": user_id}, on_end=self._touch_members)
            self._tags.note(observe_user(answer).arn, {})

    # -- groups -----------------------------------------------------------------------------------------------------

    async def create_group(
        self, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
    ) -> ObservedGroup:
        """Create a user group. Raises AlreadyExistsError."""
        answer = await self._api.call(
            "elasticache",
            "CreateUserGroup",
            {"UserGroupId": group_id, "Engine": engine, **listed("UserIds", user_ids), "Tags": write_tags(tags)},
            on_end=self._touch_members,
        )
        group = observe_group(answer)
        self._tags.note(group.arn, tags)
        return group

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """Change members in one call, all or nothing. Raises BusyError, ConflictError (membership differs)."""
        return await self._modify_group(group_id, {**listed("UserIdsToAdd", add), **listed("UserIdsToRemove", remove)})

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """Make a redis group a valkey one; its users stay. Raises BusyError."""
        return await self._modify_group(group_id, {"Engine": engine})

    async def _modify_group(self, group_id: str, change: Mapping[str, Any]) -> ObservedGroup:
        answer = await self._api.call(
            "elasticache", "ModifyUserGroup", {"UserGroupId": group_id, **change}, on_end=self._touch_members
        )
        return observe_group(answer)

    async def delete_group(self, group_id: str) -> None:
        """Delete a group; a missing one is success."""
        with gone_is_success("UserGroupNotFound"):
            answer = await self._api.call(
                "elasticache", "DeleteUserGroup", {"UserGroupId": group_id}, on_end=self._touch_members
            )
            self._tags.note(observe_group(answer).arn, {})

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """Attach a group to a cache that has none. "No modifications were requested" is success."""
        match cache.kind:
            case CacheKind.REPLICATION_GROUP:
                await self._attach(
                    "ModifyReplicationGroup",
                    {"ReplicationGroupId": cache.id, "UserGroupIdsToAdd": [group_id], "ApplyImmediately": True},
                )
            case CacheKind.SERVERLESS_CACHE:
                answer = await self._api.call(
                    "elasticache", "DescribeServerlessCaches", {"ServerlessCacheName": cache.id}
                )
                for live in answer["ServerlessCaches"]:
                    check_attachable(observe_serverless_cache(live), group_id)
                await self._attach("ModifyServerlessCache", {"ServerlessCacheName": cache.id, "UserGroupId": group_id})
            case CacheKind.MEMORYDB_CLUSTER:
                raise InvalidSpecError(
                    f"{cache.id} is a MemoryDB cluster: ElastiCache's groups can't be attached to it"
                )

    async def _attach(self, operation: str, parameters: Mapping[str, Any]) -> None:
        try:
            await self._api.call("elasticache", operation, parameters, on_end=self._touch_attachments)
        except OperatorError as error:
            if not is_no_operation(error):
                raise

    # -- what our writes make stale -----------------------------------------------------------------------------------

    def _touch_members(self) -> None:
        self._users.invalidate()
        self._groups.invalidate()

    def _touch_attachments(self) -> None:
        self._groups.invalidate()
        self._replication_groups.invalidate()
        self._serverless_caches.invalidate()


def _is_managed(object_id: str) -> bool:
    """Whether AWS itself manages it (`default.iam-user`): customers' ids have no dot."""
    return "." in object_id
