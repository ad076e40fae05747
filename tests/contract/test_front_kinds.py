"""Every kind of cache before real servers: boto3 makes the users, our own signer signs, redis-py connects.

The cluster-aware client knows one endpoint; all others it learns from the servers.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from elasticache_iam.core.token import Credentials, sign_token
from elasticache_iam_sandbox.front import fronts
from elasticache_iam_sandbox.front.cluster import form_cluster
from elasticache_iam_sandbox.supervisor import REGION, BackgroundSandbox

KEYS = [f"key-{number}" for number in range(64)]
"""Of all shards: two neighbours seldom share one."""
IAM = {"Type": "iam"}
ALL = "on ~* &* +@all"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


class Ground:
    """A cache with the IAM users `app` and `other`, and a workload that may connect as either."""

    def __init__(self, sandbox, cache):
        self.sandbox = sandbox
        self.cache = cache
        self.is_memorydb = cache.kind == "memorydb"
        self.service = "memorydb" if self.is_memorydb else "elasticache"
        admin = sandbox.admin_session()
        self.api = admin.client(self.service)
        self.workload = sandbox.add_access_key(f"workload-{cache.id}")
        if self.is_memorydb:
            for user in self.users:
                self.api.create_user(UserName=user, AccessString=ALL, AuthenticationMode=IAM)
            self.api.create_acl(ACLName=cache.id, UserNames=self.users)
            self.api.update_cluster(ClusterName=cache.id, ACLName=cache.id)
        else:
            for user in self.users:
                self.api.create_user(
                    UserId=user, UserName=user, Engine="valkey", AccessString=ALL, AuthenticationMode=IAM
                )
            self.api.create_user_group(UserGroupId=cache.id, Engine="valkey", UserIds=self.users)
            if cache.kind == "serverless":
                self.api.modify_serverless_cache(ServerlessCacheName=cache.id, UserGroupId=cache.id)
            else:
                self.api.modify_replication_group(
                    ReplicationGroupId=cache.id, UserGroupIdsToAdd=[cache.id], ApplyImmediately=True
                )
        sandbox.settle()

    @property
    def users(self):
        return [self.name("app"), self.name("other")]

    def name(self, user):
        """Return the name of a user of this cache alone."""
        return f"{user}-{self.cache.id}"

    def token(self, user="app", *, service=None, is_serverless=None):
        return sign_token(
            Credentials(self.workload.access_key_id, self.workload.secret_access_key),
            service=service or self.service,
            region=REGION,
            cache_id=self.cache.id,
            user_id=self.name(user),
            now=datetime.now(UTC),
            serverless=self.cache.kind == "serverless" if is_serverless is None else is_serverless,
        ).text

    def options(self, user="app", password=None):
        return {
            "host": self.cache.host,
            "port": self.cache.port,
            "username": self.name(user),
            "password": password or self.token(user),
            "ssl": True,
            "ssl_ca_certs": self.cache.ca_file,
            "decode_responses": True,
        }

    def client(self, user="app", password=None):
        return redis.Redis(**self.options(user, password), retry=Retry(NoBackoff(), 0))

    def cluster_client(self, user="app"):
        return RedisCluster(**self.options(user))

    def connected(self):
        """Return who has a connection now, once for each."""
        running = self.sandbox._running._fronts
        return [connection.user for connection in self.sandbox._on_loop(lambda: running.connections(self.cache.id))]

    def remove_app(self):
        """Take `app` out of the cache's group or ACL."""
        if self.is_memorydb:
            self.api.update_acl(ACLName=self.cache.id, UserNamesToRemove=[self.name("app")])
        else:
            self.api.modify_user_group(UserGroupId=self.cache.id, UserIdsToRemove=[self.name("app")])
        self.sandbox.settle()

    def put_app_back(self):
        if self.is_memorydb:
            self.api.update_acl(ACLName=self.cache.id, UserNamesToAdd=[self.name("app")])
        else:
            self.api.modify_user_group(UserGroupId=self.cache.id, UserIdsToAdd=[self.name("app")])
        self.sandbox.settle()

    def set_access(self, access_string):
        if self.is_memorydb:
            self.api.update_user(UserName=self.name("app"), AccessString=access_string)
        else:
            self.api.modify_user(UserId=self.name("app"), AccessString=access_string)
        self.sandbox.settle()


@pytest.fixture(scope="module")
def grounds(sandbox):
    """Start all at once: each takes two seconds, mostly of waiting."""
    options = {
        "sessions": {"engine": "valkey", "kind": "serverless"},
        "ledger": {"engine": "redis", "kind": "memorydb", "shards": 2},
        "orders": {"engine": "valkey", "kind": "cluster", "shards": 2},
    }
    with ThreadPoolExecutor() as threads:
        caches = list(threads.map(lambda name: sandbox.add_cache(name, **options[name]), options))
    return {cache.kind.value: Ground(sandbox, cache) for cache in caches}


