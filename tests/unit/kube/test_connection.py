import asyncio
import json
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from elasticache_iam.core.errors import (
    ConfigurationError,
    InvalidSpecError,
    NotLeaderError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.kube import service_account
from elasticache_iam.kube.connection import APPLY_PATCH, Connection, Request, find_namespace, load_configuration

PODS = Request("get", "/api/v1", "pods", "shop", "a")


class Server:
    """What answers in place of an API server."""

    def __init__(self):
        self.seen = []
        self.answer = web.json_response({"kind": "Pod"})
        self.delay_s = 0.0

    async def handle(self, request):
        self.seen.append((request.method, str(request.rel_url), dict(request.headers), await request.text()))
        await asyncio.sleep(self.delay_s)
        return self.answer


class Fence:
    """Says what a test wants it to say."""

    def __init__(self, *, left_s=15.0, is_open=True):
        self.is_open = is_open
        self._left_s = left_s

    def check(self):
        if not self.is_open:
            raise NotLeaderError("lost")

    def left_s(self):
        return self._left_s


@pytest.fixture
async def server():
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield server
    await runner.cleanup()


def configuration(url):
    configuration = Configuration(host=url)
    configuration.api_key["BearerToken"] = "Bearer hunter2"
    return configuration


@pytest.fixture
async def connect(server):
    connections = []

    def connect(**settings):
        connections.append(Connection(configuration(server.url), **settings))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close()


def test_a_request_s_path_has_its_parts_quoted():
    request = Request(
        "patch", "/api/v1", "secrets", "shop", "a/b", "status", query={"fieldManager": "me", "force": "true"}
    )

    assert request.path == "/api/v1/namespaces/shop/secrets/a%2Fb/status?fieldManager=me&force=true"


def test_a_cluster_scoped_request_has_no_namespace():
    assert Request("get", "/api/v1", "namespaces", name="shop").path == "/api/v1/namespaces/shop"


async def test_a_document_is_sent_with_its_type_and_our_credentials(server, connect):
    request = Request("patch", "/api/v1", "secrets", "shop", "a", body={"kind": "Secret"}, content_type=APPLY_PATCH)

    answer = await connect().call(request)

    method, path, headers, body = server.seen[0]
    assert answer == {"kind": "Pod"}
    assert (method, path) == ("PATCH", "/api/v1/namespaces/shop/secrets/a")
    assert headers["Content-Type"] == APPLY_PATCH
    assert headers["Authorization"] == "Bearer hunter2"
    assert json.loads(body) == {"kind": "Secret"}


async def test_metadata_only_asks_for_no_data(server, connect):
    await connect().send(Request("get", "/api/v1", "secrets", "shop", "a", metadata_only=True))

    assert server.seen[0][2]["Accept"].startswith("application/json;as=PartialObjectMetadata")


async def test_a_refusal_becomes_our_error(server, connect):
    server.answer = web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "77"})

    with pytest.raises(ThrottledError) as raised:
        await connect().call(PODS)

    assert raised.value.retry_after_s == 77.0


async def test_a_caller_may_read_a_refusal_its_own_way(server, connect):
    server.answer = web.json_response({"kind": "Status"}, status=429)

    with pytest.raises(InvalidSpecError, match="mine"):
        await connect().call(PODS, translate=lambda refusal: InvalidSpecError("mine"))


@pytest.mark.parametrize(
    "body", ["<html>hunter2: maintenance</html>", '{"kind": "Secret", "data": {"password": "hunter2', "", "[]", "null"]
)
async def test_an_answer_that_is_no_json_object_is_unavailable_and_not_quoted(server, connect, body):
    server.answer = web.Response(text=body)

    with pytest.raises(UnavailableError, match="get pods shop/a") as raised:
        await connect().call(PODS)

    assert raised.value.code == "NotJSON"
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


async def test_a_server_that_is_too_slow_is_unavailable(server, connect):
    server.delay_s = 5.0

    with pytest.raises(UnavailableError, match="get pods shop/a"):
        await connect(total_timeout_s=0.05).call(PODS)


async def test_a_server_that_is_not_there_is_unavailable_and_no_credential_is_told(unused_tcp_port):
    async with Connection(configuration(f"http://127.0.0.1:{unused_tcp_port}")) as connection:
        with pytest.raises(UnavailableError) as raised:
            await connection.call(PODS)

    assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r}"


