"""`elasticache-iam setup` as people see it, and what it can't begin without."""

import click
import pytest
from boto3.session import Session
from click.testing import CliRunner
from tests.builders import Nobody

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.main import cli, run
from elasticache_iam.cli.setup import render_setup
from elasticache_iam.cli.terminal import render
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.prerequisites import AWS, CLUSTER
from elasticache_iam.runtime import log, personal
from elasticache_iam.runtime import setup as surveying


def shown(*found):
    return [click.unstyle(render(line)) for line in render_setup(found)]


def test_each_thing_has_a_mark_and_what_is_missing_its_command():
    lines = shown(
        AWS.there("account 1"), AWS.missing("no provider", "aws iam create"), CLUSTER.untold("you may not ask")
    )

    assert lines == [
        "AWS",
        "  ✔ account 1",
        "  ✘ no provider",
        "      $ aws iam create",
        "",
        "The cluster",
        "  ? you may not ask",
        "",
        "✘ 1 thing is missing; run this again after each command",
    ]


def test_nothing_missing_is_said():
    assert shown(AWS.there("account 1"))[-1] == "✔ nothing is missing"


def test_what_could_not_be_looked_at_is_not_taken_for_there():
    assert shown(AWS.there("account 1"), CLUSTER.unseen("you may not ask"))[-2:] == [
        "",
        "? 1 thing couldn't be looked at, and may be missing",
    ]
    assert shown(AWS.unseen("no route"), CLUSTER.missing("the CRDs", ""))[-2:] == [
        "? 1 thing couldn't be looked at, and may be missing",
        "✘ 1 thing is missing; run this again after each command",
    ]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([AWS.there("account 1"), AWS.untold("no boundary is set")], ExitCode.OK),
        ([AWS.there("account 1"), CLUSTER.unseen("you may not ask")], ExitCode.USAGE),
        ([AWS.unseen("no route"), CLUSTER.missing("the CRDs", "")], ExitCode.FAILED),
    ],
    ids=["remark", "unseen", "missing"],
)
@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.usefixtures("person")
def test_the_exit_code_says_whether_something_is_missing_or_can_not_be_told(monkeypatch, capsys, output, found, code):
    async def survey(*_):
        return found

    monkeypatch.setattr(surveying, "survey", survey)

    assert run(["setup", "--owner", "demo", "-o", output]) == code
    assert ('"ready": true' in capsys.readouterr().out) is (output == "json" and code == ExitCode.OK)


@pytest.fixture
def person(monkeypatch):
    """Somebody with an AWS identity, without region and without a cluster."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr(log, "configure", lambda *_: None)
    monkeypatch.setattr(
        personal, "Session", lambda profile_name=None: Session(aws_access_key_id="AKID", aws_secret_access_key="x")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-cluster"], "set --owner"),
        (["--no-cluster", "--owner", "demo"], "say --region"),
        (["--no-cluster", "--owner", "demo", "--region", "mars"], "--region: 'mars' is no AWS region"),
        (
            ["--no-cluster", "--owner", "demo", "--region", "eu-central-1", "--account", "111122223333"],
            "say --issuer",
        ),
        (["--no-cluster", "--owner", "demo", "--boundary", "nonsense"], "--boundary: must be a policy's ARN"),
        (["--owner", "demo"], "or look at AWS alone: --no-cluster"),
    ],
    ids=["owner", "region", "no-region", "issuer", "boundary", "cluster"],
)
@pytest.mark.usefixtures("person")
def test_what_it_can_not_find_out_is_asked_for(arguments, said):
    result = CliRunner().invoke(cli, ["setup", *arguments])

    assert isinstance(result.exception, ConfigurationError), result.exception
    assert said in result.exception.message


@pytest.mark.usefixtures("person")
def test_the_options_complete_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("account: '111122223333'\nregion: mars\n")

    result = CliRunner().invoke(cli, ["setup", "--no-cluster", "--config", str(path), "--owner", "demo"])

    assert isinstance(result.exception, ConfigurationError), result.exception
    assert "'mars' is no AWS region" in result.exception.message  # and not: whose AWS objects are ours?


@pytest.mark.usefixtures("person")
def test_a_file_with_a_wrong_setting_is_told_by_the_settings_name(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("owner: demo\ntokenSeconds: 9999\n")

    result = CliRunner().invoke(cli, ["setup", "--no-cluster", "--config", str(path)])

    assert isinstance(result.exception, ConfigurationError), result.exception
    assert result.exception.message.endswith("config.yaml: tokenSeconds: must be at most 900")


@pytest.mark.parametrize(
    "arguments",
    [["setup", "--no-cluster", "--owner", "demo"], ["import", "-n", "platform", "--owner", "demo"]],
    ids=["setup", "import"],
)
@pytest.mark.usefixtures("person")
def test_the_region_may_stand_in_the_environment(monkeypatch, arguments):
    monkeypatch.setenv("AWS_REGION", "mars")  # told apart from none before AWS is asked

    result = CliRunner().invoke(cli, arguments)

    assert isinstance(result.exception, ConfigurationError), result.exception
    assert "'mars' is no AWS region" in result.exception.message


@pytest.mark.parametrize(
    "arguments",
    [
        ["setup", "--no-cluster", "--owner", "demo", "--region", "eu-central-1", "--issuer", "https://issuer.example"],
        ["import", "-n", "platform", "--owner", "demo", "--region", "eu-central-1"],
    ],
    ids=["setup", "import"],
)
@pytest.mark.usefixtures("person")
def test_without_aws_credentials_one_line_says_so(monkeypatch, capsys, arguments):
    monkeypatch.setattr(personal, "Session", lambda profile_name=None: Nobody())

    assert run(arguments) == ExitCode.USAGE

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("elasticache-iam: there are no AWS credentials: log in")
