"""One pass of an ElastiCacheIAMUser: user, role, membership, and what the token plane reports."""

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar, assert_never

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.group import CacheSpec, Service, UserGroup
from elasticache_iam.api.keys import ANNOTATION_REFRESH, ROLE_POLICY_NAME, TAG_OWNER, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError, salvage_user
from elasticache_iam.api.unsupported import unsupported_fields
from elasticache_iam.api.user import (
    AccessStringStatus,
    ElastiCacheIAMUser,
    RoleStatus,
    UserCacheStatus,
)
from elasticache_iam.core import names
from elasticache_iam.core.access import lint, render_access_string
from elasticache_iam.core.admission import admit, needs_namespace_labels
from elasticache_iam.core.errors import (
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
)
from elasticache_iam.core.mint import TokenReports
from elasticache_iam.core.plan.role import CreateRole, DesiredRole, PutRolePolicy, RoleAction, SetTrust, plan_role
from elasticache_iam.core.plan.tokens import binding_of, choose_caches, login_stage, token_stage, with_secret
from elasticache_iam.core.plan.user import CreateUser, DesiredUser, SetAccessString, plan_user
from elasticache_iam.core.policy import connect_policy, trust_policy
from elasticache_iam.core.state import CacheKind, Inventory, ObservedGroup, ObservedRole, ObservedUser
from elasticache_iam.core.status import (
    ACCESS_GRANTED,
    MEMBERSHIP_SYNCED,
    TOKEN_DELIVERED,
    USER_STAGES,
    USER_SYNCED,
    VERIFIED,
    Stage,
)
from elasticache_iam.reconcile.deletion import UserDeletion, revoke_tokens
from elasticache_iam.reconcile.group import cache_ref
from elasticache_iam.reconcile.plane import HELD_LOOK_S, Plane, is_ours
from elasticache_iam.reconcile.queue import GROUPS, Key
from elasticache_iam.reconcile.store import group_key

MAX_STEPS: Final = 3
T = TypeVar("T")


class _Refused(Exception):  # noqa: N818  # a turn of the pass, not an error
    """The user must not have tokens now: minting ends, Secrets go, the group lets it go."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.reason)
        self.stage = stage


class UserReconciler:
    """Takes an ElastiCacheIAMUser's AWS user, role and membership to what the resource asks."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass; return after how many seconds to look again, None: when woken."""
        plane = self._plane
        invalid = ""
        try:
            user = plane.store.user(key)
        except InvalidResourceError as error:
            user, invalid = salvage_user(plane.store.body(key) or {}), str(error)
        if user is None:
            plane.forget(key)
            return None
        if await plane.is_held(user.metadata):
            return HELD_LOOK_S if user.metadata.is_deleting else None
        if user.metadata.is_deleting:
            return await UserDeletion(plane, key, user).run()
        if invalid:
            stages = [Stage.blocked(USER_SYNCED, "InvalidSpec", invalid)]
            return await plane.finish(
                key, user.metadata, user.status, user.status, stages, order=USER_STAGES, polling=False
            )
        return await _UserPass(plane, key, user).run()


