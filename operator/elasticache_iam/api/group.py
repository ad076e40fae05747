"""UserGroup: the platform team's side. A user group in AWS, hardened and attached to caches."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import Field

from elasticache_iam.api.access import Access
from elasticache_iam.api.base import ApiModel, Condition, Metadata


class Service(StrEnum):
    """The AWS service the caches belong to."""

    ELASTICACHE = "ElastiCache"
    MEMORYDB = "MemoryDB"


class Engine(StrEnum):
    """The engine of a user group, in AWS's lower-case spelling."""

    VALKEY = "valkey"
    REDIS = "redis"


class GroupAdoption(StrEnum):
    """What to do with a user group that exists in AWS already."""

    NEVER = "Never"
    ADOPT = "Adopt"
    REFERENCE = "Reference"


class AttachmentPolicy(StrEnum):
    """What to do with a cache that is open or has an AUTH token, where attaching locks clients out."""

    REFUSE = "Refuse"
    ATTACH = "Attach"


class DefaultUserPolicy(StrEnum):
    """Whether we replace the user named default of a redis group."""

    DISABLED = "Disabled"
    UNMANAGED = "Unmanaged"


class Membership(StrEnum):
    """Whether members that we did not add are removed."""

    ADDITIVE = "Additive"
    AUTHORITATIVE = "Authoritative"


class DeletionPolicy(StrEnum):
    """What happens to the AWS objects when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class CacheSpec(ApiModel):
    """One cache: exactly one of the three ids."""

    name: str = "main"
    replication_group: str | None = None
    serverless_cache: str | None = None
    memory_db_cluster: str | None = Field(default=None, alias="memoryDBCluster")


class Attachment(ApiModel):
    """How the group may be attached."""

    policy: AttachmentPolicy = AttachmentPolicy.REFUSE


class LabelSelectorRequirement(ApiModel):
    """metav1.LabelSelectorRequirement."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(ApiModel):
    """metav1.LabelSelector."""

    match_labels: Mapping[str, str] = Field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class NamespaceMatch(ApiModel):
    """The namespaces a rule speaks of: exactly one of names and selector."""

    names: tuple[str, ...] = ()
    selector: LabelSelector | None = None


class AdmissionRule(ApiModel):
    """Who may join the group from another namespace, and the most they may ask for."""

    namespaces: NamespaceMatch
    limit: Access
    ids: tuple[str, ...] = ()


class UserGroupSpec(ApiModel):
    """What the platform team asks for."""

    service: Service = Service.ELASTICACHE
    engine: Engine
    id: str | None = None
    region: str | None = None
    account: str | None = None
    adoption: GroupAdoption = GroupAdoption.NEVER
    caches: tuple[CacheSpec, ...] = ()
    attachment: Attachment = Attachment()
    default_user: DefaultUserPolicy = DefaultUserPolicy.DISABLED
    membership: Membership = Membership.ADDITIVE
    members: tuple[str, ...] = ()
    admission: tuple[AdmissionRule, ...] = ()
    tags: Mapping[str, str] = Field(default_factory=dict)
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN


class GroupCacheStatus(ApiModel):
    """One cache of the group as last seen."""

    name: str
    id: str
    arn: str = ""
    host: str = ""
    port: int = 0
    reader_host: str = ""
    engine_version: str = ""
    state: str = ""


class UserGroupStatus(ApiModel):
    """What we know and did."""

    observed_generation: int = -1
    conditions: tuple[Condition, ...] = ()
    id: str = ""
    arn: str = ""
    members: int = 0
    caches: tuple[GroupCacheStatus, ...] = ()
    plan: tuple[str, ...] = ()


class UserGroup(ApiModel):
    """The resource."""

    metadata: Metadata
    spec: UserGroupSpec
    status: UserGroupStatus = UserGroupStatus()
