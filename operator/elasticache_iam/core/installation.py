"""This installation of the operator, with everything found out at start."""

from dataclasses import dataclass

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names


@dataclass(frozen=True, slots=True)
class Installation:
    """Who we are in AWS: `config` with region, account and OIDC issuer filled in."""

    config: OperatorConfig
    region: str
    account: str
    issuer: str

    @property
    def owner(self) -> str:
        """The first part of every name and the value of the owner tag."""
        return self.config.owner

    def user_id(self, user: ElastiCacheIAMUser) -> str:
        """Return the id of a resource's user in AWS."""
        return user.spec.id or names.default_id(self.owner, user.metadata.namespace, user.metadata.name)

    def group_id(self, group: UserGroup) -> str:
        """Return the id of a resource's user group in AWS."""
        return group.spec.id or names.default_id(self.owner, group.metadata.namespace, group.metadata.name)

    @property
    def oidc_provider_arn(self) -> str:
        """The IAM OIDC provider that workloads' tokens are checked with."""
        return names.oidc_provider_arn(self.region, self.account, self.issuer)
