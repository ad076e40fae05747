"""`elasticache-iam verify` on the world, as a person calls it."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result
from tests.builders import OWNER, REGION, group_manifest, user_manifest
from tests.fakes.probe import WorldProbe
from tests.world.harness import Ground

from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.kube.connection import Request
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.runtime import log, planning, verifying


class ClusterInMemory:
    """A connection that answers what the command asks for."""

    def __init__(self, world: Ground) -> None:
        self._world = world
        self.forbidden: set[str] = set()
        self.config: Mapping[str, Any] | None = None

    async def call(self, request: Request) -> Mapping[str, Any]:
        if (request.verb, request.resource) == ("list", USERS):
            return {"items": []}
        assert request.verb == "get"
        if request.resource in self.forbidden:
            raise AccessDeniedError(f"{request.resource} is forbidden", code="Forbidden")
        if request.resource == "configmaps" and self.config is not None:
            assert (request.namespace, request.name) == ("elasticache-iam", "elasticache-iam-operator-config")
            return {"data": {"config.yaml": json.dumps(self.config)}}
        found = self._world.kube.get(request.resource, request.namespace, request.name)
        if found is None:
            raise NotFoundError(f"{request.resource} not found")
        return found

    async def close(self) -> None: ...


class Shell:
    """Runs the command with the world in AWS's place."""

    def __init__(self, world: Ground) -> None:
        self._world = world
        self.cluster = ClusterInMemory(world)

    async def verify(self, *options: str, user: str = "checkout", is_told: bool = True) -> Result:
        """Call the command; `is_told`: with what it needs of the installation's settings."""
        said = ("--owner", OWNER, "--issuer", self._world.signer.issuer) if is_told else ()
        arguments = ["verify", user, "-n", "shop", *said, *options]
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments)

    async def document(self, *options: str) -> Any:
        return json.loads((await self.verify("-o", "json", *options)).stdout)


