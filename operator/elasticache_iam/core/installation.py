"""This installation of the operator, with everything found out at start."""

import re
from dataclasses import dataclass
from typing import Final

from elasticache_iam.api.config import AccountConfig, OperatorConfig
from elasticache_iam.api.group import Service, UserGroup
from elasticache_iam.api.syntax import AWS_ID
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.state import Place

_ID: Final = re.compile(AWS_ID)


@dataclass(frozen=True, slots=True)
class Installation:
    """Who we are in AWS: `config` with region, account and OIDC issuer filled in.

    Attributes:
        issuer: "" where nobody says it and it isn't needed (`signing: AssumeRole`).
        principal: The ARN of the operator's own role, only with `signing: AssumeRole`: roles trust it.
    """

    config: OperatorConfig
    region: str
    account: str
    issuer: str
    principal: str = ""

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
    def home(self) -> Place:
        """Where a group is that says nothing else."""
        return Place(Service.ELASTICACHE, self.account, self.region)

    def place_of(self, group: UserGroup) -> Place:
        """Return where a group, its users and its caches are."""
        spec = group.spec
        return Place(spec.service, spec.account or self.account, spec.region or self.region)

    def last_place_of(self, user: ElastiCacheIAMUser) -> Place:
        """Return where a user was last seen: also when its group is gone."""
        return names.place_of_arn(user.status.arn) or self.home

    def find_move(self, resource: ElastiCacheIAMUser | UserGroup) -> str | None:
        """Say if a resource's AWS object was made as somebody else, or elsewhere, than today's configuration says.

        Ids, regions and accounts of resources never change, so this operator's owner, region or account has. Working on
        would leave what there is behind, and replace tokens that work by such that don't.
        """
        status = resource.status
        if isinstance(resource, ElastiCacheIAMUser):
            what, now_id, place = "user", self.user_id(resource), None
        else:
            what, now_id, place = "group", self.group_id(resource), self.place_of(resource)
        was = names.place_of_arn(status.arn)
        if _ID.fullmatch(status.id) and status.id != now_id:  # what no installation calls anything was made up
            if status.id.startswith(f"{self.owner}-"):
                return None  # a copy of another resource brought that one's status along
            change = f"is {status.id} in AWS, and would be {now_id}"
        elif place is not None and was is not None and (was.account, was.region) != (place.account, place.region):
            change = f"is in {was.region} of account {was.account}, and would be in {place.region} of {place.account}"
        else:
            return None
        return (
            f"this {what} {change}: the operator's owner, region or account has changed; put it back into its "
            "configuration, or delete this resource while it was, and make it anew"
        )

    def account_config(self, account: str) -> AccountConfig | None:
        """Return what the configuration says of another account; None for our own, and for one it doesn't list."""
        return next((entry for entry in self.config.accounts if entry.id == account != self.account), None)

    def may_use_account(self, namespace: str, account: str) -> bool:
        """Whether UserGroups of a namespace may be in an account."""
        if account == self.account:
            return True
        entry = self.account_config(account)
        return entry is not None and ("*" in entry.namespaces or namespace in entry.namespaces)

    def boundary_in(self, account: str) -> str | None:
        """Return the permissions boundary that roles in an account get."""
        entry = self.account_config(account)
        return self.config.permissions_boundary if entry is None else entry.permissions_boundary

    @property
    def cluster_arn(self) -> str | None:
        """The EKS cluster that the operator runs in; None if the configuration doesn't name one."""
        name = self.config.cluster_name
        return names.cluster_arn(self.region, self.account, name) if name is not None else None

    def oidc_provider_arn(self, place: Place) -> str:
        """Return the IAM OIDC provider that workloads' tokens are checked with in an account."""
        return names.oidc_provider_arn(place.region, place.account, self.issuer)
