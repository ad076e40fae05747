"""The sandbox put together: world, endpoint, fronts, time."""

import asyncio
import json
import stat
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from elasticache_iam_sandbox.front import fronts
from elasticache_iam_sandbox.state import CREDENTIALS_FILE, RUN_FILE
from elasticache_iam_sandbox.supervisor import (
    ACCOUNT,
    BackgroundSandbox,
    Sandbox,
    SandboxError,
)


class OfflineCluster:
    """A control plane whose API server answers once."""

    issuer = "https://issuer.example"

    def __init__(self, folder):
        self.kubeconfig = folder / "kubeconfig"
        self.asked = 0

    def jwks(self):
        self.asked += 1
        if self.asked > 1:
            raise OSError
        return {"keys": []}


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


async def test_only_one_sandbox_uses_a_folder(tmp_path):
    async with Sandbox(tmp_path):
        with pytest.raises(SandboxError, match="another sandbox uses"):
            await Sandbox(tmp_path).start()


async def test_a_folder_can_be_used_again(tmp_path):
    async with Sandbox(tmp_path):
        pass

    async with Sandbox(tmp_path) as second:
        assert second.aws_url


async def test_it_is_announced_while_it_runs(tmp_path):
    async with Sandbox(tmp_path) as running:
        running.announce()
        run = json.loads((tmp_path / RUN_FILE).read_text())

    assert run["aws_url"] == running.aws_url
    assert run["kubeconfig"] is None
    assert not (tmp_path / RUN_FILE).exists()


async def test_keys_are_for_their_owner_alone(tmp_path):
    async with Sandbox(tmp_path) as running:
        file = tmp_path / CREDENTIALS_FILE

        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert json.loads(file.read_text())["admin"]["access_key_id"] == running.account.admin.access_key_id
        assert running.account.admin.secret_access_key not in repr(running.account)


async def test_its_environment_points_at_it(tmp_path):
    async with Sandbox(tmp_path, control_plane=OfflineCluster(tmp_path)) as running:
        env = running.env()

    assert env["AWS_ENDPOINT_URL"] == running.aws_url
    assert env["AWS_CA_BUNDLE"] == str(tmp_path / "ca.crt")
    assert env["KUBECONFIG"] == str(tmp_path / "kubeconfig")


async def test_an_account_starts_with_the_clusters_identity_provider(tmp_path):
    async with Sandbox(tmp_path, control_plane=OfflineCluster(tmp_path)) as running:
        session = running.session(running.add_account().admin)

        cluster = await asyncio.to_thread(session.client("eks").describe_cluster, name="sandbox")
        providers = await asyncio.to_thread(session.client("iam").list_open_id_connect_providers)

    assert cluster["cluster"]["identity"]["oidc"]["issuer"] == OfflineCluster.issuer
    (provider,) = providers["OpenIDConnectProviderList"]
    assert provider["Arn"].endswith(":oidc-provider/issuer.example")


async def test_the_clusters_keys_are_known_while_its_api_server_is_down(tmp_path):
    cluster = OfflineCluster(tmp_path)

    async with Sandbox(tmp_path, control_plane=cluster) as running:
        first, second = running._get_jwks(cluster.issuer), running._get_jwks(cluster.issuer)

    assert first == second == {"keys": []}
    assert cluster.asked == 1


def test_an_unknown_issuer_has_no_keys(background):
    with pytest.raises(LookupError):
        background._running._get_jwks("https://nobody.example")


def test_seeding_is_not_counted(background):
    counts = background.run(lambda world: dict(world.call_counts()))

    assert ("iam", "CreateOpenIDConnectProvider") not in counts


def test_the_operators_key_may_not_log_in(background):
    identity = background.run(lambda world: world.signing_identity(background.operator_key.access_key_id))
    background.add_cache("fenced")

    decision = background.run(
        lambda world: world.decide_connect(
            identity, world.cache_view(ACCOUNT, "eu-central-1", "fenced"), "anybody", source_ip="127.0.0.1"
        )
    )

    assert not decision.allowed


