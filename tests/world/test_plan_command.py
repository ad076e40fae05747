"""`elasticache-iam plan` on the world, as a person calls it."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from boto3.session import Session
from click.testing import CliRunner, Result
from tests.builders import ACCOUNT, OWNER, REGION, Manifest, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError, NotFoundError, OperatorError
from elasticache_iam.kube.connection import Request
from elasticache_iam.runtime import log, planning


class Shell:
    """Runs the command with files in a folder, and the world in AWS's place."""

    def __init__(self, world: Ground, folder: Path) -> None:
        self._world = world
        self._folder = folder

    def write(self, *manifests: Manifest) -> str:
        path = self._folder / "pair.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))
        return str(path)

    async def plan(self, *options: str, has_cluster: bool = False) -> Result:
        cluster = [] if has_cluster else ["--no-cluster"]
        arguments = ["plan", "--owner", OWNER, "--issuer", self._world.signer.issuer, *cluster, *options]
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments)


class NoConnection:
    """The cluster is in memory, and has no installation."""

    async def call(self, request: Request) -> Mapping[str, Any]:
        raise NotFoundError(f"there is no {request.resource}")

    async def close(self) -> None: ...


@pytest.fixture
def shell(world: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    async def connect(_question: planning.Question) -> NoConnection:
        return NoConnection()

    monkeypatch.setattr(planning, "Session", lambda: world.aws.session(*world.operator_key, REGION))
    monkeypatch.setattr(planning, "_connect", connect)
    monkeypatch.setattr(planning, "ApiKube", lambda *_, **__: world.kube)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    with structlog.testing.capture_logs():
        yield Shell(world, tmp_path)


async def test_a_fresh_pair_is_shown_as_text(world: Ground, shell: Shell):
    world.add_cache()

    result = await shell.plan("-f", shell.write(group_manifest(), user_manifest()))

    assert result.exit_code == 0
    assert result.output.startswith("Plan: 6 calls to AWS, 1 change in Kubernetes, 1 user gains access")
    for line in ("UserGroup platform/orders", "ElastiCacheIAMUser shop/checkout", "Live clients that are cut off"):
        assert line in result.output.splitlines()
    assert "+ Secret shop/checkout" in result.output
    assert "keys: orders:* (read and write)" in result.output


async def test_a_plan_has_no_colours_where_nobody_looks(world: Ground, shell: Shell):
    world.add_cache()

    result = await shell.plan("-f", shell.write(group_manifest()))

    assert "\x1b" not in result.output


async def test_a_plan_is_a_document_too(world: Ground, shell: Shell):
    world.add_cache()

    result = await shell.plan("-o", "json", "-f", shell.write(group_manifest(), user_manifest()))

    document: dict[str, Any] = json.loads(result.stdout)
    create = next(call for call in document["calls"] if call["operation"] == "CreateRole")
    assert (create["account"], create["region"]) == (ACCOUNT, REGION)
    assert create["resource"] == {"kind": "ElastiCacheIAMUser", "namespace": "shop", "name": "checkout"}
    assert document["access"][0]["change"] == "gains"
    assert document["cutOff"][0]["cache"] == "orders-prod"
    assert document["missing"] == []


async def test_the_exit_code_tells_on_request(world: Ground, shell: Shell):
    world.add_cache()
    await world.start()
    pair = (group_manifest(), user_manifest())

    before = await shell.plan("--detailed-exitcode", "-f", shell.write(*pair), has_cluster=True)
    world.apply(*pair)
    await world.until_ready()
    after = await shell.plan("--detailed-exitcode", "-f", shell.write(*pair), has_cluster=True)

    assert (before.exit_code, after.exit_code) == (3, 0)
    assert "Nothing to do" in after.output


async def test_deleting_is_planned_from_the_same_files(world: Ground, shell: Shell):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    result = await shell.plan("--deleting", "-o", "json", "-f", shell.write(user_manifest()), has_cluster=True)

    operations = [call["operation"] for call in json.loads(result.stdout)["calls"]]
    assert operations == ["ModifyUserGroup", "DeleteRolePolicy", "DeleteRole", "DeleteUser"]


async def test_nothing_is_written(world: Ground, shell: Shell):
    world.add_cache()
    before = world.in_aws()

    await shell.plan("-f", shell.write(group_manifest(), user_manifest()))

    assert world.in_aws() == before


async def test_what_is_in_the_way_is_told(world: Ground, shell: Shell):
    result = await shell.plan("-f", shell.write(group_manifest()))

    assert "What would still be missing" in result.output
    assert "CacheNotFound" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--region", "mars"), "--region: 'mars' is no AWS region; they look like eu-central-1"),
        (("--issuer", "foo"), "--issuer: 'foo' is no OIDC issuer; it is an https:// URL"),
        (("--issuer", "http://oidc.example.com"), "--issuer: 'http://oidc.example.com' is no OIDC issuer"),
        (("--account", "12"), "--account: must be the account's id, 12 digits"),
        (("--owner", "Me!"), "--owner: must be 1 to 10 lower-case letters and digits"),
    ],
    ids=["no-region", "no-url", "no-tls", "no-account", "no-owner"],
)
async def test_a_wrong_option_is_told_by_its_name(shell: Shell, options: tuple[str, str], said: str):
    result = await shell.plan("-f", shell.write(group_manifest()), *options)

    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.message.startswith(said)


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (Session(region_name=REGION), "say --issuer"),
        (Session(), "say --region"),
    ],
    ids=["no-issuer", "no-region"],
)
async def test_what_is_missing_is_asked_for_by_its_option(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, session: Session, said: str
):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(planning, "Session", lambda: session)
    path = shell.write(group_manifest())
    options = ["plan", "--owner", OWNER, "--account", ACCOUNT, "--no-cluster", "-f", path]

    result = await asyncio.to_thread(CliRunner().invoke, cli, options)

    assert isinstance(result.exception, ConfigurationError)
    assert said in result.exception.message


async def test_a_profile_that_is_not_there_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "Session", Session)
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    result = await shell.plan("-f", shell.write(group_manifest()))

    assert isinstance(result.exception, ConfigurationError)
    assert "The config profile (nobody) could not be found" in result.exception.message


def test_the_first_help_shows_whole_sentences():
    lines = CliRunner().invoke(cli, ["--help"]).output.splitlines()

    assert not [line for line in lines[1:] if line.endswith("...")]


async def test_without_an_owner_nothing_begins(shell: Shell):
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["plan", "-f", shell.write(group_manifest())])

    assert isinstance(result.exception, OperatorError)
    assert "--owner" in result.exception.message
