"""ElastiCacheIAMUser: the application team's side. A user in AWS, its role, its tokens in Secrets."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field

from elasticache_iam.api.access import Access
from elasticache_iam.api.base import ApiModel, Condition, Metadata
from elasticache_iam.api.group import DeletionPolicy


class RoleMode(StrEnum):
    """Whose the IAM role is."""

    MANAGED = "Managed"
    EXISTING = "Existing"
    EXTERNAL = "External"
    NONE = "None"


class RoleBinding(StrEnum):
    """How a workload that signs for itself gets the role."""

    IRSA = "IRSA"
    POD_IDENTITY = "PodIdentity"


class DeliveryMode(StrEnum):
    """How the token reaches the workload."""

    SECRET = "Secret"  # noqa: S105  # a Kubernetes kind
    NONE = "None"


class UserAdoption(StrEnum):
    """What to do with a user that exists in AWS already."""

    NEVER = "Never"
    ADOPT = "Adopt"


class GroupRef(ApiModel):
    """The UserGroup to join; `namespace` defaults to the user's own, `caches` to all of the group's."""

    name: str
    namespace: str | None = None
    caches: tuple[str, ...] | None = None


class Role(ApiModel):
    """The IAM role that tokens are signed with."""

    mode: RoleMode = RoleMode.MANAGED
    arn: str | None = None
    binding: RoleBinding = RoleBinding.IRSA


class SecretDelivery(ApiModel):
    """The Secret of the cache `main`; other caches' are called `<name>.<alias>`."""

    name: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    template: Mapping[str, str] = Field(default_factory=dict)


class ConfigMapDelivery(ApiModel):
    """Token-free settings."""

    name: str
    template: Mapping[str, str] = Field(default_factory=dict)


class Delivery(ApiModel):
    """How the workload learns what it needs."""

    mode: DeliveryMode = DeliveryMode.SECRET
    secret: SecretDelivery = SecretDelivery()
    config_map: ConfigMapDelivery | None = None


class ElastiCacheIAMUserSpec(ApiModel):
    """What the application team asks for."""

    groups: tuple[GroupRef, ...]
    id: str | None = None
    access: Access
    service_accounts: tuple[str, ...] = ()
    role: Role = Role()
    annotate_service_accounts: bool = False
    delivery: Delivery = Delivery()
    suspend: bool = False
    adoption: UserAdoption = UserAdoption.NEVER
    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    tags: Mapping[str, str] = Field(default_factory=dict)


class SecretRef(ApiModel):
    """A Secret that we created; the uid is what tells it from somebody else's of the same name."""

    name: str
    uid: str = ""


class UserCacheStatus(ApiModel):
    """One cache and all that minting for it needs, so that a refresh never asks AWS."""

    name: str
    id: str
    arn: str
    service: str = "elasticache"
    serverless: bool = False
    region: str
    host: str
    port: int
    reader_host: str = ""
    secret: SecretRef | None = None


class RoleStatus(ApiModel):
    """The role; `trust` and `policy` only where somebody else must write them."""

    arn: str = ""
    max_session_seconds: int = 3600
    trust: tuple[Mapping[str, Any], ...] = ()
    policy: tuple[Mapping[str, Any], ...] = ()


class AccessStringStatus(ApiModel):
    """The last string sent and what AWS made of it: a console edit is seen, AWS's own rewriting is not."""

    sent: str = ""
    returned: str = ""


class BindingStatus(ApiModel):
    """Service Binding: the Secret of the main cache."""

    name: str


class ElastiCacheIAMUserStatus(ApiModel):
    """What we know and did."""

    observed_generation: int = -1
    conditions: tuple[Condition, ...] = ()
    id: str = ""
    arn: str = ""
    role: RoleStatus | None = None
    access_string: AccessStringStatus | None = None
    refresh: str = ""
    caches: tuple[UserCacheStatus, ...] = ()
    binding: BindingStatus | None = None
    plan: tuple[str, ...] = ()


class ElastiCacheIAMUser(ApiModel):
    """The resource."""

    metadata: Metadata
    spec: ElastiCacheIAMUserSpec
    status: ElastiCacheIAMUserStatus = ElastiCacheIAMUserStatus()
