"""What a workload's role has to allow, whosever role it is: who may become it, and what it may log in to."""

from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.user import DeliveryMode
from elasticache_iam.core.errors import InvalidSpecError, NotFoundError
from elasticache_iam.core.policy import PolicyTooLargeError, connect_policy, session_policy, trust_policy
from elasticache_iam.core.state import Inventory
from elasticache_iam.core.status import ACCESS_GRANTED, Stage
from elasticache_iam.ports import Aws
from elasticache_iam.reconcile.user.subject import Subject

STS_AUDIENCE: Final = "sts.amazonaws.com"
"""What EKS puts into pods' own tokens (IRSA)."""

Statements = tuple[Mapping[str, Any], ...]


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
    def audience(self) -> str:
        """The one audience that the role trusts: ours, or that of the pods' own tokens."""
        signs_itself = self._spec.delivery.mode is DeliveryMode.NONE
        return STS_AUDIENCE if signs_itself else self._plane.installation.config.audience

    @property
    def provider_arn(self) -> str:
        """The IAM OIDC provider that the role trusts."""
        return self._plane.installation.oidc_provider_arn(self._place)

    async def check_audience(self) -> None:
        """Look at what the first token needs from the account; later passes of this generation trust what was seen."""
        if self.is_granted:
            return
        issuer = self._plane.installation.issuer
        audiences = await self.aws.get_oidc_audiences(issuer)
        if audiences is None or self.audience not in audiences:
            fix = (
                f"aws iam create-open-id-connect-provider --url {issuer} --client-id-list {self.audience}"
                if audiences is None
                else "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "
                f"{self.provider_arn} --client-id {self.audience}"
            )
            raise NotFoundError(
                f"the IAM OIDC provider of {issuer} in account {self._place.account} doesn't list the audience "
                f"{self.audience}: {fix}",
                reason="AudienceMissing",
            )

    def trust(self, accounts: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the trust policy that admits some of the user's ServiceAccounts."""
        try:
            return trust_policy(
                provider_arn=self.provider_arn,
                issuer=self._plane.installation.issuer,
                audience=self.audience,
                subjects=tuple((self._meta.namespace, account) for account in accounts),
            )
        except PolicyTooLargeError as error:
            raise PolicyTooLargeError(f"{error.message}: name fewer spec.serviceAccounts") from error
        except ValueError as error:
            raise InvalidSpecError(str(error)) from error

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
        """Whether the role was in order for what is asked now."""
        return any(
            condition.type == ACCESS_GRANTED
            and condition.status is ConditionStatus.TRUE
            and condition.observed_generation == self._meta.generation
            for condition in self.subject.user.status.conditions
        )


def statements_of(document: Mapping[str, Any]) -> Statements:
    """Return a policy's statements, as a status shows them."""
    return tuple(document["Statement"])


def role_name_of(arn: str) -> str:
    """Return the name of the role with an ARN."""
    return arn.rpartition("/")[2]
