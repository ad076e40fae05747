"""What a workload's role has to allow, whosever role it is: who may become it, and what it may log in to."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, assert_never

from elasticache_iam.api.config import Signing
from elasticache_iam.api.keys import STS_AUDIENCE
from elasticache_iam.api.user import DeliveryMode, RoleBinding
from elasticache_iam.core import commands, names
from elasticache_iam.core.errors import AccessDeniedError, InvalidSpecError, NotFoundError
from elasticache_iam.core.policy import (
    PolicyTooLargeError,
    Verdict,
    connect_policy,
    judge_pod_identity,
    judge_role_chain,
    judge_trust,
    pod_identity_trust,
    role_chain_trust,
    session_policy,
    trust_policy,
)
from elasticache_iam.core.state import Inventory
from elasticache_iam.core.status import ACCESS_GRANTED, Stage, was_true
from elasticache_iam.ports import Aws
from elasticache_iam.reconcile.user.subject import Subject

Statements = tuple[Mapping[str, Any], ...]


_REFUSALS: Final = frozenset({AccessDeniedError.reason, "AudienceMissing"})
"""Reports of the token plane that contradict what was seen of a role."""


class Signer(Enum):
    """Who becomes the role, and how."""

    WEB_IDENTITY = "by the ServiceAccount's token"
    OPERATOR = "as the operator's own role"
    POD_IDENTITY = "by EKS Pod Identity"


class RoleTerms:
    """The terms of one user's role."""

    def __init__(self, subject: Subject, inventory: Inventory) -> None:
        self.subject = subject
        self.inventory = inventory
        self._plane = subject.plane
        self._spec = subject.user.spec
        self._meta = subject.user.metadata
        self._place = subject.place

    @property
    def aws(self) -> Aws:
        """AWS where the role is."""
        return self._plane.aws(self._place)

    @property
    def signer(self) -> Signer:
        """Who becomes the role: the operator for tokens in Secrets, else the workload itself."""
        if self._spec.delivery.mode is DeliveryMode.NONE:
            is_by_pods = self._spec.role.binding is RoleBinding.POD_IDENTITY
            return Signer.POD_IDENTITY if is_by_pods else Signer.WEB_IDENTITY
        chains = self._plane.installation.config.signing is Signing.ASSUME_ROLE
        return Signer.OPERATOR if chains else Signer.WEB_IDENTITY

    @property
    def audience(self) -> str:
        """The one audience that the role trusts: ours, or that of the pods' own tokens."""
        signs_itself = self._spec.delivery.mode is DeliveryMode.NONE
        return STS_AUDIENCE if signs_itself else self._plane.installation.config.audience

    @property
    def provider_arn(self) -> str:
        """The IAM OIDC provider that the role trusts."""
        return self._plane.installation.oidc_provider_arn(self._place)

    @property
    def external_id(self) -> str:
        """What the operator says to become the role itself."""
        return names.external_id(self._plane.installation.owner, self._meta.namespace, self._meta.name)

    @property
    def cluster_arn(self) -> str:
        """The EKS cluster whose pods get the role.

        Raises:
            NotFoundError: The operator doesn't know it.
        """
        arn = self._plane.installation.cluster_arn
        if arn is None:
            raise NotFoundError(
                "role.binding PodIdentity: the operator doesn't know its EKS cluster; set clusterName in its "
                "configuration, or use role.binding IRSA",
                reason="ClusterNameMissing",
            )
        return arn

    async def check_audience(self) -> None:
        """Look at what the first token needs from the account; later passes of this generation trust what was seen."""
        if self.is_granted or self.signer is not Signer.WEB_IDENTITY:
            return
        issuer = self._plane.installation.issuer
        if not issuer:
            raise NotFoundError(
                "the operator doesn't know the OIDC issuer of the cluster; set oidcIssuer or clusterName in its "
                "configuration",
                reason="AudienceMissing",
            )
        audiences = await self.aws.get_oidc_audiences(issuer)
        if audiences is None or self.audience not in audiences:
            provider_arn = None if audiences is None else self.provider_arn
            fix = commands.add_audience(issuer, self.audience, provider_arn=provider_arn)
            raise NotFoundError(
                f"the IAM OIDC provider of {issuer} in account {self._place.account} doesn't list the audience "
                f"{self.audience}: {fix}",
                reason="AudienceMissing",
            )

    def trust(self, accounts: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the trust policy that admits some of the user's ServiceAccounts."""
        subjects = tuple((self._meta.namespace, account) for account in accounts)
        installation = self._plane.installation
        try:
            match self.signer:
                case Signer.WEB_IDENTITY:
                    return trust_policy(
                        provider_arn=self.provider_arn,
                        issuer=installation.issuer,
                        audience=self.audience,
                        subjects=subjects,
                    )
                case Signer.OPERATOR:
                    return role_chain_trust(principal_arn=installation.principal, external_id=self.external_id)
                case Signer.POD_IDENTITY:
                    return pod_identity_trust(cluster_arn=self.cluster_arn, subjects=subjects)
                case _:
                    assert_never(self.signer)
        except PolicyTooLargeError as error:
            raise PolicyTooLargeError(f"{error.message}: name fewer spec.serviceAccounts") from error
        except ValueError as error:
            raise InvalidSpecError(str(error)) from error

    def judge_trust(self, trust: Mapping[str, Any], account: str, *, exact: bool) -> Verdict:
        """Return whether a role's trust policy admits a ServiceAccount, or the operator for it."""
        subject, installation = (self._meta.namespace, account), self._plane.installation
        match self.signer:
            case Signer.WEB_IDENTITY:
                return judge_trust(
                    trust,
                    provider_arn=self.provider_arn,
                    issuer=installation.issuer,
                    audience=self.audience,
                    subject=subject,
                    exact=exact,
                )
            case Signer.OPERATOR:
                return judge_role_chain(
                    trust, principal_arn=installation.principal, external_id=self.external_id, exact=exact
                )
            case Signer.POD_IDENTITY:
                return judge_pod_identity(trust, cluster_arn=self.cluster_arn, subject=subject, exact=exact)
            case _:
                assert_never(self.signer)

    def name_admitted(self, accounts: tuple[str, ...]) -> str:
        """Return in words whom a trust policy has to admit."""
        who = f"ServiceAccount {', '.join(accounts)} of namespace {self._meta.namespace}"
        match self.signer:
            case Signer.WEB_IDENTITY:
                return f"{who} with the audience {self.audience}"
            case Signer.OPERATOR:
                return (
                    f"the operator's role {self._plane.installation.principal} with the external id {self.external_id}"
                )
            case Signer.POD_IDENTITY:
                return f"{who} by EKS Pod Identity"
            case _:
                assert_never(self.signer)

    def policy(self) -> Mapping[str, Any]:
        """Return the policy that lets the user in. Raises where a session's policy would be too large."""
        subject = self.subject
        arns, service = subject.cache_arns(self.inventory), subject.connect_service
        try:
            if self._spec.delivery.mode is DeliveryMode.SECRET:
                session_policy(subject.user_arn, arns, service)
            return connect_policy(subject.user_arn, arns, service)
        except PolicyTooLargeError as error:
            raise PolicyTooLargeError(f"{error.message}: name fewer caches in spec.groups[0].caches") from error
        except ValueError as error:
            raise InvalidSpecError(str(error)) from error

    def granted(self, role_name: str, note: str = "") -> Stage:
        """Return the stage of a role that is in order."""
        message = f"role {role_name} may connect as {self.subject.user_id}"
        return Stage.ok(ACCESS_GRANTED, "Granted", f"{message}; {note}" if note else message)

    @property
    def is_granted(self) -> bool:
        """Whether the role was in order for what is asked now, and STS has refused no session of it since."""
        reports = self._plane.reports.get((self._meta.namespace, self._meta.name))
        if reports is not None and any(failed.reason in _REFUSALS for failed in reports.failed.values()):
            return False
        return was_true(self.subject.user.status.conditions, ACCESS_GRANTED, self._meta.generation)


def statements_of(document: Mapping[str, Any]) -> Statements:
    """Return a policy's statements, as a status shows them."""
    return tuple(document["Statement"])
