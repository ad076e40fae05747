"""`elasticache-iam completion`: what shells source."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from elasticache_iam.cli.completion import COMPLETE_VARIABLE, SHELLS
from elasticache_iam.cli.main import cli, run


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell):
    result = CliRunner().invoke(cli, ["completion", shell])

    assert result.exit_code == 0
    assert f"{COMPLETE_VARIABLE}={shell}_complete" in result.output


def test_the_script_for_bash_is_one():
    script = CliRunner().invoke(cli, ["completion", "bash"]).output

    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=30)  # noqa: S607

    assert (done.returncode, done.stderr) == (0, "")


def test_commands_are_completed():
    done = subprocess.run(  # our own program
        [sys.executable, "-m", "elasticache_iam"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3] / "operator"),
            COMPLETE_VARIABLE: "bash_complete",
            "COMP_WORDS": "elasticache-iam st",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.split() == ["plain,status"]


def test_another_shell_is_refused():
    result = CliRunner().invoke(cli, ["completion", "tcsh"])

    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.output


def test_without_a_shell_one_line_names_them(capsys):
    assert run(["completion"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Choose from: bash, zsh, fish; see: elasticache-iam completion --help")
