"""The passes of both kinds behind one door, and before it those who ask for a plan: they get it instead of the deed."""

from typing import Final

from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import ANNOTATION_PLAN_ONLY
from elasticache_iam.api.parse import InvalidResourceError, salvage_group, salvage_user
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core.plan.changes import Plan
from elasticache_iam.core.plan.describe import status_lines, summarise_plan
from elasticache_iam.core.status import GROUP_STAGES, USER_STAGES, USER_SYNCED, Stage
from elasticache_iam.reconcile.group.reconciler import GroupReconciler
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.preview.run import Preview
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.reconcile.user.reconciler import UserReconciler

_LOOK_AGAIN_S: Final = 60.0


class Reconciler:
    """Does the pass of any resource."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._users = UserReconciler(plane)
        self._groups = GroupReconciler(plane)

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass; return after how many seconds to look again, None: when woken."""
        resource = self._read(key)
        if resource is not None and not resource.metadata.is_paused:
            if resource.metadata.is_plan_only and await self._may_hold(resource):
                return await self._show_plan(key, resource)
            if isinstance(resource, ElastiCacheIAMUser) and self._waits_for_plan_of_group(key, resource):
                return await self._hold_user(key, resource)
        return await (self._users if key.plural == USERS else self._groups).reconcile(key)

    def _read(self, key: Key) -> ElastiCacheIAMUser | UserGroup | None:
        """Return a resource, of one that breaks its rules what can be told."""
        store = self._plane.store
        try:
            return store.user(key) if key.plural == USERS else store.group(key)
        except InvalidResourceError:
            body = store.body(key) or {}
            return salvage_user(body) if key.plural == USERS else salvage_group(body)

    # -- plan-only ----------------------------------------------------------------------------------------------------

    async def _may_hold(self, resource: ElastiCacheIAMUser | UserGroup) -> bool:
        """Whether the annotation counts; nothing holds up a namespace that ends."""
        meta = resource.metadata
        return not (meta.is_deleting and await self._plane.kube.is_namespace_ending(meta.namespace))

    async def _show_plan(self, key: Key, resource: ElastiCacheIAMUser | UserGroup) -> float | None:
        """Write into the status what would be done if the annotation weren't there."""
        plan = await (self._preview_group(key) if key.plural == GROUPS else self._preview_user(key))
        order = USER_STAGES if key.plural == USERS else GROUP_STAGES
        if plan.is_empty and not plan.held:
            stage = Stage.ok(order[0], "PlanOnly", f"nothing would change; {_HOW_TO_APPLY}")
        else:
            message = f"{summarise_plan(plan).rstrip('.')}. See status.plan; {_HOW_TO_APPLY}"
            stage = Stage.waiting(
                order[0], "PlanOnly", message, retry_after_s=self._plane.installation.config.drift_interval
            )
        return await self._plane.finish(
            key,
            resource.metadata,
            resource.status,
            resource.status,
            [stage],
            order=order,
            polling=False,
            plan=status_lines(plan),
        )

    async def _preview_group(self, key: Key) -> Plan:
        """Return what applying a group would do to it and to its users."""
        keys = (key, *self._plane.store.user_keys_of(key))
        preview = Preview(self._plane, applies=[key])
        await preview.run(keys)
        return preview.tell(keys)

    async def _preview_user(self, key: Key) -> Plan:
        """Return what applying a user would do to it and to its group, once the group is as asked without it."""
        groups = self._plane.store.group_keys_of(key)
        preview = Preview(self._plane, applies=groups)
        await preview.run(groups)
        preview.start_counting()
        preview.apply(key)
        await preview.run((key, *groups))
        return preview.tell((key, *groups))

    # -- users of a group that is plan-only ----------------------------------------------------------------------------

    def _waits_for_plan_of_group(self, key: Key, user: ElastiCacheIAMUser) -> bool:
        """Whether a user's group asks for a plan.

        All that a user gets hangs on its group: whether it is admitted, where, and to which caches. So that nothing of
        an edit of the group is applied by its users, they stay as they are; what takes access away goes on.
        """
        if user.metadata.is_deleting or user.spec.suspend:
            return False
        groups = map(self._read, self._plane.store.group_keys_of(key))
        return any(group is not None and group.metadata.is_plan_only for group in groups)

    async def _hold_user(self, key: Key, user: ElastiCacheIAMUser) -> float | None:
        group = self._plane.store.group_keys_of(key)[0]
        message = f"UserGroup {group.namespace}/{group.name} is plan-only: its users stay as they are until that ends"
        is_done = user.metadata.generation == user.status.observed_generation
        stages = (
            [] if is_done else [Stage.waiting(USER_SYNCED, "WaitingForGroup", message, retry_after_s=_LOOK_AGAIN_S)]
        )
        return await self._plane.finish(
            key, user.metadata, user.status, user.status, stages, order=USER_STAGES, polling=False
        )


_HOW_TO_APPLY: Final = f"to apply it take the annotation {ANNOTATION_PLAN_ONLY} off"
