"""`elasticache-iam` itself: its commands, errors in one line, exit codes, names, and what it imports."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elasticache_iam.cli import main
from elasticache_iam.cli.exit_codes import MEANINGS, ExitCode
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError

SECRET = "orders-prod/?Action=connect&User=checkout&X-Amz-Signature=0123456789abcdef"


@pytest.fixture
def failing(monkeypatch):
    """Returns what lets the command `status` raise an error."""

    def fail_with(error):
        @click.command("status")
        def status():
            raise error

        main._take_debug(status)
        monkeypatch.setattr(main, "_load", lambda name: status if name == "status" else None)

    return fail_with


def stderr_lines(capsys):
    return capsys.readouterr().err.splitlines()


# -- the commands ------------------------------------------------------------------------------------------------------


def test_every_command_is_in_one_section_of_the_help():
    lines = CliRunner().invoke(main.cli, ["--help"]).output.splitlines()

    for name in (name for names in main.SECTIONS.values() for name in names):
        assert [line for line in lines if line.startswith(f"  {name} ")], name


def test_every_command_is_called_as_it_is_listed():
    context = click.Context(main.cli)

    for name in main.cli.list_commands(context):
        command = main.cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_an_unknown_command_is_one_line_that_says_where_to_look(capsys):
    code = main.run(["statu"])

    assert code == ExitCode.USAGE
    assert stderr_lines(capsys) == ["elasticache-iam: no such command 'statu'; see: elasticache-iam --help"]


def test_an_unknown_option_is_one_line_that_says_where_to_look(capsys):
    code = main.run(["status", "--foo"])

    assert code == ExitCode.USAGE
    (line,) = stderr_lines(capsys)
    assert line.startswith("elasticache-iam status: no such option")
    assert line.endswith("see: elasticache-iam status --help")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "-n", "NOPE!"],
        ["import", "--owner", "prod", "-n", "Bad NS"],
        ["import", "--owner", "prod", "-n", "shop", "--user-namespace", "a" * 64],
        ["token", "jane", "-n", "shop\n"],
    ],
    ids=["status", "import", "import-users", "token"],
)
def test_what_can_not_be_a_namespace_is_refused_before_anybody_is_asked(arguments, capsys):
    code = main.run(arguments)

    assert code == ExitCode.USAGE
    (line,) = stderr_lines(capsys)
    assert "is no namespace: lower-case letters, digits and hyphens, 63 at most" in line


def test_without_a_command_the_help_is_shown(capsys):
    code = main.run([])

    assert code == ExitCode.USAGE
    assert "Look:" in capsys.readouterr().err


def test_a_command_without_its_extra_says_which_one(monkeypatch, capsys):
    error = ModuleNotFoundError("No module named 'moto'", name="moto")
    monkeypatch.setattr(main, "_load", lambda name: main._unavailable(name, error))

    code = main.run(["sandbox", "up", "--detach"])

    assert code == ExitCode.USAGE
    (line,) = stderr_lines(capsys)
    assert line.startswith("elasticache-iam: moto is not installed; run, with the release's file: pip install './elast")
    assert line.endswith(".whl[sandbox]', or in a clone: pip install '.[sandbox]'")


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(ConfigurationError("say --owner"), ExitCode.USAGE, id="the-callers"),
        pytest.param(AccessDeniedError("say --owner"), ExitCode.FAILED, id="somebody-elses"),
    ],
)
def test_what_can_be_expected_is_one_line(failing, capsys, error, code):
    failing(error)

    assert main.run(["status"]) == code
    assert stderr_lines(capsys) == ["elasticache-iam: say --owner"]


def test_what_an_error_quotes_gives_no_orders_to_a_terminal(failing, capsys):
    failing(ConfigurationError("a.yaml: \x1b[2Jnot YAML"))

    main.run(["status"])

    assert stderr_lines(capsys) == ["elasticache-iam: a.yaml: \\x1b[2Jnot YAML"]


def test_what_nobody_expected_is_one_line_that_quotes_nothing(failing, capsys):
    failing(RuntimeError(SECRET))

    assert main.run(["status"]) == ExitCode.FAILED
    (line,) = stderr_lines(capsys)
    assert line == "elasticache-iam: unexpected RuntimeError; that is a fault of ours: run it again with --debug"


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]], ids=["before", "behind"])
def test_debug_shows_the_way_to_an_error(failing, capsys, arguments):
    failing(AccessDeniedError("no right"))

    main.run(arguments)

    lines = stderr_lines(capsys)
    assert lines[0] == "elasticache-iam: no right"
    assert "Traceback (most recent call last):" in lines


def test_debug_shows_no_token(failing, capsys):
    failing(RuntimeError(SECRET))

    main.run(["status", "--debug"])

    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "0123456789abcdef" not in shown


def test_debug_spells_out_what_an_error_quotes(failing, capsys):
    failing(RuntimeError("a\x1b[2J\r\n::error::b"))

    main.run(["status", "--debug"])

    assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))


def test_debug_ends_with_its_run(failing, capsys):
    failing(AccessDeniedError("no right"))
    main.run(["status", "--debug"])
    capsys.readouterr()

    main.run(["status"])

    assert stderr_lines(capsys) == ["elasticache-iam: no right"]


def test_ctrl_c_has_an_exit_code_of_its_own(failing):
    failing(KeyboardInterrupt())

    assert main.run(["status"]) == ExitCode.INTERRUPTED


def test_every_exit_code_is_explained():
    assert set(MEANINGS) == set(ExitCode)


# -- the kubectl plugin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("/home/me/.krew/bin/kubectl-elasticache_iam", "kubectl elasticache-iam"),
        ("/usr/bin/elasticache-iam", "elasticache-iam"),
        ("/venv/lib/python3.11/site-packages/elasticache_iam/__main__.py", "elasticache-iam"),
    ],
)
def test_it_is_called_in_the_words_of_the_caller(argument, name):
    assert main.program_name(argument, {}) == name


def test_a_launcher_may_say_how_it_was_called():
    environment = {"ELASTICACHE_IAM_PROGRAM": "kubectl elasticache-iam"}

    assert main.program_name("/usr/bin/elasticache-iam", environment) == "kubectl elasticache-iam"


def test_as_a_plugin_its_errors_name_kubectl(capsys):
    main.run(["status", "--foo"], program="kubectl elasticache-iam")

    assert stderr_lines(capsys)[0].endswith("see: kubectl elasticache-iam status --help")


# -- quick starts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["completion", "bash"]], ids=" ".join)
def test_help_and_completions_import_nothing_heavy(arguments):
    script = (
        "import sys; from elasticache_iam.cli.main import run; code = run(sys.argv[1:]); "
        "print([name for name in ('boto3', 'kubernetes', 'pydantic', 'kopf', 'aiohttp', 'rich', 'liquid', 'redis') "
        "if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(main.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stderr.splitlines()[-1] == "[]"
