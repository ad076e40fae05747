"""The program: how it starts, says what is wrong, shows how it is, and ends."""

import http.server
import json
import re
import socket
import subprocess
import threading

import pytest
from tests.cluster.ground import LEASE_S, PROGRAM, note_measured

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


def test_an_api_server_that_is_away_is_named(bare):
    kubeconfig = bare.folder / "away-kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_for("https://127.0.0.1:1")), encoding="utf-8")

    answer = run(bare, environment=bare.environment(KUBECONFIG=str(kubeconfig)))

    assert "API server doesn't answer" in complaint(answer)


def kubeconfig_for(server):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": "x"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


class _EmptyCluster(http.server.BaseHTTPRequestHandler):
    """Answers as an API server does that doesn't know our kinds."""

    def do_GET(self):
        body = b'{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}'
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_missing_crds_are_named_with_the_remedy(bare):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyCluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubeconfig = bare.folder / "empty-kubeconfig"
        document = kubeconfig_for(f"http://127.0.0.1:{server.server_port}")
        kubeconfig.write_text(json.dumps(document), encoding="utf-8")

        answer = run(bare, environment=bare.environment(KUBECONFIG=str(kubeconfig)))
        server.shutdown()

    assert "kubectl apply -f crds/" in complaint(answer)


def test_an_aws_that_is_away_is_named(bare):
    config = json.dumps(bare.config(account=None))

    answer = run(bare, config=config, environment=bare.environment(AWS_ENDPOINT_URL="https://127.0.0.1:1"))

    assert "can't find out about AWS" in complaint(answer)


def test_missing_aws_credentials_are_named(bare):
    without = bare.environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_EC2_METADATA_DISABLED="true")
    without["HOME"] = str(bare.folder)

    answer = run(bare, config=json.dumps(bare.config(account=None)), environment=without)

    assert "credentials" in complaint(answer)


def test_an_unknown_issuer_is_named_with_the_setting(bare):
    answer = run(bare, config=json.dumps(bare.config(oidcIssuer=None)))

    assert "oidcIssuer" in complaint(answer)


def test_a_port_in_use_is_named(bare):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        answer = run(bare, "--listen", f"127.0.0.1:{port}")

    assert f"127.0.0.1:{port}" in complaint(answer)


def test_rights_that_are_missing_are_named(bare):
    stranger = bare.control_plane.write_kubeconfig(bare.folder / "stranger", user="stranger")

    answer = run(bare, environment=bare.environment(KUBECONFIG=str(stranger)))

    assert "forbidden" in complaint(answer).lower()


def test_ready_within_five_seconds_of_its_start(shared_orders):
    note_measured(shared_orders.operator.ready_after_s)

    assert shared_orders.operator.ready_after_s < 5.0


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
