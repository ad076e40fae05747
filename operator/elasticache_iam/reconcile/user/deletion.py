"""How a user's access ends: tokens, membership, role, user, in the order that leaves no way in."""

from collections.abc import Mapping

import structlog

from elasticache_iam.api.group import DeletionPolicy, UserGroup
from elasticache_iam.api.keys import FINALIZER, TAG_ORPHANED, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.admission import is_withdrawn
from elasticache_iam.core.errors import BusyError, ConflictError, NotFoundError, NotOwnedError, OperatorError
from elasticache_iam.core.state import Inventory, Place
from elasticache_iam.core.status import GROUP_SYNCED, USER_STAGES, USER_SYNCED, Stage
from elasticache_iam.core.times import rfc3339
from elasticache_iam.delivery.secret import render_emptied_secret
from elasticache_iam.reconcile.plane import Plane, is_ours
from elasticache_iam.reconcile.queue import Key
from elasticache_iam.reconcile.store import group_key
from elasticache_iam.reconcile.user import pod_identity, service_accounts
from elasticache_iam.reconcile.user.foreign_role import withdraw_policy
from elasticache_iam.reconcile.user.managed_role import delete_managed_role

log = structlog.get_logger("reconcile")


class UserDeletion:
    """Takes everything away, in the order that leaves no way in: tokens, membership, role, user."""

    def __init__(self, plane: Plane, key: Key, user: ElastiCacheIAMUser) -> None:
        self._plane = plane
        self._key = key
        self._user = user

    async def run(self) -> float | None:
        """Do one pass; return after how many seconds to look again."""
        plane, user, key = self._plane, self._user, self._key
        if FINALIZER not in user.metadata.finalizers:
            return None
        polling = False
        status = user.status
        try:
            held = await plane.guard.hold(key, user) if await self._is_in_aws() else None
            if held is not None:
                if await self._lets_go(held):
                    return None
                return await plane.finish(
                    key, user.metadata, user.status, user.status, [held], order=USER_STAGES, polling=False
                )
            await revoke_tokens(plane, user)
            await service_accounts.release_all(plane, user)
            status = status.model_copy(update={"caches": (), "binding": None})
            waits_for = None if user.spec.deletion_policy is DeletionPolicy.RETAIN else await self._next_step()
            if waits_for is None:
                await plane.remove_finalizer(key, user.metadata)
                plane.guard.note_gone(key, user)
                plane.queue.wake(group_key(user))
                return None
            stage, polling = waits_for, True
        except OperatorError as error:
            polling = isinstance(error, BusyError | ConflictError)
            stage = Stage.failed(USER_SYNCED, error)
        if await self._lets_go(stage):
            return None
        return await plane.finish(key, user.metadata, user.status, status, [stage], order=USER_STAGES, polling=polling)

    async def _is_in_aws(self) -> bool:
        """Whether there is a user in AWS to be deleted. The status may not know yet what AWS has."""
        if self._user.status.arn:
            return True
        plane, user = self._plane, self._user
        inventory = await plane.observe(self._key, plane.installation.last_place_of(user))
        live = inventory.users.get(plane.installation.user_id(user))
        return live is not None and await is_ours(plane, inventory, live.arn, USER_KIND, user.metadata)

    async def _next_step(self) -> Stage | None:
        """Do the next step of deleting; return what it waits for, None when nothing of ours is left."""
        plane, user, meta = self._plane, self._user, self._user.metadata
        if moved := plane.installation.find_move(user):
            return Stage.waiting(USER_SYNCED, "IdentityChanged", moved, retry_after_s=300.0)
        # The status may lack an id that AWS has: a crash between the creation and the note of it.
        user_id = user.status.id or plane.installation.user_id(user)
        place = plane.installation.last_place_of(user)
        inventory = await plane.observe(self._key, place)
        live = inventory.users.get(user_id)
        if live is not None and live.status == "deleting":
            return Stage.waiting(USER_SYNCED, "Deleting", f"AWS is deleting the user {user_id}", retry_after_s=5.0)
        if live is not None and not await is_ours(plane, inventory, live.arn, USER_KIND, meta):
            live = None
        if live is not None and self._is_member(inventory, user_id):
            plane.queue.wake(group_key(user))
            message = f"user {user_id} is leaving its group, which cuts its connections"
            return Stage.waiting(USER_SYNCED, "Leaving", message, retry_after_s=5.0)
        await pod_identity.release_all(plane, user)
        await self._give_up_roles(place, inventory)
        if live is not None:
            if live.is_active and await is_ours(plane, inventory, live.arn, USER_KIND, meta, is_to_change=True):
                await plane.aws(place).delete_user(user_id)
            return Stage.waiting(USER_SYNCED, "Deleting", f"AWS is deleting the user {user_id}", retry_after_s=5.0)
        return None

    async def _give_up_roles(self, place: Place, inventory: Inventory) -> None:
        """Delete our role, and take our policy out of a role of somebody else's."""
        user, meta, owner = self._user, self._user.metadata, self._plane.installation.owner
        aws, managed = self._plane.aws(place), names.role_name(owner, meta.namespace, meta.name)

        def is_owned(tags: Mapping[str, str]) -> bool:
            return names.is_owned(tags, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name)

        if managed in inventory.roles:
            await delete_managed_role(aws, managed, is_owned=is_owned)
        # The status may lack the role that has our policy: a crash between the one and the other.
        named = {user.spec.role.arn or "", user.status.role.arn if user.status.role is not None else ""}
        for arn in sorted(named - {""}):
            if names.role_name_of(arn) != managed:
                await withdraw_policy(aws, arn, names.granted_policy_name(owner, meta.namespace, meta.name))

    async def _lets_go(self, waits_for: Stage) -> bool:
        """Let the resource go if its namespace ends; what stays in AWS then says so by a tag, as far as it can."""
        if not await self._plane.lets_go(self._key, self._user.metadata, waits_for):
            return False
        user, meta, plane = self._user, self._user.metadata, self._plane
        plane.guard.note_gone(self._key, user)  # else those still held would count as few, and go for good
        tags = {TAG_ORPHANED: rfc3339(plane.clock.now())}
        place = plane.installation.last_place_of(user)
        user_id = user.status.id or plane.installation.user_id(user)
        managed = names.role_name(plane.installation.owner, meta.namespace, meta.name)
        try:
            inventory = await plane.observe(self._key, place)
            live = inventory.users.get(user_id)
            if live is not None and await is_ours(plane, inventory, live.arn, USER_KIND, meta, is_to_change=True):
                await plane.aws(place).set_tags(live.arn, tags)
            if managed in inventory.roles:
                await plane.aws(place).tag_role(managed, tags)
        except OperatorError as error:
            log.warning("orphan not tagged", namespace=meta.namespace, name=meta.name, message=error.message)
        return True

    def _is_member(self, inventory: Inventory, user_id: str) -> bool:
        """Whether the group that we keep still has the user; without its UserGroup nobody would take it out."""
        key = group_key(self._user)
        try:
            group = self._plane.store.group(key)
        except InvalidResourceError:
            return False
        if group is None or group.metadata.is_deleting or not _is_worked_on(self._plane, group):
            return False  # AWS takes a deleted user out of its groups itself
        live = inventory.groups.get(self._plane.installation.group_id(group))
        return live is not None and (user_id in live.user_ids or user_id in live.future_user_ids)


