"""ElastiCache's objects in one account and region, and what the caches' servers must know of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from elasticache_iam_sandbox.world.call import AwsError, CacheKind, CacheView, EngineUser
from elasticache_iam_sandbox.world.catalogue import Catalogue
from elasticache_iam_sandbox.world.views import CLOSED_DEFAULT_USER, OPEN_DEFAULT_USER, Views

MANAGED_PREFIX: Final = "default."
"""Of the ids of users and groups that AWS manages; nobody's own id can have a dot."""


@dataclass(slots=True)
class User:
    """An ElastiCache user."""

    user_id: str
    arn: str
    user_name: str
    engine: str
    access_string: str
    auth_mode: str
    password_sha256: tuple[str, ...]
    status: str
    tags: dict[str, str]
    group_ids: set[str] = field(default_factory=set)
    joining_group_ids: set[str] = field(default_factory=set)
    """Groups that are still being modified to take it in: their rules bind it already."""
    applied: EngineUser | None = None
    """What the servers have of it: lags behind while `modifying`."""

    def apply(self) -> None:
        """Carry the newest state to the servers and become active."""
        self.applied = EngineUser(
            self.user_id, self.user_name, self.access_string, self.auth_mode, self.password_sha256
        )
        self.status = "active"

    @property
    def minimum_engine_version(self) -> str:
        """Return the engine version from which on the user can be served."""
        if self.engine == "valkey":
            return "7.2"
        return "7.0" if self.auth_mode == "iam" else "6.0"


@dataclass(slots=True)
class UserGroup:
    """A user group. `user_ids` is the old membership until a change is done."""

    group_id: str
    arn: str
    engine: str
    lifecycle: str
    """creating, active or deleting; `status` adds modifying."""
    tags: dict[str, str]
    user_ids: list[str] = field(default_factory=list)
    adding: list[str] = field(default_factory=list)
    removing: list[str] = field(default_factory=list)
    departing: list[str] = field(default_factory=list)
    """Members that are being deleted."""
    changes_in_flight: int = 0
    cache_ids: set[str] = field(default_factory=set)
    attaching_cache_ids: set[str] = field(default_factory=set)
    serverless_names: set[str] = field(default_factory=set)
    attaching_serverless_names: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        """Return the status as Describe tells it."""
        return "modifying" if self.lifecycle == "active" and self.changes_in_flight else self.lifecycle


@dataclass(frozen=True, slots=True)
class CacheChange:
    """What a ModifyReplicationGroup changes later; None: not this."""

    attach: str | None = None
    detach: str | None = None
    auth_tokens: tuple[str, ...] | None = None
    engine: str | None = None
    engine_version: str | None = None
    tls: bool | None = None
    tls_mode: str | None = None


@dataclass(slots=True)
class ReplicationGroup:
    """A node-based cache."""

    cache_id: str
    arn: str
    description: str
    engine: str
    engine_version: str
    lifecycle: str
    """creating, available or deleting; `status` adds modifying."""
    created_at: datetime
    tls: bool
    tls_mode: str | None
    at_rest_encryption: bool
    tags: dict[str, str]
    node_type: str = "cache.t4g.micro"
    parameter_group: str = ""
    members: int = 1
    automatic_failover: bool = False
    multi_az: bool = False
    auth_tokens: tuple[str, ...] = ()
    """SHA-256, lower-case hex; two while a rotation is on."""
    group_id: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    reader_host: str = ""
    shards: int | None = None
    """In cluster mode, where `host` and `port` are the configuration endpoint; None: cluster mode disabled."""
    nodes: Sequence[tuple[str, int]] = ()
    """Host and port of each shard's node, in cluster mode; without them the configuration endpoint stands for all."""
    changes_in_flight: int = 0
    pending: CacheChange = CacheChange()
    """In flight now."""
    deferred: CacheChange = CacheChange()
    """Waiting for a maintenance window, which never comes here, or for a modification with ApplyImmediately."""

    @property
    def status(self) -> str:
        """Return the status as Describe tells it."""
        return "modifying" if self.lifecycle == "available" and self.changes_in_flight else self.lifecycle

    @property
    def member_ids(self) -> list[str]:
        """Return the ids of the member clusters. In cluster mode each shard has one."""
        if self.shards is not None:
            return [f"{self.cache_id}-{shard:04}-001" for shard in range(1, self.shards + 1)]
        return [f"{self.cache_id}-{number:03}" for number in range(1, self.members + 1)]


