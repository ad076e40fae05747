"""One pass of an ElastiCacheIAMUser: user, role, membership, and what the token plane reports."""

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import TAG_OWNER, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError, salvage_user
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser, RoleMode, RoleStatus, UserCacheStatus
from elasticache_iam.core import names
from elasticache_iam.core.admission import CONSENT_MISSING, admit, needs_namespace_labels
from elasticache_iam.core.errors import BusyError, ConflictError, OperatorError
from elasticache_iam.core.mint import TokenReports, asked_refresh
from elasticache_iam.core.plan.attachment import cache_ref, cache_status
from elasticache_iam.core.plan.chain import digest_chain, next_chain, shows_repair
from elasticache_iam.core.plan.group import MAX_MEMBERS, is_full
from elasticache_iam.core.plan.tokens import (
    binding_of,
    choose_caches,
    login_stage,
    no_token_stages,
    self_signed_stages,
    token_stage,
    with_secret,
)
from elasticache_iam.core.state import Inventory, ObservedGroup
from elasticache_iam.core.status import (
    ACCESS_GRANTED,
    MEMBERSHIP_SYNCED,
    TOKEN_DELIVERED,
    USER_STAGES,
    USER_SYNCED,
    VERIFIED,
    Stage,
    condition_of,
)
from elasticache_iam.reconcile.opening import open_pass
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import GROUPS, Key
from elasticache_iam.reconcile.store import group_key
from elasticache_iam.reconcile.user.aws_user import AwsUser
from elasticache_iam.reconcile.user.config_map import ConfigMaps
from elasticache_iam.reconcile.user.consumers import Consumers
from elasticache_iam.reconcile.user.deletion import UserDeletion, revoke_tokens
from elasticache_iam.reconcile.user.diagnosis import Examination
from elasticache_iam.reconcile.user.rivals import rivals_of, secret_names
from elasticache_iam.reconcile.user.role import WorkloadRole
from elasticache_iam.reconcile.user.subject import Findings, Memory, RefusedError, Subject

T = TypeVar("T")


