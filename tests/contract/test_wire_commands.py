"""`elasticache-iam sandbox` as a newcomer meets it, mostly without the control plane."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest
from tests.waiting import wait_for

from elasticache_iam_sandbox.state import read_run


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    yield folder
    sandbox(folder, "down")


def command(state, *arguments):
    return [sys.executable, "-m", "elasticache_iam_sandbox.cli", "--state", state, *arguments]


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"PYTHONPATH": "operator"}


def processes_of(state):
    """Return the command lines that name a state folder."""
    listed = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True)  # noqa: S607
    return [line for line in listed.stdout.splitlines() if str(state) in line]


def sandbox(state, *arguments):
    return subprocess.run(  # noqa: S603  # our own command
        command(state, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_up_env_status_down(state):
    up = sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders", "--cache", "ledger:redis:memorydb")
    again = sandbox(state, "up", "--detach", "--no-cluster")
    env = sandbox(state, "env")
    status = sandbox(state, "status", "-o", "json")
    down = sandbox(state, "down")

    assert up.returncode == 0, up.stderr
    assert "cache orders (valkey, replication-group) ready" in up.stdout
    assert "runs already" in again.stdout
    document = json.loads(status.stdout)
    assert [(cache["id"], cache["engine"], cache["kind"], cache["shards"]) for cache in document["caches"]] == [
        ("orders", "valkey", "replication-group", None),
        ("ledger", "redis", "memorydb", 1),
    ]
    assert all(cache["port"] > 0 and cache["ca_file"] == document["ca_file"] for cache in document["caches"])
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

    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "no sandbox runs" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_down_without_a_sandbox_is_fine(state):
    assert sandbox(state, "down").returncode == 0


def test_a_wrong_cache_is_said_before_anything_starts(state):
    up = sandbox(state, "up", "--detach", "--no-cluster", "--cache", "orders:memcached")

    assert up.returncode == 2
    assert "no such engine" in up.stderr
    assert read_run(state) is None


def give_up_a_start(state, signal_number):
    """Signal a start as soon as something of it runs; return its exit code."""
    up = subprocess.Popen(  # noqa: S603  # our own command
        # Whatever was started in a script's background ignores SIGINT, and so do its children.
        ["/usr/bin/env", "--default-signal=INT", *command(state, "up", "--detach")],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: any("etcd" in line for line in processes_of(state)), timeout_s=60.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(up.pid, signal_number)
    return up.wait(60.0)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_giving_up_on_a_detached_start_leaves_nothing_running(state, signal_number):
    for _ in range(3):
        if (code := give_up_a_start(state, signal_number)) != 0:
            break
        assert sandbox(state, "down").returncode == 0  # it was up before the signal came

    assert code != 0
    wait_for(lambda: processes_of(state) == [], timeout_s=30.0)
    assert "no sandbox runs" in sandbox(state, "status").stderr


def test_a_folder_in_use_is_refused_in_one_line(state):
    state.mkdir()
    with (state / "sandbox.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        up = sandbox(state, "up", "--no-cluster")

    assert up.returncode == 2
    assert up.stderr == f"Error: another sandbox uses {state}: stop it, or choose another folder\n"
