"""The socket and the admin API, before a world that answers what a test tells it to."""

import asyncio
import ssl
from collections import Counter

import aiohttp
import boto3
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from elasticache_iam_sandbox.wire.admin import AdminApi
from elasticache_iam_sandbox.wire.endpoint import AwsEndpoint
from elasticache_iam_sandbox.world.settings import WorldSettings

ONCE = Config(retries={"total_max_attempts": 1})


class ScriptedGround:
    """Caches without servers."""

    def __init__(self):
        self.made = []

    async def add_cache(self, cache_id, *, engine="valkey", tags=None):
        self.made.append({"id": cache_id, "engine": engine, "tags": tags or {}})
        return self.made[-1]

    def caches(self):
        return self.made

    def refusals(self):
        return [{"reason": "ConnectDenied"}]


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def settings():
    return WorldSettings()


@pytest.fixture
def changes():
    return Counter()


@pytest.fixture
async def url(world, settings, changes, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    counts = Counter({("sts", "GetCallerIdentity"): 2})
    world.call_counts, world.reset_call_counts = lambda: counts, counts.clear
    world.settings = settings

    def on_change():
        changes["seen"] += 1

    admin = AdminApi(world, settings=settings, ground=ScriptedGround(), on_change=on_change)
    endpoint = AwsEndpoint(world, ssl_context=context, on_change=on_change, admin=admin.routes())
    yield await endpoint.start()
    await endpoint.close()


@pytest.fixture
def client(url, authority, tmp_path):
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    session = boto3.session.Session("AKIDEXAMPLE", "SECRETEXAMPLE", region_name="eu-central-1")

    def make(service):
        return session.client(service, endpoint_url=url, verify=str(ca_file), config=ONCE)

    return make


@pytest.fixture
async def admin(url, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with aiohttp.ClientSession(f"{url}/_sandbox/", connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def call(method, path, body=None):
            async with session.request(method, path, json=body) as answer:
                return answer.status, await answer.json()

        yield call


@pytest.mark.parametrize("service", ["sts", "eks", "resourcegroupstaggingapi"])
async def test_a_signed_request_over_https_is_accepted(world, client, service):
    operation = {"sts": "get_caller_identity", "eks": "list_clusters", "resourcegroupstaggingapi": "get_resources"}

    await asyncio.to_thread(getattr(client(service), operation[service]))

    assert world.calls[0].service == service


async def test_a_path_with_escapes_keeps_its_signature(world, client):
    await asyncio.to_thread(client("eks").describe_cluster, name="a%b c")

    assert world.calls[0].parameters == {"name": "a%b c"}


async def test_an_outage_closes_the_connection_without_an_answer(world, client):
    world.answer = ConnectionError()

    with pytest.raises(ConnectionClosedError):
        await asyncio.to_thread(client("sts").get_caller_identity)


async def test_a_held_call_does_not_hold_up_others(world, client):
    world.fault_latency_s = lambda service, operation: 0.5 if service == "iam" else 0.0
    done = []
    world.dispatch = lambda call: done.append(call.service) or {}
    slow, quick = client("iam"), client("sts")

    await asyncio.gather(
        asyncio.to_thread(slow.delete_role, RoleName="r"), asyncio.to_thread(quick.get_caller_identity)
    )

    assert done == ["sts", "iam"]


async def test_a_write_is_announced_and_a_read_is_not(changes, client):
    elasticache = client("elasticache")

    await asyncio.to_thread(elasticache.describe_users)
    await asyncio.to_thread(elasticache.delete_user, UserId="u")

    assert changes["seen"] == 1


async def test_a_browser_gets_an_error_not_a_crash(url, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async with aiohttp.ClientSession() as session, session.get(f"{url}/favicon.ico", ssl=context) as answer:
        assert answer.status == 404


async def test_wrong_secret_over_https(client, world):
    elasticache = client("elasticache")
    world.identities.clear()

    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        await asyncio.to_thread(elasticache.describe_users)


async def test_the_admin_api_is_healthy(admin):
    assert (await admin("GET", "health"))[1]["status"] == "ok"


async def test_settings_are_changed_in_place(admin, settings, changes):
    status, shown = await admin("PATCH", "settings", {"transition_s": 1.5, "token_seconds": 60, "clock_offset_s": -30})

    assert status == 200
    assert (settings.transition_s, settings.token_seconds) == (1.5, 60)
    assert settings.clock_offset.total_seconds() == -30
    assert shown == (await admin("GET", "settings"))[1]
    assert changes["seen"] == 1


async def test_throttles_quotas_and_switches_are_settings_too(admin, settings):
    change = {"calls_per_s": {"iam:GetRole": 2}, "memorydb_acls": 5, "roles": 3, "managed_iam_user": True}
    status, shown = await admin("PATCH", "settings", change)

    assert status == 200
    assert (settings.calls_per_s, settings.memorydb_acls, settings.roles) == ({"iam:GetRole": 2}, 5, 3)
    assert settings.managed_iam_user
    assert shown | change == shown


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"transition_s": "long"},
        {"transition_s": -1},
        {"token_seconds": 1.5},
        {"users": True},
        {"calls_per_s": 5},
        {"calls_per_s": {"iam": -1}},
        {"managed_iam_user": 1},
        [],
    ],
    ids=[
        "unknown",
        "no-number",
        "negative",
        "fraction",
        "boolean",
        "one-rate",
        "negative-rate",
        "no-switch",
        "no-object",
    ],
)
async def test_a_wrong_setting_changes_nothing(admin, settings, change):
    before = WorldSettings()

    status, answer = await admin("PATCH", "settings", {"users": 5} | change if isinstance(change, dict) else change)

    assert status == 400
    assert answer["error"]
    assert settings == before


async def test_faults_come_and_go(admin, settings):
    await admin("POST", "faults", {"service": "sts", "operation": "*", "error_code": "Throttling", "remaining": 3})
    await admin("POST", "faults", {"service": "iam", "operation": "GetRole", "latency_s": 2})

    _, listed = await admin("GET", "faults")
    _, removed = await admin("DELETE", "faults?service=iam")

    assert [fault["service"] for fault in listed] == ["sts", "iam"]
    assert removed == {"removed": 1}
    assert [fault.error_code for fault in settings.faults] == ["Throttling"]


@pytest.mark.parametrize("body", [{"service": "sts"}, {"service": "sts", "operation": "*", "colour": 1}])
async def test_a_wrong_fault_is_refused(admin, settings, body):
    status, _ = await admin("POST", "faults", body)

    assert status == 400
    assert settings.faults == []


async def test_calls_are_counted_by_service_and_reset(admin):
    before = await admin("GET", "calls")
    await admin("DELETE", "calls")

    assert before == (200, {"sts": {"GetCallerIdentity": 2}})
    assert await admin("GET", "calls") == (200, {})


async def test_caches_are_made_and_listed(admin):
    status, made = await admin("POST", "caches", {"id": "orders", "engine": "redis", "tags": {"a": "b"}})

    assert status == 200
    assert made == {"id": "orders", "engine": "redis", "tags": {"a": "b"}}
    assert (await admin("GET", "caches"))[1] == [made]


@pytest.mark.parametrize("body", [{}, {"id": "orders", "colour": "red"}])
async def test_a_wrong_cache_is_refused(admin, body):
    assert (await admin("POST", "caches", body))[0] == 400


async def test_refusals_tell_the_true_reason(admin):
    assert await admin("GET", "refusals") == (200, [{"reason": "ConnectDenied"}])
