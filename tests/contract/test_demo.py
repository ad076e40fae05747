"""What `make demo` refuses before it starts anything. That it works is `make demo`'s own to say."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elasticache_iam_sandbox.processes import start_time


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "examples" / "quickstart").mkdir(parents=True)
    return tmp_path


def run_demo(folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "elasticache_iam_sandbox.demo"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path("operator").absolute())} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refusal(answer):
    """Return the one line that a refused demo says."""
    assert answer.stderr == ""
    return answer.stdout.strip()


def test_a_second_demo_in_the_folder_touches_nothing(checkout):
    state = checkout / ".state" / "demo"
    state.mkdir(parents=True)
    with (state / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        answer = run_demo(checkout)

    assert answer.returncode == 2
    assert refusal(answer) == "✘ another demo runs in this folder (.state/demo)"
    assert [path.name for path in state.iterdir()] == ["demo.lock"]


def test_a_sandbox_in_the_folder_is_left_alone(checkout):
    state = checkout / ".state" / "demo"
    state.mkdir(parents=True)
    (state / "sandbox.json").write_text(json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}))

    answer = run_demo(checkout)

    assert answer.returncode == 2
    assert "a sandbox runs in this folder" in refusal(answer)


def test_a_missing_server_is_the_callers_to_put_right(checkout):
    answer = run_demo(checkout, PATH="")

    assert answer.returncode == 2
    assert "redis-server is missing; install it" in refusal(answer)
    assert not (checkout / ".state").exists()


def test_another_folder_is_the_callers_to_put_right(tmp_path):
    answer = run_demo(tmp_path)

    assert answer.returncode == 2
    assert "run this from the repository's root" in refusal(answer)
