"""What AWS has, as values. Only what the operator reads; times are aware, in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from elasticache_iam.api.group import Service


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where AWS objects live: ids are unique within one. Each has an inventory, clients and a pace of its own.

    IAM knows no regions: the roles of all places of an account are the same.
    """

    service: Service
    account: str
    region: str


class CacheKind(StrEnum):
    """The three things that a group can be attached to."""

    REPLICATION_GROUP = "ReplicationGroup"
    SERVERLESS_CACHE = "ServerlessCache"
    MEMORYDB_CLUSTER = "MemoryDBCluster"


@dataclass(frozen=True, slots=True, order=True)
class CacheRef:
    """Which cache, within one account and region."""

    kind: CacheKind
    id: str


@dataclass(frozen=True, slots=True)
class ObservedUser:
    """An ElastiCache or MemoryDB user. `status` is AWS's lower-case word: creating, active, modifying, deleting."""

    user_id: str
    """In MemoryDB the name, which is all there is."""
    user_name: str
    arn: str
    engine: str
    """"" in MemoryDB, whose users have none."""
    status: str
    access_string: str
    auth_mode: str
    """iam, password or no-password (AWS's output enum)."""
    minimum_engine_version: str = ""
    """AWS's own verdict on which engine its access string needs; "" if it doesn't say."""
    group_ids: frozenset[str] = frozenset()

    @property
    def is_active(self) -> bool:
        """Whether AWS accepts changes to it."""
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class ObservedGroup:
    """An ElastiCache user group, or a MemoryDB ACL."""

    group_id: str
    arn: str
    engine: str
    """"" in MemoryDB, whose ACLs have none."""
    status: str
    user_ids: frozenset[str] = frozenset()
    pending_add: frozenset[str] = frozenset()
    pending_remove: frozenset[str] = frozenset()
    replication_group_ids: frozenset[str] = frozenset()
    serverless_cache_names: frozenset[str] = frozenset()
    cluster_names: frozenset[str] = frozenset()
    """MemoryDB clusters."""
    minimum_engine_version: str = ""

    @property
    def cache_refs(self) -> frozenset["CacheRef"]:
        """The caches that use the group."""
        return frozenset(
            CacheRef(kind, cache_id)
            for kind, ids in (
                (CacheKind.REPLICATION_GROUP, self.replication_group_ids),
                (CacheKind.SERVERLESS_CACHE, self.serverless_cache_names),
                (CacheKind.MEMORYDB_CLUSTER, self.cluster_names),
            )
            for cache_id in ids
        )

    @property
    def is_active(self) -> bool:
        """Whether AWS accepts changes to it."""
        return self.status == "active"

    @property
    def future_user_ids(self) -> frozenset[str]:
        """Who will be a member once AWS is done with what it was asked."""
        return (self.user_ids | self.pending_add) - self.pending_remove


@dataclass(frozen=True, slots=True)
class ObservedCache:
    """A cache with all that attaching and minting need."""

    ref: CacheRef
    arn: str
    status: str
    engine: str
    engine_version: str
    tls: bool
    auth_token_enabled: bool
    group_ids: frozenset[str]
    """The group that is attached; () for an open cache (in MemoryDB: one with the ACL `open-access`)."""
    pending_group_ids: frozenset[str]
    host: str
    port: int
    reader_host: str = ""
    at_rest_encryption: bool | None = None
    """None where AWS doesn't say."""
    transit_mode: str = "required"
    """required or preferred (clear-text clients still connect). Source: ReplicationGroup.TransitEncryptionMode."""

    @property
    def is_available(self) -> bool:
        """Whether AWS accepts changes to it."""
        return self.status == "available"

    @property
    def future_group_ids(self) -> frozenset[str]:
        """The group that is attached or about to be."""
        return self.group_ids | self.pending_group_ids


@dataclass(frozen=True, slots=True)
class ObservedRole:
    """An IAM role. `policies`, `boundary` and `tags` are None until the slow clock, or a read of it alone, came by."""

    name: str
    arn: str
    path: str
    trust: Mapping[str, Any]
    max_session_s: int
    unique_id: str = ""
    """Another one where a role of the same name was made anew, which ends the sessions of the old one."""
    created_at: datetime | None = None
    policies: Mapping[str, Mapping[str, Any]] | None = None
    boundary: str | None = None
    tags: Mapping[str, str] | None = None
    managed_policies: frozenset[str] | None = None
    """ARNs of attached managed policies; None: not known. What they allow isn't read."""


@dataclass(frozen=True, slots=True)
class SimulatedConnect:
    """What AWS itself says of a role's right to connect, on one ARN. None: it doesn't say."""

    allowed: bool | None
    is_explicit: bool = False
    """Whether a policy denies it, rather than none allowing it."""
    within_boundary: bool | None = None
    within_organization: bool | None = None


@dataclass(frozen=True, slots=True)
class ObservedAssociation:
    """An EKS Pod Identity association: which role the pods of a ServiceAccount get."""

    association_id: str
    namespace: str
    service_account: str
    role_arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of one place that the planes look at, from paged reads."""

    users: Mapping[str, ObservedUser] = field(default_factory=dict)
    groups: Mapping[str, ObservedGroup] = field(default_factory=dict)
    caches: Mapping[CacheRef, ObservedCache] = field(default_factory=dict)
    roles: Mapping[str, ObservedRole] = field(default_factory=dict)
    """The account's roles under our path, by name; others are read one by one (`Aws.get_role`)."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Tags of ElastiCache objects by ARN; an object without tags is missing."""
