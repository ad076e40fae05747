"""How a group ends: without members of ours, never under a cache, and only if it is ours and asked for."""

import structlog

from elasticache_iam.api.group import DeletionPolicy, UserGroup
from elasticache_iam.api.keys import FINALIZER, GROUP_KIND, TAG_ORPHANED
from elasticache_iam.core import commands, names
from elasticache_iam.core.errors import BusyError, ConflictError, OperatorError
from elasticache_iam.core.state import Inventory, ObservedGroup
from elasticache_iam.core.status import GROUP_STAGES, GROUP_SYNCED, Stage
from elasticache_iam.core.times import rfc3339
from elasticache_iam.reconcile.group.adoption import Holding
from elasticache_iam.reconcile.group.membership import find_belonging, find_leaving, find_members_left
from elasticache_iam.reconcile.plane import Plane, is_ours
from elasticache_iam.reconcile.queue import Key

log = structlog.get_logger("reconcile")


class GroupDeletion:
    """Lets a group go: members first, then, if that is asked for, the group and its default user."""

    def __init__(self, plane: Plane, key: Key, group: UserGroup) -> None:
        self._plane = plane
        self._key = key
        self._group = group
        self._meta = group.metadata
        self._place = plane.installation.place_of(group)
        self._group_id = group.status.id or plane.installation.group_id(group)
        self._holding = Holding(plane, key, group)

    async def run(self) -> float | None:
        """Do one pass; return after how many seconds to look again."""
        plane, meta, status = self._plane, self._meta, self._group.status
        if FINALIZER not in meta.finalizers:
            return None
        polling = False
        try:
            waits_for = await self._next_step()
            if waits_for is None:
                await plane.remove_finalizer(self._key, meta)
                return None
            stage, polling = waits_for, True
        except OperatorError as error:
            polling = isinstance(error, BusyError | ConflictError)
            stage = Stage.failed(GROUP_SYNCED, error)
        if await plane.lets_go(self._key, meta, stage):
            await self._mark_orphaned()
            return None
        return await plane.finish(self._key, meta, status, status, [stage], order=GROUP_STAGES, polling=polling)

    async def _next_step(self) -> Stage | None:
        """Do the next step of deleting; return what it waits for, None when nothing of ours is left."""
        plane, group_id = self._plane, self._group_id
        if moved := plane.installation.find_move(self._group):
            return Stage.waiting(GROUP_SYNCED, "IdentityChanged", moved, retry_after_s=300.0)
        inventory = await plane.observe(self._key, self._place)
        live = inventory.groups.get(group_id)
        if live is not None and (waits_for := await self._let_members_go(live, inventory)):
            return waits_for
        if self._holding.is_lent or self._group.spec.deletion_policy is DeletionPolicy.RETAIN:
            return None
        if live is not None and live.status == "deleting":
            return self._deleting(f"group {group_id}")
        if live is not None and await self._holding.is_ours(live, inventory):
            return await self._delete_group(live, inventory)
        return await self._delete_default_user(inventory)

    async def _let_members_go(self, live: ObservedGroup, inventory: Inventory) -> Stage | None:
        """Take out who may not be in the group any more, as it still opens its caches; then wait for the others."""
        plane = self._plane
        may_change = self._holding.is_lent or await self._holding.is_ours(live, inventory)
        belonging = await find_belonging(plane, self._key, self._group, live, inventory)
        if may_change and (leaving := find_leaving(belonging, live, inventory)):
            if live.is_active and await self._holding.may_change(live, inventory):
                await plane.aws(self._place).modify_group(live.group_id, add=frozenset(), remove=leaving)
            message = f"{len(leaving)} user(s) that may not be in the group any more are leaving it"
            return Stage.waiting(GROUP_SYNCED, "MembersRemain", message, retry_after_s=5.0)
        if members := find_members_left(plane, self._key, live, inventory):
            message = f"deletion waits for {len(members)} ElastiCacheIAMUser(s): {', '.join(members[:5])}"
            return Stage.waiting(GROUP_SYNCED, "MembersRemain", message, retry_after_s=30.0)
        kept = belonging.strays.kept
        if may_change and kept.user_ids:
            return Stage.waiting(GROUP_SYNCED, "MembersWithoutResource", kept.message, retry_after_s=kept.retry_after_s)
        return None

    async def _delete_group(self, live: ObservedGroup, inventory: Inventory) -> Stage:
        using = {ref for ref, cache in inventory.caches.items() if live.group_id in cache.future_group_ids}
        if attached := sorted(using | live.cache_refs):
            exchange = commands.exchange(attached[0], self._place.region, live.group_id)
            message = (
                f"cache {', '.join(ref.id for ref in attached)} uses the group; it is never detached, as that would "
                f"leave the cache open: attach another group ({exchange}) or delete the cache, or set "
                "spec.deletionPolicy: Retain"
            )
            return Stage.waiting(GROUP_SYNCED, "StillAttached", message, retry_after_s=30.0)
        if live.is_active and await self._holding.may_change(live, inventory):
            await self._plane.aws(self._place).delete_group(live.group_id)
        return self._deleting(f"group {live.group_id}")

    async def _delete_default_user(self, inventory: Inventory) -> Stage | None:
        plane, meta = self._plane, self._meta
        default = inventory.users.get(names.default_user_id(plane.installation.owner, self._group_id))
        if default is None:
            return None
        if default.status != "deleting":
            if not await is_ours(plane, inventory, default.arn, GROUP_KIND, meta):
                return None
            if default.is_active and await is_ours(plane, inventory, default.arn, GROUP_KIND, meta, is_to_change=True):
                await plane.aws(self._place).delete_user(default.user_id)
        return self._deleting(f"user {default.user_id}")

    @staticmethod
    def _deleting(what: str) -> Stage:
        return Stage.waiting(GROUP_SYNCED, "Deleting", f"AWS is deleting the {what}", retry_after_s=5.0)

    async def _mark_orphaned(self) -> None:
        """Write onto what stays in AWS since when nobody works on it; best effort."""
        if self._holding.is_lent:
            return
        aws, stamp = self._plane.aws(self._place), rfc3339(self._plane.clock.now())
        try:
            inventory = await self._plane.observe_again(self._place)
            default = inventory.users.get(names.default_user_id(self._plane.installation.owner, self._group_id))
            for found in (inventory.groups.get(self._group_id), default):
                if found is not None and await is_ours(
                    self._plane, inventory, found.arn, GROUP_KIND, self._meta, is_to_change=True
                ):
                    await aws.set_tags(found.arn, {TAG_ORPHANED: stamp})
        except OperatorError as error:
            log.warning("not tagged as orphaned", group=self._group_id, reason=error.reason, message=error.message)