@pytest.fixture
def serverless(grounds):
    return grounds["serverless"]


@pytest.fixture(params=["serverless", "memorydb", "cluster"])
def ground(grounds, request):
    return grounds[request.param]


@pytest.fixture(params=["memorydb", "cluster"])
def sharded(grounds, request):
    return grounds[request.param]


def test_a_cluster_client_works_on_all_keys_by_one_endpoint(ground):
    with ground.cluster_client() as client:
        for key in KEYS:
            client.set(key, key.upper())

        assert [client.get(key) for key in KEYS] == [key.upper() for key in KEYS]
        assert client.acl_whoami(target_nodes=RedisCluster.ALL_NODES) is not None


async def test_the_asyncio_cluster_client_works_on_all_keys_too(ground):
    async with redis.asyncio.RedisCluster(**ground.options()) as client:
        for key in KEYS:
            await client.set(key, key.upper())

        assert [await client.get(key) for key in KEYS] == [key.upper() for key in KEYS]


def test_the_servers_share_the_keys(sharded):
    with sharded.cluster_client() as client:
        for key in KEYS:
            client.set(key, "v")

        counts = [client.dbsize(target_nodes=node) for node in client.get_primaries()]

    assert len(counts) == 2
    assert all(counts)


def test_servers_send_clients_to_fronts_alone(sharded):
    with sharded.cluster_client() as client:
        nodes = {(node.host, node.port) for node in client.get_nodes()}
        shown = client.cluster_nodes()

    assert {f"{host}:{port}" for host, port in nodes} == set(shown)
    assert len(nodes) == 2
    for host, port in nodes:
        with redis.Redis(**sharded.options() | {"host": host, "port": port}) as client:
            assert client.acl_whoami() == sharded.name("app")


def test_a_key_of_another_shard_is_a_redirection_to_its_front(sharded):
    with sharded.cluster_client() as aware, sharded.client() as plain:
        ports = {node.port for node in aware.get_nodes()}
        moved = []
        for key in KEYS:
            try:
                plain.set(key, "v")
            except redis.exceptions.MovedError as error:
                moved.append(error)

    assert moved
    assert {error.port for error in moved} < ports


def test_a_plain_client_finds_all_keys_of_a_serverless_cache(serverless):
    with serverless.client() as client:
        client.mset({"{a}1": "v", "{a}2": "w"})

        assert client.mget("{a}1", "{a}2") == ["v", "w"]


def test_who_leaves_is_cut_off_from_every_server(ground):
    with ground.cluster_client() as client, ground.cluster_client("other") as stays:
        open_now = [(client, node) for node in client.get_primaries()]
        for _, node in open_now:
            client.ping(target_nodes=node)
        stays.ping(target_nodes=RedisCluster.PRIMARIES)
        try:
            before = ground.connected().count(ground.name("app"))
            ground.remove_app()

            left = ground.connected()
            for _, node in open_now:
                with (
                    redis.Redis(
                        **ground.options() | {"host": node.host, "port": node.port}, retry=Retry(NoBackoff(), 0)
                    ) as late,
                    pytest.raises(redis.AuthenticationError),
                ):
                    late.ping()
            assert stays.ping(target_nodes=RedisCluster.PRIMARIES)
        finally:
            ground.put_app_back()

    assert before >= len(open_now)
    assert ground.name("app") not in left
    assert ground.sandbox.refusals()[-1].reason == "UserNotInGroup"


def test_a_new_access_string_holds_on_every_server(ground):
    with ground.cluster_client() as client:
        for key in KEYS:
            client.set(key, "v")
        try:
            ground.set_access("on ~* -@all +get +cluster|slots +command")

            refused = 0
            for key in KEYS:
                assert client.get(key) == "v"
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.set(key, "w")
                refused += 1
        finally:
            ground.set_access(ALL)

    assert refused == len(KEYS)


