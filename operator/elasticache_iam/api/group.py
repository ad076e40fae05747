"""UserGroup: the platform team's side. A user group in AWS, hardened and attached to caches."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from elasticache_iam.api.access import Access
from elasticache_iam.api.base import NAME_RULE, ApiModel, Condition, Metadata
from elasticache_iam.api.schema import Reason, Rule, Schema, at_most, immutable, items_at_most, list_map
from elasticache_iam.api.syntax import (
    AccountId,
    Alias,
    AwsId,
    DnsLabel,
    GroupId,
    LabelKey,
    LabelValue,
    MatchLabels,
    Region,
    Tags,
    UserIdGlob,
)


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
    """What to do with a cache that is open, where attaching locks clients out."""

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

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.replicationGroup), has(self.serverlessCache), has(self.memoryDBCluster)]"
            ".exists_one(is_set, is_set)",
            message="set exactly one of replicationGroup, serverlessCache and memoryDBCluster",
            holds=lambda cache: (
                [cache.replication_group, cache.serverless_cache, cache.memory_db_cluster].count(None) == 2  # noqa: PLR2004  # of 3
            ),
        ),
    )

    name: Alias = "main"
    """A short name of your choice that stays when the cache is replaced. Two caches need two names. Secrets of the
    cache main are called as their user, of others <user>.<name>."""

    replication_group: AwsId | None = None
    """The id of a node-based ElastiCache replication group."""

    serverless_cache: AwsId | None = None
    """The name of an ElastiCache serverless cache."""

    memory_db_cluster: Annotated[AwsId | None, Field(alias="memoryDBCluster")] = None
    """The name of a MemoryDB cluster; only with service MemoryDB."""


class Attachment(ApiModel):
    """How the group may be attached."""

    policy: AttachmentPolicy = AttachmentPolicy.REFUSE
    """What to do with a cache that is open. Refuse (default) leaves it alone and says so; Attach attaches the group,
    which locks out every client that logs in without a user. A cache with an AUTH token is left alone either way: its
    token has to go first."""


class LabelSelectorRequirement(ApiModel):
    """metav1.LabelSelectorRequirement."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="values is required with the operators In and NotIn, and must be absent with the others",
            holds=lambda term: (term.operator in {"In", "NotIn"}) == bool(term.values),
            field=".values",
        ),
    )

    key: LabelKey
    """The label's key."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """In, NotIn, Exists or DoesNotExist."""

    values: Annotated[tuple[LabelValue, ...], Field(max_length=32)] = ()
    """The values that In and NotIn compare with."""


class LabelSelector(ApiModel):
    """metav1.LabelSelector."""

    match_labels: MatchLabels = Field(default_factory=dict)
    """Labels that the namespace must have, with these values."""

    match_expressions: Annotated[tuple[LabelSelectorRequirement, ...], Field(max_length=16)] = ()
    """Terms that must all hold for the namespace's labels."""


