"""One pass of a UserGroup: the only writer of its group in AWS, for the memberships of all its users."""

from collections.abc import Mapping
from typing import Final, assert_never

from elasticache_iam.api.base import Metadata
from elasticache_iam.api.group import CacheSpec, DefaultUserPolicy, DeletionPolicy, Engine, GroupCacheStatus, UserGroup
from elasticache_iam.api.keys import (
    FINALIZER,
    GROUP_KIND,
    TAG_KIND,
    TAG_NAME,
    TAG_NAMESPACE,
    TAG_OWNER,
    USER_KIND,
)
from elasticache_iam.api.parse import InvalidResourceError, salvage_group
from elasticache_iam.api.unsupported import unsupported_fields
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.admission import admit, admit_live, needs_namespace_labels
from elasticache_iam.core.errors import (
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
    QuotaExceededError,
)
from elasticache_iam.core.plan.attachment import STALLED_STATES, AttachmentState, Verdict, judge_attachment
from elasticache_iam.core.plan.group import (
    BUILT_IN_DEFAULT,
    DEFAULT_USER_ACCESS,
    CreateDefaultUser,
    CreateGroup,
    DesiredGroup,
    DisableDefaultUser,
    GroupAction,
    ModifyGroup,
    is_named_default,
    plan_group,
)
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedGroup, Place
from elasticache_iam.core.status import CACHES_ATTACHED, DEFAULT_USER_HARDENED, GROUP_STAGES, GROUP_SYNCED, Stage
from elasticache_iam.reconcile.plane import HELD_LOOK_S, Plane, is_ours
from elasticache_iam.reconcile.queue import USERS, Key

LOOK_AGAIN_S: Final = 30.0
MAX_STEPS: Final = 4
"""Writes of one pass: default user, group, members, and one re-read."""


class GroupReconciler:
    """Takes a UserGroup's AWS group to what the resource and its users ask."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass; return after how many seconds to look again, None: when woken."""
        plane = self._plane
        invalid = ""
        try:
            group = plane.store.group(key)
        except InvalidResourceError as error:
            group, invalid = salvage_group(plane.store.body(key) or {}), str(error)
        if group is None:
            plane.forget(key)
            return None
        if await plane.is_held(group.metadata):
            return HELD_LOOK_S if group.metadata.is_deleting else None
        if group.metadata.is_deleting:
            return await self._delete(key, group)
        if invalid:
            stages = [Stage.blocked(GROUP_SYNCED, "InvalidSpec", invalid)]
            return await plane.finish(
                key, group.metadata, group.status, group.status, stages, order=GROUP_STAGES, polling=False
            )
        return await _GroupPass(plane, key, group).run()

    async def _delete(self, key: Key, group: UserGroup) -> float | None:
        plane, meta, status = self._plane, group.metadata, group.status
        if FINALIZER not in meta.finalizers:
            return None
        polling = False
        try:
            waits_for = await self._next_step(key, group)
            if waits_for is None:
                await plane.remove_finalizer(key, meta)
                return None
            stage, polling = waits_for, True
        except OperatorError as error:
            polling = isinstance(error, BusyError | ConflictError)
            stage = Stage.failed(GROUP_SYNCED, error)
        if await plane.lets_go(key, meta, stage):
            return None
        return await plane.finish(key, meta, status, status, [stage], order=GROUP_STAGES, polling=polling)

    async def _next_step(self, key: Key, group: UserGroup) -> Stage | None:
        """Do the next step of deleting; return what it waits for, None when nothing of ours is left."""
        plane, meta, owner = self._plane, group.metadata, self._plane.installation.owner
        group_id = group.status.id or plane.installation.group_id(group)
        place = plane.installation.place_of(group)
        aws, inventory = plane.aws(place), await plane.observe(key, place)
        live = inventory.groups.get(group_id)
        if live is not None and (leaving := await _GroupPass(plane, key, group).find_leaving(live, inventory)):
            if live.is_active and await is_ours(plane, inventory, live.arn, GROUP_KIND, meta, is_to_change=True):
                await aws.modify_group(group_id, add=frozenset(), remove=leaving)
            message = f"{len(leaving)} user(s) that may not be in the group any more are leaving it"
            return Stage.waiting(GROUP_SYNCED, "MembersRemain", message, retry_after_s=5.0)
        if live is not None and (members := _members_left(plane, key, live, inventory)):
            message = f"deletion waits for {len(members)} ElastiCacheIAMUser(s): {', '.join(members[:5])}"
            return Stage.waiting(GROUP_SYNCED, "MembersRemain", message, retry_after_s=30.0)
        if group.spec.deletion_policy is DeletionPolicy.RETAIN:
            return None
        if live is not None and live.status == "deleting":
            return Stage.waiting(GROUP_SYNCED, "Deleting", f"AWS is deleting the group {group_id}", retry_after_s=5.0)
        if live is not None and await is_ours(plane, inventory, live.arn, GROUP_KIND, meta):
            using = sorted(ref.id for ref in live.cache_refs)
            if using:
                message = (
                    f"cache {', '.join(using)} uses the group; it is never detached, as that would leave the cache "
                    "open: attach another group or delete the cache, or set spec.deletionPolicy: Retain"
                )
                return Stage.waiting(GROUP_SYNCED, "StillAttached", message, retry_after_s=30.0)
            if live.is_active and await is_ours(plane, inventory, live.arn, GROUP_KIND, meta, is_to_change=True):
                await aws.delete_group(group_id)
            return Stage.waiting(GROUP_SYNCED, "Deleting", f"AWS is deleting the group {group_id}", retry_after_s=5.0)
        return await self._delete_default_user(place, inventory, meta, names.default_user_id(owner, group_id))

    async def _delete_default_user(
        self, place: Place, inventory: Inventory, meta: Metadata, user_id: str
    ) -> Stage | None:
        plane, default = self._plane, inventory.users.get(user_id)
        if default is None:
            return None
        if default.status != "deleting":
            if not await is_ours(plane, inventory, default.arn, GROUP_KIND, meta):
                return None
            if default.is_active and await is_ours(plane, inventory, default.arn, GROUP_KIND, meta, is_to_change=True):
                await plane.aws(place).delete_user(default.user_id)
        message = f"AWS is deleting the user {default.user_id}"
        return Stage.waiting(GROUP_SYNCED, "Deleting", message, retry_after_s=5.0)