async def test_every_request_is_counted_with_its_outcome(server, connect):
    seen = []
    await connect(on_request=lambda *labels: seen.append(labels)).call(PODS)
    server.delay_s = 5.0
    impatient = connect(on_request=lambda *labels: seen.append(labels), total_timeout_s=0.05)

    with pytest.raises(UnavailableError):
        await impatient.call(Request("patch", "/api/v1", "usergroups", "shop", "a", "status"))

    assert seen == [("get", "pods", "200"), ("patch", "usergroups/status", "error")]


async def test_the_fence_is_asked_after_the_wait_for_a_place(server, connect):
    fence = Fence()
    connection = connect(max_in_flight=1)
    server.delay_s = 0.1
    first = asyncio.create_task(connection.send(PODS, fence=fence))
    await asyncio.sleep(0)
    second = asyncio.create_task(connection.send(PODS, fence=fence))
    await asyncio.sleep(0)
    fence.is_open = False

    await first
    with pytest.raises(NotLeaderError):
        await second

    assert len(server.seen) == 1


async def test_a_write_is_given_up_before_somebody_else_may_lead(server, connect):
    server.delay_s = 5.0

    with pytest.raises(
        UnavailableError, match=r"doesn't answer: \w+ at 127\.0\.0\.1:\d+; look at: kubectl cluster-info$"
    ):
        await connect().send(PODS, fence=Fence(left_s=0.05))


@pytest.mark.looptime(start=0.05)
async def test_a_write_under_way_is_given_up_on_time_and_not_at_the_next_whole_second(server, connect):
    server.delay_s = 30.0
    loop = asyncio.get_running_loop()
    sent_at = loop.time()

    with pytest.raises(UnavailableError):
        await connect().send(PODS, fence=Fence(left_s=5.2))

    assert len(server.seen) == 1
    assert loop.time() - sent_at <= 5.21


async def test_a_fence_that_is_shut_right_after_it_was_asked_lets_nothing_pass(server, connect):
    with pytest.raises(NotLeaderError):
        await connect().send(PODS, fence=Fence(left_s=0.0))

    assert server.seen == []


async def test_what_the_fence_holds_back_is_counted_and_not_sent(server, connect):
    seen = []

    with pytest.raises(NotLeaderError):
        await connect(on_request=lambda *labels: seen.append(labels)).send(PODS, fence=Fence(left_s=0.0, is_open=False))

    assert seen == [("get", "pods", "fenced")]
    assert server.seen == []


async def test_without_a_cluster_the_reader_is_told_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(ConfigurationError, match="set KUBECONFIG"):
        await load_configuration(environment={})


@pytest.mark.parametrize(
    "content",
    ["{}", "{", "just text", "[]", '{"contexts": 1, "current-context": "c"}', "\x00"],
    ids=["empty", "no-yaml", "text", "a-list", "of-wrong-types", "binary"],
)
async def test_a_kubeconfig_that_is_no_kubeconfig_is_a_configuration_error(tmp_path, content):
    file = tmp_path / "kubeconfig"
    file.write_text(content)

    with pytest.raises(ConfigurationError, match="can't read the Kubernetes configuration"):
        await load_configuration(environment={"KUBECONFIG": str(file)})


async def test_a_kubeconfig_that_is_not_there_is_named_and_nothing_is_printed(capsys):
    with pytest.raises(ConfigurationError, match=r"there is no file /nonexistent:/neither$"):
        await load_configuration("/nonexistent:/neither", environment={})

    assert capsys.readouterr() == ("", "")


async def test_a_context_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "kubeconfig"
    file.write_text('{"current-context": "c", "contexts": [], "clusters": [], "users": []}')

    with pytest.raises(ConfigurationError, match=f"there is no context other in {file}; see: kubectl config get-con"):
        await load_configuration(str(file), environment={}, context="other")


async def test_a_pod_without_a_token_is_a_configuration_error():
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    with pytest.raises(ConfigurationError, match="can't read the Kubernetes configuration"):
        await load_configuration(environment=environment)


def write_kubeconfig(folder, name, *, current=True, user=None):
    """Write a kubeconfig whose one context, cluster and namespace are called as it is; return its path."""
    document = {
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"team-{name}"}}],
        "users": [{"name": name, "user": user or {"token": "t"}}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**document, "current-context": name} if current else document))
    return str(path)