@pytest.fixture
def shell(world: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    made = Shell(world)

    async def connect(_question: planning.Question) -> ClusterInMemory:
        return made.cluster

    monkeypatch.setattr(planning, "Session", lambda: world.aws.session(*world.admin_key, REGION))
    monkeypatch.setattr(planning, "_connect", connect)
    monkeypatch.setattr(planning, "ApiKube", lambda *_, **__: world.kube)
    monkeypatch.setattr(planning, "SystemClock", lambda: world.clock)
    monkeypatch.setattr(verifying, "RedisProbe", lambda _: WorldProbe(world.world))
    monkeypatch.setattr(log, "configure", lambda *_: None)
    with structlog.testing.capture_logs():
        yield made


@pytest.fixture
async def settled(world: Ground) -> Ground:
    """The main job is done, and the operator is away: nothing is repaired."""
    world.probe = WorldProbe(world.world)  # type: ignore[assignment]
    world.add_cache(host="orders-prod.cache.example")
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until(lambda: world.conditions(USERS, "shop", "checkout")["Verified"][0] == "True")
    await operator.kill()
    return world


def leave_iam_mode(world: Ground) -> None:
    user_id = (world.kube.get(USERS, "shop", "checkout") or {})["status"]["id"]
    mode: Any = {"Type": "password", "Passwords": ["a-password-of-their-own"]}
    world.elasticache.modify_user(UserId=user_id, AuthenticationMode=mode)


async def test_a_chain_without_a_broken_link_exits_with_0(settled: Ground, shell: Shell):
    result = await shell.verify()

    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("shop/checkout, in AWS demo-checkout-")
    assert lines[1] == "├─ main: orders-prod at orders-prod.cache.example:6379"
    assert lines[-1].startswith("✔ shop/checkout: no link is broken; ")
    assert "✘" not in result.output


async def test_a_broken_link_has_its_repair_below_it_and_exits_with_1(settled: Ground, shell: Shell):
    leave_iam_mode(settled)

    result = await shell.verify()

    assert result.exit_code == 1
    lines = result.output.splitlines()
    at = next(number for number, line in enumerate(lines) if "✘" in line)
    assert "✘ user      UserNotInIamMode: the user demo-checkout-" in lines[at]
    assert "$ aws elasticache modify-user --region eu-central-1 --user-id demo-checkout-" in lines[at + 1]
    assert lines[-1].startswith("✘ shop/checkout can't log in: main: UserNotInIamMode: ")


async def test_the_tree_is_a_document_too(settled: Ground, shell: Shell):
    leave_iam_mode(settled)

    document = await shell.document()

    assert document["result"] == "broken"
    assert document["resource"] == {"kind": "ElastiCacheIAMUser", "namespace": "shop", "name": "checkout"}
    (cache,) = document["caches"]
    assert (cache["name"], cache["cause"]) == ("main", "UserNotInIamMode")
    assert {check["state"] for check in cache["checks"]} == {"ok", "broken", "unknown"}
    assert next(check for check in cache["checks"] if check["state"] == "broken")["repair"].startswith("aws ")


async def test_a_login_is_tried_on_request(settled: Ground, shell: Shell):
    result = await shell.verify("--login")

    assert result.exit_code == 0, result.output
    assert "✔ login     logged in as demo-checkout-" in result.output
    assert "✔ session   the token is good until" in result.output


async def test_a_refused_login_is_explained(settled: Ground, shell: Shell):
    leave_iam_mode(settled)

    document = await shell.document("--login")

    (cache,) = document["caches"]
    assert cache["cause"] == "UserNotInIamMode"
    assert next(check for check in cache["checks"] if check["link"] == "login")["cause"] == "LoginRefused"


async def test_no_token_is_shown(settled: Ground, shell: Shell):
    secret = settled.kube.secret("shop", "checkout")
    assert secret is not None

    shown = [(await shell.verify("--login", "-o", output)).output for output in ("tree", "json")]
    leave_iam_mode(settled)
    shown += [(await shell.verify("--login", "-o", output)).output for output in ("tree", "json")]

    for hidden in (secret["password"], "X-Amz-Signature", "X-Amz-Security-Token", "ASIA"):
        assert all(hidden not in text for text in shown)


async def test_a_token_from_a_fast_clock_is_seen(settled: Ground, shell: Shell):
    settled.settings.clock_offset = -timedelta(minutes=7)

    document = await shell.document("--login")

    (cache,) = document["caches"]
    assert cache["cause"] == "ClockSkew"


async def test_an_old_token_is_seen(settled: Ground, shell: Shell):
    settled.pass_time(901)

    document = await shell.document("--login")

    (cache,) = document["caches"]
    assert cache["cause"] == "TokenExpired"


async def test_a_token_for_another_host_is_seen(settled: Ground, shell: Shell):
    secret = settled.kube.get("secrets", "shop", "checkout") or {}
    token = base64.b64decode(secret["data"]["password"]).decode()
    forged = token.replace("orders-prod/", "ORDERS-prod/", 1)
    settled.kube._objects["secrets", "shop", "checkout"]["data"]["password"] = base64.b64encode(
        forged.encode()
    ).decode()

    document = await shell.document("--login")

    (cache,) = document["caches"]
    assert cache["cause"] == "WrongSigningHost"
    assert "lower case" in next(check["says"] for check in cache["checks"] if check["state"] == "broken")


def write_secret(world: Ground, **data: str) -> None:
    """Put other values into the Secret, as its tenant may."""
    held = world.kube._objects["secrets", "shop", "checkout"]["data"]
    held.update({key: base64.b64encode(value.encode()).decode() for key, value in data.items()})


class Recorder:
    """Answers +OK to everybody, as a server of the tenant's own would, and remembers who asked."""

    def __init__(self) -> None:
        self.cas: list[str | None] = []
        self.asked: list[tuple[str, int]] = []

    def make(self, ca_pem: str | None) -> "Recorder":
        self.cas.append(ca_pem)
        return self

    async def login(self, *, host: str, port: int, username: str, password: str) -> LoginResult:
        assert username
        assert password
        self.asked.append((host, port))
        return LoginResult(LoginOutcome.LOGGED_IN)


async def test_the_secret_decides_neither_where_to_connect_nor_whom_to_trust(
    settled: Ground, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    recorder = Recorder()
    monkeypatch.setattr(verifying, "RedisProbe", recorder.make)
    write_secret(settled, **{"host": "tenant.example", "port": "9" * 5000, "ca.crt": "a CA of the tenant's"})

    result = await shell.verify("--login")

    assert result.exit_code == 1, result.output
    assert recorder.asked == [("orders-prod.cache.example", 6379)]
    assert recorder.cas == [None]
    assert "has the host tenant.example, the operator orders-prod.cache.example" in result.output
    assert f"has the port {'9' * 80}…, the operator 6379" in result.output
    assert "the ca.crt in the Secret shop/checkout isn't what was trusted here" in result.output


async def test_a_token_is_tried_for_nobody_else(settled: Ground, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    recorder = Recorder()
    monkeypatch.setattr(verifying, "RedisProbe", recorder.make)
    write_secret(settled, username="default")

    result = await shell.verify("--login")

    assert result.exit_code == 1
    assert recorder.asked == []
    assert "has the username default, the operator demo-checkout-" in result.output


async def test_what_a_tenant_writes_does_not_steer_the_terminal(settled: Ground, shell: Shell):
    write_secret(settled, host="x\x1b[2K\x1b]0;owned\x07\r✔ no link is broken\u202e")

    result = await shell.verify("--login")

    assert "\\x1b[2K\\x1b]0;owned\\x07\\x0d✔ no link is broken\\x202e" in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


async def test_without_the_right_to_the_secret_the_rest_is_told(settled: Ground, shell: Shell):
    shell.cluster.forbidden = {"secrets"}

    result = await shell.verify("--login")

    assert result.exit_code == 2
    assert "? secret    your kubeconfig may not read the Secret shop/checkout" in result.output


async def test_what_the_operator_says_stands_below(settled: Ground, shell: Shell):
    body = settled.kube.get(USERS, "shop", "checkout") or {}
    body["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}
    settled.kube.put(body)

    result = await shell.verify()

    assert "Verified is True, LoggedIn, since " in result.output
    assert "the resource is paused" in result.output
    assert "$ kubectl -n shop annotate eciu checkout elasticache-iam.dev/paused-" in result.output


async def test_a_user_that_was_never_looked_at_is_told_about(world: Ground, shell: Shell):
    world.add_cache()
    world.apply(group_manifest(), user_manifest())

    result = await shell.verify()

    assert result.exit_code == 1
    assert "UserNotFound" in result.output
    assert "it hasn't looked at the resource" in result.output
    assert "the operator hasn't found or made it yet" in result.output
    assert "role.mode is None" not in result.output


async def test_a_group_that_is_missing_is_told_about(world: Ground, shell: Shell):
    world.apply(user_manifest())

    result = await shell.verify()

    assert result.exit_code == 1
    assert "there is no UserGroup platform/orders" in result.output


async def test_what_nobody_says_is_the_installations(settled: Ground, shell: Shell):
    shell.cluster.config = {"owner": OWNER, "oidcIssuer": settled.signer.issuer}

    result = await shell.verify(is_told=False)

    assert result.exit_code == 0, result.exception
    assert result.output.splitlines()[-1].startswith("✔ shop/checkout: no link is broken; ")


async def test_another_owner_than_the_installations_is_refused(settled: Ground, shell: Shell):
    shell.cluster.config = {"owner": "other", "oidcIssuer": settled.signer.issuer}

    result = await shell.verify()

    assert isinstance(result.exception, ConfigurationError)
    assert f"is of the owner other, not {OWNER}: leave the option out" in result.exception.message


async def test_who_may_not_read_the_installations_settings_is_told_what_to_say(settled: Ground, shell: Shell):
    shell.cluster.forbidden = {"configmaps"}

    result = await shell.verify(is_told=False)

    assert isinstance(result.exception, ConfigurationError)
    assert "set --owner" in result.exception.message
    assert "elasticache-iam/elasticache-iam-operator-config can't be read" in result.exception.message


async def test_who_may_not_read_the_group_is_told_the_role_that_may(settled: Ground, shell: Shell):
    shell.cluster.forbidden = {"usergroups"}

    result = await shell.verify()

    assert isinstance(result.exception, ConfigurationError)
    assert "UserGroup platform/orders: ask whoever keeps it" in result.exception.message


async def test_an_unknown_user_is_no_broken_link(world: Ground, shell: Shell):
    result = await shell.verify(user="nobody")

    assert isinstance(result.exception, ConfigurationError)  # for which the program exits with 2
    assert "there is no ElastiCacheIAMUser shop/nobody" in result.exception.message


async def test_an_aws_that_does_not_answer_is_no_broken_link(settled: Ground, shell: Shell):
    settled.fault("elasticache", "*", "Outage")

    result = await shell.verify()

    assert isinstance(result.exception, ConfigurationError)


async def test_nothing_is_written(settled: Ground, shell: Shell):
    before, writes = settled.in_aws(), len(settled.kube.writes)

    await shell.verify("--login")

    assert settled.in_aws() == before
    assert len(settled.kube.writes) == writes