def _members_left(plane: Plane, key: Key, live: ObservedGroup, inventory: Inventory) -> list[str]:
    """Return our users that are still in the group. Who only names it, or another's id, holds up nothing."""
    return [
        f"{user.metadata.namespace}/{user.metadata.name}"
        for user in plane.store.users_of(key)
        if plane.installation.user_id(user) in live.user_ids and _is_its_own(plane, user, inventory)
    ]


def _is_its_own(plane: Plane, user: ElastiCacheIAMUser, inventory: Inventory) -> bool:
    """Whether the AWS user that a resource names is that resource's: an id of its author's choice may be another's."""
    live = inventory.users.get(plane.installation.user_id(user))
    meta, owner = user.metadata, plane.installation.owner
    return live is not None and names.is_owned(
        inventory.tags.get(live.arn, {}), owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name
    )


class _GroupPass:
    """The state of one pass: what was found so far."""

    def __init__(self, plane: Plane, key: Key, group: UserGroup) -> None:
        self._plane = plane
        self._key = key
        self._group = group
        self._place = plane.installation.place_of(group)
        self._stages: list[Stage] = []
        self._polling = False
        self._fields: dict[str, object] = {}

    async def run(self) -> float | None:
        plane, group, key = self._plane, self._group, self._key
        installation = plane.installation
        unsupported = unsupported_fields(group.spec)
        refusal = plane.refusal(GROUP_SYNCED, group.metadata, unsupported=unsupported, tags=group.spec.tags)
        if not installation.may_use_account(group.metadata.namespace, self._place.account):
            refusal = Stage.blocked(
                GROUP_SYNCED,
                "AccountNotAllowed",
                f"spec.account: the operator's configuration doesn't let namespace {group.metadata.namespace} use "
                f"account {self._place.account}; have it added to accounts, or make a new UserGroup without it",
            )
        if refusal is not None:
            self._stages.append(refusal)
        else:
            stage = GROUP_SYNCED
            try:
                await plane.add_finalizer(key, group.metadata)
                live, inventory = await self._sync_group()
                if live is not None:
                    stage = CACHES_ATTACHED
                    await self._sync_attachments(live, inventory)
            except OperatorError as error:
                self._polling = isinstance(error, BusyError | ConflictError)
                self._stages.append(plane.failed_stage(key, stage, error))
        status = group.status.model_copy(update=self._fields)
        return await plane.finish(
            key,
            group.metadata,
            group.status,
            status,
            self._stages,
            order=GROUP_STAGES,
            polling=self._polling,
            ready_message="the group, its default user and its caches are as asked",
        )

    # -- group, default user, members ---------------------------------------------------------------------------------

    async def _sync_group(self) -> tuple[ObservedGroup | None, Inventory]:
        plane, spec = self._plane, self._group.spec
        meta, owner = self._group.metadata, plane.installation.owner
        group_id = plane.installation.group_id(self._group)
        self._fields["id"] = group_id
        needs_default = spec.engine is Engine.REDIS and spec.default_user is DefaultUserPolicy.DISABLED
        default_id = names.default_user_id(owner, group_id) if needs_default else None
        tags = {**spec.tags, **names.ownership_tags(owner, GROUP_KIND, meta.namespace, meta.name, meta.uid)}
        inventory = await plane.observe(self._key, self._place)
        for _ in range(MAX_STEPS):
            live = inventory.groups.get(group_id)
            if live is not None and not await is_ours(plane, inventory, live.arn, GROUP_KIND, meta):
                raise _not_owned(group_id)
            await self._check_default_user(default_id, inventory)
            ours = self._our_users(inventory)
            desired = DesiredGroup(
                group_id=group_id,
                engine=spec.engine.value,
                tags=tags,
                default_user_id=default_id,
                default_user_tags=tags,
                member_ids=frozenset(await self._admitted(inventory)) | self._members_of_others(inventory),
            )
            actions = plan_group(desired, live, users=inventory.users, ours=ours)
            if not actions:
                break
            if live is not None and not await is_ours(plane, inventory, live.arn, GROUP_KIND, meta, is_to_change=True):
                raise _not_owned(group_id)
            for action in actions:
                await self._apply(action, inventory)
            inventory = await plane.observe_again(self._place)
        live = inventory.groups.get(group_id)
        self._report_group(live, desired)
        return (live if live is not None and live.status not in {"creating", "deleting"} else None), inventory

    async def _check_default_user(self, user_id: str | None, inventory: Inventory) -> None:
        """Raise NotOwnedError where somebody else's user has the id of our disabled default user."""
        live = inventory.users.get(user_id or "")
        if live is None:
            return
        meta = self._group.metadata
        if live.user_name != BUILT_IN_DEFAULT or not await is_ours(self._plane, inventory, live.arn, GROUP_KIND, meta):
            raise NotOwnedError(
                f"the user {live.user_id} exists in AWS and isn't this group's disabled default user; delete it"
            )

    async def _apply(self, action: GroupAction, inventory: Inventory) -> None:
        aws = self._plane.aws(self._place)
        try:
            match action:
                case CreateDefaultUser():
                    await aws.create_default_user(action.user_id, engine=action.engine, tags=action.tags)
                case DisableDefaultUser():
                    await aws.set_access_string(action.user_id, DEFAULT_USER_ACCESS)
                case CreateGroup():
                    await aws.create_group(
                        action.group_id, engine=action.engine, user_ids=action.user_ids, tags=action.tags
                    )
                case ModifyGroup():
                    await self._modify_group(action, inventory)
                case _:
                    assert_never(action)
        except AlreadyExistsError:
            # Our own lost answer, or somebody else's: read back; the loop looks whose it is by its tags.
            await self._plane.observe_fresh(self._place)

    async def _modify_group(self, action: ModifyGroup, inventory: Inventory) -> None:
        """Change the members in one call; who has to go goes even if AWS takes none of those who come."""
        aws = self._plane.aws(self._place)
        try:
            await aws.modify_group(action.group_id, add=action.add, remove=action.remove)
        except (InvalidSpecError, QuotaExceededError, NotFoundError):
            leaving = frozenset(user_id for user_id in action.remove if not is_named_default(user_id, inventory.users))
            if action.add and leaving:
                await aws.modify_group(action.group_id, add=frozenset(), remove=leaving)
            raise

    def _report_group(self, live: ObservedGroup | None, desired: DesiredGroup) -> None:
        if live is None:
            self._polling = True
            message = f"AWS is creating the group {desired.group_id}"
            self._stages.append(Stage.waiting(GROUP_SYNCED, "Creating", message, retry_after_s=10.0))
            return
        self._fields["arn"] = live.arn
        self._fields["members"] = len(desired.member_ids & live.future_user_ids)
        if live.is_active:
            self._stages.append(Stage.ok(GROUP_SYNCED, "Synced", f"group {desired.group_id} is active"))
        else:
            self._polling = True
            message = f"AWS is at work on the group {desired.group_id} ({live.status})"
            self._stages.append(Stage.waiting(GROUP_SYNCED, "Updating", message, retry_after_s=10.0))
        if desired.default_user_id is None:
            reason, why = (
                ("NotNeeded", "a valkey group needs no default user")
                if desired.engine == "valkey"
                else ("Unmanaged", "spec.defaultUser is Unmanaged")
            )
            self._stages.append(Stage.ok(DEFAULT_USER_HARDENED, reason, why))
        elif desired.default_user_id in live.user_ids:
            self._stages.append(Stage.ok(DEFAULT_USER_HARDENED, "Disabled", "the default user can do nothing"))
        else:
            message = f"{desired.default_user_id} is taking the default user's place"
            self._stages.append(Stage.waiting(DEFAULT_USER_HARDENED, "Replacing", message, retry_after_s=10.0))

    def _our_users(self, inventory: Inventory) -> frozenset[str]:
        """Return the ids of members that we may remove: those we added, by their tag.

        A user whose resource can't be read any more (by a stricter version of ours, say) stays as it is.
        """
        owner = self._plane.installation.owner
        broken = {
            user.status.id or self._plane.installation.user_id(user)
            for user in self._plane.store.broken_users_of(self._key)
            if not user.metadata.is_deleting
        }
        return frozenset(
            user_id
            for user_id, user in inventory.users.items()
            if user_id not in broken and inventory.tags.get(user.arn, {}).get(TAG_OWNER) == owner
        )

    async def find_leaving(self, live: ObservedGroup, inventory: Inventory) -> frozenset[str]:
        """Return the members that must go, while the group itself is on its way out: it still opens its caches."""
        if not await is_ours(self._plane, inventory, live.arn, GROUP_KIND, self._group.metadata):
            return frozenset()
        stay = frozenset(await self._admitted(inventory)) | self._members_of_others(inventory)
        leaving = (live.future_user_ids & self._our_users(inventory)) - stay
        return frozenset(user_id for user_id in leaving if not is_named_default(user_id, inventory.users))

    def _members_of_others(self, inventory: Inventory) -> frozenset[str]:
        """Return `spec.members` without users that are resources here: those come in by admission alone."""
        owner, store = self._plane.installation.owner, self._plane.store

        def is_resource(user_id: str) -> bool:
            live = inventory.users.get(user_id)
            tags = inventory.tags.get(live.arn, {}) if live is not None else {}
            key = Key(USERS, tags.get(TAG_NAMESPACE, ""), tags.get(TAG_NAME, ""))
            return (tags.get(TAG_OWNER), tags.get(TAG_KIND)) == (owner, USER_KIND) and store.body(key) is not None

        return frozenset(user_id for user_id in self._group.spec.members if not is_resource(user_id))

    async def _admitted(self, inventory: Inventory) -> list[str]:
        plane = self._plane
        members: list[str] = []
        labels_of: dict[str, Mapping[str, str]] = {}
        for user in plane.store.users_of(self._key):
            meta = user.metadata
            if meta.is_deleting or user.spec.suspend:
                continue
            if meta.namespace not in labels_of:
                needed = needs_namespace_labels(self._group)
                labels_of[meta.namespace] = await self._labels(meta.namespace) if needed else {}
            labels = labels_of[meta.namespace]
            if not admit(self._group, user, labels).ok:
                continue
            user_id = plane.installation.user_id(user)
            live = inventory.users.get(user_id)
            if live is None or live.auth_mode != "iam" or not _is_its_own(plane, user, inventory):
                continue
            if admit_live(self._group, user, labels, live):
                members.append(user_id)
        return members

    async def _labels(self, namespace: str) -> Mapping[str, str]:
        try:
            return await self._plane.kube.get_namespace_labels(namespace)
        except NotFoundError:
            return {}

    # -- caches -------------------------------------------------------------------------------------------------------

    async def _sync_attachments(self, live: ObservedGroup, inventory: Inventory) -> None:
        spec, plane = self._group.spec, self._plane
        left = sorted(live.cache_refs - {cache_ref(cache) for cache in spec.caches})
        verdicts: list[Verdict] = []
        caches: list[GroupCacheStatus] = []
        failure: OperatorError | None = None
        for wanted in spec.caches:
            ref = cache_ref(wanted)
            cache = inventory.caches.get(ref)
            verdict = await self._judge(wanted, ref, cache, live, inventory)
            if verdict.state is AttachmentState.READY_TO_ATTACH:
                if self._was_attached(wanted):
                    note = f"cache {ref.id} was left open: its group was detached behind our back; attaching it again"
                    await plane.post_event(self._key, self._group.metadata, reason="CacheOpen", note=note, warning=True)
                try:
                    await plane.aws(self._place).attach_group(ref, live.group_id)
                    verdict = Verdict(AttachmentState.ATTACHING, f"AWS is attaching the group to cache {ref.id}")
                except OperatorError as error:  # told at the end: the other caches don't wait for this one
                    failure = failure or error
            verdicts.append(verdict)
            caches.append(_cache_status(wanted, ref, cache, verdict.state))
        self._fields["caches"] = tuple(caches)
        if failure is not None:
            raise failure
        pending = [verdict for verdict in verdicts if verdict.state is not AttachmentState.ATTACHED]
        if not pending:
            self._stages.append(_attached_stage(live.group_id, caches, left))
            return
        worst = next((verdict for verdict in pending if verdict.state in STALLED_STATES), pending[0])
        message = "; ".join(verdict.message for verdict in pending)
        if worst.state in STALLED_STATES:
            stage = Stage.blocked(CACHES_ATTACHED, worst.state.value, message, retry_after_s=LOOK_AGAIN_S)
        else:
            stage = Stage.waiting(CACHES_ATTACHED, worst.state.value, message, retry_after_s=LOOK_AGAIN_S)
        self._stages.append(stage)
        moving = {AttachmentState.ATTACHING, AttachmentState.CACHE_BUSY, AttachmentState.CACHE_NOT_FOUND}
        if any(verdict.state in moving for verdict in pending):
            self._polling = True

    async def _judge(
        self,
        wanted: CacheSpec,
        ref: CacheRef,
        cache: ObservedCache | None,
        live: ObservedGroup,
        inventory: Inventory,
    ) -> Verdict:
        plane, meta, owner = self._plane, self._group.metadata, self._plane.installation.owner
        verdict = judge_attachment(
            ref.id,
            cache,
            live,
            consented=True,
            consent=f"{owner}/{meta.namespace}",
            claimed_by=self._claimed_by(cache, inventory.tags.get(cache.arn, {})) if cache is not None else None,
            policy=self._group.spec.attachment.policy,
            was_attached=self._was_attached(wanted),
        )
        asks_consent = verdict.state in {AttachmentState.READY_TO_ATTACH, AttachmentState.ATTACHMENT_REFUSED}
        if not asks_consent or cache is None:
            return verdict
        tags = await plane.aws(self._place).list_tags(cache.arn)  # read now, as the cache is about to be changed
        return judge_attachment(
            ref.id,
            cache,
            live,
            consented=self._consents(cache, tags, meta.namespace),
            consent=f"{owner}/{meta.namespace}",
            claimed_by=self._claimed_by(cache, tags),
            policy=self._group.spec.attachment.policy,
            was_attached=self._was_attached(wanted),
        )

    def _was_attached(self, wanted: CacheSpec) -> bool:
        held = {AttachmentState.ATTACHED.value, AttachmentState.ATTACHING.value}
        # By id, too: under the same alias another cache may stand now, which was never ours to attach to.
        return any(
            (cache.name, cache.id) == (wanted.name, cache_ref(wanted).id) and cache.state in held
            for cache in self._group.status.caches
        )

    def _consents(self, cache: ObservedCache, tags: Mapping[str, str], namespace: str) -> bool:
        """Whether the cache's owner lets a namespace use it, by the cache's tags or by our configuration."""
        installation = self._plane.installation
        trusted = cache.arn in installation.config.trusted_caches
        return trusted or names.consents(tags, owner=installation.owner, namespace=namespace)

    def _claimed_by(self, cache: ObservedCache, tags: Mapping[str, str]) -> str | None:
        """Return the older UserGroup that holds a cache: one that is on it, or may be. Naming it alone is no claim."""
        mine = self._group.metadata
        rank = (str(mine.creation_timestamp), mine.namespace, mine.name)
        for other in self._plane.store.groups():
            meta = other.metadata
            if meta.is_deleting or (str(meta.creation_timestamp), meta.namespace, meta.name) >= rank:
                continue
            holds = self._plane.installation.group_id(other) in cache.future_group_ids
            if (holds or self._consents(cache, tags, meta.namespace)) and any(
                cache_ref(listed) == cache.ref for listed in other.spec.caches
            ):
                return f"{meta.namespace}/{meta.name}"
        return None


