"""Why a user can't log in: the facts for `core.diagnosis`, from what the control plane has read anyway.

A refusal lasts for a quarter of a minute before it is told, so an inventory that was read since it began shows its
cause: at most one read of the pages more, shared by all users who are refused at that time. Only where the pages show
nothing wrong is AWS asked about one role.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from elasticache_iam.api.user import RoleMode, UserCacheStatus
from elasticache_iam.core import commands, names
from elasticache_iam.core.access import parse_access_string, render_access_string
from elasticache_iam.core.diagnosis import Cause, Diagnosis, Facts, SignedFor, TokenLife, diagnose
from elasticache_iam.core.errors import AccessDeniedError, OperatorError
from elasticache_iam.core.mint import LoginOutcome, LoginResult, TokenReports, Verified
from elasticache_iam.core.state import Inventory, ObservedRole, SimulatedConnect
from elasticache_iam.core.status import ACCESS_GRANTED, MEMBERSHIP_SYNCED, TOKEN_DELIVERED
from elasticache_iam.reconcile.store import group_key
from elasticache_iam.reconcile.user.role_terms import RoleTerms, Signer
from elasticache_iam.reconcile.user.subject import Subject

log = structlog.get_logger("reconcile")

REFUSED_FOR_S: Final = 15.0
"""So long a refusal has lasted at least when it is told: the pauses between the tries."""
UNREACHABLE_FOR_S: Final = 60.0
"""Thousands of caches without a route, tried each hour, mustn't have the pages read for each."""
NEWS_S: Final = 60.0
"""For so long after a report its cause is news to the group's pass; later that looks in its own time."""
_OF_THE_GROUP: Final = frozenset({Cause.GROUP_NOT_FOUND, Cause.NOT_IN_GROUP, Cause.GROUP_NOT_ATTACHED})


@dataclass(frozen=True, slots=True)
class Trial:
    """A try to log in to one cache."""

    result: LoginResult | None = None
    token: TokenLife | None = None
    signed: SignedFor | None = None