class NamespaceMatch(ApiModel):
    """The namespaces a rule speaks of: exactly one of names and selector."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(has(self.names) && size(self.names) > 0) != has(self.selector)",
            message="set exactly one of names (at least one) and selector; selector: {} stands for every namespace",
            holds=lambda match: bool(match.names) != (match.selector is not None),
        ),
    )

    names: Annotated[tuple[DnsLabel, ...], Field(max_length=64)] = ()
    """Namespaces by name. A rule by name comes before any rule by selector."""

    selector: Annotated[LabelSelector | None, Schema({"x-kubernetes-map-type": "atomic"})] = None
    """Namespaces by label. Whoever may label namespaces decides who matches; {} is every namespace."""


class AdmissionRule(ApiModel):
    """Who may join the group from another namespace, and the most they may ask for."""

    namespaces: NamespaceMatch
    """The namespaces that this rule speaks of."""

    limit: Access
    """The most a user from there may ask for: commands, keys and channels must lie within."""

    ids: Annotated[tuple[UserIdGlob, ...], Field(max_length=32)] = ()
    """User ids that users from there may choose in spec.id, as "shop-*". Without it they get generated ids."""


class UserGroupSpec(ApiModel):
    """What the platform team asks for."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        immutable("service", "the group would be another object in AWS; make a new UserGroup"),
        Rule(
            cel="self.engine == oldSelf.engine || (oldSelf.engine == 'redis' && self.engine == 'valkey')",
            message="engine is immutable, but for redis -> valkey: AWS knows no way back; make a new UserGroup",
            holds=None,
            field=".engine",
            reason=Reason.FORBIDDEN,
        ),
        immutable("id", "the group in AWS keeps its name for ever; make a new UserGroup"),
        immutable("region", "the group in AWS stays where it is; make a new UserGroup"),
        immutable("account", "the group in AWS stays where it is; make a new UserGroup"),
        Rule(
            cel="!has(self.caches) || self.caches.all(cache, has(cache.memoryDBCluster) == (self.service == "
            "'MemoryDB'))",
            message="caches must be of the group's service: memoryDBCluster with service MemoryDB, replicationGroup "
            "or serverlessCache with service ElastiCache",
            holds=lambda spec: all(
                (cache.memory_db_cluster is not None) == (spec.service is Service.MEMORYDB) for cache in spec.caches
            ),
            field=".caches",
        ),
        Rule(
            cel="self.defaultUser != 'Unmanaged' || (self.engine == 'redis' && self.service == 'ElastiCache')",
            message="defaultUser Unmanaged is for redis groups of ElastiCache: valkey and MemoryDB groups need no "
            "user named default; remove it",
            holds=lambda spec: (
                spec.default_user is not DefaultUserPolicy.UNMANAGED
                or (spec.engine is Engine.REDIS and spec.service is Service.ELASTICACHE)
            ),
            field=".defaultUser",
        ),
        Rule(
            cel="self.defaultUser != 'Disabled' || !has(self.members) || !('default' in self.members)",
            message="members must not hold default while defaultUser is Disabled: that member has full access without "
            "a password; remove it, or set defaultUser: Unmanaged",
            holds=lambda spec: spec.default_user is not DefaultUserPolicy.DISABLED or "default" not in spec.members,
            field=".members",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.adoption == 'Never' || has(self.id)",
            message="id is required with adoption Adopt and Reference: the id of the group that exists in AWS",
            holds=lambda spec: spec.adoption is GroupAdoption.NEVER or spec.id is not None,
            field=".id",
            reason=Reason.REQUIRED,
        ),
        Rule(
            cel="self.adoption != 'Reference' || self.deletionPolicy == 'Retain'",
            message="deletionPolicy must be Retain with adoption Reference: the group belongs to somebody else",
            holds=lambda spec: (
                spec.adoption is not GroupAdoption.REFERENCE or spec.deletion_policy is DeletionPolicy.RETAIN
            ),
            field=".deletionPolicy",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.adoption != 'Reference' || self.membership == 'Additive'",
            message="membership must be Additive with adoption Reference: other members belong to the group's owner",
            holds=lambda spec: spec.adoption is not GroupAdoption.REFERENCE or spec.membership is Membership.ADDITIVE,
            field=".membership",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.adoption != 'Reference' || self.attachment.policy == 'Refuse'",
            message="attachment.policy must be Refuse with adoption Reference: the group's owner attaches it",
            holds=lambda spec: (
                spec.adoption is not GroupAdoption.REFERENCE or spec.attachment.policy is AttachmentPolicy.REFUSE
            ),
            field=".attachment.policy",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.adoption != 'Reference' || !has(self.members) || size(self.members) == 0",
            message="members must be empty with adoption Reference: the group's owner adds them",
            holds=lambda spec: spec.adoption is not GroupAdoption.REFERENCE or not spec.members,
            field=".members",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.adoption != 'Reference' || !has(self.tags) || size(self.tags) == 0",
            message="tags must be empty with adoption Reference: a group that isn't ours is never tagged",
            holds=lambda spec: spec.adoption is not GroupAdoption.REFERENCE or not spec.tags,
            field=".tags",
            reason=Reason.FORBIDDEN,
        ),
    )

    service: Service = Service.ELASTICACHE
    """The AWS service of the caches: ElastiCache (default) or MemoryDB. Immutable."""

    engine: Engine
    """The engine of the group, valkey or redis. Only redis may become valkey, later. A valkey group needs no user
    named default; a redis cache takes only a redis group."""

    id: GroupId | None = None
    """The group's id in AWS. Generated from owner, namespace and name by default. Immutable."""

    region: Region | None = None
    """The AWS region of the group and its caches. The operator's own by default. Immutable."""

    account: AccountId | None = None
    """The AWS account of the group and its caches, 12 digits in quotes. The operator's own by default. Immutable."""

    adoption: GroupAdoption = GroupAdoption.NEVER
    """What to do with a group that exists in AWS already. Never (default) leaves it alone, Adopt takes it over,
    Reference only adds and removes our users in a group that stays somebody else's. Adopt and Reference need the AWS
    tag elasticache-iam.dev/allow on the group."""

    caches: Annotated[tuple[CacheSpec, ...], Field(max_length=32), list_map("name")] = ()
    """The caches that the group is attached to. A cache taken off this list stays attached: detaching would open it."""

    attachment: Attachment = Attachment()
    """How the group may be attached to its caches."""

    default_user: DefaultUserPolicy = DefaultUserPolicy.DISABLED
    """What becomes of the user named default that every redis group must hold. Disabled (default) swaps in one that
    can't log in; Unmanaged leaves that to you."""

    membership: Membership = Membership.ADDITIVE
    """Whose members the group has. Additive (default) only removes what we added; Authoritative removes all others."""

    members: Annotated[tuple[AwsId, ...], Field(max_length=100)] = ()
    """Ids of AWS users that belong to the group and aren't resources here."""

    admission: Annotated[tuple[AdmissionRule, ...], Field(max_length=32)] = ()
    """Who may join from other namespaces, and with how much at most. Names come before selectors, then the order
    counts. Users from the group's own namespace are admitted unless a rule names it."""

    tags: Tags = Field(default_factory=dict)
    """AWS tags for the group; the operator's configuration says which keys are allowed."""

    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What happens to the AWS group when this resource is deleted: Retain (default) or Delete. Delete waits while a
    cache uses the group."""


class GroupCacheStatus(ApiModel):
    """One cache of the group as last seen."""

    name: Annotated[str, at_most(63)]
    """The name in spec.caches."""

    id: Annotated[str, at_most(64)]
    """The cache's id in AWS."""

    arn: Annotated[str, at_most(2048)] = ""
    """The cache's ARN."""

    host: Annotated[str, at_most(512)] = ""
    """Where clients connect to."""

    port: Annotated[int, Schema({"format": "int32", "minimum": 0, "maximum": 65535})] = 0
    """The port there."""

    reader_host: Annotated[str, at_most(512)] = ""
    """Where clients read from replicas, if there is such a place."""

    engine_version: Annotated[str, at_most(64)] = ""
    """The engine's version."""

    state: Annotated[str, at_most(64)] = ""
    """Where attaching stands, as Attached."""


