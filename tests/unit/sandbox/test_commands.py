"""The commands that look at a sandbox, against one in this process."""

import json

import pytest
from click.testing import CliRunner

from elasticache_iam_sandbox.cache_programs import explain_missing
from elasticache_iam_sandbox.cli import sandbox
from elasticache_iam_sandbox.supervisor import BackgroundSandbox


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    with BackgroundSandbox(folder) as running:
        running.add_cache("orders")
        running._on_loop(running._running.announce)
        yield folder


def run(state, *arguments):
    return CliRunner().invoke(sandbox, ["--state", str(state), *arguments])


def test_status_is_plain_text_where_there_is_no_terminal(state):
    lines = run(state, "status").output.splitlines()

    assert lines[0].startswith("AWS endpoint   https://127.0.0.1:")
    assert lines[-1].split()[:2] == ["orders", "valkey"]


def test_status_for_programs_is_json(state):
    document = json.loads(run(state, "status", "-o", "json").output)

    assert [cache["id"] for cache in document["caches"]] == ["orders"]
    assert document["calls"] == {}


def test_env_is_for_a_shell_to_evaluate(state):
    lines = run(state, "env").output.splitlines()

    assert f"export AWS_CA_BUNDLE={state}/ca.crt" in lines
    assert lines[-1] == "unset AWS_SESSION_TOKEN AWS_PROFILE"
    assert all(line.startswith(("export ", "unset ")) for line in lines)


def test_a_second_one_in_the_foreground_is_refused(state):
    answer = run(state, "up", "--no-cluster")

    assert answer.exit_code == 2
    assert "runs already" in answer.output


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ((), "redis"),
        (("--detach",), "redis"),
        (("--cache", "orders"), "valkey"),
        (("--cache", "orders:redis"), "redis"),
    ],
)
def test_a_missing_server_is_said_before_anything_starts(tmp_path, monkeypatch, options, engine):
    monkeypatch.setenv("PATH", "")

    answer = run(tmp_path / "state", "up", *options)

    assert answer.exit_code == 2
    assert answer.output.splitlines() == [f"Error: {explain_missing(engine)}"]
    assert not (tmp_path / "state").exists()


def test_a_detached_one_that_runs_is_enough(state):
    assert run(state, "up", "--detach").exit_code == 0


def test_the_state_folder_comes_from_the_environment_too(state):
    answer = CliRunner().invoke(sandbox, ["status"], env={"ELASTICACHE_IAM_STATE": str(state)})

    assert answer.exit_code == 0


def test_a_file_of_a_dead_run_is_not_believed(tmp_path):
    (tmp_path / "sandbox.json").write_text(json.dumps({"pid": 1, "started": "never", "aws_url": "https://127.0.0.1:1"}))

    answer = run(tmp_path, "down")

    assert answer.output.strip() == "no sandbox runs"
    assert not (tmp_path / "sandbox.json").exists()