class _UserPass:
    """The state of one pass: what was found so far."""

    def __init__(self, plane: Plane, key: Key, user: ElastiCacheIAMUser) -> None:
        self._plane = plane
        self._key = key
        self._user = user
        self._stages: list[Stage] = []
        self._polling = False
        self._may_mint = False
        self._fields: dict[str, object] = {}
        self._user_id = plane.installation.user_id(user)
        self._place = plane.installation.last_place_of(user)

    async def run(self) -> float | None:
        plane, user, key = self._plane, self._user, self._key
        refusal = plane.refusal(
            USER_SYNCED, user.metadata, unsupported=unsupported_fields(user.spec), tags=user.spec.tags
        )
        if refusal is not None:
            self._stages.append(refusal)
        else:
            try:
                await self._walk()
            except _Refused as refused:
                self._stages.clear()  # of a group that is being deleted: this is worse
                why = await self._still_leaving(refused.stage)
                self._stages += [
                    why,
                    Stage(TOKEN_DELIVERED, ConditionStatus.FALSE, why.reason, f"no tokens: {why.message}"),
                    Stage.unknown(VERIFIED, why.reason, "there is no token to log in with"),
                ]
                await self._guard(TOKEN_DELIVERED, self._revoke())
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
            polling=self._polling,
            ready_message=f"{self._user_id} can log in",
        )
        if self._may_mint:  # not before the status says what
            plane.allow_minting((key.namespace, key.name))
        return again_s

    async def _walk(self) -> None:
        """Go through the stages; each one tells its own failure, and what can go on beside it does."""
        if self._user.spec.suspend:
            message = "spec.suspend is true: no tokens, no membership"
            raise _Refused(Stage.waiting(MEMBERSHIP_SYNCED, "Suspended", message, retry_after_s=3600.0))
        group = await self._find_group()
        if group is None:
            return
        self._place = self._plane.installation.place_of(group)
        await self._admit(group)
        if group.metadata.is_deleting:
            return
        await self._plane.add_finalizer(self._key, self._user.metadata)
        inventory = await self._plane.observe(self._key, self._place)
        self._leave_others(group, inventory)
        live = await self._guard(USER_SYNCED, self._sync_user(group, inventory))
        role, caches = None, None
        if live is not None:  # no right to connect as a user that may be somebody else's
            role = await self._guard(ACCESS_GRANTED, self._sync_role(group))
            caches = await self._guard(MEMBERSHIP_SYNCED, self._sync_membership(group))
        await self._hand_over(group, caches, role)

    @property
    def _connect_service(self) -> str:
        """What tokens are signed for, and whose Connect a policy allows."""
        return "memorydb" if self._place.service is Service.MEMORYDB else "elasticache"

    # -- group and admission ------------------------------------------------------------------------------------------

    async def _find_group(self) -> UserGroup | None:
        key = group_key(self._user)
        try:
            group = self._plane.store.group(key)
        except InvalidResourceError as error:
            message = f"UserGroup {key.namespace}/{key.name}: {error}"
            self._stages.append(Stage.waiting(USER_SYNCED, "WaitingForGroup", message, retry_after_s=60.0))
            return None
        if group is None or group.metadata.is_deleting:
            state = "doesn't exist" if group is None else "is being deleted"
            message = f"UserGroup {key.namespace}/{key.name} {state}; create it, or name another in spec.groups"
            self._stages.append(Stage.waiting(USER_SYNCED, "WaitingForGroup", message, retry_after_s=60.0))
        return group

    async def _admit(self, group: UserGroup) -> None:
        user = self._user
        labels: Mapping[str, str] = {}
        if needs_namespace_labels(group):
            labels = await self._plane.kube.get_namespace_labels(user.metadata.namespace)
        decision = admit(group, user, labels)
        if not decision.ok:
            raise _Refused(Stage.blocked(MEMBERSHIP_SYNCED, "NotAdmitted", decision.message))

    def _leave_others(self, group: UserGroup, inventory: Inventory) -> None:
        """See that the user has left the groups it was in before; until then it gets no other rights.

        They would be rights on those groups' caches too, beyond what their owners admit.

        Raises:
            BusyError: It is leaving, or nobody takes it out.
        """
        joins = self._plane.installation.group_id(group)
        left = [other for other in _memberships(self._plane, self._user, inventory) if other.group_id != joins]
        if left:
            self._wake(left)
            groups = ", ".join(other.group_id for other in left)
            raise BusyError(f"user {self._user_id} is leaving the group {groups}; it joins {joins} after that")

    def _wake(self, groups: Iterable[ObservedGroup]) -> None:
        """Have the UserGroups of these groups looked at."""
        installation, store = self._plane.installation, self._plane.store
        ids = {group.group_id for group in groups}
        for group in store.groups():
            if installation.group_id(group) in ids:
                self._plane.queue.wake(Key(GROUPS, group.metadata.namespace, group.metadata.name))

    # -- the AWS user -------------------------------------------------------------------------------------------------

    async def _sync_user(self, group: UserGroup, inventory: Inventory) -> ObservedUser | None:
        plane, user, meta = self._plane, self._user, self._user.metadata
        access_string = render_access_string(user.spec.access)
        desired = DesiredUser(
            user_id=self._user_id,
            engine=group.spec.engine.value,
            access_string=access_string,
            tags={
                **user.spec.tags,
                **names.ownership_tags(plane.installation.owner, USER_KIND, meta.namespace, meta.name, meta.uid),
            },
        )
        self._fields["id"] = self._user_id
        record = user.status.access_string if user.status.id == self._user_id else None
        for _ in range(MAX_STEPS):
            live = inventory.users.get(self._user_id)
            if live is not None and not await is_ours(plane, inventory, live.arn, USER_KIND, meta):
                raise self._not_owned()
            actions = plan_user(desired, live, record)
            if not actions:
                break
            if live is not None and not await is_ours(plane, inventory, live.arn, USER_KIND, meta, is_to_change=True):
                raise self._not_owned()
            for action in actions:
                match action:
                    case CreateUser():
                        await self._create_user(desired)
                    case SetAccessString():
                        await plane.aws(self._place).set_access_string(action.user_id, action.access_string)
                    case _:
                        assert_never(action)
                record = AccessStringStatus(sent=access_string)
            self._fields["access_string"] = record
            inventory = await plane.observe_again(self._place)
        live = inventory.users.get(self._user_id)
        if live is None:
            raise BusyError(f"AWS is creating the user {self._user_id}")
        self._fields["arn"] = live.arn
        if live.is_active:
            self._fields["access_string"] = AccessStringStatus(sent=access_string, returned=live.access_string)
            warnings = lint(access_string) if user.spec.access.access_string is not None else ()
            message = f"user {self._user_id} is active"
            self._stages.append(Stage.ok(USER_SYNCED, "Synced", "; ".join((message, *warnings))))
            return live
        self._polling = True
        message = f"AWS is at work on the user {self._user_id} ({live.status})"
        reason = "Creating" if live.status == "creating" else "Updating"
        self._stages.append(Stage.waiting(USER_SYNCED, reason, message, retry_after_s=5.0))
        return live

    def _not_owned(self) -> NotOwnedError:
        return NotOwnedError(
            f"the user {self._user_id} exists in AWS and isn't ours; choose another spec.id or delete it"
        )

    async def _create_user(self, desired: DesiredUser) -> None:
        aws = self._plane.aws(self._place)
        try:
            await aws.create_user(
                desired.user_id, engine=desired.engine, access_string=desired.access_string, tags=desired.tags
            )
        except AlreadyExistsError:
            # Our own lost answer, or somebody else's: read back; the loop looks whose it is by its tags.
            await self._plane.observe_fresh(self._place)

    # -- the role -----------------------------------------------------------------------------------------------------

    async def _sync_role(self, group: UserGroup) -> RoleStatus:
        plane = self._plane
        await self._check_prerequisites()
        try:
            desired = self._desired_role(group)
        except ValueError as error:
            raise InvalidSpecError(str(error)) from error
        live = (await plane.observe_again(self._place)).roles.get(desired.name)
        for _ in range(MAX_STEPS):
            if live is not None and (live.tags is None or live.policies is None):
                live = await plane.aws(self._place).get_role(desired.name)
            if live is not None and not self._owns_role(live):
                raise NotOwnedError(
                    f"the IAM role {desired.name} exists and isn't ours; delete it, or rename this resource"
                )
            actions = plan_role(desired, live)
            if not actions:
                break
            try:
                for action in actions:
                    await self._apply_role(action)
            except AlreadyExistsError:  # our own lost answer, or a role under another path: look whose it is
                live = await plane.aws(self._place).get_role(desired.name)
                continue
            live = (await plane.observe_again(self._place)).roles.get(desired.name)
        arn = names.role_arn(self._place.region, self._place.account, desired.path, desired.name)
        role = RoleStatus(arn=arn, max_session_seconds=live.max_session_s if live else desired.max_session_s)
        self._fields["role"] = role
        self._stages.append(Stage.ok(ACCESS_GRANTED, "Granted", f"role {desired.name} may connect as {self._user_id}"))
        return role

    async def _check_prerequisites(self) -> None:
        """Look at what the first token needs from the cluster and the account; later passes trust what was seen."""
        plane, user = self._plane, self._user
        for account in user.spec.service_accounts:
            if await plane.kube.get_service_account_annotations(user.metadata.namespace, account) is None:
                raise NotFoundError(
                    f"ServiceAccount {user.metadata.namespace}/{account} doesn't exist; create it, or correct "
                    "spec.serviceAccounts",
                    reason="ServiceAccountNotFound",
                )
        if self._is_granted():
            return
        config, issuer = plane.installation.config, plane.installation.issuer
        audiences = await plane.aws(self._place).get_oidc_audiences(issuer)
        if audiences is None or config.audience not in audiences:
            fix = (
                f"aws iam create-open-id-connect-provider --url {issuer} --client-id-list {config.audience}"
                if audiences is None
                else "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "
                f"{plane.installation.oidc_provider_arn(self._place)} --client-id {config.audience}"
            )
            raise NotFoundError(
                f"the IAM OIDC provider of {issuer} doesn't list the audience {config.audience}: {fix}",
                reason="AudienceMissing",
            )

    def _is_granted(self) -> bool:
        return any(
            condition.type == ACCESS_GRANTED and condition.status is ConditionStatus.TRUE
            for condition in self._user.status.conditions
        )

    def _desired_role(self, group: UserGroup) -> DesiredRole:
        installation, user, meta = self._plane.installation, self._user, self._user.metadata
        return DesiredRole(
            name=names.role_name(installation.owner, meta.namespace, meta.name),
            path=names.role_path(installation.owner),
            trust=trust_policy(
                provider_arn=installation.oidc_provider_arn(self._place),
                issuer=installation.issuer,
                audience=installation.config.audience,
                subjects=tuple((meta.namespace, account) for account in user.spec.service_accounts),
            ),
            policy_name=ROLE_POLICY_NAME,
            policy=connect_policy(
                names.user_arn(self._place, self._user_id),
                [names.cache_arn(self._place, cache_ref(cache)) for cache in self._selected(group)],
                self._connect_service,
            ),
            boundary=installation.boundary_in(self._place.account),
            max_session_s=installation.config.max_session_seconds,
            tags={
                **user.spec.tags,
                **names.ownership_tags(installation.owner, USER_KIND, meta.namespace, meta.name, meta.uid),
            },
            description=f"ElastiCache access of {meta.namespace}/{meta.name}, kept by elasticache-iam-operator",
        )

    def _owns_role(self, role: ObservedRole) -> bool:
        meta, owner = self._user.metadata, self._plane.installation.owner
        return names.is_owned(role.tags or {}, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name)

    async def _apply_role(self, action: RoleAction) -> None:
        aws = self._plane.aws(self._place)
        match action:
            case CreateRole(desired):
                await aws.create_role(
                    desired.name,
                    path=desired.path,
                    trust=desired.trust,
                    tags=desired.tags,
                    boundary=desired.boundary,
                    max_session_s=desired.max_session_s,
                    description=desired.description,
                )
            case SetTrust():
                await aws.set_trust(action.role_name, action.trust)
            case PutRolePolicy():
                await aws.put_role_policy(action.role_name, action.policy_name, action.policy)
            case _:
                assert_never(action)

    # -- membership and caches ----------------------------------------------------------------------------------------

    def _selected(self, group: UserGroup) -> tuple[CacheSpec, ...]:
        """Return the group's caches that this user wants tokens for."""
        aliases = self._user.spec.groups[0].caches
        return tuple(cache for cache in group.spec.caches if aliases is None or cache.name in aliases)

    async def _sync_membership(self, group: UserGroup) -> tuple[UserCacheStatus, ...] | None:
        """Return the caches that a token opens now; None while the user isn't in its group."""
        plane = self._plane
        meta = group.metadata
        group_id = plane.installation.group_id(group)
        inventory = await plane.observe_again(self._place)
        live = inventory.groups.get(group_id)
        if live is None or self._user_id not in live.user_ids or self._user_id in live.pending_remove:
            plane.queue.wake(group_key(self._user))
            self._polling = True
            message = f"user {self._user_id} is joining the group {group_id}"
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "Joining", message, retry_after_s=10.0))
            return None
        selected = self._selected(group)
        missing = sorted(set(self._user.spec.groups[0].caches or ()) - {cache.name for cache in selected})
        if missing or not selected:
            what = f"cache {', '.join(missing)}" if missing else "any cache"
            message = f"UserGroup {meta.namespace}/{meta.name} doesn't list {what} in spec.caches"
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "WaitingForCache", message, retry_after_s=300.0))
        secrets = {cache.name: cache.secret for cache in self._user.status.caches}
        ready: list[UserCacheStatus] = []
        waiting: list[str] = []
        for wanted in selected:
            cache = inventory.caches.get(cache_ref(wanted))
            if cache is None or group_id not in cache.group_ids or not cache.host:
                waiting.append(wanted.name)
                continue
            ready.append(
                UserCacheStatus(
                    name=wanted.name,
                    id=cache.ref.id,
                    arn=cache.arn,
                    service=self._connect_service,
                    serverless=cache.ref.kind is CacheKind.SERVERLESS_CACHE,
                    region=self._place.region,
                    host=cache.host,
                    port=cache.port,
                    reader_host=cache.reader_host,
                    secret=secrets.get(wanted.name),
                )
            )
        if waiting:
            self._polling = True
            message = (
                f"the group isn't attached to cache {', '.join(waiting)} yet; "
                f"see the conditions of UserGroup {meta.namespace}/{meta.name}"
            )
            self._stages.append(Stage.waiting(MEMBERSHIP_SYNCED, "WaitingForCache", message, retry_after_s=30.0))
        elif selected and not missing:
            self._stages.append(Stage.ok(MEMBERSHIP_SYNCED, "Member", f"member of the group {group_id}"))
        return tuple(ready)

    # -- tokens -------------------------------------------------------------------------------------------------------

    async def _hand_over(
        self, group: UserGroup, ready: tuple[UserCacheStatus, ...] | None, role: RoleStatus | None
    ) -> None:
        """Put what is to be minted into the status, from where the token plane takes it, and tell what it reports."""
        plane, user = self._plane, self._user
        selected = frozenset(cache.name for cache in self._selected(group))
        dropped = [cache for cache in user.status.caches if cache.name not in selected]
        if dropped:  # its first Secret may be on its way
            await revoke_tokens(plane, user, only=frozenset(cache.name for cache in dropped))
        reports = self._reports()
        chosen = choose_caches(user.status.caches, ready, selected=selected, is_granted=role is not None)
        caches = tuple(with_secret(user, cache, reports) for cache in chosen)
        self._fields["caches"] = caches
        self._fields["binding"] = binding_of(caches)
        self._may_mint = True
        if not caches:
            return
        self._stages.append(token_stage(caches, reports))
        asked = user.metadata.annotations.get(ANNOTATION_REFRESH, "")
        if asked and asked in {report.refresh for report in reports.delivered.values()}:
            self._fields["refresh"] = asked
        login = login_stage(
            user,
            caches,
            reports,
            user_id=self._user_id,
            is_enabled=plane.installation.config.verify_logins,
        )
        if login is not None:
            self._stages.append(login)

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
        self._polling = True
        self._wake(left)
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
            self._polling = True
        return self._plane.failed_stage(self._key, stage, error)


def _memberships(plane: Plane, user: ElastiCacheIAMUser, inventory: Inventory) -> tuple[ObservedGroup, ...]:
    """Return our groups that have this resource's user in AWS, or are about to."""
    meta, owner = user.metadata, plane.installation.owner
    user_id = plane.installation.user_id(user)
    live = inventory.users.get(user_id)
    tags = inventory.tags.get(live.arn, {}) if live is not None else {}
    if not names.is_owned(tags, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name):
        return ()
    return tuple(
        group
        for group in inventory.groups.values()
        if user_id in group.user_ids | group.future_user_ids
        and inventory.tags.get(group.arn, {}).get(TAG_OWNER) == owner
    )
