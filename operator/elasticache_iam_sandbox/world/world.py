"""The world: accounts full of AWS objects, changed by calls and by the passing of time.

This is the interface that the wire, the fronts and the tests stand on. The operations are declared in the modules
beside this one; here a call finds its operation, and what is not known is refused by name.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from secrets import token_urlsafe
from typing import Any

from elasticache_iam_sandbox.world import (
    eks,
    iam_providers,
    iam_roles,
    iam_simulation,
    memorydb_acls,
    memorydb_clusters,
    memorydb_tags,
    memorydb_users,
    replication_groups,
    serverless_caches,
    sts,
    tagging,
    user_groups,
    users,
)
from elasticache_iam_sandbox.world.accounts import AccessKey, Account, EksCluster, IamUser, Session, new_unique_id
from elasticache_iam_sandbox.world.authorization import authorize
from elasticache_iam_sandbox.world.call import (
    AwsError,
    CacheKind,
    CacheView,
    Call,
    ConnectDecision,
    SigningIdentity,
    not_implemented,
    throttled,
)
from elasticache_iam_sandbox.world.connect import Login, decide
from elasticache_iam_sandbox.world.elasticache import ReplicationGroup, ServerlessCache
from elasticache_iam_sandbox.world.memorydb import OPEN_ACCESS, Cluster
from elasticache_iam_sandbox.world.policy import parse_policy
from elasticache_iam_sandbox.world.replication_groups import digest_auth_token, put_cache
from elasticache_iam_sandbox.world.request import Operation, Output, Request, State
from elasticache_iam_sandbox.world.settings import Fault, WorldSettings
from elasticache_iam_sandbox.world.users import read_id

CACHE_KINDS: tuple[CacheKind, ...] = ("replicationgroup", "serverlesscache", "cluster")
_UNSIGNED = frozenset({("sts", "AssumeRoleWithWebIdentity")})
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    (operation.service, operation.name): operation
    for module in (
        users,
        user_groups,
        replication_groups,
        serverless_caches,
        tagging,
        memorydb_users,
        memorydb_acls,
        memorydb_clusters,
        memorydb_tags,
        iam_roles,
        iam_providers,
        iam_simulation,
        sts,
        eks,
    )
    for operation in module.OPERATIONS
}
"""All that the sandbox implements."""


class World:
    """All of AWS that the sandbox knows. Not thread-safe: whoever shares it holds a lock.

    Args:
        settings: Read at each call, so a test may change them in flight.
        now: The wall clock, aware, in UTC; the world adds `settings.clock_offset`.
        get_jwks: Answers an OIDC issuer's URL with its JWKS document (RFC 7517), or raises LookupError.
    """

    def __init__(
        self,
        settings: WorldSettings,
        *,
        now: Callable[[], datetime],
        get_jwks: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.settings = settings
        self._now = now
        self._state = State(settings, get_jwks)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._changed = False

    # -- for the wire ---------------------------------------------------------------------------------------------

    def dispatch(self, call: Call) -> Output:
        """Carry out one call and return botocore's output shape. Raises AwsError.

        Advances time first, counts the call, applies faults (an "Outage" raises ConnectionError; latency is the
        carrier's business: see `fault_latency_s`), then checks the caller's identity policies, then acts. With a
        transition time of 0 the change is finished on return, though the answer still says creating or modifying.
        """
        now = self.now()
        self._advance(now)
        self._counts[call.service, call.operation] += 1
        lost = self._apply_faults(call)
        caller = self._find_caller(call)
        if caller is not None:
            self._throttle(call, caller.account, now)
        request = Request(self._state, now, call.parameters, call.region, caller)
        operation = _find_operation(call)
        if request.caller is not None:
            authorize(call.service, request.caller, call.region, now, operation.grants(request))
        output = operation.act(request)
        self._changed = True
        self._advance(now)
        if lost:
            raise ConnectionError(f"{call.operation}: the answer was lost")
        return output

    def _find_caller(self, call: Call) -> AccessKey | None:
        if (call.service, call.operation) in _UNSIGNED:
            return None
        if call.access_key_id is None:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        caller = self._state.access_keys.get(call.access_key_id)
        if caller is None:
            raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        if caller.account.partition != partition_of(call.region):  # keys are of one partition
            raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        return caller

    def _throttle(self, call: Call, account: Account, now: datetime) -> None:
        for api in (call.service, f"{call.service}:{call.operation}"):
            if not account.take_call(api, call.region, self.settings.calls_per_s.get(api, 0.0), now):
                raise throttled(call.service)

    def _apply_faults(self, call: Call) -> bool:
        """Raise what the settings ask for; return whether the answer is to be lost."""
        lost = False
        for fault in self._matching_faults(call.service, call.operation):
            if fault.remaining is not None:
                fault.remaining -= 1
            if fault.error_code == "Outage":
                raise ConnectionError(f"{call.operation}: outage")
            if fault.error_code == "LostAnswer":
                lost = True
            elif fault.error_code:
                default = "Rate exceeded" if fault.error_code == "Throttling" else "A fault of the sandbox's settings."
                raise AwsError(fault.error_code, fault.error_message or default, fault.http_status)
        return lost

    def _matching_faults(self, service: str, operation: str) -> list[Fault]:
        return [
            fault
            for fault in self.settings.faults
            if fault.service == service and fault.operation in {operation, "*"} and fault.remaining != 0
        ]

    def fault_latency_s(self, service: str, operation: str) -> float:
        """Return how long the carrier must hold this call."""
        return sum(fault.latency_s for fault in self._matching_faults(service, operation))

    def signing_identity(self, access_key_id: str) -> SigningIdentity | None:
        """Return what verifies a signature; None for an unknown key (the wire then says InvalidClientTokenId)."""
        key = self._state.access_keys.get(access_key_id)
        if key is None:
            return None
        return SigningIdentity(
            access_key_id=key.access_key_id,
            secret_access_key=key.secret_access_key,
            session_token=key.session_token,
            expires_at=key.owner.expires_at if isinstance(key.owner, Session) else None,
            account_id=key.account.account_id,
            principal_arn=key.principal_arn,
        )

    # -- for the fronts -------------------------------------------------------------------------------------------

    def cache_view(
        self, account_id: str, region: str, cache_id: str, *, kind: CacheKind | None = None
    ) -> CacheView | None:
        """Return what the cache's front needs to know now; None if there is no such cache.

        As long as nothing in it changed it is the very same object.

        Args:
            account_id: Of the cache.
            region: Of the cache.
            cache_id: Its replication group id, serverless cache name or MemoryDB cluster name.
            kind: None: of whichever kind there is, in the order of `CACHE_KINDS`.
        """
        self._advance(self.now())
        account = self._state.accounts.get(account_id)
        kinds = CACHE_KINDS if kind is None else (kind,)
        views = (account.view(region, one, cache_id) for one in kinds) if account else ()
        return next((view for view in views if view is not None), None)

    def caches(self) -> Sequence[CacheView]:
        """Return the views of all caches of all accounts: what a supervisor has to serve."""
        self._advance(self.now())
        return [
            view
            for account in self._state.accounts.values()
            for region, kind, cache_id in account.all_caches()
            if (view := account.view(region, kind, cache_id)) is not None
        ]

    def decide_connect(
        self, identity: SigningIdentity, view: CacheView, user_id: str, *, source_ip: str
    ) -> ConnectDecision:
        """Evaluate Connect on the cache's and the user's ARN: role policies, session policy, boundary."""
        now = self.now()
        self._advance(now)
        key = self._state.access_keys.get(identity.access_key_id)
        if key is None:
            return ConnectDecision(allowed=False, reason=f"unknown access key {identity.access_key_id}")
        cache_tags, user_tags = self._account(view.account_id).tags_for_connect(view, user_id)
        return decide(Login(key, view, cache_tags, user_id, user_tags, source_ip, now))

    # -- time -----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return AWS's clock: ours plus the offset."""
        return self._now() + self.settings.clock_offset

    def advance(self) -> bool:
        """Carry out all transitions that are due; say whether anything changed since the last time it was asked.

        Calls advance time, too, so what they changed is reported here as well.
        """
        self._advance(self.now())
        changed, self._changed = self._changed, False
        return changed

    def _advance(self, now: datetime) -> None:
        if self._state.transitions.advance(now):
            self._changed = True

    def next_transition_at(self) -> datetime | None:
        """Return when `advance` has something to do next, on AWS's clock.

        The propagation of IAM is no transition: it changes no view, only what STS and Connect answer.
        """
        return self._state.transitions.next_at()

    # -- for the test ground (the admin API and fixtures) -----------------------------------------------------------

    def add_account(self, account_id: str, *, partition: str = "aws") -> None:
        """Create an empty account."""
        if account_id in self._state.accounts:
            raise ValueError(f"account {account_id} is there already")
        self._state.accounts[account_id] = Account(
            account_id, partition, self.now(), managed_iam_user=self.settings.managed_iam_user
        )

    def add_access_key(
        self, account_id: str, *, user_name: str, policy: Mapping[str, Any] | None = None
    ) -> tuple[str, str]:
        """Create an IAM user with one inline policy (None: all is allowed); return access key id and secret."""
        account = self._account(account_id)
        user = IamUser(
            user_name,
            new_unique_id("AIDA"),
            account.iam_arn(f"user/{user_name}"),
            self.now().replace(microsecond=0),
            None if policy is None else parse_policy(json.dumps(policy)),
        )
        account.users.add(user_name, user)
        key = AccessKey(new_unique_id("AKIA"), token_urlsafe(30), None, account, user.arn, user)
        self._state.access_keys[key.access_key_id] = key
        return key.access_key_id, key.secret_access_key

    def add_cluster(
        self,
        account_id: str,
        region: str,
        name: str,
        issuer: str,
        *,
        addons: Iterable[str] = ("eks-pod-identity-agent",),
    ) -> None:
        """Put an EKS cluster there, whose OIDC issuer DescribeCluster tells, and DescribeAddon its add-ons."""
        account = self._account(account_id)
        arn = eks.cluster_arn(account.partition, region, account_id, name)
        account.clusters[region, name] = EksCluster(name, arn, issuer, self.now(), frozenset(addons))

    def add_replication_group(
        self,
        account_id: str,
        region: str,
        cache_id: str,
        *,
        engine: str,
        engine_version: str,
        host: str,
        port: int,
        reader_host: str = "",
        tls: bool = True,
        at_rest_encryption: bool = True,
        auth_token: str | None = None,
        shards: int | None = None,
        nodes: Sequence[tuple[str, int]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Put a replication group there, available at once, with a member cluster that tells the engine version.

        With `shards` it is in cluster mode: host and port are the configuration endpoint, `nodes` each shard's.

        CreateReplicationGroup through the wire does the same; its endpoint then comes from `settings`-less defaults
        (host 127.0.0.1, port 0) until the supervisor calls `set_endpoint`.
        """
        there = self._account(account_id).region(region)
        cache = ReplicationGroup(
            cache_id=read_id(cache_id, "ReplicationGroupId"),
            arn=there.arn("replicationgroup", cache_id.lower()),
            description=cache_id,
            engine=engine,
            engine_version=engine_version,
            lifecycle="available",
            created_at=self.now(),
            tls=tls,
            tls_mode="required" if tls else None,
            at_rest_encryption=at_rest_encryption,
            tags=dict(tags or {}),
            parameter_group=f"default.{engine}{engine_version.split('.', maxsplit=1)[0]}"
            + ("" if shards is None else ".cluster.on"),
            auth_tokens=(digest_auth_token(auth_token),) if auth_token is not None else (),
            host=host,
            port=port,
            reader_host=reader_host,
            shards=shards,
            nodes=tuple(nodes),
        )
        put_cache(there, cache)
        self._changed = True

    def add_serverless_cache(
        self,
        account_id: str,
        region: str,
        name: str,
        *,
        engine: str,
        host: str,
        port: int,
        major_engine_version: str | None = None,
        full_engine_version: str | None = None,
        reader_host: str = "",
        reader_port: int = 0,
        user_group_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Put a serverless cache there, available at once; without versions, of the engine's newest.

        CreateServerlessCache through the wire does the same; the cache then has no endpoint until the supervisor calls
        `set_endpoint`.
        """
        self._advance(self.now())
        there = self._account(account_id).region(region)
        major, full = serverless_caches.DEFAULT_VERSIONS[engine]
        cache = ServerlessCache(
            name=read_id(name, "ServerlessCacheName"),
            arn=there.arn("serverlesscache", name.lower()),
            description=name,
            engine=engine,
            major_engine_version=major_engine_version or (full_engine_version or major).partition(".")[0],
            full_engine_version=full_engine_version or full,
            lifecycle="available",
            created_at=self.now(),
            tags=dict(tags or {}),
            host=host,
            port=port,
            reader_host=reader_host,
            reader_port=reader_port,
        )
        if user_group_id is not None:
            cache.group_id = serverless_caches.find_group(there, cache, user_group_id)
        serverless_caches.put_serverless_cache(there, cache)
        self._changed = True

    def add_memorydb_cluster(
        self,
        account_id: str,
        region: str,
        name: str,
        *,
        engine: str,
        host: str,
        port: int,
        engine_version: str | None = None,
        acl: str = OPEN_ACCESS,
        tls: bool = True,
        shards: int = 1,
        nodes: Sequence[tuple[str, int]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Put a MemoryDB cluster there, available at once; without a version, of the engine's newest.

        CreateCluster through the wire does the same; it then has no endpoint until the supervisor calls `set_endpoint`.
        """
        self._advance(self.now())
        memorydb = self._account(account_id).memorydb(region)
        cluster = Cluster(
            name=read_id(name, "ClusterName"),
            arn=memorydb.arn("cluster", name.lower()),
            description=name,
            engine=engine,
            engine_version=engine_version or memorydb_clusters.DEFAULT_VERSIONS[engine],
            lifecycle="available",
            created_at=self.now(),
            tls=tls,
            acl_name=acl,
            tags=dict(tags or {}),
            shards=shards,
            nodes=tuple(nodes),
            host=host,
            port=port,
        )
        memorydb_clusters.put_cluster(memorydb, cluster)
        self._changed = True

    def remove_memorydb_cluster(self, account_id: str, region: str, name: str) -> None:
        """Take a MemoryDB cluster away at once. Raises AwsError if it isn't there, or busy."""
        self._advance(self.now())
        memorydb = self._account(account_id).memorydb(region)
        cluster = memorydb.cluster(name)
        memorydb_clusters.check_cluster_available(cluster)
        memorydb_clusters.drop_cluster(memorydb, cluster)
        self._changed = True

    def remove_serverless_cache(self, account_id: str, region: str, name: str) -> None:
        """Take a serverless cache away at once. Raises AwsError if it isn't there, or busy."""
        self._advance(self.now())
        there = self._account(account_id).region(region)
        cache = there.serverless_cache(name)
        serverless_caches.check_available(cache)
        serverless_caches.drop_serverless_cache(there, cache)
        self._changed = True

    def set_endpoint(
        self,
        account_id: str,
        region: str,
        cache_id: str,
        *,
        host: str,
        port: int,
        kind: CacheKind | None = None,
        nodes: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Tell where a cache's front listens. Raises AwsError if there is no such cache.

        Args:
            account_id: Of the cache.
            region: Of the cache.
            cache_id: As for `cache_view`.
            host: Of the primary, configuration or cluster endpoint.
            port: Of the same.
            kind: As for `cache_view`.
            nodes: In cluster mode: host and port of each shard's node.
        """
        account = self._account(account_id)
        kinds = CACHE_KINDS if kind is None else (kind,)
        found = next((one for one in kinds if account.view(region, one, cache_id) is not None), kinds[0])
        cache = account.cache(region, found, cache_id)
        if not isinstance(cache, ServerlessCache):
            cache.nodes = tuple(nodes)
        cache.host, cache.port = host, port

    def call_counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of calls so far by (service, operation)."""
        return dict(self._counts)

    def reset_call_counts(self) -> None:
        """Start counting anew."""
        self._counts.clear()

    def _account(self, account_id: str) -> Account:
        found = self._state.accounts.get(account_id)
        if found is None:
            raise LookupError(f"no account {account_id}")
        return found


def partition_of(region: str) -> str:
    """Return the partition that a region is in."""
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((partition for prefix, partition in prefixes.items() if region.startswith(prefix)), "aws")


def _find_operation(call: Call) -> Operation:
    """Return the operation; one that is unknown, or a parameter of it, is refused by name."""
    operation = OPERATIONS.get((call.service, call.operation))
    if operation is None:
        raise not_implemented(f"{call.service}:{call.operation}")
    given = call.parameters.keys()
    unknown = given - operation.parameters
    if unknown:
        raise not_implemented(f"the parameters {', '.join(sorted(unknown))} of {call.service}:{call.operation}")
    missing = operation.required - given
    if missing:
        raise AwsError("ValidationError", f"The request must contain the parameter {', '.join(sorted(missing))}.")
    return operation