def test_time_passes_without_anybody_asking(background):
    elasticache = background.admin_session(account := background.add_account()).client("elasticache")
    background.settings.transition_s = 0.1
    try:
        elasticache.create_user(
            UserId="late",
            UserName="late",
            Engine="valkey",
            AccessString="on ~* +@all",
            AuthenticationMode={"Type": "iam"},
        )
        deadline = time.monotonic() + 20
        while background._running.world.next_transition_at() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        background.settings.transition_s = 0.0

    assert account.account_id != ACCOUNT


def open_cache(background, cache, **options):
    options |= {"ssl": True, "ssl_ca_certs": str(background.ca_file), "retry": Retry(NoBackoff(), 0)}
    return redis.Redis(cache.host, cache.port, **options)


def test_a_cache_answers_over_tls(background):
    cache = background.add_cache("open")

    with open_cache(background, cache) as client:
        assert client.ping()


def test_a_refused_login_tells_its_reason_to_us_alone(background):
    cache = background.add_cache("closed")

    with (
        open_cache(background, cache, username="nobody", password="wrong") as client,
        pytest.raises(redis.AuthenticationError, match="invalid username-password pair"),
    ):
        client.ping()

    assert background.refusals()[-1].cache_id == "closed"


def test_a_deleted_cache_is_no_longer_served(background):
    account = background.add_account()
    cache = background.add_cache("gone", account_id=account.account_id)
    background.admin_session(account).client("elasticache").delete_replication_group(ReplicationGroupId="gone")
    background.settle()

    assert cache not in background.caches()


@pytest.mark.parametrize(
    ("cache_id", "options", "message"),
    [("twice", {}, "twice|already"), ("other", {"engine": "memcached"}, "no such engine")],
    ids=["taken-id", "unknown-engine"],
)
def test_a_wrong_cache_is_refused(background, cache_id, options, message):
    if not options:
        background.add_cache(cache_id)

    with pytest.raises(ValueError, match=message):
        background.add_cache(cache_id, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sentinel"}, "no such kind"),
        ({"kind": "memorydb", "shards": 100}, "1 to 8 shards"),
        ({"kind": "serverless", "auth_token": "a-token-of-sixteen-or-more"}, "no AUTH token"),
    ],
    ids=["unknown-kind", "too-many-shards", "auth-token"],
)
def test_a_wrong_kind_of_cache_is_refused(background, options, message):
    with pytest.raises(ValueError, match=message):
        background.add_cache("odd", **options)

    assert not [cache for cache in background.caches() if cache.id == "odd"]


async def test_closing_while_a_cluster_starts_leaves_no_server(tmp_path, monkeypatch):
    servers = []

    async def never(started):
        servers.extend(started)
        await asyncio.Event().wait()

    monkeypatch.setattr(fronts, "form_cluster", never)
    async with Sandbox(tmp_path) as running:
        memorydb = running.session().client("memorydb")
        await asyncio.to_thread(
            memorydb.create_cluster, ClusterName="ledger", NodeType="db.t4g.small", ACLName="open-access"
        )
        deadline = time.monotonic() + 20
        while not servers:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert servers[0].is_running

    assert not servers[0].is_running


async def test_a_cache_that_can_not_be_served_does_not_harm_the_others(tmp_path, caplog):
    async with Sandbox(tmp_path) as running:
        memorydb = running.session().client("memorydb")
        await asyncio.to_thread(
            memorydb.create_cluster,
            ClusterName="huge",
            NodeType="db.t4g.small",
            ACLName="open-access",
            NumShards=100,
        )
        await running.settle()
        await running.add_cache("orders")

        assert [cache.id for cache in running.caches()] == ["orders"]
    assert "huge has 100 shards" in caplog.text


async def test_without_a_program_there_are_no_caches_of_its_engine_but_all_else(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    async with Sandbox(tmp_path) as running:
        with pytest.raises(SandboxError, match="apt-get install valkey-server"):
            await running.add_cache("orders")
        assert (await asyncio.to_thread(running.session().client("sts").get_caller_identity))["Account"] == ACCOUNT
