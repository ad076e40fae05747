"""`elasticache-iam sandbox` as a newcomer meets it, without the control plane."""

import json
import os
import signal
import subprocess
import sys

import pytest

from elasticache_iam_sandbox.state import read_run


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    yield folder
    sandbox(folder, "down")


def sandbox(state, *arguments):
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "elasticache_iam_sandbox.cli", "--state", state, *arguments],
        env=env | {"PYTHONPATH": "operator"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_up_env_status_down(state):
    up = sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders")
    again = sandbox(state, "up", "--detach", "--no-cluster")
    env = sandbox(state, "env")
    status = sandbox(state, "status", "-o", "json")
    down = sandbox(state, "down")

    assert up.returncode == 0, up.stderr
    assert "cache orders (valkey) ready" in up.stdout
    assert "runs already" in again.stdout
    document = json.loads(status.stdout)
    assert document["caches"][0]["id"] == "orders"
    assert document["caches"][0]["port"] > 0
    assert f"export AWS_ENDPOINT_URL={document['aws_url']}" in env.stdout
    assert "KUBECONFIG" not in env.stdout
    assert "export AWS_SECRET_ACCESS_KEY=" in env.stdout
    assert "SECRET" not in up.stdout + status.stdout
    assert down.stdout.strip() == "stopped"
    assert read_run(state) is None


def test_a_killed_run_is_cleaned_up_by_the_next(state):
    sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders")
    killed = read_run(state)
    os.kill(killed["pid"], signal.SIGKILL)

    up = sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders")

    assert up.returncode == 0, up.stdout + up.stderr
    assert read_run(state)["pid"] != killed["pid"]


@pytest.mark.parametrize("command", ["env", "status"])
def test_what_needs_a_sandbox_says_that_there_is_none(state, command):
    answer = sandbox(state, command)

    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "no sandbox runs" in answer.stderr


def test_down_without_a_sandbox_is_fine(state):
    assert sandbox(state, "down").returncode == 0


def test_a_wrong_cache_fails_the_start_and_leaves_nothing(state):
    up = sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders:memcached")

    assert up.returncode == 1
    assert "no such engine" in up.stdout
    assert read_run(state) is None