class Examination:
    """Looks for the broken link between one user and its caches.

    Args:
        subject: The user in its group.
        ahead: How far the clock that signs is ahead of AWS's; None where that isn't known.
    """

    def __init__(self, subject: Subject, *, ahead: timedelta | None) -> None:
        self._subject = subject
        self._plane = subject.plane
        self._user = subject.user
        self._meta = subject.user.metadata
        self._place = subject.place
        self._ahead = ahead

    async def explain(self, caches: Iterable[UserCacheStatus], reports: TokenReports) -> Mapping[str, Diagnosis]:
        """Return what is wrong with logins that were reported to fail, by the cache's alias; nothing is raised."""
        failed = [
            (cache, self._trial_of(report))
            for cache in caches
            if (report := reports.verified.get(cache.name)) is not None
            and report.generation == self._meta.generation
            and report.result.outcome is not LoginOutcome.LOGGED_IN
        ]
        if not failed:
            return {}
        config = self._plane.installation.config
        since_s = self._plane.clock.monotonic() - reports.failed_login_at_s
        was_refused = any(trial.result.outcome is LoginOutcome.REFUSED for _, trial in failed if trial.result)
        lasted_s = REFUSED_FOR_S if was_refused else UNREACHABLE_FOR_S
        try:
            inventory = await self._plane.aws(self._place).get_inventory(
                max_age_s=min(config.drift_interval, since_s + lasted_s),
                slow_max_age_s=config.slow_drift_interval,
            )
            found = {cache.name: await self.examine(cache, inventory, trial) for cache, trial in failed}
        except OperatorError as error:
            log.warning(
                "a refused login isn't explained",
                namespace=self._meta.namespace,
                name=self._meta.name,
                reason=error.reason,
            )
            return {}
        if since_s < NEWS_S and any(diagnosis.cause in _OF_THE_GROUP for diagnosis in found.values()):
            self._plane.queue.wake(group_key(self._user))  # its own pass puts that right, from the pages read just now
        return found

    def _trial_of(self, report: Verified) -> Trial:
        life = None
        if report.issued_at is not None and report.expires_at is not None:
            asked = timedelta(seconds=self._plane.installation.config.token_seconds)
            life = TokenLife(report.issued_at, report.expires_at, asked)
        return Trial(report.result, life)

    async def examine(
        self, cache: UserCacheStatus, inventory: Inventory, trial: Trial, *, is_thorough: bool = False
    ) -> Diagnosis:
        """Walk the chain for one cache.

        Args:
            cache: The cache, as the user's status has it.
            inventory: What AWS shows.
            trial: What logging in showed.
            is_thorough: Whether to ask AWS about role and OIDC provider also where the pages explain a failure.

        Raises:
            OperatorError: AWS doesn't answer.
        """
        facts = await self._facts(cache, inventory, trial)
        if is_thorough:
            facts = replace(facts, lacks_audience=await self._lacks_audience())
        found = diagnose(facts)
        if facts.role is None or (found.cause is not None and not is_thorough):
            return found
        simulated = await self._simulate(facts)
        if simulated is None:
            return found
        if not all(told.allowed for told in simulated.values()) and facts.is_role_ours:
            # What the pages said of the role is old; read now it is also what the next pass repairs.
            facts = replace(facts, role=await self._plane.aws(self._place).get_role(facts.role.name))
        return diagnose(replace(facts, simulated=simulated))

    async def _facts(self, cache: UserCacheStatus, inventory: Inventory, trial: Trial) -> Facts:
        subject, status = self._subject, self._user.status
        terms = RoleTerms(subject, inventory)
        role_arn = status.role.arn if status.role is not None else ""
        role, is_known = await self._role(role_arn, inventory)
        signers = self._user.spec.service_accounts[:1]
        is_signed_by_role = role is not None and bool(signers)
        return Facts(
            namespace=self._meta.namespace,
            name=self._meta.name,
            place=self._place,
            user_id=subject.user_id,
            user_arn=subject.user_arn,
            group_id=subject.group_id,
            target=cache,
            inventory=inventory,
            role_arn=role_arn,
            has_role=self._user.spec.role.mode is not RoleMode.NONE,
            role=role,
            is_role_known=is_known,
            is_role_ours=self._user.spec.role.mode is RoleMode.MANAGED,
            trusted=terms.judge_trust(role.trust, signers[0], exact=False) if role and is_signed_by_role else None,
            trust=terms.trust(self._user.spec.service_accounts) if is_signed_by_role else None,
            signer=terms.name_admitted(signers) if is_signed_by_role else "",
            is_off_by_spec=not parse_access_string(render_access_string(self._user.spec.access)).enabled,
            ahead=self._ahead,
            now=self._plane.clock.now(),
            granted_at=max(filter(None, map(self._since, (ACCESS_GRANTED, MEMBERSHIP_SYNCED))), default=None),
            delivered_at=self._since(TOKEN_DELIVERED),
            token=trial.token,
            signed=trial.signed,
            login=trial.result,
        )

    async def _role(self, arn: str, inventory: Inventory) -> tuple[ObservedRole | None, bool]:
        """Return the role, and whether it could be looked at: one under our path stands in the pages."""
        name, subject = names.role_name_of(arn), self._subject
        if name is None:
            return None, False
        if self._user.spec.role.mode is RoleMode.MANAGED:
            return inventory.roles.get(name), True
        now_s = self._plane.clock.monotonic()
        oldest_s = now_s - self._plane.installation.config.drift_interval
        known = subject.memory.role(self._place, name, not_before_s=oldest_s)
        if known is not None:
            return known, True
        try:
            role = await self._plane.aws(self._place).get_role(name)
        except AccessDeniedError:
            return None, False
        subject.memory.note_role(self._place, name, role, now_s)
        return (role, True) if role is not None and role.arn == arn else (None, True)

    async def _lacks_audience(self) -> str:
        """Return the command that lets the account's OIDC provider take our tokens; "" where it does, or can't say."""
        terms = RoleTerms(self._subject, Inventory())
        issuer = self._plane.installation.issuer
        if terms.signer is not Signer.WEB_IDENTITY or not issuer:
            return ""
        try:
            audiences = await self._plane.aws(self._place).get_oidc_audiences(issuer)
        except AccessDeniedError:
            return ""
        if audiences is not None and terms.audience in audiences:
            return ""
        provider = terms.provider_arn if audiences is not None else None
        return commands.add_audience(issuer, terms.audience, provider_arn=provider)

    async def _simulate(self, facts: Facts) -> Mapping[str, SimulatedConnect] | None:
        """Ask AWS what all policies of the role come to, as seldom as drift is looked for; None where we may not."""
        plane, memory, arns = self._plane, self._subject.memory, (facts.user_arn, facts.target.arn)
        asked, now_s = (facts.role_arn, *arns), plane.clock.monotonic()
        known = memory.simulated(asked, not_before_s=now_s - plane.installation.config.drift_interval)
        if known is not None:
            return known
        try:
            simulated = await plane.aws(self._place).simulate_connect(
                facts.role_arn, arns, service=facts.target.service
            )
        except OperatorError:  # the rest is told without it
            return None
        memory.note_simulated(asked, simulated, now_s)
        return simulated

    def _since(self, kind: str) -> datetime | None:
        """Return since when a condition has been as it is."""
        stamps = (found.last_transition_time for found in self._user.status.conditions if found.type == kind)
        return next((datetime.fromisoformat(stamp) for stamp in stamps if stamp), None)