class UserGroupStatus(ApiModel):
    """What we know and did."""

    observed_generation: Annotated[int, Schema({"format": "int64", "minimum": -1})] = -1
    """The metadata.generation last acted upon; -1 until first looked at."""

    conditions: Annotated[tuple[Condition, ...], items_at_most(32), list_map("type")] = ()
    """Ready, GroupSynced, DefaultUserHardened and CachesAttached; Reconciling and Stalled only while true."""

    id: Annotated[str, at_most(64)] = ""
    """The group's id in AWS."""

    arn: Annotated[str, at_most(2048)] = ""
    """The group's ARN."""

    members: Annotated[int, Schema({"format": "int32", "minimum": 0})] = 0
    """How many of the group's members are resources here."""

    caches: Annotated[tuple[GroupCacheStatus, ...], items_at_most(64), list_map("name")] = ()
    """The caches as last seen."""

    plan: Annotated[tuple[Annotated[str, at_most(4096)], ...], items_at_most(256)] = ()
    """What would be done, line by line, while the annotation plan-only is set."""


class UserGroup(ApiModel):
    """A user group in AWS (an ACL in MemoryDB).

    It is attached to caches, its default user is disabled, and it is open to the ElastiCacheIAMUsers that its admission
    rules let in.
    """

    RULES: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    metadata: Metadata
    spec: UserGroupSpec
    """What is asked for."""

    status: UserGroupStatus = UserGroupStatus()
    """What was found and done."""
