"""One pass of a UserGroup: the only writer of its group in AWS, for the memberships of all its users."""

from collections.abc import Awaitable
from typing import Final, TypeVar, assert_never

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.group import (
    DefaultUserPolicy,
    Engine,
    GroupAdoption,
    Membership,
    Service,
    UserGroup,
    UserGroupStatus,
)
from elasticache_iam.api.keys import GROUP_KIND
from elasticache_iam.api.parse import salvage_group
from elasticache_iam.core import names
from elasticache_iam.core.admission import CONSENT_MISSING
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConflictError,
    ContestedError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
    QuotaExceededError,
)
from elasticache_iam.core.plan.attachment import AttachmentState
from elasticache_iam.core.plan.group import (
    BUILT_IN_DEFAULT,
    DEFAULT_USER_ACCESS,
    MANY_MEMBERS,
    MAX_MEMBERS,
    CreateDefaultUser,
    CreateGroup,
    DesiredGroup,
    DisableDefaultUser,
    GroupAction,
    ModifyGroup,
    SetGroupEngine,
    is_named_default,
    needed_default_user,
    plan_group,
    plan_members,
)
from elasticache_iam.core.plan.tags import plan_tags
from elasticache_iam.core.quotas import find_near_end
from elasticache_iam.core.state import Inventory, ObservedGroup
from elasticache_iam.core.status import (
    CACHES_ATTACHED,
    DEFAULT_USER_HARDENED,
    GROUP_STAGES,
    GROUP_SYNCED,
    Stage,
    was_true,
)
from elasticache_iam.reconcile.group.adoption import Holding
from elasticache_iam.reconcile.group.attachment import Attacher
from elasticache_iam.reconcile.group.deletion import GroupDeletion
from elasticache_iam.reconcile.group.membership import (
    Belonging,
    MemberDrift,
    find_belonging,
    find_drift,
)
from elasticache_iam.reconcile.opening import open_pass
from elasticache_iam.reconcile.plane import Plane, is_ours
from elasticache_iam.reconcile.queue import Key

MAX_STEPS: Final = 6
"""Writes of one pass: adoption, default user, group, members, engine, and one re-read."""

MOST_TRIED_ALONE: Final = 10
"""So many members are tried one by one in a pass, after AWS has refused all of them together."""

T = TypeVar("T")


class GroupReconciler:
    """Takes a UserGroup's AWS group to what the resource and its users ask."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._seen: dict[Key, frozenset[str]] = {}
        self._told_quotas: set[str] = set()

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass; return after how many seconds to look again, None: when woken."""
        plane = self._plane
        if key not in plane.store:
            self._seen.pop(key, None)
            plane.guard.forget_group(key)
        return await open_pass(
            plane,
            key,
            read=plane.store.group,
            salvage=salvage_group,
            order=GROUP_STAGES,
            delete=lambda group: GroupDeletion(plane, key, group).run(),
            work=lambda group: _GroupPass(plane, key, group, self._seen, self._told_quotas).run(),
        )


