"""Accounts and who acts in them: IAM users, roles with their past, sessions."""

import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from elasticache_iam_sandbox.world.call import CacheKind, CacheView
from elasticache_iam_sandbox.world.catalogue import Catalogue
from elasticache_iam_sandbox.world.elasticache import Region, ReplicationGroup, ServerlessCache, User
from elasticache_iam_sandbox.world.memorydb import Cluster, MemoryDb, MemoryDbUser
from elasticache_iam_sandbox.world.policy import Policy

_ID_CHARACTERS = string.ascii_uppercase + string.digits


def new_unique_id(prefix: Literal["AIDA", "AROA", "ANPA", "AKIA", "ASIA"]) -> str:
    """Return a new id as IAM makes them: four letters that tell the kind, then 16 random ones."""
    return prefix + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(16))


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role as it is or was at some time."""

    name: str
    role_id: str
    arn: str
    path: str
    created_at: datetime
    description: str
    max_session_s: int
    trust: Policy
    trusted_ids: Mapping[str, str]
    """The unique ids of the principals that the trust policy named by ARN, as they were when it was written."""
    boundary_arn: str | None = None
    inline_policies: Mapping[str, Policy] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Roles:
    """The roles of an account: as written, and as STS and Connect see them after the propagation delay."""

    def __init__(self) -> None:
        self.by_name: Catalogue[RoleState] = Catalogue()
        self._names: dict[str, str] = {}
        self._past: dict[str, list[tuple[datetime, RoleState | None]]] = {}

    def find(self, name: str) -> RoleState | None:
        """Return a role as written, whatever the case of the name."""
        exact = self._names.get(name.lower())
        return self.by_name.get(exact) if exact is not None else None

    def put(self, state: RoleState, visible_at: datetime) -> None:
        """Write a new role or a role's new state."""
        self._names[state.name.lower()] = state.name
        if state.name in self.by_name:
            self.by_name.remove(state.name)
        self.by_name.add(state.name, state)
        self._past.setdefault(state.name.lower(), []).append((visible_at, state))

    def change(self, state: RoleState, visible_at: datetime, **changes: object) -> None:
        """Write a role's state with some fields changed."""
        self.put(replace(state, **changes), visible_at)  # type: ignore[arg-type]  # fields are checked by the tests

    def remove(self, state: RoleState, visible_at: datetime) -> None:
        """Delete a role."""
        self.by_name.remove(state.name)
        del self._names[state.name.lower()]
        self._past[state.name.lower()].append((visible_at, None))

    def visible(self, name: str, now: datetime) -> RoleState | None:
        """Return a role as STS and Connect see it now."""
        past = self._past.get(name.lower())
        if not past:
            return None
        while len(past) > 1 and past[1][0] <= now:
            del past[0]
        newest_first = (state for visible_at, state in reversed(past) if visible_at <= now)
        return next(newest_first, None)

    def next_visible_at(self, name: str, now: datetime) -> datetime | None:
        """Return when the next written change of a role takes effect."""
        return min((at for at, _ in self._past.get(name.lower(), ()) if at > now), default=None)


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A customer managed policy with its only version; here it can be nothing but a permissions boundary."""

    name: str
    policy_id: str
    arn: str
    path: str
    description: str
    created_at: datetime
    policy: Policy
    tags: Mapping[str, str]


@dataclass(slots=True)
class OidcProvider:
    """An IAM OIDC provider: an issuer that STS believes, for these audiences."""

    arn: str
    issuer: str
    """Without https://, as in condition keys and ARNs."""
    client_ids: list[str]
    thumbprints: list[str]
    created_at: datetime
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class IamUser:
    """An IAM user; policy None: everything is allowed."""

    name: str
    user_id: str
    arn: str
    created_at: datetime
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class PodIdentityAssociation:
    """Which role the pods of a ServiceAccount get."""

    association_id: str
    arn: str
    namespace: str
    service_account: str
    role_arn: str
    tags: Mapping[str, str]
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class EksCluster:
    """An EKS cluster, as far as its OIDC issuer, the names of its add-ons and its Pod Identity associations."""

    name: str
    arn: str
    issuer: str
    created_at: datetime
    addons: frozenset[str] = frozenset()
    associations: Catalogue[PodIdentityAssociation] = field(default_factory=Catalogue)


def burst_of(rate: float) -> float:
    """Return how many calls a throttle lets through at once."""
    return max(2 * rate, 1.0)