def _not_owned(group_id: str) -> NotOwnedError:
    return NotOwnedError(f"the user group {group_id} exists in AWS and isn't ours; choose another spec.id or delete it")


def _attached_stage(group_id: str, caches: list[GroupCacheStatus], left: list[CacheRef]) -> Stage:
    """Say that the group is on all of its caches, or on more than those.

    Args:
        group_id: The group in AWS.
        caches: Those that the resource names.
        left: Those that it names no longer.
    """
    if left:
        message = (
            f"cache {', '.join(ref.id for ref in left)} isn't in spec.caches any more but still uses the group; it is "
            "never detached, as that would leave the cache open: put it back, or have its owner attach another group "
            f"({_exchange_command(left[0], group_id)})"
        )
        return Stage.waiting(CACHES_ATTACHED, "StillAttached", message, retry_after_s=300.0)
    if not caches:
        return Stage.ok(CACHES_ATTACHED, "NoCaches", "spec.caches is empty")
    return Stage.ok(CACHES_ATTACHED, "Attached", f"on {', '.join(cache.id for cache in caches)}")


def _exchange_command(cache: CacheRef, group_id: str) -> str:
    """Return the command that gives a cache another group in our group's place."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return (
                f"aws elasticache modify-replication-group --replication-group-id {cache.id} "
                f"--user-group-ids-to-remove {group_id} --user-group-ids-to-add OTHER --apply-immediately"
            )
        case CacheKind.SERVERLESS_CACHE:
            return f"aws elasticache modify-serverless-cache --serverless-cache-name {cache.id} --user-group-id OTHER"
        case CacheKind.MEMORYDB_CLUSTER:
            return f"aws memorydb update-cluster --cluster-name {cache.id} --acl-name OTHER"


def cache_ref(cache: CacheSpec) -> CacheRef:
    """Return which cache a spec names."""
    if cache.replication_group is not None:
        return CacheRef(CacheKind.REPLICATION_GROUP, cache.replication_group)
    if cache.serverless_cache is not None:
        return CacheRef(CacheKind.SERVERLESS_CACHE, cache.serverless_cache)
    return CacheRef(CacheKind.MEMORYDB_CLUSTER, cache.memory_db_cluster or "")


def _cache_status(
    wanted: CacheSpec, ref: CacheRef, cache: ObservedCache | None, state: AttachmentState
) -> GroupCacheStatus:
    if cache is None:
        return GroupCacheStatus(name=wanted.name, id=ref.id, state=state.value)
    return GroupCacheStatus(
        name=wanted.name,
        id=ref.id,
        arn=cache.arn,
        host=cache.host,
        port=cache.port,
        reader_host=cache.reader_host,
        engine_version=cache.engine_version,
        state=state.value,
    )
