"""`elasticache-iam import` on the world: what was made by hand becomes resources, and the operator takes them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import yaml
from click.testing import CliRunner, Result
from tests.builders import ACCOUNT, OWNER, REGION
from tests.world.harness import Ground

from elasticache_iam.cli.main import cli
from elasticache_iam.reconcile.queue import GROUPS, USERS
from elasticache_iam.runtime import log, personal


class Shell:
    """Runs the command with the world in AWS's place."""

    async def run(self, *options: str) -> Result:
        arguments = ["import", "-n", "platform", "--owner", OWNER, "--region", REGION, *options]
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments)

    async def documents(self, *options: str) -> list[dict[str, Any]]:
        result = await self.run(*options)
        assert result.exit_code == 0, result.exception
        return list(yaml.safe_load_all(result.stdout))


@pytest.fixture
def shell(world: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr(personal, "Session", lambda profile_name: world.aws.session(*world.admin_key, REGION))
    monkeypatch.setattr(log, "configure", lambda *_: None)
    with structlog.testing.capture_logs():
        yield Shell()


@pytest.fixture
async def made_by_hand(world: Ground) -> Ground:
    """A redis group with a disabled default, an IAM user and one with a password, on a cache."""
    world.add_cache()
    off: Any = {"Type": "password", "Passwords": ["a-password-that-nobody-knows"]}
    iam: Any = {"Type": "iam"}
    for user_id, name, access, mode in (
        ("reports-default", "default", "off ~* -@all", off),
        ("reports-etl", "reports-etl", "on ~report:* -@all +@read +@connection", iam),
        ("reports-old", "reports-old", "on ~report:* -@all +@read", off),
    ):
        world.elasticache.create_user(
            UserId=user_id, UserName=name, Engine="redis", AccessString=access, AuthenticationMode=mode
        )
    await world.until(lambda: all(user["Status"] == "active" for user in world.elasticache.describe_users()["Users"]))
    members = ["reports-default", "reports-etl", "reports-old"]
    world.elasticache.create_user_group(UserGroupId="reports", Engine="redis", UserIds=members)
    await world.until(lambda: world.elasticache.describe_user_groups()["UserGroups"][-1]["Status"] == "active")
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToAdd=["reports"], ApplyImmediately=True
    )
    await world.until(
        lambda: world.elasticache.describe_user_groups()["UserGroups"][-1].get("ReplicationGroups") == ["orders-prod"]
    )
    return world


async def test_a_group_is_referenced(made_by_hand: Ground, shell: Shell):
    (body,) = await shell.documents()

    assert (body["kind"], body["metadata"]["name"]) == ("UserGroup", "reports")
    assert body["spec"]["adoption"] == "Reference"
    assert body["spec"]["caches"] == [{"replicationGroup": "orders-prod"}]


async def test_an_adoption_is_taken_over_by_the_operator(made_by_hand: Ground, shell: Shell):
    world = made_by_hand
    result = await shell.run("--adoption", "Adopt", "--user-namespace", "shop")
    bodies = list(yaml.safe_load_all(result.stdout))
    for line in result.stdout.splitlines():
        if line.startswith("#   aws elasticache add-tags-to-resource"):
            arn, tag = line.split()[7], line.split()[9]
            value = tag.partition("Value=")[2]
            world.elasticache.add_tags_to_resource(
                ResourceName=arn, Tags=[{"Key": "elasticache-iam.dev/allow", "Value": value}]
            )
    for body in bodies:
        body["metadata"].pop("annotations")

    await world.start()
    world.apply(*bodies)

    await world.until_ready(GROUPS, "platform", "reports")
    await world.until_ready(USERS, "shop", "reports-etl")
    group = world.elasticache.describe_user_groups(UserGroupId="reports")["UserGroups"][0]
    assert {"reports-etl", "reports-old"} <= set(group["UserIds"])


async def test_what_is_not_written_is_told_beside_it(made_by_hand: Ground, shell: Shell):
    result = await shell.run("--adoption", "adopt")

    told = result.stderr.splitlines()
    assert (
        "not written: user reports-old: logs in with a password, not by IAM; it stays a member (spec.members)" in told
    )
    assert told[-1] == "1 UserGroup, 1 ElastiCacheIAMUser written; next: elasticache-iam plan -f FILE"


async def test_nothing_is_written_to_aws(made_by_hand: Ground, shell: Shell):
    before = made_by_hand.in_aws()

    await shell.run("--adoption", "Adopt")

    assert made_by_hand.in_aws() == before


async def test_what_the_operator_made_is_left_out(world: Ground, shell: Shell):
    from tests.builders import group_manifest, user_manifest

    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    result = await shell.run("--adoption", "Adopt")

    assert result.stdout.strip() == ""
    assert "made by the installation demo" in result.stderr
    assert result.stderr.splitlines()[-1] == "nothing to write"


async def test_a_group_that_is_named_and_not_there_is_an_error_for_scripts(made_by_hand: Ground, shell: Shell):
    result = await shell.run("reports", "nosuch")

    assert result.exit_code == 2
    assert f"group nosuch: there is none in {REGION}" in result.stderr
    assert yaml.safe_load(result.stdout)["metadata"]["name"] == "reports"


async def test_where_there_is_nothing_it_is_told_where_that_is(world: Ground, shell: Shell):
    result = await shell.run()

    assert result.exit_code == 0
    assert f"there is none in {REGION} of account {ACCOUNT}" in result.stderr
