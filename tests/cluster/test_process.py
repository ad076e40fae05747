"""The program: how it starts, says what is wrong, shows how it is, and ends."""

import http.server
import json
import re
import socket
import subprocess
import threading

import pytest
from tests.cluster.ground import LEASE_S, NAME, PROGRAM, note_measured
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

METRICS = (
    "elasticache_iam_aws_requests_total",
    "elasticache_iam_build_info",
    "elasticache_iam_event_loop_lag_seconds",
    "elasticache_iam_k8s_requests_total",
    "elasticache_iam_leader",
    "elasticache_iam_reconcile_duration_seconds_bucket",
    "elasticache_iam_reconcile_total",
    "elasticache_iam_token_min_remaining_seconds",
    "elasticache_iam_token_refresh_total",
    "elasticache_iam_token_schedule_lateness_seconds",
    "elasticache_iam_tokens",
    "elasticache_iam_verify_total",
    "elasticache_iam_workqueue_depth",
    "elasticache_iam_workqueue_oldest_seconds",
)


def run(ground, *arguments, config="", environment=None):
    """Run the operator until it gives up; return exit code and stderr."""
    path = ground.folder / "config.yaml"
    path.write_text(config or json.dumps(ground.config()), encoding="utf-8")
    answer = subprocess.run(  # noqa: S603  # our own program
        (
            *(PROGRAM, "operator", "--config", path, "--namespace", ground.namespaces["operators"]),
            *("--listen", "127.0.0.1:0", *arguments),
        ),
        env=environment or ground.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return answer.returncode, answer.stderr


def complaint(answer):
    """Return the one line that the operator gives up with."""
    code, text = answer
    assert code == 2, text
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("elasticache-iam: ")]
    assert len(lines) == 1, text
    assert text.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def bare(new_ground):
    """A ground on which nothing runs."""
    with new_ground() as ground:
        yield ground


def test_an_unknown_setting_is_named(bare):
    answer = run(bare, config=json.dumps(bare.config(tokenSecond=60)))

    assert "tokenSecond" in complaint(answer)


def test_a_broken_kubeconfig_is_named(bare):
    kubeconfig = bare.folder / "broken-kubeconfig"
    kubeconfig.write_text("{", encoding="utf-8")

    answer = run(bare, environment=bare.environment(KUBECONFIG=str(kubeconfig)))

    assert "Kubernetes configuration" in complaint(answer)


def kubeconfig_for(server):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": "x"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


def test_an_unknown_issuer_is_named_with_the_setting(bare):
    answer = run(bare, config=json.dumps(bare.config(oidcIssuer=None)))

    assert "oidcIssuer" in complaint(answer)


def test_a_port_in_use_is_named(bare):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        answer = run(bare, "--listen", f"127.0.0.1:{port}")

    assert f"127.0.0.1:{port}" in complaint(answer)


def test_an_address_to_listen_at_that_is_none_is_named_with_what_is(bare):
    answer = run(bare, "--listen", "::8080")

    assert "--listen ::8080: not host:port; write *:8080 for all addresses" in complaint(answer)


# -- what is missing around it -----------------------------------------------------------------------------------------

POD = {"POD_NAME": "operator-0", "POD_UID": "11111111-1111-1111-1111-111111111111"}


class _EmptyCluster(http.server.BaseHTTPRequestHandler):
    """Answers as an API server does that doesn't know our kinds, and allows everything; keeps the Events."""

    events = ()

    def do_GET(self):
        self._answer(
            404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["kind"] == "Event":
            type(self).events += (body,)
        self._answer(201, {**body, "status": {"allowed": True}})

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def launch(bare):
    """What starts an operator that has to wait; it is stopped at the end, and obeys."""
    started = []

    def launch(kubeconfig=None, *, config=(), **environment):
        if isinstance(kubeconfig, str):
            path = bare.folder / f"kubeconfig-{len(started)}"
            path.write_text(json.dumps(kubeconfig_for(kubeconfig)), encoding="utf-8")
            kubeconfig = path
        kubeconfig = {} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)}
        environment = bare.environment(**POD, **kubeconfig, **environment)
        started.append(bare.launch_operator(environment=environment, **dict(config)))
        return started[-1]

    yield launch
    for operator in started:
        if operator.process.is_running:
            code, took_s = operator.stop()
            assert code == 0, operator.text()
            assert took_s < LEASE_S


def complaints(operator, missing):
    return [entry["why"] for entry in operator.said("not ready") if entry["missing"] == missing]


def is_told(operator, missing, text):
    """Whether the last line of the log says what is missing, and /readyz the same."""
    found = wait_for(lambda: complaints(operator, missing), what="a complaint")
    (address,) = [entry["listen"] for entry in operator.said("listening")]
    operator.address = address
    status, body = operator.probe("/readyz")
    assert text in found[-1]
    assert (status, body) == (503, f"{missing}: {found[-1]}\n")
    assert operator.probe("/livez") == (200, "ok\n")
    assert json.loads(operator.text().splitlines()[-1])["why"] == found[-1]
    return True


def events_of(bare, reason):
    path = f"/apis/events.k8s.io/v1/namespaces/{bare.namespaces['operators']}/events"
    return [event for event in bare.control_plane.request("GET", path)["items"] if event["reason"] == reason]


def test_an_api_server_that_is_away_is_waited_for(launch):
    operator = launch("https://127.0.0.1:1")

    assert is_told(operator, "cluster", "API server doesn't answer")