class UserReconciler:
    """Takes an ElastiCacheIAMUser's AWS user, role and membership to what the resource asks."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._memory = Memory()
        self._config_maps = ConfigMaps(plane)
        self._consumers = Consumers(plane.kube, plane.clock)

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass; return after how many seconds to look again, None: when woken."""
        plane = self._plane
        if key not in plane.store:
            self._memory.forget(key)
            self._config_maps.forget(key)
        return await open_pass(
            plane,
            key,
            read=plane.store.user,
            salvage=salvage_user,
            order=USER_STAGES,
            delete=lambda user: UserDeletion(plane, key, user).run(),
            work=lambda user: _UserPass(
                plane, key, user, _Shared(self._memory, self._config_maps, self._consumers)
            ).run(),
        )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all passes of users have in common, and remember."""

    memory: Memory
    config_maps: ConfigMaps
    consumers: Consumers


class _UserPass:
    """The state of one pass: what was found so far."""

    def __init__(self, plane: Plane, key: Key, user: ElastiCacheIAMUser, shared: "_Shared") -> None:
        self._plane = plane
        self._key = key
        self._user = user
        self._memory = shared.memory
        self._config_maps = shared.config_maps
        self._consumers = shared.consumers
        self._findings = Findings()
        self._stages = self._findings.stages
        self._fields = self._findings.fields
        self._may_mint = False
        self._repairs_shown: int | None = None
        self._user_id = plane.installation.user_id(user)
        self._place = plane.installation.last_place_of(user)

    async def run(self) -> float | None:
        plane, user, key = self._plane, self._user, self._key
        refusal = plane.refusal(USER_SYNCED, tags=user.spec.tags)
        if refusal is not None:
            self._stages.append(refusal)
        else:
            try:
                await self._walk()
            except RefusedError as refused:
                await self._refuse(refused.stage)
            except OperatorError as error:
                self._stages.append(self._failed(MEMBERSHIP_SYNCED, error))
        status = user.status.model_copy(update=self._fields)
        again_s = await plane.finish(
            key,
            user.metadata,
            user.status,
            status,
            self._stages,
            order=USER_STAGES,
            polling=self._findings.polling,
            ready_message=f"{self._user_id} can log in",
        )
        if self._repairs_shown is not None:  # a status that wasn't kept has no login tried
            self._memory.note_repairs(key, self._repairs_shown)
        if self._may_mint:  # not before the status says what
            plane.allow_minting((key.namespace, key.name))
        return again_s

    async def _walk(self) -> None:
        """Go through the stages; each one tells its own failure, and what can go on beside it does."""
        if self._user.spec.suspend:
            message = "spec.suspend is true: no tokens, no membership"
            raise RefusedError(Stage.waiting(MEMBERSHIP_SYNCED, "Suspended", message, retry_after_s=3600.0))
        group = await self._find_group()
        if group is None:
            return
        if moved := self._plane.installation.find_move(self._user) or self._plane.installation.find_move(group):
            self._stages.append(Stage.blocked(USER_SYNCED, "IdentityChanged", moved))
            return
        subject = Subject(self._plane, self._key, self._user, group, self._memory)
        self._place = subject.place
        await self._admit(group)
        if group.metadata.is_deleting:
            return
        await self._plane.add_finalizer(self._key, self._user.metadata)
        inventory = await self._plane.observe(self._key, self._place)
        await self._leave_others(group, inventory)
        live = await self._guard(USER_SYNCED, AwsUser(subject, self._findings).sync(inventory))
        role, caches = None, None
        if live is not None:  # no right to connect as a user that may be somebody else's
            role = await self._guard(ACCESS_GRANTED, self._sync_role(subject, inventory))
            caches = await self._guard(MEMBERSHIP_SYNCED, self._sync_membership(subject))
        chosen = await self._hand_over(subject, caches, role)
        await self._config_maps.sync(self._user, chosen, self._findings, user_id=self._user_id)

    async def _refuse(self, stage: Stage) -> None:
        """End the user's tokens, and say why."""
        self._stages[:] = [found for found in self._stages if found.reason != "WaitingForGroup"]  # this is worse
        why = await self._still_leaving(stage)
        if self._waited_for_group():  # it is there by now
            self._stages.append(Stage.unknown(USER_SYNCED, "Pending", "not looked at: see MembershipSynced"))
        self._stages += [why, *no_token_stages(why)]
        await self._guard(TOKEN_DELIVERED, self._revoke())

    def _waited_for_group(self) -> bool:
        return any(
            condition.type == USER_SYNCED and condition.reason == "WaitingForGroup"
            for condition in self._user.status.conditions
        )

    # -- group and admission ------------------------------------------------------------------------------------------

    async def _find_group(self) -> UserGroup | None:
        key = group_key(self._user)
        try:
            group = self._plane.store.group(key)
        except InvalidResourceError as error:
            message = f"UserGroup {key.namespace}/{key.name}: {error}"
            self._stages.append(Stage.waiting(USER_SYNCED, "WaitingForGroup", message, retry_after_s=60.0))
            return None
        state = ""
        if group is None or group.metadata.is_deleting:
            state = "doesn't exist" if group is None else "is being deleted"
        elif not self._plane.installation.may_use_account(
            key.namespace, self._plane.installation.place_of(group).account
        ):
            state, group = "may not use the account that it asks for: see its conditions", None
        if state:
            remedy = "" if "account" in state else "; create it, or name another in spec.groups"
            message = f"UserGroup {key.namespace}/{key.name} {state}{remedy}"
            self._stages.append(Stage.waiting(USER_SYNCED, "WaitingForGroup", message, retry_after_s=60.0))
        return group

    async def _admit(self, group: UserGroup) -> None:
        user = self._user
        labels: Mapping[str, str] = {}
        if needs_namespace_labels(group):
            labels = await self._plane.reads.namespace_labels(user.metadata.namespace)
        decision = admit(group, user, labels)
        if not decision.ok:
            raise RefusedError(Stage.blocked(MEMBERSHIP_SYNCED, "NotAdmitted", decision.message))

    async def _leave_others(self, group: UserGroup, inventory: Inventory) -> None:
        """See that the user has left the groups it was in before; until then it gets no other rights.

        They would be rights on those groups' caches too, beyond what their owners admit.

        Raises:
            BusyError: It is leaving, or nobody takes it out.
        """
        joins = self._plane.installation.group_id(group)
        left = [other for other in _memberships(self._plane, self._user, inventory) if other.group_id != joins]
        if left:
            await self._leave(left)
            groups = ", ".join(other.group_id for other in left)
            raise BusyError(f"user {self._user_id} is leaving the group {groups}; it joins {joins} after that")

    async def _leave(self, left: Iterable[ObservedGroup]) -> None:
        """See that the user leaves these groups: their UserGroups take it out, of one that has none we do ourselves."""
        plane = self._plane
        writers = {plane.installation.group_id(group): group.metadata for group in plane.store.groups()}
        for live in left:
            writer = writers.get(live.group_id)
            if writer is not None:
                plane.queue.wake(Key(GROUPS, writer.namespace, writer.name))
            elif live.is_active and self._user_id in live.user_ids - live.pending_remove:
                await plane.aws(self._place).modify_group(
                    live.group_id, add=frozenset(), remove=frozenset({self._user_id})
                )

    async def _sync_role(self, subject: Subject, inventory: Inventory) -> RoleStatus | None:
        """Return the role; None while it stands for nothing, as no cache has been found to consent yet."""
        if subject.unjudged and not subject.selected and self._user.status.role is None:
            meta = subject.group.metadata
            message = f"UserGroup {meta.namespace}/{meta.name} hasn't looked at cache {', '.join(subject.unjudged)} yet"
            self._stages.append(Stage.waiting(ACCESS_GRANTED, "WaitingForCache", message, retry_after_s=30.0))
            return None
        return await WorkloadRole(subject, self._findings, inventory).sync()

    # -- membership and caches ----------------------------------------------------------------------------------------

    async def _sync_membership(self, subject: Subject) -> tuple[UserCacheStatus, ...] | None:
        """Return the caches that a token opens now; None while the user isn't in its group."""
        plane = self._plane
        meta = subject.group.metadata
        group_id = subject.group_id
        inventory = await plane.observe_again(self._place)
        live = inventory.groups.get(group_id)
        if subject.withheld and not subject.selected:
            return self._wait_outside(subject, live)
        if live is None:
            message = (
                f"there is no group {group_id} in AWS yet; see the conditions of UserGroup {meta.namespace}/{meta.name}"
            )
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "WaitingForGroup", message, retry_after_s=30.0))
            return None
        if self._user_id not in live.user_ids or self._user_id in live.pending_remove:
            plane.queue.wake(group_key(self._user))
            if is_full(live) and self._user_id not in live.future_user_ids:
                message = (
                    f"the group {group_id} has {MAX_MEMBERS} members, and AWS takes no more; the oldest come first"
                )
                self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "GroupFull", message, retry_after_s=300.0))
                return None
            self._findings.polling = True
            message = f"user {self._user_id} is joining the group {group_id}"
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "Joining", message, retry_after_s=10.0))
            return None
        missing = sorted(set(self._user.spec.groups[0].caches or ()) - {cache.name for cache in subject.listed})
        if missing or not subject.listed:
            what = f"cache {', '.join(missing)}" if missing else "any cache"
            message = f"UserGroup {meta.namespace}/{meta.name} doesn't list {what} in spec.caches"
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "WaitingForCache", message, retry_after_s=300.0))
        ready, waiting, without_endpoint = self._find_caches(subject, inventory)
        if subject.withheld:
            self._stages.append(self._withheld(subject))
        elif waiting:
            self._findings.polling = True
            message = (
                f"the group isn't attached to cache {', '.join(waiting)} yet; "
                f"see the conditions of UserGroup {meta.namespace}/{meta.name}"
            )
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "WaitingForCache", message, retry_after_s=30.0))
        elif without_endpoint:
            self._findings.polling = True
            message = (
                f"AWS shows no endpoint of cache {', '.join(without_endpoint)}, so there is nothing to connect to: "
                "it is being created or changed, or it has no nodes; look at it in AWS"
            )
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "NoEndpoint", message, retry_after_s=30.0))
        elif subject.listed and not missing:
            self._stages.append(Stage.ok(MEMBERSHIP_SYNCED, "Member", f"member of the group {group_id}"))
        return ready

    def _wait_outside(self, subject: Subject, live: ObservedGroup | None) -> tuple[UserCacheStatus, ...]:
        """Say that no cache is left; the group's own pass takes the user out."""
        if live is not None and self._user_id in live.future_user_ids:
            self._plane.queue.wake(group_key(self._user))
        self._stages.append(self._withheld(subject))
        return ()

    def _withheld(self, subject: Subject) -> Stage:
        meta = subject.group.metadata
        stays = sorted(subject.selected)
        note = (
            f" (what is connected there stays: the user is in the group for cache {', '.join(stays)})" if stays else ""
        )
        message = (
            f"the owner of cache {', '.join(sorted(subject.withheld))} doesn't consent (any more){note}; "
            f"see the conditions of UserGroup {meta.namespace}/{meta.name}"
        )
        return Stage.waiting(MEMBERSHIP_SYNCED, CONSENT_MISSING, message, retry_after_s=60.0)

    def _find_caches(
        self, subject: Subject, inventory: Inventory
    ) -> tuple[tuple[UserCacheStatus, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the selected caches that the group is on; the names of others; and of those without an endpoint."""
        secrets = {cache.name: cache.secret for cache in self._user.status.caches}
        ready: list[UserCacheStatus] = []
        waiting = list(subject.unjudged)
        without_endpoint: list[str] = []
        for wanted in subject.granted:
            cache = inventory.caches.get(cache_ref(wanted))
            if cache is None or subject.group_id not in cache.group_ids:
                waiting.append(wanted.name)
                continue
            if not cache.host:
                without_endpoint.append(wanted.name)
                continue
            ready.append(cache_status(wanted, self._place, cache, secret=secrets.get(wanted.name)))
        return tuple(ready), tuple(waiting), tuple(without_endpoint)

    # -- tokens -------------------------------------------------------------------------------------------------------

    async def _hand_over(
        self, subject: Subject, ready: tuple[UserCacheStatus, ...] | None, role: RoleStatus | None
    ) -> tuple[UserCacheStatus, ...]:
        """Put what is to be minted into the status, from where the token plane takes it, and tell what it reports.

        Returns:
            The caches that the user may use.
        """
        plane, user = self._plane, self._user
        selected = subject.selected
        chosen = choose_caches(user.status.caches, ready, selected=selected, is_granted=role is not None)
        self._may_mint = True
        if user.spec.delivery.mode is DeliveryMode.NONE:
            await self._end_delivery(chosen)
            return chosen
        dropped = frozenset(cache.name for cache in user.status.caches if cache.name not in selected)
        if dropped:  # its first Secret may be on its way
            await revoke_tokens(plane, user, only=dropped)
        reports = self._reports()
        caches = tuple(with_secret(user, cache, reports) for cache in chosen)
        self._fields["caches"] = caches
        self._fields["binding"] = binding_of(caches)
        if not caches:
            self._tell_no_tokens()
            return caches
        self._note_chain(subject, caches, reports)
        self._stages.append(await self._with_warning(self._with_rivals(token_stage(caches, reports)), caches))
        asked = asked_refresh(user.metadata.annotations)
        if asked and asked in {report.refresh for report in reports.delivered.values()}:
            self._fields["refresh"] = asked
        login = login_stage(
            user,
            caches,
            reports,
            user_id=self._user_id,
            is_enabled=plane.installation.config.verify_logins,
            diagnoses=await Examination(subject, ahead=plane.get_ahead()).explain(caches, reports),
        )
        if login is not None:
            self._stages.append(login)
        return caches

    def _note_chain(self, subject: Subject, caches: tuple[UserCacheStatus, ...], reports: TokenReports) -> None:
        """Put into the status what logins depend on in AWS, from where the token plane takes it."""
        plane, user = self._plane, self._user
        if not plane.installation.config.verify_logins:
            return
        inventory, role = plane.last_seen(self._place), self._fields.get("role", user.status.role)
        name = names.role_name_of(role.arn) if isinstance(role, RoleStatus) else None
        if user.spec.role.mode is RoleMode.MANAGED:
            found, is_known = inventory.roles.get(name or ""), True
        else:  # of somebody else's role nobody has looked at nothing is known
            found = self._memory.role(self._place, name or "", not_before_s=float("-inf"))
            is_known = found is not None
        digest = digest_chain(
            user_id=self._user_id, group_id=subject.group_id, caches=caches, role=found, inventory=inventory
        )
        repairs = plane.count_repairs(self._key)
        self._fields["chain"] = chain = next_chain(
            user.status.chain,
            digest if is_known else None,
            was_repaired=self._memory.was_repaired(self._key, repairs),
            is_verified=any(
                condition.type == VERIFIED and condition.status is ConditionStatus.TRUE
                for condition in user.status.conditions
            ),
            caches=caches,
            reports=reports,
        )
        if shows_repair(user.status.chain, chain):
            self._repairs_shown = repairs

    async def _with_warning(self, stage: Stage, caches: Iterable[UserCacheStatus]) -> Stage:
        """Return a stage that also warns of pods in which tokens never update; an Event does so once."""
        if stage.status is not ConditionStatus.TRUE:
            return stage
        user = self._user
        secrets = [cache.secret.name for cache in caches if cache.secret is not None]
        warning = await self._consumers.warning(user, secrets)
        if not warning:
            return stage
        before = condition_of(user.status.conditions, TOKEN_DELIVERED)
        if before is None or warning not in before.message:
            await self._plane.post_event(self._key, user.metadata, reason="StaleConsumer", note=warning, warning=True)
        return replace(stage, message=f"{stage.message}. Warning: {warning}")

    def _with_rivals(self, stage: Stage) -> Stage:
        """Return a stage that also names who else wants the Secret's name, if that is what it tells."""
        if stage.reason != "SecretConflict":
            return stage
        ours = secret_names(self._user)
        return replace(
            stage,
            message=stage.message + rivals_of(self._plane.store, self._key, lambda other: secret_names(other) & ours),
        )

    def _tell_no_tokens(self) -> None:
        """Say so where there were tokens, and why there are none any more."""
        delivered = (condition for condition in self._user.status.conditions if condition.type == TOKEN_DELIVERED)
        why = next((stage for stage in self._stages if stage.type == MEMBERSHIP_SYNCED), None)
        if why is None or why.status is ConditionStatus.TRUE or not any(delivered):
            return
        self._stages += no_token_stages(why)

    async def _end_delivery(self, chosen: tuple[UserCacheStatus, ...]) -> None:
        """See that there are no Secrets: the workload signs for itself. Which caches it may use is still told."""
        meta = self._user.metadata
        if self._reports().delivered or any(cache.secret is not None for cache in self._user.status.caches):
            await revoke_tokens(self._plane, self._user)
            self._plane.reports.pop((meta.namespace, meta.name), None)
        self._fields["caches"] = tuple(cache.model_copy(update={"secret": None}) for cache in chosen)
        self._fields["binding"] = None
        self._stages += self_signed_stages()

    def _reports(self) -> TokenReports:
        meta = self._user.metadata
        known = self._plane.reports.get((meta.namespace, meta.name))
        return known if known is not None and known.uid == meta.uid else TokenReports(meta.uid)

    async def _still_leaving(self, why: Stage) -> Stage:
        """Return the refusal, saying so while AWS has the user in a group: until then it isn't cut off."""
        plane = self._plane
        try:
            left = _memberships(plane, self._user, await plane.observe(self._key, self._place))
        except OperatorError:
            return why
        if not left:
            return why
        self._findings.polling = True
        with suppress(OperatorError):  # the next pass tries again, and says why
            await self._leave(left)
        groups = ", ".join(group.group_id for group in left)
        return replace(why, message=f"{why.message}; it is still leaving the group {groups}")

    async def _revoke(self) -> None:
        """End the tokens: minting first, then the Secrets; the group's own pass takes the user out, which cuts it."""
        plane, user, meta = self._plane, self._user, self._user.metadata
        await revoke_tokens(plane, user)
        self._fields["caches"] = ()
        self._fields["binding"] = None
        plane.reports.pop((meta.namespace, meta.name), None)
        plane.queue.wake(group_key(user))

    # -- failures -----------------------------------------------------------------------------------------------------

    async def _guard(self, stage: str, work: Awaitable[T]) -> T | None:
        """Do the work of one stage; its failure is that stage's condition and doesn't stop what can go on beside it."""
        try:
            return await work
        except OperatorError as error:
            self._stages.append(self._failed(stage, error))
            return None

    def _failed(self, stage: str, error: OperatorError) -> Stage:
        if isinstance(error, BusyError | ConflictError):
            self._findings.polling = True
        return self._plane.failed_stage(self._key, stage, error)


def _memberships(plane: Plane, user: ElastiCacheIAMUser, inventory: Inventory) -> tuple[ObservedGroup, ...]:
    """Return the groups that have this resource's user in AWS, or are about to: ours, and those lent to us."""
    meta, owner = user.metadata, plane.installation.owner
    user_id = plane.installation.user_id(user)
    live = inventory.users.get(user_id)
    tags = inventory.tags.get(live.arn, {}) if live is not None else {}
    if not names.is_owned(tags, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name):
        return ()
    has = [group for group in inventory.groups.values() if user_id in group.user_ids | group.future_user_ids]
    if not has:
        return ()
    named = {plane.installation.group_id(group) for group in plane.store.groups()}
    return tuple(
        group for group in has if inventory.tags.get(group.arn, {}).get(TAG_OWNER) == owner or group.group_id in named
    )
