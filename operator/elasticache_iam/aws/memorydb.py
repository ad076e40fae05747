"""MemoryDB in one account and region, in ElastiCache's words: a group is an ACL, an id is a name."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from elasticache_iam.aws.api import NEXT_TOKEN, Api
from elasticache_iam.aws.directory import check_attachable, listed
from elasticache_iam.aws.errors import gone_is_success, is_no_operation
from elasticache_iam.aws.observe import (
    OPEN_ACCESS,
    observe_acl,
    observe_cluster,
    observe_memorydb_user,
    write_tags,
)
from elasticache_iam.aws.part import Part, Sequence
from elasticache_iam.aws.tags import TagCalls, Tags
from elasticache_iam.core.errors import InvalidSpecError, OperatorError
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedUser
from elasticache_iam.ports import Clock

PAGE_SIZE: Final = 100

_TAGS: Final = TagCalls(
    service="memorydb",
    arn="ResourceArn",
    read="ListTags",
    add="TagResource",
    remove="UntagResource",
    indexed=("memorydb:user", "memorydb:acl", "memorydb:cluster"),
)
_BUILT_IN_USER: Final = "default"


class MemoryDb:
    """Implements `Directory`, for one event loop.

    Args:
        api: Calls in the region.
        clock: Its monotonic side tells the age of readings.
    """

    def __init__(self, api: Api, *, clock: Clock) -> None:
        self._api = api
        sequence = Sequence()
        self._users = Part(self._read_users, clock=clock, sequence=sequence)
        self._acls = Part(self._read_acls, clock=clock, sequence=sequence)
        self._clusters = Part(self._read_clusters, clock=clock, sequence=sequence)
        self._tags = Tags(api, _TAGS, clock=clock, sequence=sequence, on_busy=self._users.invalidate)
        self.list_tags, self.set_tags, self.remove_tags = self._tags.read, self._tags.add, self._tags.remove

    # -- lists ------------------------------------------------------------------------------------------------------

    async def refresh(self, *, max_age_s: float, slow_max_age_s: float) -> None:
        """Read what is older than asked."""
        await asyncio.gather(
            self._users.get(max_age_s),
            self._acls.get(max_age_s),
            self._clusters.get(max_age_s),
            self._tags.refresh(slow_max_age_s),
        )

    def latest(self) -> Inventory:
        """Return all but the roles, as last read."""
        return Inventory(
            users=self._users.latest.value,
            groups=self._acls.latest.value,
            caches=self._clusters.latest.value,
            tags=self._tags.latest(),
        )

    async def _read_users(self) -> dict[str, ObservedUser]:
        users = self._list("DescribeUsers", "Users")
        return {user["Name"]: observe_memorydb_user(user) async for user in users if user["Name"] != _BUILT_IN_USER}

    async def _read_acls(self) -> dict[str, ObservedGroup]:
        acls = self._list("DescribeACLs", "ACLs")
        return {acl["Name"]: observe_acl(acl) async for acl in acls if acl["Name"] != OPEN_ACCESS}

    async def _read_clusters(self) -> dict[CacheRef, ObservedCache]:
        observed = [observe_cluster(cluster) async for cluster in self._list("DescribeClusters", "Clusters")]
        return {cluster.ref: cluster for cluster in observed}

    def _list(self, operation: str, field: str) -> AsyncIterator[Mapping[str, Any]]:
        return self._api.items("memorydb", operation, field, {"MaxResults": PAGE_SIZE}, cursor=NEXT_TOKEN)

    # -- users ------------------------------------------------------------------------------------------------------

    async def create_user(
        self,
        user_id: str,
        *,
        engine: str,  # noqa: ARG002  # MemoryDB's users have none
        access_string: str,
        tags: Mapping[str, str],
    ) -> ObservedUser:
        """Create an IAM-mode user. Raises AlreadyExistsError."""
        answer = await self._api.call(
            "memorydb",
            "CreateUser",
            {
                "UserName": user_id,
                "AccessString": access_string,
                "AuthenticationMode": {"Type": "iam"},
                "Tags": write_tags(tags),
            },
            on_end=self._users.invalidate,
        )
        user = observe_memorydb_user(answer["User"])
        self._tags.note(user.arn, tags)
        return user

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:  # noqa: ARG002  # the signature is ElastiCache's
        """Refuse: an ACL needs no user named default, and can't have one."""
        raise InvalidSpecError(f"{user_id}: MemoryDB's ACLs have no default user")

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """Replace a user's access string. Raises BusyError unless it is active."""
        answer = await self._api.call(
            "memorydb",
            "UpdateUser",
            {"UserName": user_id, "AccessString": access_string},
            on_end=self._touch_members,  # its ACLs are busy with it
        )
        return observe_memorydb_user(answer["User"])

    async def set_iam_mode(self, user_id: str) -> ObservedUser:
        """Make a user log in by IAM again. Raises BusyError unless it is active."""
        answer = await self._api.call(
            "memorydb",
            "UpdateUser",
            {"UserName": user_id, "AuthenticationMode": {"Type": "iam"}},
            on_end=self._touch_members,
        )
        return observe_memorydb_user(answer["User"])

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; a missing one is success."""
        with gone_is_success("UserNotFoundFault"):
            answer = await self._api.call("memorydb", "DeleteUser", {"UserName": user_id}, on_end=self._touch_members)
            self._tags.note(observe_memorydb_user(answer["User"]).arn, {})

    # -- ACLs -------------------------------------------------------------------------------------------------------

    async def create_group(
        self,
        group_id: str,
        *,
        engine: str,  # noqa: ARG002  # ACLs have none
        user_ids: frozenset[str],
        tags: Mapping[str, str],
    ) -> ObservedGroup:
        """Create an ACL. Raises AlreadyExistsError."""
        answer = await self._api.call(
            "memorydb",
            "CreateACL",
            {"ACLName": group_id, **listed("UserNames", user_ids), "Tags": write_tags(tags)},
            on_end=self._touch_members,
        )
        acl = observe_acl(answer["ACL"])
        self._tags.note(acl.arn, tags)
        return acl

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """Change members in one call, all or nothing. Raises BusyError, ConflictError (membership differs)."""
        answer = await self._api.call(
            "memorydb",
            "UpdateACL",
            {"ACLName": group_id, **listed("UserNamesToAdd", add), **listed("UserNamesToRemove", remove)},
            on_end=self._touch_members,
        )
        return observe_acl(answer["ACL"])

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """Refuse: an ACL serves clusters of both engines."""
        raise InvalidSpecError(f"{group_id}: MemoryDB's ACLs have no engine that could become {engine}")

    async def delete_group(self, group_id: str) -> None:
        """Delete an ACL; a missing one is success."""
        with gone_is_success("ACLNotFoundFault"):
            answer = await self._api.call("memorydb", "DeleteACL", {"ACLName": group_id}, on_end=self._touch_members)
            self._tags.note(observe_acl(answer["ACL"]).arn, {})

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """Have a cluster use an ACL instead of `open-access`. "No modifications were requested" is success."""
        if cache.kind is not CacheKind.MEMORYDB_CLUSTER:
            raise InvalidSpecError(f"{cache.kind} {cache.id} is ElastiCache's: MemoryDB's ACLs can't be attached to it")
        answer = await self._api.call("memorydb", "DescribeClusters", {"ClusterName": cache.id})
        for live in answer["Clusters"]:
            check_attachable(observe_cluster(live), group_id)
        try:
            await self._api.call(
                "memorydb",
                "UpdateCluster",
                {"ClusterName": cache.id, "ACLName": group_id},
                on_end=self._touch_attachments,
            )
        except OperatorError as error:
            if not is_no_operation(error):
                raise

    # -- what our writes make stale -----------------------------------------------------------------------------------

    def _touch_members(self) -> None:
        self._users.invalidate()
        self._acls.invalidate()

    def _touch_attachments(self) -> None:
        self._acls.invalidate()
        self._clusters.invalidate()
