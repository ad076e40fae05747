"""The installer of redis-server and valkey-server, with the machine's programs replaced by fakes."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging" / "install_cache_servers.sh"
BASH = shutil.which("bash")


@pytest.fixture
def run(tmp_path):
    """Run it with nothing on PATH but what is given by name, as shell script."""

    def run(**programs):
        for name, script in {"sed": f'exec {shutil.which("sed")} "$@"', "id": "echo 1000", **programs}.items():
            program = tmp_path / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return subprocess.run(  # noqa: S603  # our own script
            (BASH, SCRIPT), env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
        )

    return run


def test_nothing_is_done_where_both_are_there(run):
    answer = run(redis_server="", valkey_server="", apt_get="exit 99", id="echo 0")

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("there", "missing"),
    [("redis_server", "valkey-server"), ("valkey_server", "redis-server")],
)
def test_who_may_not_install_reads_what_to_install(run, there, missing):
    answer = run(**{there: "", "apt_get": "exit 99"})

    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {missing} is missing; install it: apt-get install {missing}")
    assert len(answer.stderr.splitlines()) == 1


def test_what_a_source_of_apt_has_is_installed_from_there(run, tmp_path):
    answer = run(
        redis_server="",
        id="echo 0",
        apt_cache='echo "valkey-server:"; echo "  Candidate: 8.0.1"',
        apt_get=f'echo "$@" >> {tmp_path}/asked',
    )

    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "asked").read_text().splitlines() == ["update -qq", "install -y -qq valkey-server"]
