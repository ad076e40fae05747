"""The one way to the terminal: whatever others wrote, by whichever command it comes, gives no orders there."""

import ast
from pathlib import Path

import click
import pytest
import yaml
from boto3.session import Session
from click.testing import CliRunner
from tests.builders import user_manifest

from elasticache_iam import cli as package
from elasticache_iam.cli.import_command import render_import
from elasticache_iam.cli.main import cli
from elasticache_iam.cli.setup import render_setup
from elasticache_iam.cli.terminal import Styled, render, say
from elasticache_iam.cli.verify import verify
from elasticache_iam.core.diagnosis import Check, Mark
from elasticache_iam.core.diagnosis_tree import Tree
from elasticache_iam.core.importing import Import, Written
from elasticache_iam.core.prerequisites import CLUSTER
from elasticache_iam.runtime import importing, log, orders, personal, verifying

EVIL = "evil\x1b]0;owned\x07\x1b[2J\n::error::x\u202e"
SPELLED = "evil\\x1b]0;owned\\x07\\x1b[2J\\x0a::error::x\\x202e"

FOR_PROGRAMS = {
    "completion.py": "a shell's completions",
    "import_command.py": "YAML",
    "policy.py": "HCL",
    "status.py": "YAML",
}
"""Who may write text that isn't for people, and what it is."""
PRINTERS = {"print", "click.echo", "click.secho", "click.echo_via_pager", "sys.stdout.write", "sys.stderr.write"}


def called(path):
    """Yield the names of all functions that a module calls, or hands on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)


MODULES = sorted(Path(package.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_command_has_a_way_of_its_own(path):
    names = set(called(path))

    assert path.name == "terminal.py" or not names & PRINTERS
    assert ("write_text" in names) == (path.name in FOR_PROGRAMS)


def test_each_part_of_a_line_is_spelled_out_and_keeps_its_style():
    line = (EVIL, Styled(EVIL, "red", bold=True), Styled(EVIL))

    shown = render(line)

    assert click.unstyle(shown) == SPELLED * 3
    assert click.style(SPELLED, fg="red", bold=True) in shown


def test_what_is_said_is_one_line(capsys):
    say(EVIL)
    say(EVIL, err=True)

    assert capsys.readouterr() == (f"{SPELLED}\n", f"{SPELLED}\n")


def spelled(output):
    """Return whether only line breaks of ours are left, and what others wrote is there."""
    return all(line.isprintable() for line in output.split("\n")) and SPELLED in output


def test_setup_spells_out_who_holds_the_lease():
    found = [CLUSTER.there(f"{EVIL} leads"), CLUSTER.missing(EVIL, f"kubectl delete pod '{EVIL}'")]

    lines = [click.unstyle(render(line)) for line in render_setup(found)]

    assert all(line.isprintable() for line in lines)
    assert f"  ✔ {SPELLED} leads" in lines
    assert f"      $ kubectl delete pod '{SPELLED}'" in lines


def test_verify_spells_out_what_a_secret_holds(monkeypatch):
    async def examine(_inquiry):
        return Tree("shop", "checkout", EVIL, (Check("Ready", Mark.BROKEN, EVIL, repair=EVIL),), ())

    monkeypatch.setattr(verifying, "verify", examine)
    monkeypatch.setattr(log, "configure", lambda *_: None)

    assert spelled(CliRunner().invoke(verify, ["checkout", "-n", "shop", "--owner", "demo"]).output)


@pytest.mark.parametrize("options", [["--no-wait"], ["--timeout", "1"]], ids=["given", "waited-for"])
def test_an_order_spells_out_why_a_user_is_not_ready(monkeypatch, options):
    ready = {"type": "Ready", "status": "False", "reason": "NotAdmitted", "message": EVIL}

    class Cluster:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def call(self, _request):
            return {**user_manifest(), "status": {"conditions": [ready]}}

    async def connect(_kubeconfig, *, context):
        del context
        return Cluster()

    monkeypatch.setattr(orders, "open_connection", connect)

    result = CliRunner().invoke(cli, ["suspend", "checkout" if "1" in options else EVIL, "-n", "shop", *options])

    assert result.exit_code == (4 if "1" in options else 0), result.exception
    assert spelled(result.output)


def test_import_spells_out_ids_and_lets_nothing_out_of_a_comment():
    body = {"kind": "UserGroup", "metadata": {"name": "orders"}, "spec": {"id": EVIL}}
    made = Import((Written(body, (f"tagged {EVIL}", "a\u2028kind: Secret")),), (), (f"aws --tags '{EVIL}'",))

    lines = list(render_import(made))

    assert f"#   aws --tags '{SPELLED}'" in lines
    assert f"# tagged {SPELLED}" in lines
    assert list(yaml.safe_load_all("\n".join(lines))) == [body]


def test_import_spells_out_what_it_leaves_out(monkeypatch):
    async def nothing(_request, _session):
        return Import((), (f"user {EVIL}: in no group",), ())

    monkeypatch.setattr(importing, "make_import", nothing)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    monkeypatch.setattr(personal, "Session", lambda profile_name=None: logged_in())

    assert spelled(CliRunner().invoke(cli, ["import", "-n", "platform", "--owner", "demo"]).output)


def test_the_line_for_redis_cli_spells_out_where_the_cache_is(monkeypatch):
    async def find(_name, **_options):
        return personal.Door("jane", "orders-prod", "elasticache", "eu-central-1", host=EVIL)

    monkeypatch.setattr(personal, "find_door", find)
    monkeypatch.setattr(personal, "Session", lambda profile_name=None: logged_in())

    result = CliRunner().invoke(cli, ["token", "jane", "-n", "shop"])

    assert f"-h '{SPELLED}' -p 6379 --user jane" in result.output


def logged_in():
    return Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="x", region_name="eu-central-1")