def _is_worked_on(plane: Plane, group: UserGroup) -> bool:
    """Whether passes of a group change its members; else nobody would take the user out."""
    meta, spec, installation = group.metadata, group.spec, plane.installation
    if meta.is_on_hold or is_withdrawn(group):
        return False
    if not installation.may_use_account(meta.namespace, installation.place_of(group).account):
        return False
    return plane.refusal(GROUP_SYNCED, tags=spec.tags) is None


async def revoke_tokens(plane: Plane, user: ElastiCacheIAMUser, *, only: frozenset[str] | None = None) -> None:
    """End minting for a user and delete its Secrets, or those of some caches; what is done already is success.

    Args:
        plane: The control plane's hands.
        user: Whose tokens.
        only: The caches' aliases; None: all. Minting ends for all either way, until `allow_minting`.
    """
    meta = user.metadata
    key = (meta.namespace, meta.name)
    await plane.stop_minting(key)
    reports = plane.reports.get(key)
    base = user.spec.delivery.secret.name or meta.name
    # By name, too: a status that was copied with its resource speaks of another one's Secrets.
    secrets = {
        cache.name: cache.secret.uid
        for cache in user.status.caches
        if cache.secret is not None and cache.secret.name == names.secret_name(base, cache.name)
    }
    if reports is not None and reports.uid == meta.uid:
        secrets |= {alias: delivered.secret_uid for alias, delivered in reports.delivered.items()}
        reports.failed.clear()  # what goes on tells its failures anew
    for cache in user.status.caches:
        name = names.secret_name(base, cache.name)
        if cache.secret is None and not secrets.get(cache.name) and (only is None or cache.name in only):
            secrets[cache.name] = await _find_uid(plane, user, name)
    for alias, uid in secrets.items():
        if uid and (only is None or alias in only):
            await plane.kube.delete_secret(meta.namespace, names.secret_name(base, alias), uid=uid)
            if reports is not None:
                reports.delivered.pop(alias, None)


async def _find_uid(plane: Plane, user: ElastiCacheIAMUser, secret_name: str) -> str:
    """Return the uid of a Secret of a user that nobody noted, as after a crash; "" if there is none, or another's.

    Nothing may read it, so it is emptied on the way.
    """
    meta = user.metadata
    body = render_emptied_secret(
        meta.namespace, secret_name, name=meta.name, uid=meta.uid, owner=plane.installation.owner
    )
    try:
        return await plane.kube.reclaim_secret(meta.namespace, secret_name, body=body)
    except (NotFoundError, NotOwnedError):
        return ""