async def test_a_kubeconfig_given_wins(tmp_path):
    file = write_kubeconfig(tmp_path, "a")

    found = await load_configuration(file, environment={"KUBECONFIG": "/nowhere"})

    assert found.host == "http://a"
    assert find_namespace(file, {"KUBECONFIG": "/nowhere"}) == "team-a"


@pytest.mark.parametrize(
    ("files", "context", "meant"),
    [
        pytest.param("a", None, "a", id="one-file"),
        pytest.param("a:b", None, "a", id="the-first-that-names-a-context"),
        pytest.param("a:b", "b", "b", id="a-context-that-is-said"),
        pytest.param("unset:b", None, "b", id="one-that-names-none-is-passed-over"),
        pytest.param("unset:b", "unset", "unset", id="a-context-of-one-that-names-none"),
        pytest.param("unset", "unset", "unset", id="nobody-names-a-context-but-the-caller"),
        pytest.param("missing:a:missing", None, "a", id="missing-files-are-passed-over"),
    ],
)
async def test_cluster_and_namespace_are_those_that_kubectl_means(tmp_path, files, context, meant):
    paths = {
        "a": write_kubeconfig(tmp_path, "a"),
        "b": write_kubeconfig(tmp_path, "b"),
        "unset": write_kubeconfig(tmp_path, "unset", current=False),
        "missing": "/nonexistent",
    }
    environment = {"KUBECONFIG": ":".join(paths[name] for name in files.split(":"))}

    found = await load_configuration(environment=environment, context=context)

    assert found.host == f"http://{meant}"
    assert find_namespace(environment=environment, context=context) == f"team-{meant}"


@pytest.mark.parametrize(
    ("environment", "context"),
    [
        ({}, None),
        ({"KUBECONFIG": "/nonexistent"}, None),
        ({"KUBECONFIG": "{text}"}, None),
        ({"KUBECONFIG": "{a}"}, "other"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
    ],
    ids=["nothing", "no-such-file", "no-kubeconfig", "no-such-context", "a-pod-that-has-none"],
)
def test_where_no_namespace_can_be_told_it_is_default(monkeypatch, tmp_path, capsys, environment, context):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text").write_text("just text")
    paths = {"text": tmp_path / "text", "a": write_kubeconfig(tmp_path, "a")}

    found = find_namespace(None, {key: value.format(**paths) for key, value in environment.items()}, context=context)

    assert found == "default"
    assert capsys.readouterr() == ("", "")


def test_in_a_pod_the_namespace_is_its_own(monkeypatch, tmp_path):
    (tmp_path / "namespace").write_text("team-pod")
    monkeypatch.setattr(service_account, "SERVICE_ACCOUNT", tmp_path)

    assert find_namespace(environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "team-pod"


@pytest.mark.parametrize(("lives_s", "runs"), [(900, 1), (60, 1), (-60, 3)], ids=["fresh", "kept-long", "ended"])
async def test_a_credential_plugin_runs_once_in_the_life_of_what_it_gives(tmp_path, lives_s, runs):
    ends = datetime.now(UTC) + timedelta(seconds=lives_s)
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"""#!/bin/sh
echo run >> {tmp_path}/runs
runs=$(wc -l < {tmp_path}/runs)
echo '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status":
  {{"token": "t'$((runs))'", "expirationTimestamp": "{ends:%Y-%m-%dT%H:%M:%SZ}"}}}}'
"""
    )
    plugin.chmod(0o755)
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    found = await load_configuration(write_kubeconfig(tmp_path, "a", user={"exec": command}), environment={})

    tokens = [await found.get_api_key_with_prefix("BearerToken") for _ in range(2)]

    assert (tmp_path / "runs").read_text().count("run") == runs
    assert tokens == [f"Bearer t{min(run, runs)}" for run in (2, 3)]


def test_the_typed_clients_stay_out_of_memory():
    program = (
        "import sys, elasticache_iam.kube.kube, elasticache_iam.kube.token_kube, elasticache_iam.kube.lease\n"
        "from elasticache_iam.kube.connection import Connection\n"
        "from kubernetes.aio.client.configuration import Configuration\n"
        "import asyncio\n"
        "async def main(): await Connection(Configuration()).close()\n"
        "asyncio.run(main())\n"
        "print([m for m in sys.modules if m.startswith('kubernetes.') and ('.client.api.' in m or '.models.' in m)])"
    )

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603

    assert answer.stdout.strip() == "[]"