def test_a_token_for_the_other_service_is_refused(ground):
    other = "elasticache" if ground.is_memorydb else "memorydb"

    with ground.client(password=ground.token(service=other)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()

    assert ground.sandbox.refusals()[-1].reason == "WrongService"


def test_a_token_of_the_wrong_resource_type_is_refused(ground):
    wrong = ground.token(is_serverless=ground.cache.kind != "serverless")

    with ground.client(password=wrong) as client, pytest.raises(redis.AuthenticationError):
        client.ping()

    assert ground.sandbox.refusals()[-1].reason == "WrongResourceType"


@pytest.mark.parametrize("action", ["elasticache:Connect", "memorydb:Connect"])
def test_connect_is_a_right_of_the_cache_s_own_service(ground, action):
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
    ground.workload, before = (
        ground.sandbox.add_access_key(f"{action[:4]}-{ground.cache.id}", policy=policy),
        ground.workload,
    )
    try:
        with ground.client() as client:
            if action == f"{ground.service}:Connect":
                assert client.ping()
            else:
                with pytest.raises(redis.AuthenticationError):
                    client.ping()
                assert ground.sandbox.refusals()[-1].reason == "ConnectDenied"
    finally:
        ground.workload = before


@pytest.mark.parametrize(
    "command", ["CLUSTER MEET 127.0.0.1 1", "CLUSTER FLUSHSLOTS", "cluster reset", "CLUSTER FORGET x"]
)
def test_a_cluster_is_not_rearranged_by_its_users(sharded, command):
    with sharded.client() as client, pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command(*command.split())


def test_caches_made_by_aws_s_api_are_served_and_go_with_it_whatever_their_names(sandbox):
    account = sandbox.add_account()
    elasticache = sandbox.admin_session(account).client("elasticache")
    memorydb = sandbox.admin_session(account).client("memorydb")

    elasticache.create_replication_group(
        ReplicationGroupId="same", ReplicationGroupDescription="-", Engine="valkey", TransitEncryptionEnabled=True
    )
    elasticache.create_serverless_cache(ServerlessCacheName="same", Engine="valkey")
    memorydb.create_cluster(
        ClusterName="same", NodeType="db.t4g.small", Engine="valkey", ACLName="open-access", NumShards=2
    )
    sandbox.settle()
    group = elasticache.describe_replication_groups(ReplicationGroupId="same")["ReplicationGroups"][0]
    cache = elasticache.describe_serverless_caches(ServerlessCacheName="same")["ServerlessCaches"][0]
    cluster = memorydb.describe_clusters(ClusterName="same", ShowShardDetails=True)["Clusters"][0]
    served = [cache.kind.value for cache in sandbox.caches() if cache.account == account.account_id]
    elasticache.delete_replication_group(ReplicationGroupId="same")
    elasticache.delete_serverless_cache(ServerlessCacheName="same")
    memorydb.delete_cluster(ClusterName="same")
    sandbox.settle()

    ports = {
        group["NodeGroups"][0]["PrimaryEndpoint"]["Port"],
        cache["Endpoint"]["Port"],
        cluster["ClusterEndpoint"]["Port"],
        *(shard["Nodes"][0]["Endpoint"]["Port"] for shard in cluster["Shards"]),
    }
    assert len(ports) == 5
    assert 0 not in ports
    assert sorted(served) == ["memorydb", "replication-group", "serverless"]
    assert not [cache for cache in sandbox.caches() if cache.account == account.account_id]


def test_a_replication_group_in_cluster_mode_tells_its_configuration_endpoint_and_nodes(grounds):
    orders = grounds["cluster"]

    group = orders.api.describe_replication_groups(ReplicationGroupId="orders")["ReplicationGroups"][0]
    members = orders.api.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    with orders.cluster_client() as client:
        ports = {node.port for node in client.get_nodes()}

    assert group["ConfigurationEndpoint"] == {"Address": orders.cache.host, "Port": orders.cache.port}
    assert {
        member["CacheNodes"][0]["Endpoint"]["Port"]
        for member in members
        if member["CacheClusterId"] in group["MemberClusters"]
    } == ports


def test_a_valkey_cache_is_valkey_and_a_redis_cache_is_redis(sandbox):
    told = {}
    for engine in ("valkey", "redis"):
        cache = sandbox.add_cache(f"plain-{engine}", engine=engine)
        with redis.Redis(cache.host, cache.port, ssl=True, ssl_ca_certs=cache.ca_file) as client:
            told[engine] = "valkey_version" in client.info("server")

    assert told == {"valkey": True, "redis": False}


def test_a_revocation_does_not_wait_for_a_cluster_that_starts(sandbox, serverless, monkeypatch):
    """A new cluster takes writes after two seconds; this one after the revocation."""
    may_start = threading.Event()

    async def wait_and_form(servers):
        await asyncio.to_thread(may_start.wait, 60)
        await form_cluster(servers)

    monkeypatch.setattr(fronts, "form_cluster", wait_and_form)
    memorydb = sandbox.admin_session(sandbox.add_account()).client("memorydb")
    with serverless.client() as client:
        client.ping()
        memorydb.create_cluster(ClusterName="slow", NodeType="db.t4g.small", ACLName="open-access")
        try:
            serverless.api.modify_user_group(UserGroupId="sessions", UserIdsToRemove=[serverless.name("app")])
            until(lambda: serverless.name("app") not in serverless.connected())
            is_open_before = "slow" in [cache.id for cache in sandbox.caches()]
        finally:
            may_start.set()
            serverless.put_app_back()

    assert not is_open_before
    assert "slow" in [cache.id for cache in sandbox.caches()]


def until(condition):
    """Wait until something holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
