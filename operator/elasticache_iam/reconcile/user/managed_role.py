"""The role that is ours: made, kept as it should be, and deleted with its user."""

from collections.abc import Callable, Mapping
from typing import Final, assert_never

from elasticache_iam.api.keys import ROLE_POLICY_NAME
from elasticache_iam.api.user import RoleStatus
from elasticache_iam.core import names
from elasticache_iam.core.errors import AlreadyExistsError, ConflictError, ContestedError
from elasticache_iam.core.plan.role import (
    ChangeRoleTags,
    CreateRole,
    DeleteRolePolicy,
    DesiredRole,
    PutRolePolicy,
    RoleAction,
    SetBoundary,
    SetMaxSession,
    SetTrust,
    explain_repair,
    plan_role,
)
from elasticache_iam.core.policy import admitted_accounts
from elasticache_iam.core.state import ObservedRole
from elasticache_iam.core.status import ACCESS_GRANTED, Stage
from elasticache_iam.ports import Aws
from elasticache_iam.reconcile.user import service_accounts
from elasticache_iam.reconcile.user.role_terms import RoleTerms
from elasticache_iam.reconcile.user.subject import RefusedError

MAX_STEPS: Final = 3
NOT_OURS_LOOK_S: Final = 300.0


class ManagedRole:
    """Takes our role to what the resource asks."""

    def __init__(self, terms: RoleTerms) -> None:
        self._terms = terms
        self._subject = terms.subject
        self._plane = terms.subject.plane
        self._user = terms.subject.user
        self._spec = terms.subject.user.spec
        self._meta = terms.subject.user.metadata
        self._place = terms.subject.place

    async def sync(self) -> tuple[RoleStatus, Stage]:
        """Do the work; return the role, and the stage.

        Raises:
            RefusedError: The role has become somebody else's.
            OperatorError: As the ports' methods do.
        """
        desired = self._desired_role()
        live = await self._find(desired.name)
        for _ in range(MAX_STEPS):
            if live is not None and (live.tags is None or live.policies is None):
                live = await self._terms.aws.get_role(desired.name)
            if live is not None and not self._subject.is_owned(live.tags or {}):
                message = f"the IAM role {desired.name} exists and isn't ours; delete it, or rename this resource"
                raise RefusedError(Stage.blocked(ACCESS_GRANTED, "NotOwned", message, retry_after_s=NOT_OURS_LOOK_S))
            actions = plan_role(desired, live, allowed_tags=self._plane.installation.config.allowed_tag_keys)
            if not actions:
                break
            try:
                await self._apply_all(actions, live, desired)
            except AlreadyExistsError:  # our own lost answer, or a role under another path: look whose it is
                live = await self._terms.aws.get_role(desired.name)
                continue
            live = await self._find(desired.name)
        else:
            raise ConflictError(f"the role {desired.name} doesn't stay as it is written; read and computed again")
        self._subject.memory.note_in_sync(self._subject.key, "role", desired.fingerprint)
        arn = names.role_arn(self._place.region, self._place.account, desired.path, desired.name)
        role = RoleStatus(
            arn=arn,
            unique_id=live.unique_id if live else "",
            max_session_seconds=live.max_session_s if live else desired.max_session_s,
        )
        return role, self._terms.granted(desired.name, _widened(live, desired))

    async def _find(self, name: str) -> ObservedRole | None:
        return (await self._plane.observe_again(self._place)).roles.get(name)

    def _desired_role(self) -> DesiredRole:
        installation, meta = self._plane.installation, self._meta
        return DesiredRole(
            name=names.role_name(installation.owner, meta.namespace, meta.name),
            path=names.role_path(installation.owner),
            trust=self._terms.trust(self._spec.service_accounts),
            policy_name=ROLE_POLICY_NAME,
            policy=self._terms.policy(),
            boundary=installation.boundary_in(self._place.account),
            max_session_s=installation.config.max_session_seconds,
            tags=self._subject.tags,
            description=f"ElastiCache access of {meta.namespace}/{meta.name}, kept by elasticache-iam-operator",
        )

    async def _apply_all(
        self, actions: tuple[RoleAction, ...], live: ObservedRole | None, desired: DesiredRole
    ) -> None:
        """Carry out the plan; what is contested with somebody else is told at the end, and only then left alone."""
        memory, key = self._subject.memory, self._subject.key
        is_drift = memory.was_in_sync(key, "role", desired.fingerprint)
        contested: ContestedError | None = None
        for action in actions:
            is_part_of_creation = live is None and not isinstance(action, CreateRole)
            try:
                if is_drift and not is_part_of_creation:
                    await self._plane.repair(key, self._meta, *explain_repair(action, live))
            except ContestedError as error:
                contested = contested or error
                if isinstance(action, CreateRole | SetMaxSession | ChangeRoleTags):
                    continue  # the others shut somebody out, which waits for nothing
            if isinstance(action, SetTrust) and live is not None:
                await self._release_dropped_accounts(live)
            await self._apply(action)
        if contested is not None:
            raise contested

    async def _apply(self, action: RoleAction) -> None:
        aws = self._terms.aws
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
            case DeleteRolePolicy():
                await aws.delete_role_policy(action.role_name, action.policy_name)
            case SetBoundary():
                await aws.set_boundary(action.role_name, action.boundary)
            case SetMaxSession():
                await aws.set_max_session(action.role_name, action.max_session_s)
            case ChangeRoleTags():
                if action.change.put:
                    await aws.tag_role(action.role_name, action.change.put)
                if action.change.remove:
                    await aws.untag_role(action.role_name, action.change.remove)
            case _:
                assert_never(action)

    async def _release_dropped_accounts(self, live: ObservedRole) -> None:
        """Take our annotation off ServiceAccounts that the user names no longer: the old trust still knows them."""
        issuer, namespace = self._plane.installation.issuer, self._meta.namespace
        admitted = admitted_accounts(live.trust, issuer=issuer, namespace=namespace)
        dropped = sorted(admitted - set(self._spec.service_accounts))
        get = self._plane.kube.get_service_account_annotations
        accounts = {account: await get(namespace, account) for account in dropped}
        await service_accounts.release(self._plane, self._user, accounts)


async def delete_managed_role(aws: Aws, name: str, *, is_owned: Callable[[Mapping[str, str]], bool]) -> None:
    """Delete our role, going by its own tags, read right before it goes."""
    role = await aws.get_role(name)
    if role is not None and is_owned(role.tags or {}):
        await aws.delete_role(name)


def _widened(live: ObservedRole | None, desired: DesiredRole) -> str:
    """Return what somebody else has done to our role that we don't undo."""
    if live is None:
        return ""
    notes = []
    if live.managed_policies:
        notes.append(f"somebody has attached {', '.join(sorted(live.managed_policies))} to it, detach that")
    if live.boundary and desired.boundary is None:
        notes.append(f"a boundary of somebody else's limits it ({live.boundary})")
    return "; ".join(notes)