def test_missing_kinds_are_waited_for_and_told_with_the_remedy(launch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyCluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        operator = launch(f"http://127.0.0.1:{server.server_port}")

        assert is_told(operator, "cluster", "kubectl apply --server-side -f crds/")
        (event,) = wait_for(lambda: _EmptyCluster.events, what="an Event")
        operator.stop()
        server.shutdown()
    assert (event["reason"], event["type"]) == ("ClusterNotReady", "Warning")
    assert event["regarding"]["name"] == POD["POD_NAME"]
    assert "kubectl apply --server-side -f crds/" in event["note"]


def test_an_aws_that_is_away_is_waited_for(bare, launch):
    operator = launch(config={"account": None}, AWS_ENDPOINT_URL="https://127.0.0.1:1", AWS_MAX_ATTEMPTS="1")

    assert is_told(operator, "AWS", "can't find out about AWS: STS GetCallerIdentity: no answer")
    (event,) = wait_for(lambda: events_of(bare, "AwsNotReady"), what="an Event")
    assert "no answer" in event["note"]
    assert {key: event["regarding"][key] for key in ("kind", "name", "uid")} == {
        "kind": "Pod",
        "name": POD["POD_NAME"],
        "uid": POD["POD_UID"],
    }


def test_what_stays_away_is_told_once(launch):
    operator = launch(config={"account": None}, AWS_ENDPOINT_URL="https://127.0.0.1:1", AWS_MAX_ATTEMPTS="1")
    assert is_told(operator, "AWS", "no answer")

    def looks():
        lists = r'k8s_requests_total\{code="200",resource="usergroups",verb="list"\} (\d+)'
        return int(re.search(lists, operator.probe("/metrics")[1])[1])

    wait_for(lambda: looks() >= 3, what="a third look")

    assert len(complaints(operator, "AWS")) == 1
    assert not operator.said("ready again")


def test_missing_aws_credentials_are_told_with_the_remedy(bare, launch):
    without = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "HOME": str(bare.folder)}

    operator = launch(config={"account": None}, AWS_EC2_METADATA_DISABLED="true", **without)

    assert is_told(operator, "AWS", "give its ServiceAccount a role by the annotation eks.amazonaws.com/role-arn")


class Stranger:
    """A user whom nothing but Events is allowed, until it is given the operator's rights."""

    def __init__(self, bare, name):
        self._kubectl = bare.control_plane.kubectl
        self._name = name
        self._here = ("-n", bare.namespaces["operators"])
        self.kubeconfig = bare.control_plane.write_kubeconfig(bare.folder / name, user=name)
        rights = ("--verb=create", "--resource=events.events.k8s.io")
        self._kubectl("create", "role", f"{name}-events", *rights, *self._here)
        self._bind(f"{name}-events", *self._here, role=f"{name}-events")

    def _bind(self, binding, *where, **role):
        ((kind, name),) = role.items()
        verb = ("create", "rolebinding" if where else "clusterrolebinding", binding)
        self._kubectl(*verb, f"--{kind}={name}", f"--user={self._name}", *where)

    def give_rights(self):
        self._bind(self._name, clusterrole=NAME)
        self._bind(self._name, *self._here, role=NAME)

    def take_rights_at_home(self):
        self._kubectl("delete", "rolebinding", self._name, *self._here)


def test_missing_rights_are_told_and_once_given_no_restart_is_needed(bare, launch):
    stranger = Stranger(bare, "stranger")
    shop, home = bare.namespaces["shop"], bare.namespaces["operators"]

    operator = launch(stranger.kubeconfig)

    assert is_told(operator, "cluster", f"may not list, watch, patch usergroups in {bare.namespaces['platform']}; ")
    (text,) = complaints(operator, "cluster")
    for missing in (
        f"create, update, delete secrets in {shop}",
        f"get, update leases elasticache-iam-operator in {home}",
    ):
        assert missing in text
    assert wait_for(lambda: events_of(bare, "ClusterNotReady"), what="an Event")
    stranger.give_rights()
    operator.wait_until_ready()
    operator.wait_until_leading()
    assert wait_for(lambda: events_of(bare, "Ready"), what="an Event")


def test_that_nobody_may_lead_is_told(bare, launch):
    stranger = Stranger(bare, "candidate")
    stranger.give_rights()
    operator = launch(stranger.kubeconfig, config={"leaseSeconds": 3, "leaseRenewDeadline": 2, "leaseRetry": 0.5})
    operator.wait_until_ready()
    operator.wait_until_leading()

    stranger.take_rights_at_home()

    (text,) = wait_for(lambda: complaints(operator, "leader"), what="a complaint")
    assert "can't see or renew the Lease, so nobody may lead" in text
    assert "forbidden" in text
    assert operator.probe("/readyz") == (503, f"leader: {text}\n")
    assert wait_for(lambda: events_of(bare, "NoLeader"), what="an Event")


# -- how it is ---------------------------------------------------------------------------------------------------------


def test_ready_soon_after_its_start(shared_orders):
    note_measured(shared_orders.operator.ready_after_s)  # 1.6 s where nothing else runs

    assert shared_orders.operator.ready_after_s < 30.0


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_says_ok(shared_orders, path):
    assert shared_orders.operator.probe(path) == (200, "ok\n")


def test_the_metrics_are_there(shared_orders):
    status, text = shared_orders.operator.probe("/metrics")

    assert status == 200
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert set(METRICS) - names == set()
    assert re.search(r'elasticache_iam_token_refresh_total\{result="ok"\} [1-9]', text)
    assert re.search(r'elasticache_iam_verify_total\{outcome="LoggedIn"\} [1-9]', text)


def test_on_sigterm_it_gives_the_lease_back_and_ends_long_before_that_would(orders):
    code, took_s = orders.operator.stop()
    note_measured(took_s)

    assert code == 0
    assert took_s < LEASE_S
    assert not orders.lease().get("holderIdentity")
    assert "Traceback" not in orders.operator.text()
    assert not [entry for entry in orders.operator.entries() if entry["level"] == "error" or "kopf" in entry["logger"]]
