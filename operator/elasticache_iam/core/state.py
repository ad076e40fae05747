"""What AWS has, as values. Only what the operator reads; times are aware, in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    """An ElastiCache user. `status` is AWS's lower-case word: creating, active, modifying, deleting."""

    user_id: str
    user_name: str
    arn: str
    engine: str
    status: str
    access_string: str
    auth_mode: str
    """iam, password or no-password (AWS's output enum)."""
    group_ids: frozenset[str] = frozenset()

    @property
    def is_active(self) -> bool:
        """Whether AWS accepts changes to it."""
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class ObservedGroup:
    """An ElastiCache user group."""

    group_id: str
    arn: str
    engine: str
    status: str
    user_ids: frozenset[str] = frozenset()
    pending_add: frozenset[str] = frozenset()
    pending_remove: frozenset[str] = frozenset()
    replication_group_ids: frozenset[str] = frozenset()
    serverless_cache_names: frozenset[str] = frozenset()

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
    pending_group_ids: frozenset[str]
    host: str
    port: int
    reader_host: str = ""

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
    created_at: datetime | None = None
    policies: Mapping[str, Mapping[str, Any]] | None = None
    boundary: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of one account, region and service that the planes look at, from paged reads."""

    users: Mapping[str, ObservedUser] = field(default_factory=dict)
    groups: Mapping[str, ObservedGroup] = field(default_factory=dict)
    caches: Mapping[CacheRef, ObservedCache] = field(default_factory=dict)
    roles: Mapping[str, ObservedRole] = field(default_factory=dict)
    """Roles under our path, by name."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Tags of ElastiCache objects by ARN; an object without tags is missing."""
