"""MemoryDB's objects in one account and region: users, ACLs, clusters. A cluster always has exactly one ACL.

Error codes keep the whole name of the shape here, UserNotFoundFault, other than ElastiCache's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from elasticache_iam_sandbox.world.call import AwsError, CacheKind, CacheView, EngineUser
from elasticache_iam_sandbox.world.catalogue import Catalogue
from elasticache_iam_sandbox.world.views import CLOSED_DEFAULT_USER, Views

OPEN_ACCESS: Final = "open-access"
"""AWS's own ACL, which nobody can change: in it is the user `default` alone, who needs no password."""
INVALID: Final = "InvalidParameterValueException"
INVALID_COMBINATION: Final = "InvalidParameterCombinationException"


@dataclass(slots=True)
class MemoryDbUser:
    """A user. It has no id beside its name, and no engine."""

    name: str
    arn: str
    access_string: str
    auth_mode: str
    password_sha256: tuple[str, ...]
    status: str
    tags: dict[str, str]
    acl_names: set[str] = field(default_factory=set)
    applied: EngineUser | None = None
    """What the servers have of it: lags behind while `modifying`."""

    def apply(self) -> None:
        """Carry the newest state to the servers and become active."""
        self.applied = EngineUser(self.name, self.name, self.access_string, self.auth_mode, self.password_sha256)
        self.status = "active"

    @property
    def minimum_engine_version(self) -> str:
        """Return the engine version from which on the user can be served."""
        return "7.0" if self.auth_mode == "iam" else "6.2"


@dataclass(slots=True)
class Acl:
    """An access control list. `user_names` is the old membership until a change is done."""

    name: str
    arn: str
    lifecycle: str
    """creating, active or deleting; `status` adds modifying."""
    tags: dict[str, str]
    user_names: list[str] = field(default_factory=list)
    adding: list[str] = field(default_factory=list)
    removing: list[str] = field(default_factory=list)
    departing: list[str] = field(default_factory=list)
    """Members that are being deleted."""
    changes_in_flight: int = 0
    cluster_names: set[str] = field(default_factory=set)
    joining_cluster_names: set[str] = field(default_factory=set)
    """Clusters that are being updated to use it."""

    @property
    def status(self) -> str:
        """Return the status as Describe tells it."""
        return "modifying" if self.lifecycle == "active" and self.changes_in_flight else self.lifecycle


@dataclass(slots=True)
class Cluster:
    """A cluster."""

    name: str
    arn: str
    description: str
    engine: str
    engine_version: str
    lifecycle: str
    """creating, available or deleting; `status` adds updating."""
    created_at: datetime
    tls: bool
    acl_name: str
    tags: dict[str, str]
    acl_to_apply: str | None = None
    node_type: str = "db.t4g.small"
    shards: int = 1
    nodes: Sequence[tuple[str, int]] = ()
    """Host and port of each shard's node; without them the cluster's endpoint stands for all."""
    host: str = "127.0.0.1"
    port: int = 0
    changes_in_flight: int = 0

    @property
    def status(self) -> str:
        """Return the status as Describe tells it."""
        return "updating" if self.lifecycle == "available" and self.changes_in_flight else self.lifecycle


class MemoryDb:
    """MemoryDB in one account and region."""

    def __init__(self, partition: str, region: str, account_id: str) -> None:
        self._arn_prefix = f"arn:{partition}:memorydb:{region}:{account_id}"
        self.users: Catalogue[MemoryDbUser] = Catalogue()
        self.acls: Catalogue[Acl] = Catalogue()
        self.clusters: Catalogue[Cluster] = Catalogue()
        self.views = Views(account_id, region, "memorydb")
        default = MemoryDbUser(
            "default", self.arn("user", "default"), "on ~* &* +@all", "no-password", (), "active", {}
        )
        default.apply()
        default.acl_names.add(OPEN_ACCESS)
        self.users.add(default.name, default)
        self.acls.add(OPEN_ACCESS, Acl(OPEN_ACCESS, self.arn("acl", OPEN_ACCESS), "active", {}, ["default"]))

    def arn(self, kind: str, name: str) -> str:
        """Return an ARN; MemoryDB separates with a slash."""
        return f"{self._arn_prefix}:{kind}/{name}"

    def user(self, name: str) -> MemoryDbUser:
        """Return a user. Raises UserNotFoundFault."""
        found = self.users.get(name.lower())
        if found is None:
            raise AwsError("UserNotFoundFault", f"User {name} not found.")
        return found

    def acl(self, name: str) -> Acl:
        """Return an ACL. Raises ACLNotFoundFault."""
        found = self.acls.get(name.lower())
        if found is None:
            raise AwsError("ACLNotFoundFault", f"ACL {name} not found.")
        return found

    def cluster(self, name: str) -> Cluster:
        """Return a cluster. Raises ClusterNotFoundFault."""
        found = self.clusters.get(name.lower())
        if found is None:
            raise AwsError("ClusterNotFoundFault", f"Cluster {name} not found.")
        return found

    def view(self, kind: CacheKind, name: str) -> CacheView | None:
        """Return what a cluster's front needs; the very same object as long as nothing in it changed."""
        cluster = self.clusters.get(name)
        if cluster is None:
            self.views.forget(kind, name)
            return None
        return self.views.get(
            kind, name, arn=cluster.arn, status=cluster.status, users=lambda: self._engine_users(cluster)
        )

    def _engine_users(self, cluster: Cluster) -> dict[str, EngineUser]:
        engine_users = (self.users[name].applied for name in self.acls[cluster.acl_name].user_names)
        users = {user.user_name: user for user in engine_users if user is not None}
        users.setdefault("default", CLOSED_DEFAULT_USER)
        return users