@dataclass(slots=True)
class ServerlessCache:
    """A serverless cache: always with TLS, never with an AUTH token."""

    name: str
    arn: str
    description: str
    engine: str
    major_engine_version: str
    full_engine_version: str
    lifecycle: str
    """creating, available or deleting; `status` adds modifying."""
    created_at: datetime
    tags: dict[str, str]
    group_id: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    reader_host: str = ""
    reader_port: int = 0
    changes_in_flight: int = 0

    @property
    def status(self) -> str:
        """Return the status as Describe tells it."""
        return "modifying" if self.lifecycle == "available" and self.changes_in_flight else self.lifecycle


class Region:
    """ElastiCache in one account and region."""

    def __init__(self, partition: str, name: str, account_id: str, *, managed_iam_user: bool) -> None:
        self.name = name
        self.account_id = account_id
        self._arn_prefix = f"arn:{partition}:elasticache:{name}:{account_id}"
        self.users: Catalogue[User] = Catalogue()
        self.groups: Catalogue[UserGroup] = Catalogue()
        self.caches: Catalogue[ReplicationGroup] = Catalogue()
        self.serverless_caches: Catalogue[ServerlessCache] = Catalogue()
        self.views = Views(account_id, name, "elasticache")
        default = User(
            "default", self.arn("user", "default"), "default", "redis", "on ~* +@all", "no-password", (), "active", {}
        )
        default.apply()
        self.users.add("default", default)
        if managed_iam_user:
            self._add_managed_iam_user()
        self.built_in_users = len(self.users)
        self.built_in_groups = len(self.groups)

    def _add_managed_iam_user(self) -> None:
        """Put in what AWS keeps for serverless caches with a public endpoint; all but the ids is a guess."""
        user_id, group_id = f"{MANAGED_PREFIX}iam-user", f"{MANAGED_PREFIX}iam-user-group"
        user = User(user_id, self.arn("user", user_id), user_id, "valkey", "on ~* +@all", "iam", (), "active", {})
        user.group_ids.add(group_id)
        user.apply()
        self.users.add(user_id, user)
        group = UserGroup(group_id, self.arn("usergroup", group_id), "valkey", "active", {}, user_ids=[user_id])
        self.groups.add(group_id, group)

    def arn(self, kind: str, name: str) -> str:
        """Return an ARN; ElastiCache separates with colons."""
        return f"{self._arn_prefix}:{kind}:{name}"

    def user(self, user_id: str) -> User:
        """Return a user, whatever the case of the id. Raises UserNotFound."""
        found = self.users.get(user_id.lower())
        if found is None:
            raise AwsError("UserNotFound", f"User {user_id} not found.", 404)
        return found

    def group(self, group_id: str) -> UserGroup:
        """Return a user group, whatever the case of the id. Raises UserGroupNotFound."""
        found = self.groups.get(group_id.lower())
        if found is None:
            raise AwsError("UserGroupNotFound", f"User Group {group_id} not found.", 404)
        return found

    def cache(self, cache_id: str) -> ReplicationGroup:
        """Return a replication group. Raises ReplicationGroupNotFoundFault."""
        found = self.caches.get(cache_id.lower())
        if found is None:
            raise AwsError("ReplicationGroupNotFoundFault", f"ReplicationGroup {cache_id} not found.", 404)
        return found

    def serverless_cache(self, name: str) -> ServerlessCache:
        """Return a serverless cache. Raises ServerlessCacheNotFoundFault."""
        found = self.serverless_caches.get(name.lower())
        if found is None:
            raise AwsError("ServerlessCacheNotFoundFault", f"Serverless Cache {name} not found.", 404)
        return found

    def attached_caches(self, group: UserGroup) -> Iterator[ReplicationGroup | ServerlessCache]:
        """Yield the caches that use a group."""
        yield from (self.caches[cache_id] for cache_id in group.cache_ids)
        yield from (self.serverless_caches[name] for name in group.serverless_names)

    def view(self, kind: CacheKind, cache_id: str) -> CacheView | None:
        """Return what a cache's front needs; the very same object as long as nothing in it changed."""
        cache = self.caches.get(cache_id) if kind == "replicationgroup" else self.serverless_caches.get(cache_id)
        if cache is None:
            self.views.forget(kind, cache_id)
            return None
        return self.views.get(
            kind, cache_id, arn=cache.arn, status=cache.status, users=lambda: self._engine_users(cache)
        )

    def _engine_users(self, cache: ReplicationGroup | ServerlessCache) -> dict[str, EngineUser]:
        if cache.group_id is None:
            auth_tokens = cache.auth_tokens if isinstance(cache, ReplicationGroup) else ()
            if not auth_tokens:
                return {"default": OPEN_DEFAULT_USER}
            return {"default": EngineUser("default", "default", "on ~* &* +@all", "password", auth_tokens)}
        engine_users = (self.users[user_id].applied for user_id in self.groups[cache.group_id].user_ids)
        users = {user.user_name: user for user in engine_users if user is not None}
        users.setdefault("default", CLOSED_DEFAULT_USER)
        return users
