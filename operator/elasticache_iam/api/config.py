"""The operator's configuration: one YAML file, the same keys as the chart's `config:`."""

from enum import StrEnum
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from elasticache_iam.api.base import ApiModel
from elasticache_iam.api.keys import DEFAULT_AUDIENCE, GROUP
from elasticache_iam.api.syntax import is_reserved_tag_key

PolicyArn: TypeAlias = Annotated[str, Field(pattern=r"^arn:[a-z-]+:iam::(\d{12}|aws):policy/[^*?\s]+$")]


def _free_tag_key(key: str) -> str:
    if is_reserved_tag_key(key):
        raise ValueError(
            f"no resource may have a tag whose key starts with {GROUP}/ (the operator's) or aws: (AWS's); leave it out"
        )
    return key


TagKey: TypeAlias = Annotated[str, AfterValidator(_free_tag_key)]


def _check_boundary(boundary: str | None, account: str | None) -> None:
    """Raise ValueError for a boundary of another account than its roles: AWS takes none."""
    if boundary is not None and account is not None and (other := boundary.split(":")[4]) not in {"aws", account}:
        raise ValueError(f"permissionsBoundary is a policy of account {other}, not of {account}")


class Signing(StrEnum):
    """How the operator gets the credentials that sign a workload's tokens."""

    WEB_IDENTITY = "WebIdentity"
    ASSUME_ROLE = "AssumeRole"


class PodIdentityAgent(StrEnum):
    """How the EKS Pod Identity agent comes to the cluster's nodes."""

    ADD_ON = "AddOn"
    OWN = "Own"


class AccountConfig(ApiModel):
    """Another AWS account whose caches UserGroups may name."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^\d{12}$")]
    role_arn: Annotated[str, Field(pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$")]
    """The role there that the operator becomes."""
    external_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@:/-]+$", min_length=2, max_length=1224)] | None = None
    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    """Namespaces whose UserGroups may use the account; `*` stands for all."""
    permissions_boundary: PolicyArn | None = None
    """The boundary of roles made there; that of the operator's own account doesn't exist in another one."""

    @model_validator(mode="after")
    def _all_is_there(self) -> Self:
        """Refuse a role of another account, in which everything would be made, and a boundary of another one."""
        account = self.role_arn.split(":")[4]
        if account != self.id:
            raise ValueError(f"roleArn is a role of account {account}, not of {self.id}")
        _check_boundary(self.permissions_boundary, self.id)
        return self


class OperatorConfig(ApiModel):
    """All settings. `None` means: find out at start (see runtime/config.py).

    Intervals and lives are in seconds. Unknown keys are an error: a misspelt safety setting must not be ignored.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    owner: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,9}$")]
    region: str | None = None
    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    accounts: tuple[AccountConfig, ...] = Field(default=(), description="other AWS accounts that groups may be in")
    cluster_name: str | None = None
    oidc_issuer: str | None = None
    signing: Signing = Signing.WEB_IDENTITY
    operator_role_arn: Annotated[str, Field(pattern=r"^arn:[a-z-]+:iam::\d{12}:(role|user)/[^*?]+$")] | None = Field(
        default=None, description="who managed roles trust with signing AssumeRole; found out at start by default"
    )
    audience: str = DEFAULT_AUDIENCE
    pod_identity_agent: PodIdentityAgent = Field(
        default=PodIdentityAgent.ADD_ON,
        description="AddOn: look whether the EKS add-on is there; Own: don't",
    )
    permissions_boundary: PolicyArn | None = None
    max_session_seconds: Annotated[int, Field(ge=3600, le=43200)] = 43200
    allowed_tag_keys: tuple[TagKey, ...] = ()
    trusted_caches: tuple[str, ...] = Field(
        default=(), description="ARNs of caches that count as consenting without an AWS tag"
    )
    token_seconds: Annotated[int, Field(ge=10, le=900)] = 900
    cache_ca: str | None = Field(default=None, alias="cacheCA", description="PEM: the caches' CA, if not a public one")
    verify_logins: bool = True
    secret_repair: bool = Field(default=False, description="watch Secrets; takes the right to read them")
    drift_interval: Annotated[float, Field(gt=0)] = 300.0
    slow_drift_interval: Annotated[float, Field(gt=0)] = 3600.0
    resync_interval: Annotated[float, Field(gt=0)] = 720.0
    mass_deletion_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    mass_deletion_minimum: Annotated[int, Field(ge=0)] = 5
    poll_interval: Annotated[float, Field(gt=0, description="while AWS is at work on something of ours")] = 5.0
    namespaces: tuple[str, ...] = Field(default=(), description="watch only these; empty: the whole cluster")
    lease_seconds: Annotated[int, Field(ge=2, le=300)] = 15
    lease_renew_deadline: Annotated[float, Field(gt=0)] = 10.0
    lease_retry: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="after")
    def _lease_has_room(self) -> Self:
        """Refuse a Lease that would end before its holder has stopped writing, or between two renewals."""
        if not self.lease_retry < self.lease_renew_deadline < self.lease_seconds:
            raise ValueError("it must be leaseRetry < leaseRenewDeadline < leaseSeconds")
        return self

    @model_validator(mode="after")
    def _boundary_is_here(self) -> Self:
        """Refuse a boundary of another account, with which no role could be made."""
        _check_boundary(self.permissions_boundary, self.account)
        return self