class _GroupPass:
    """The state of one pass: what was found so far.

    Args:
        plane: The control plane's hands.
        key: The group.
        group: Its resource.
        seen: The members of all groups as the last passes left them; forgetting costs an Event about a repair.
        told_quotas: Quotas that an Event has told of, of all groups; forgetting costs another Event.
    """

    def __init__(
        self, plane: Plane, key: Key, group: UserGroup, seen: dict[Key, frozenset[str]], told_quotas: set[str]
    ) -> None:
        self._plane = plane
        self._key = key
        self._group = group
        self._meta = group.metadata
        self._seen = seen
        self._told_quotas = told_quotas
        self._place = plane.installation.place_of(group)
        self._group_id = plane.installation.group_id(group)
        self._holding = Holding(plane, key, group)
        self._attacher = Attacher(plane, key, group)
        self._was_in_sync = was_true(group.status.conditions, GROUP_SYNCED, group.metadata.generation)
        self._is_held = False
        self._saw_caches = False
        self._stages: list[Stage] = []
        self._polling = False
        self._fields: dict[str, object] = {}

    async def run(self) -> float | None:
        """Do the pass; return after how many seconds to look again."""
        plane, group, key = self._plane, self._group, self._key
        refusal = self._find_refusal()
        if refusal is not None:
            self._stages.append(refusal)
        else:
            await self._guard(GROUP_SYNCED, self._sync_group())
            # Also where something about its members fails: no cache is left open for that.
            if self._is_held and not self._saw_caches:
                await self._guard(CACHES_ATTACHED, self._sync_attachments())
        status = group.status.model_copy(update=self._fields)
        again_s = await plane.finish(
            key,
            self._meta,
            group.status,
            status,
            self._stages,
            order=GROUP_STAGES,
            polling=self._polling,
            ready_message="the group, its default user and its caches are as asked",
        )
        self._tell_users(status)
        return again_s

    def _tell_users(self, status: UserGroupStatus) -> None:
        """Have the users looked at if the group stands anew, or its caches do: they act on what the status says."""
        before = self._group.status
        if (before.arn, before.caches) == (status.arn, status.caches):
            return
        for user in self._plane.store.user_keys_of(self._key):
            self._plane.queue.wake(user)
        if _withheld(before) != _withheld(status):
            self._plane.queue.wake(self._key)  # who is a member depends on it

    def _find_refusal(self) -> Stage | None:
        """Return why nothing at all is done for the resource, None if it can be worked on."""
        plane, spec, meta = self._plane, self._group.spec, self._meta
        if not plane.installation.may_use_account(meta.namespace, self._place.account):
            return Stage.blocked(
                GROUP_SYNCED,
                "AccountNotAllowed",
                f"spec.account: the operator's configuration doesn't let namespace {meta.namespace} use "
                f"account {self._place.account}; have it added to accounts, or make a new UserGroup without it",
            )
        if moved := plane.installation.find_move(self._group):
            return Stage.blocked(GROUP_SYNCED, "IdentityChanged", moved)
        return plane.refusal(GROUP_SYNCED, tags=spec.tags)

    async def _guard(self, stage: str, work: Awaitable[T]) -> T | None:
        """Do the work of one stage; its failure is that stage's condition."""
        try:
            return await work
        except OperatorError as error:
            self._polling = self._polling or isinstance(error, BusyError | ConflictError)
            self._stages.append(self._plane.failed_stage(self._key, stage, error))
            return None

    # -- group, default user, members ---------------------------------------------------------------------------------

    async def _sync_group(self) -> None:
        plane = self._plane
        await plane.add_finalizer(self._key, self._meta)
        self._fields["id"] = self._group_id
        inventory = await plane.observe(self._key, self._place)
        for _ in range(MAX_STEPS):
            live = inventory.groups.get(self._group_id)
            belonging = await find_belonging(plane, self._key, self._group, live, inventory)
            desired = self._desired(belonging)
            if await self._take(live, inventory, desired, belonging):
                inventory = await plane.observe_again(self._place)
                continue
            await self._check_default_user(needed_default_user(desired, live), inventory)
            actions = plan_group(
                desired,
                live,
                users=inventory.users,
                ours=belonging.ours,
                redis_caches=_redis_caches(live, inventory),
            )
            if not actions or await self._attach_first(live, actions):
                break
            if live is not None and not await self._holding.may_change(live, inventory):
                continue  # its own tags are news: whose it is now is looked at again
            for action in actions:
                await self._apply(action, belonging, inventory)
            inventory = await plane.observe_again(self._place)
        live = inventory.groups.get(self._group_id)
        if live is not None and live.is_active:
            await self._sync_tags(desired, live, inventory)
        self._report_group(live, desired, belonging, inventory)
        await self._tell_quotas(inventory)

    def _desired(self, belonging: Belonging) -> DesiredGroup:
        spec, owner = self._group.spec, self._plane.installation.owner
        has_engine = spec.service is Service.ELASTICACHE
        is_managed = has_engine and spec.default_user is DefaultUserPolicy.DISABLED and not self._holding.is_lent
        meta = self._meta
        tags = {**spec.tags, **names.ownership_tags(owner, GROUP_KIND, meta.namespace, meta.name, meta.uid)}
        return DesiredGroup(
            group_id=self._group_id,
            engine=spec.engine.value if has_engine else "",
            tags=tags,
            default_user_id=names.default_user_id(owner, self._group_id) if is_managed else None,
            default_user_tags=tags,
            member_ids=belonging.member_ids,
            is_exclusive=spec.membership is Membership.AUTHORITATIVE,
            is_lent=self._holding.is_lent,
        )

    async def _take(
        self, live: ObservedGroup | None, inventory: Inventory, desired: DesiredGroup, belonging: Belonging
    ) -> bool:
        """Make sure that the group may be worked on; return whether it was taken over just now."""
        self._is_held = False
        try:
            is_news = await self._holding.take(live, inventory, desired)
        except OperatorError as error:
            if self._holding.is_lent and error.reason == CONSENT_MISSING:
                self._fields |= {"arn": "", "members": 0, "caches": self._attacher.withhold()}
                await self._leave(live, belonging, error)
            raise
        if live is not None and not is_news:
            self._is_held = True
            self._fields["arn"] = live.arn
        return is_news

    async def _leave(self, live: ObservedGroup | None, belonging: Belonging, why: OperatorError) -> None:
        """Take all our members out of a group that isn't lent to us any more, as far as AWS still lets us."""
        ours = live.user_ids & belonging.ours - live.pending_remove if live is not None else frozenset()
        if live is None or not ours:
            return
        try:
            await self._plane.aws(self._place).modify_group(live.group_id, add=frozenset(), remove=ours)
        except BusyError:
            self._polling = True
        except AccessDeniedError:
            why.message += (
                f". {', '.join(sorted(ours))} get no tokens any more, but are still in it, and the operator has no "
                "right to take them out: its owner, or the deletion of these users, does"
            )

    async def _check_default_user(self, user_id: str | None, inventory: Inventory) -> None:
        """Raise NotOwnedError where somebody else's user has the id of our disabled default user."""
        live = inventory.users.get(user_id or "")
        if live is None:
            return
        if live.user_name != BUILT_IN_DEFAULT or not await is_ours(
            self._plane, inventory, live.arn, GROUP_KIND, self._meta
        ):
            raise NotOwnedError(
                f"the user {live.user_id} exists in AWS and isn't this group's disabled default user; delete it"
            )

    async def _apply(self, action: GroupAction, belonging: Belonging, inventory: Inventory) -> None:
        aws = self._plane.aws(self._place)
        try:
            match action:
                case CreateDefaultUser():
                    await aws.create_default_user(action.user_id, engine=action.engine, tags=action.tags)
                case DisableDefaultUser():
                    await self._tell_default_user(action.user_id, inventory)
                    await aws.set_access_string(action.user_id, DEFAULT_USER_ACCESS)
                case CreateGroup():
                    await aws.create_group(
                        action.group_id, engine=action.engine, user_ids=action.user_ids, tags=action.tags
                    )
                case ModifyGroup():
                    await self._modify_group(action, belonging, inventory)
                case SetGroupEngine():
                    await aws.set_group_engine(action.group_id, action.engine)
                case _:
                    assert_never(action)
        except AlreadyExistsError:
            # Our own lost answer, or somebody else's: read back; the loop looks whose it is by its tags.
            await self._plane.observe_fresh(self._place)

    async def _tell_default_user(self, user_id: str, inventory: Inventory) -> None:
        was = f'it was "{inventory.users[user_id].access_string}"'
        try:
            await self._plane.repair(self._key, self._meta, f"the access string of user {user_id}", was)
        except ContestedError:  # told in an Event; no reason to leave a door open
            return

    async def _modify_group(self, action: ModifyGroup, belonging: Belonging, inventory: Inventory) -> None:
        """Change the members in one call. Whom we made and who has to go goes in any case."""
        drift = find_drift(action, self._seen.get(self._key))
        contested: ContestedError | None = None
        if drift:
            try:
                await self._plane.repair(self._key, self._meta, f"the members of group {action.group_id}", str(drift))
            except ContestedError as error:
                contested = error
                action = _without(action, drift, belonging, inventory)
        if action.add or action.remove:
            await self._tell_removed(action, belonging, inventory)
            await self._try_modify(action, inventory)
            if self._key in self._seen:
                self._seen[self._key] = (self._seen[self._key] | action.add) - action.remove
        if contested is not None:
            raise contested

    async def _tell_removed(self, action: ModifyGroup, belonging: Belonging, inventory: Inventory) -> None:
        """Name the members that go although we didn't add them."""
        removed = sorted(
            user_id for user_id in action.remove - belonging.ours if not is_named_default(user_id, inventory.users)
        )
        if removed:
            note = (
                f"taking {', '.join(removed)} out of the group {action.group_id}: spec.membership is Authoritative, "
                "and neither spec.members nor a resource asks for them"
            )
            await self._plane.post_event(self._key, self._meta, reason="MembersRemoved", note=note, warning=True)

    async def _try_modify(self, action: ModifyGroup, inventory: Inventory) -> None:
        """Change members; who has to go goes even if AWS takes none of those who come, and one bad one stops no other.

        Raises:
            OperatorError: AWS's answer to all of it in one call.
        """
        aws = self._plane.aws(self._place)
        refusals = (InvalidSpecError, QuotaExceededError, NotFoundError)
        try:
            await aws.modify_group(action.group_id, add=action.add, remove=action.remove)
        except refusals:
            leaving = frozenset(user_id for user_id in action.remove if not is_named_default(user_id, inventory.users))
            coming = sorted(user_id for user_id in action.add if not is_named_default(user_id, inventory.users))
            if action.add and leaving:
                await aws.modify_group(action.group_id, add=frozenset(), remove=leaving)
            elif len(coming) > 1:
                for user_id in coming[:MOST_TRIED_ALONE]:
                    try:
                        await aws.modify_group(action.group_id, add=frozenset({user_id}), remove=frozenset())
                    except refusals:
                        continue
                    break  # the group is busy with this one; the next pass goes on
            raise

    # -- tags ---------------------------------------------------------------------------------------------------------

    async def _sync_tags(self, desired: DesiredGroup, live: ObservedGroup, inventory: Inventory) -> None:
        """Put our tags, and the resource's, back onto the group and its default user."""
        if self._holding.is_lent:
            return
        await self._sync_tags_of(f"group {live.group_id}", live.arn, desired, inventory)
        default = inventory.users.get(desired.default_user_id or "")
        if default is not None and default.is_active:
            await self._sync_tags_of(f"user {default.user_id}", default.arn, desired, inventory)

    async def _sync_tags_of(self, what: str, arn: str, desired: DesiredGroup, inventory: Inventory) -> None:
        plane, aws = self._plane, self._plane.aws(self._place)
        allowed = plane.installation.config.allowed_tag_keys
        is_ours_alone = self._group.spec.adoption is GroupAdoption.NEVER
        known = inventory.tags.get(arn, {})
        if plan_tags(desired.tags, known, allowed=allowed, is_ours_alone=is_ours_alone) is None:
            return
        own = await aws.list_tags(arn)  # pages may be old
        change = plan_tags(desired.tags, own, allowed=allowed, is_ours_alone=is_ours_alone)
        owner, meta = plane.installation.owner, self._meta
        is_its_own = names.is_owned(own, owner=owner, kind=GROUP_KIND, namespace=meta.namespace, name=meta.name)
        if change is None or not is_its_own:
            return
        if self._was_in_sync and not change.is_of_a_restored_cluster:
            was = f"changed: {', '.join(change.keys)}"
            await plane.repair(self._key, meta, f"the tags of {what}", was)
        if change.put:
            await aws.set_tags(arn, change.put)
        if change.remove:
            await aws.remove_tags(arn, change.remove)

    # -- what is told -------------------------------------------------------------------------------------------------

    def _report_group(
        self, live: ObservedGroup | None, desired: DesiredGroup, belonging: Belonging, inventory: Inventory
    ) -> None:
        if live is None:
            self._polling = True
            message = f"AWS is creating the group {desired.group_id}"
            self._stages.append(Stage.waiting(GROUP_SYNCED, "Creating", message, retry_after_s=10.0))
            return
        self._seen[self._key] = live.future_user_ids
        self._fields["members"] = len(live.future_user_ids & set(belonging.resources))
        members = plan_members(desired, live, users=inventory.users, ours=belonging.ours)
        count = len(live.future_user_ids)
        kept = belonging.strays.kept
        room = f"; {count} of {MAX_MEMBERS} members, which is AWS's limit" if count >= MANY_MEMBERS else ""
        if not live.is_active:
            self._polling = True
            leaving = f", taking out {', '.join(sorted(live.pending_remove))}" if live.pending_remove else ""
            message = f"AWS is at work on the group {desired.group_id} ({live.status}{leaving})"
            self._stages.append(Stage.waiting(GROUP_SYNCED, "Updating", message, retry_after_s=10.0))
        elif members.without_room:
            message = (
                f"group {desired.group_id} is full{room}: no room for {', '.join(members.without_room)}; take members "
                "out, or make another UserGroup"
            )
            self._stages.append(Stage.waiting(GROUP_SYNCED, "GroupFull", message, retry_after_s=300.0))
        elif members.refused:
            whom = "; ".join(f"{user_id}: {why}" for user_id, why in members.refused.items())
            message = f"AWS wouldn't take these into the group {desired.group_id}: {whom}"
            self._stages.append(Stage.waiting(GROUP_SYNCED, "MembersMissing", message, retry_after_s=60.0))
        elif kept.user_ids:
            self._stages.append(
                Stage.waiting(GROUP_SYNCED, "MembersWithoutResource", kept.message, retry_after_s=kept.retry_after_s)
            )
        else:
            unwatched = len(belonging.strays.unwatched)
            others = f"; {unwatched} member(s) of namespaces that aren't watched stay in it" if unwatched else ""
            quotas = "".join(f"; {quota}" for quota in find_near_end(inventory, self._place))
            message = f"group {desired.group_id} is active{room}{others}{quotas}"
            self._stages.append(Stage.ok(GROUP_SYNCED, "Synced", message))
        self._stages.append(self._judge_default_user(live, desired))

    async def _tell_quotas(self, inventory: Inventory) -> None:
        """Post an Event about a quota that is nearly used up: one, by the first group that sees it."""
        before = " ".join(known.message for known in self._group.status.conditions if known.type == GROUP_SYNCED)
        for quota in find_near_end(inventory, self._place):
            is_news = quota.of not in self._told_quotas and quota.of not in before
            self._told_quotas.add(quota.of)  # before it is posted: other groups' passes go on meanwhile
            if is_news:
                await self._plane.post_event(
                    self._key, self._meta, reason="QuotaNearlyUsed", note=str(quota), warning=True
                )

    def _judge_default_user(self, live: ObservedGroup, desired: DesiredGroup) -> Stage:
        if self._holding.is_lent:
            message = "the group is somebody else's (adoption: Reference), and its default user is their business"
            return Stage.ok(DEFAULT_USER_HARDENED, "Unmanaged", message)
        if self._group.spec.service is Service.MEMORYDB:
            return Stage.ok(DEFAULT_USER_HARDENED, "NotNeeded", "no ACL but open-access can hold the default user")
        if Engine.REDIS.value not in {live.engine, desired.engine}:
            return Stage.ok(DEFAULT_USER_HARDENED, "NotNeeded", "a valkey group needs no default user")
        if desired.default_user_id is None:
            return Stage.ok(DEFAULT_USER_HARDENED, "Unmanaged", "spec.defaultUser is Unmanaged")
        if desired.default_user_id in live.user_ids:
            return Stage.ok(DEFAULT_USER_HARDENED, "Disabled", "the default user can do nothing")
        message = f"{desired.default_user_id} is taking the default user's place"
        return Stage.waiting(DEFAULT_USER_HARDENED, "Replacing", message, retry_after_s=10.0)

    # -- caches -------------------------------------------------------------------------------------------------------

    async def _attach_first(self, live: ObservedGroup | None, actions: tuple[GroupAction, ...]) -> bool:
        """Attach a group that is on no cache yet before more members join; return whether AWS is at work on that.

        A group that is being modified can't be attached: with a crowd of new members it would never come to that.
        """
        joins_only = all(isinstance(action, ModifyGroup) and not action.remove for action in actions)
        if self._saw_caches or live is None or not live.is_active or live.cache_refs or not joins_only:
            return False
        return bool(await self._guard(CACHES_ATTACHED, self._sync_attachments()))

    async def _sync_attachments(self) -> bool:
        """Look at the caches, and attach the group where that is allowed; return whether it is being attached."""
        self._saw_caches = True
        inventory = await self._plane.observe_again(self._place)
        live = inventory.groups.get(self._group_id)
        if live is None or live.status in {"creating", "deleting"}:
            return False
        in_order = {"Synced", "Updating", "GroupFull", "MembersMissing", "MembersWithoutResource"}
        synced = next((stage for stage in self._stages if stage.type == GROUP_SYNCED), None)
        is_ready = synced is None or synced.status is ConditionStatus.TRUE or synced.reason in in_order
        found = await self._attacher.attach(live, inventory, is_group_ready=is_ready)
        self._fields["caches"] = found.caches
        self._polling = self._polling or found.polling
        if found.failure is not None:
            raise found.failure
        self._stages.append(found.stage)
        return any(cache.state == AttachmentState.ATTACHING.value for cache in found.caches)


def _without(action: ModifyGroup, drift: MemberDrift, belonging: Belonging, inventory: Inventory) -> ModifyGroup:
    """Return the part of a change that isn't contested, or that must be: a disabled default user, and who has to go."""

    def may_wait(user_ids: frozenset[str]) -> frozenset[str]:
        return frozenset(user_id for user_id in user_ids if not is_named_default(user_id, inventory.users))

    return ModifyGroup(
        action.group_id,
        add=action.add - may_wait(drift.taken_out),
        remove=action.remove - may_wait(drift.put_in - belonging.ours),
    )


def _withheld(status: UserGroupStatus) -> frozenset[str]:
    missing = AttachmentState.CONSENT_MISSING.value
    return frozenset(cache.name for cache in status.caches if cache.state == missing)


def _redis_caches(live: ObservedGroup | None, inventory: Inventory) -> frozenset[str]:
    """Return the ids of the redis caches that a group is on, or about to be."""
    if live is None:
        return frozenset()
    return frozenset(
        ref.id
        for ref, cache in inventory.caches.items()
        if cache.engine == Engine.REDIS.value and (live.group_id in cache.future_group_ids or ref in live.cache_refs)
    )
