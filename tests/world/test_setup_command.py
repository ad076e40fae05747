"""`elasticache-iam setup` on the world, and on a cluster that answers what a test puts there."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import structlog
import yaml
from click.testing import CliRunner
from tests.builders import ACCOUNT, OWNER, REGION
from tests.world.harness import Ground

from elasticache_iam.aws.api import CONNECT_TIMEOUT_S
from elasticache_iam.aws.policies import ManagedPolicies
from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import AccessDeniedError, NotFoundError
from elasticache_iam.kube.connection import Request
from elasticache_iam.runtime import log, personal
from elasticache_iam.runtime import setup as surveying

NAME = "elasticache-iam-operator"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{NAME}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/elasticache-iam-boundary"
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [ANYBODY]})


class Cluster:
    """A connection to a cluster with an installation; all that isn't named here isn't there."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.config: dict[str, Any] = {"owner": OWNER, "cacheCA": "/etc/elasticache-iam/ca.pem"}
        self.denied: set[tuple[str, str]] = {(verb, "secrets") for verb in ("get", "list", "watch", "patch")}
        self.reviews: list[Mapping[str, Any]] = []
        self.may_review = True

    async def call(self, request: Request) -> Mapping[str, Any]:
        match request.resource:
            case "version":
                return {"gitVersion": "v1.33.0"}
            case "openid-configuration":
                return {"issuer": self.issuer}
            case "configmaps":
                return {"data": {"config.yaml": yaml.safe_dump(self.config)}}
            case "serviceaccounts":
                return {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": ROLE_ARN}}}
            case "subjectaccessreviews":
                return self._review(request.body or {})
            case _:
                raise NotFoundError(f"{request.resource} not found")

    def _review(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.may_review:
            raise AccessDeniedError("subjectaccessreviews is forbidden")
        attributes = body["spec"]["resourceAttributes"]
        self.reviews.append(attributes)
        return {"status": {"allowed": (attributes["verb"], attributes["resource"]) not in self.denied}}

    async def close(self) -> None: ...


class Shell:
    """Runs the command with the world in AWS's place."""

    def __init__(self, world: Ground) -> None:
        self.cluster = Cluster(world.signer.issuer)

    async def setup(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code and the checks."""
        arguments = ["setup", "--region", REGION, "-o", "json", *options]
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
        assert result.stdout, result.exception
        return result.exit_code, json.loads(result.stdout)["checks"]


@pytest.fixture
def shell(world: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    made = Shell(world)

    async def connect(*_: object, **__: object) -> Cluster:
        return made.cluster

    monkeypatch.setattr(personal, "Session", lambda profile_name: world.aws.session(*world.admin_key, REGION))
    monkeypatch.setattr(surveying, "open_connection", connect)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    with structlog.testing.capture_logs():
        yield made


def only(checks: list[dict[str, Any]], part: str) -> dict[str, Any]:
    (found,) = [check for check in checks if part in check["says"]]
    return found


async def test_an_installation_is_looked_at_as_its_own_configuration_says(world: Ground, shell: Shell):
    shell.cluster.config["namespaces"] = ["shop"]

    code, checks = await shell.setup()

    assert code == 1
    assert checks[0]["says"] == f"account {ACCOUNT}, region {REGION}, owner {OWNER}"
    assert only(checks, f"the OIDC provider of {world.signer.issuer}")["state"] == "ok"


async def test_the_rights_are_those_that_the_operator_itself_asks_for(shell: Shell):
    shell.cluster.config["namespaces"] = ["shop"]
    shell.cluster.denied.add(("get", "namespaces"))

    _, checks = await shell.setup()

    assert only(checks, "may not get namespaces shop")["state"] == "missing"
    assert only(checks, "can't read Secrets")["state"] == "ok"
    assert {review["namespace"] for review in shell.cluster.reviews} == {"", "shop", "elasticache-iam"}


async def test_rights_that_can_not_be_asked_for_are_no_rights(shell: Shell):
    shell.cluster.may_review = False

    _, checks = await shell.setup()

    assert only(checks, "you may not ask")["seen"] is False


async def test_secrets_that_can_be_read_are_told(shell: Shell):
    shell.cluster.denied.remove(("list", "secrets"))

    _, checks = await shell.setup()

    assert only(checks, "may list secrets: whoever steals it reads them all")["state"] == "missing"


async def test_a_boundary_that_is_there_is_found(world: Ground, shell: Shell):
    world.iam.create_policy(PolicyName="elasticache-iam-boundary", PolicyDocument=EVERYTHING)

    _, checks = await shell.setup("--boundary", BOUNDARY)

    assert only(checks, f"the permissions boundary {BOUNDARY}")["state"] == "ok"


async def test_a_managed_policy_is_read(world: Ground):
    made = world.iam.create_policy(PolicyName="everything", PolicyDocument=EVERYTHING)
    bridge = world.make_bridge()

    policies = ManagedPolicies(world.admin, region=REGION, lane=bridge.control)
    document = await policies.get_document(made["Policy"]["Arn"])
    bridge.close()

    assert document == json.loads(EVERYTHING)


async def test_a_boundary_that_is_not_there_is_missing(shell: Shell):
    _, checks = await shell.setup("--boundary", BOUNDARY)

    assert only(checks, f"the permissions boundary {BOUNDARY} isn't there")["state"] == "missing"


async def test_the_command_for_the_policy_has_its_arguments_quoted(world: Ground, shell: Shell):
    world.iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=TRUST)
    pattern = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:shop-*"
    shell.cluster.config["trustedCaches"] = [pattern]

    _, checks = await shell.setup()

    repair = only(checks, "its policies lack")["repair"]
    assert repair.startswith(f"elasticache-iam policy operator --owner {OWNER} ")
    assert f"--trusted-cache '{pattern}' > operator-policy.json" in repair


async def test_a_cache_whose_owner_agreed_is_looked_at_without_being_named(world: Ground, shell: Shell):
    world.add_cache(allow=f"{OWNER}/platform")
    world.add_cache("billing-prod", allow="another/platform")

    _, checks = await shell.setup()

    assert only(checks, "orders-prod")["state"] == "ok"
    assert not [check for check in checks if "billing-prod" in check["says"]]


async def test_iam_is_asked_with_the_timeouts_of_all_other_calls(
    world: Ground, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    made: list[Any] = []
    session = world.aws.session(*world.admin_key, REGION)
    make = session.client

    def client(*arguments: Any, **options: Any) -> Any:
        made.append(options["config"])
        return make(*arguments, **options)

    monkeypatch.setattr(session, "client", client)
    monkeypatch.setattr(personal, "Session", lambda profile_name: session)

    await shell.setup("--boundary", BOUNDARY)

    assert {config.connect_timeout for config in made} == {CONNECT_TIMEOUT_S}