@dataclass(slots=True)
class TokenBucket:
    """A throttle on AWS's clock: `rate` calls a second, twice that at once, but always one."""

    level: float
    at: datetime

    def take(self, rate: float, now: datetime) -> bool:
        """Take one; say whether there was one."""
        elapsed_s = max((now - self.at) / timedelta(seconds=1), 0.0)
        self.level = min(self.level + elapsed_s * rate, burst_of(rate))
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Account:
    """One AWS account."""

    def __init__(self, account_id: str, partition: str, created_at: datetime, *, managed_iam_user: bool) -> None:
        self._managed_iam_user = managed_iam_user
        self.account_id = account_id
        self.partition = partition
        self.created_at = created_at
        self.roles = Roles()
        self.policies: Catalogue[ManagedPolicy] = Catalogue()
        self.oidc_providers: Catalogue[OidcProvider] = Catalogue()
        self.users: Catalogue[IamUser] = Catalogue()
        self.clusters: dict[tuple[str, str], EksCluster] = {}
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._regions: dict[str, Region] = {}
        self._memorydbs: dict[str, MemoryDb] = {}

    def region(self, name: str) -> Region:
        """Return the ElastiCache objects of a region; every region has the built-in user `default`."""
        region = self._regions.get(name)
        if region is None:
            region = self._regions[name] = Region(
                self.partition, name, self.account_id, managed_iam_user=self._managed_iam_user
            )
        return region

    def memorydb(self, region: str) -> MemoryDb:
        """Return the MemoryDB objects of a region; every region has the user `default` and the ACL `open-access`."""
        memorydb = self._memorydbs.get(region)
        if memorydb is None:
            memorydb = self._memorydbs[region] = MemoryDb(self.partition, region, self.account_id)
        return memorydb

    def cache(self, region: str, kind: CacheKind, cache_id: str) -> ReplicationGroup | ServerlessCache | Cluster:
        """Return a cache of any kind. Raises AwsError if there is none."""
        match kind:
            case "replicationgroup":
                return self.region(region).cache(cache_id)
            case "serverlesscache":
                return self.region(region).serverless_cache(cache_id)
            case "cluster":
                return self.memorydb(region).cluster(cache_id)

    def view(self, region: str, kind: CacheKind, cache_id: str) -> CacheView | None:
        """Return what a cache's front needs to know; None if there is no such cache."""
        if kind == "cluster":
            return self.memorydb(region).view(kind, cache_id)
        return self.region(region).view(kind, cache_id)

    def tags_for_connect(self, view: CacheView, user_id: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the tags of a cache and of a user of its service; none for what is gone."""
        cache: ReplicationGroup | ServerlessCache | Cluster | None
        user: User | MemoryDbUser | None
        if view.service == "memorydb":
            memorydb = self.memorydb(view.region)
            cache, user = memorydb.clusters.get(view.cache_id), memorydb.users.get(user_id)
        else:
            region = self.region(view.region)
            caches = region.serverless_caches if view.serverless else region.caches
            cache, user = caches.get(view.cache_id), region.users.get(user_id)
        return (cache.tags if cache else {}), (user.tags if user else {})

    def all_caches(self) -> Iterator[tuple[str, CacheKind, str]]:
        """Yield region, kind and id of every cache."""
        for name, region in self._regions.items():
            yield from ((name, "replicationgroup", cache_id) for cache_id in region.caches)
            yield from ((name, "serverlesscache", cache_id) for cache_id in region.serverless_caches)
        for name, memorydb in self._memorydbs.items():
            yield from ((name, "cluster", cache_id) for cache_id in memorydb.clusters)

    def take_call(self, api: str, region: str, rate: float, now: datetime) -> bool:
        """Count a call against a throttle; say whether it may go on. A rate of 0 is no throttle."""
        if not rate:
            return True
        bucket = self._buckets.setdefault((api, region), TokenBucket(burst_of(rate), now))
        return bucket.take(rate, now)

    def iam_arn(self, resource: str) -> str:
        """Return an ARN of IAM, which knows no regions."""
        return f"arn:{self.partition}:iam::{self.account_id}:{resource}"


@dataclass(frozen=True, slots=True)
class Session:
    """What AssumeRole… handed out."""

    role_name: str
    role_id: str
    session_name: str
    policy: Policy | None
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials and whose they are: an IAM user's or a session's."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    account: Account
    principal_arn: str
    owner: IamUser | Session
