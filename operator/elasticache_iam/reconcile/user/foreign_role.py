"""A role that is somebody else's: its owner lets us put one policy into it, or we only look at it."""

from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.api.user import RoleMode, RoleStatus
from elasticache_iam.core import commands, names
from elasticache_iam.core.errors import InvalidSpecError, NotFoundError
from elasticache_iam.core.plan.role import PutRolePolicy, explain_repair
from elasticache_iam.core.policy import (
    INLINE_POLICIES_LIMIT,
    PolicyTooLargeError,
    Verdict,
    compact_json,
    judge_connect,
    same_policy,
)
from elasticache_iam.core.state import ObservedRole
from elasticache_iam.core.status import ACCESS_GRANTED, Stage
from elasticache_iam.ports import Aws
from elasticache_iam.reconcile.user.role_terms import RoleTerms, Statements, statements_of
from elasticache_iam.reconcile.user.subject import Findings, Subject

_ACCOUNT_FIELD: Final = 4
"""Of an ARN."""


class ForeignRole:
    """Checks a role that the resource names and, if its owner lets us, puts our policy into it."""

    def __init__(self, terms: RoleTerms, findings: Findings) -> None:
        self._terms = terms
        self._findings = findings
        self._subject = terms.subject
        self._plane = terms.subject.plane
        self._user = terms.subject.user
        self._spec = terms.subject.user.spec
        self._meta = terms.subject.user.metadata
        self._place = terms.subject.place
        self._policy_name = granted_policy_name(terms.subject)

    async def sync(self) -> tuple[RoleStatus, Stage]:
        """Do the work; return the role, and the stage.

        Raises:
            NotFoundError: Its owner has to act first; the status shows what is missing.
            OperatorError: As the ports' methods do.
        """
        arn = self._spec.role.arn or ""
        name = names.role_name_of(arn)
        if name is None:
            raise InvalidSpecError(f"spec.role.arn: {arn!r} is not the ARN of an IAM role")
        account = arn.split(":")[_ACCOUNT_FIELD]
        if account != self._place.account:
            raise InvalidSpecError(
                f"spec.role.arn: the role is in account {account} and the caches are in {self._place.account}; name a "
                "role of the caches' account"
            )
        policy = self._terms.policy()
        live = await self._read(name)
        if live is None or live.arn != arn:
            self._tell_missing(arn, trust=statements_of(self._terms.trust(self._spec.service_accounts)), policy=policy)
            raise NotFoundError(f"there is no role {arn}; create it, or correct spec.role.arn", reason="RoleNotFound")
        trusted = self._check_trust(live, policy)
        if self._spec.role.mode is RoleMode.EXISTING and self._consents(live):
            await self._put_granted_policy(live, policy)
            return RoleStatus(
                arn=arn, unique_id=live.unique_id, max_session_seconds=live.max_session_s
            ), self._terms.granted(name)
        granted = self._judge_connect(live.policies or {})
        if granted is Verdict.NO and live.managed_policies != frozenset():
            granted = Verdict.UNKNOWN  # a managed policy may do it: nobody is sent to repair what may be in order
        if granted is Verdict.NO:
            self._tell_missing(arn, policy=policy)
            raise NotFoundError(self._policy_missing(live), reason="PolicyMissing")
        await self._leave_to_its_owner(live)
        role = RoleStatus(arn=arn, unique_id=live.unique_id, max_session_seconds=live.max_session_s)
        if granted.both(trusted) is Verdict.YES:
            return role, self._terms.granted(name)
        message = (
            f"role {name} may be allowed to connect as {self._subject.user_id} by a managed policy or under conditions "
            "that only AWS can judge; where logins fail, compare it with status.role.policy"
        )
        return role.model_copy(update={"policy": statements_of(policy)}), Stage.ok(ACCESS_GRANTED, "Unproven", message)

    async def _read(self, name: str) -> ObservedRole | None:
        """Return the role; as last read while all is well with it."""
        memory, now_s = self._subject.memory, self._plane.clock.monotonic()
        if self._terms.is_granted:
            known = memory.role(
                self._place, name, not_before_s=now_s - self._plane.installation.config.slow_drift_interval
            )
            if known is not None:
                return known
        role = await self._terms.aws.get_role(name)
        memory.note_role(self._place, name, role, now_s)
        return role

    def _check_trust(self, live: ObservedRole, policy: Mapping[str, Any]) -> Verdict:
        """Return whether the role admits all ServiceAccounts for certain.

        With mode Existing only a statement that names them is their owner's yes; with External what AWS would take.

        Raises:
            NotFoundError: It doesn't admit some.
        """
        is_existing = self._spec.role.mode is RoleMode.EXISTING
        verdicts = {
            account: self._terms.judge_trust(live.trust, account, exact=is_existing)
            for account in self._spec.service_accounts
        }
        refused = {Verdict.NO, Verdict.UNKNOWN} if is_existing else {Verdict.NO}
        missing = tuple(account for account, verdict in verdicts.items() if verdict in refused)
        if missing:
            may_connect = self._judge_connect(live.policies or {}) is Verdict.YES or (
                is_existing and self._consents(live)
            )
            self._tell_missing(
                live.arn, trust=statements_of(self._terms.trust(missing)), policy=None if may_connect else policy
            )
            raise NotFoundError(
                f"role {live.name} doesn't admit {self._terms.name_admitted(missing)}; its owner has to add to its "
                f"trust policy what status.role.trust shows: {self._show_command('trust')}",
                reason="TrustMissing",
            )
        return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts.values() else Verdict.YES

    def _judge_connect(self, policies: Mapping[str, Mapping[str, Any]]) -> Verdict:
        subject = self._subject
        return judge_connect(
            policies.values(),
            user_arn=subject.user_arn,
            cache_arns=subject.cache_arns(self._terms.inventory),
            service=subject.connect_service,
        )

    def _consents(self, live: ObservedRole) -> bool:
        owner = self._plane.installation.owner
        return names.consents(live.tags or {}, owner=owner, namespace=self._meta.namespace)

    async def _put_granted_policy(self, live: ObservedRole, policy: Mapping[str, Any]) -> None:
        """Put our policy into a role whose owner lets us."""
        memory, key, name = self._subject.memory, self._subject.key, self._policy_name
        policies, asked = live.policies or {}, compact_json(policy)
        held = policies.get(name)
        if held is None or not same_policy(held, policy):
            others = sum(len(compact_json(document)) for other, document in policies.items() if other != name)
            if others + len(asked) > INLINE_POLICIES_LIMIT:
                raise PolicyTooLargeError(
                    f"role {live.name} has {others} characters of inline policies, ours has {len(asked)}, and AWS "
                    f"takes {INLINE_POLICIES_LIMIT} together; name another role, or have its owner make room"
                )
            if memory.was_in_sync(key, "granted", asked):
                put = PutRolePolicy(live.name, name, policy)
                await self._plane.repair(key, self._meta, *explain_repair(put, live))
            memory.doubt_role(self._place, live.name)
            await self._terms.aws.put_role_policy(live.name, name, policy)
        memory.note_in_sync(key, "granted", asked)

    async def _leave_to_its_owner(self, live: ObservedRole) -> None:
        """Take out the policy that we put into an External role when it was an Existing one, once it can do without."""
        policies = live.policies or {}
        if self._spec.role.mode is not RoleMode.EXTERNAL or self._policy_name not in policies:
            return
        others = {name: document for name, document in policies.items() if name != self._policy_name}
        if self._judge_connect(others) is Verdict.YES:
            self._subject.memory.doubt_role(self._place, live.name)
            await self._terms.aws.delete_role_policy(live.name, self._policy_name)

    def _tell_missing(self, arn: str, *, trust: Statements = (), policy: Mapping[str, Any] | None = None) -> None:
        """Show in the status what the role's owner has to write. Tokens go on with the role that they had."""
        held = self._user.status.role
        self._findings.fields["role"] = RoleStatus(
            arn=held.arn if held is not None and held.arn else arn,
            unique_id=held.unique_id if held is not None else "",
            max_session_seconds=held.max_session_seconds if held is not None and held.arn else 3600,
            trust=trust,
            policy=statements_of(policy) if policy is not None else (),
        )

    def _policy_missing(self, live: ObservedRole) -> str:
        message = (
            f"role {live.name} may not connect as {self._subject.user_id}; its owner has to give it a policy with what "
            f"status.role.policy shows: {self._show_command('policy')}"
        )
        if self._spec.role.mode is RoleMode.EXISTING:
            owner = self._plane.installation.owner
            value = names.with_consent(live.tags or {}, owner=owner, namespace=self._meta.namespace)
            message += f", or let us do it: {commands.consent_to_role(live.name, value)}"
        return message

    def _show_command(self, field: str) -> str:
        meta = self._meta
        return commands.show_role_terms(meta.namespace, meta.name, field)


def granted_policy_name(subject: Subject) -> str:
    """Return the name of the policy that we put into a role of somebody else's."""
    meta = subject.user.metadata
    return names.granted_policy_name(subject.plane.installation.owner, meta.namespace, meta.name)


async def withdraw_policy(aws: Aws, role_arn: str, policy_name: str) -> None:
    """Take our policy out of a role of somebody else's; a role or policy that is gone, or never was, is success."""
    name = names.role_name_of(role_arn)
    role = await aws.get_role(name) if name is not None else None
    if name is not None and role is not None and role.arn == role_arn and policy_name in (role.policies or {}):
        await aws.delete_role_policy(name, policy_name)
