"""The IAM role of an ElastiCacheIAMUser: ours, or somebody else's, or none."""

from typing import assert_never

from elasticache_iam.api.user import RoleMode, RoleStatus
from elasticache_iam.core import names
from elasticache_iam.core.errors import InvalidSpecError, NotFoundError
from elasticache_iam.core.state import Inventory
from elasticache_iam.core.status import ACCESS_GRANTED, Stage
from elasticache_iam.reconcile.user import service_accounts
from elasticache_iam.reconcile.user.foreign_role import ForeignRole, granted_policy_name, withdraw_policy
from elasticache_iam.reconcile.user.managed_role import ManagedRole, delete_managed_role
from elasticache_iam.reconcile.user.pod_identity import Associations, check_place
from elasticache_iam.reconcile.user.role_terms import RoleTerms, statements_of
from elasticache_iam.reconcile.user.subject import Findings, Subject


class WorkloadRole:
    """Gives the workload its right to connect, or says what is missing."""

    def __init__(self, subject: Subject, findings: Findings, inventory: Inventory) -> None:
        self._subject = subject
        self._findings = findings
        self._terms = RoleTerms(subject, inventory)
        self._user = subject.user

    async def sync(self) -> RoleStatus | None:
        """Do the work of the stage; return the role if tokens can be signed with it.

        Raises:
            RefusedError: Our role has become somebody else's.
            OperatorError: As the ports' methods do, and where somebody else has to act first.
        """
        accounts = await service_accounts.look_up(self._subject.plane, self._user)
        missing = [account for account, annotations in accounts.items() if annotations is None]
        if missing and len(missing) == len(accounts):
            raise self._no_service_account(missing)
        check_place(self._terms)
        role, says = await self._sync_by_mode()
        await self._leave_earlier_role(role)
        self._findings.fields["role"] = role
        await Associations(self._subject, self._findings, is_settled=self._terms.is_granted).sync(role.arn)
        await service_accounts.annotate(self._subject.plane, self._user, accounts, role.arn)
        if missing:
            self._findings.stages.append(Stage.failed(ACCESS_GRANTED, self._no_service_account(missing)))
            return None if missing[0] == self._user.spec.service_accounts[0] else role
        self._findings.stages.append(says)
        return role

    def _no_service_account(self, missing: list[str]) -> NotFoundError:
        which = ", ".join(f"{self._user.metadata.namespace}/{account}" for account in missing)
        return NotFoundError(
            f"ServiceAccount {which} doesn't exist; create it, or correct spec.serviceAccounts",
            reason="ServiceAccountNotFound",
        )

    async def _sync_by_mode(self) -> tuple[RoleStatus, Stage]:
        mode = self._user.spec.role.mode
        match mode:
            case RoleMode.MANAGED:
                await self._terms.check_audience()
                return await ManagedRole(self._terms).sync()
            case RoleMode.EXISTING | RoleMode.EXTERNAL:
                self._refuse_managed_role()
                await self._terms.check_audience()
                return await ForeignRole(self._terms, self._findings).sync()
            case RoleMode.NONE:
                message = "role.mode is None: attach the policy in status.role.policy to whatever signs the tokens"
                role = RoleStatus(policy=statements_of(self._terms.policy()))
                return role, Stage.ok(ACCESS_GRANTED, "SelfManaged", message)
            case _:
                assert_never(mode)

    def _refuse_managed_role(self) -> None:
        """Raise InvalidSpecError for the role that we made ourselves: it would be deleted as the one given up."""
        meta = self._user.metadata
        managed = names.role_name(self._subject.plane.installation.owner, meta.namespace, meta.name)
        if names.role_name_of(self._user.spec.role.arn or "") == managed:
            raise InvalidSpecError(
                f"spec.role.arn: {managed} is the role that mode Managed makes and deletes; to hand it over make a "
                "role of another name, and name that one"
            )

    async def _leave_earlier_role(self, role: RoleStatus) -> None:
        """Give up the rights in a role that the user had before: in ours once tokens come from the new one."""
        subject, meta, held = self._subject, self._user.metadata, self._user.status.role
        managed = names.role_name(subject.plane.installation.owner, meta.namespace, meta.name)
        is_switched = held is not None and held.arn == role.arn
        if self._user.spec.role.mode is not RoleMode.MANAGED and is_switched and managed in self._terms.inventory.roles:
            await delete_managed_role(self._terms.aws, managed, is_owned=subject.is_owned)
        earlier = names.role_name_of(held.arn) if held is not None and held.arn != role.arn else None
        if held is not None and earlier is not None and earlier != managed:
            subject.memory.doubt_role(subject.place, earlier)
            await withdraw_policy(self._terms.aws, held.arn, granted_policy_name(subject))
