"""`elasticache-iam setup` against a real API server and the sandbox's AWS: what it tells to run, makes it whole."""

import json
import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from tests.cluster.ground import PROGRAM

from elasticache_iam.cli.main import cli
from elasticache_iam.runtime import log

pytestmark = pytest.mark.cluster

ROLE = "elasticache-iam-operator"
LAST = "no operator leads"


class Platform:
    """A platform engineer with an administrator's rights in an account and a cluster."""

    def __init__(self, ground, folder):
        self.ground = ground
        self.folder = folder
        administrator = ground.sandbox.env(ground.account.admin) | {"KUBECONFIG": str(ground.control_plane.kubeconfig)}
        self.environment = ground.environment(**administrator)
        self.role_arn = f"arn:aws:iam::{ground.account.account_id}:role/{ROLE}"
        self.boundary = f"arn:aws:iam::{ground.account.account_id}:policy/elasticache-iam-boundary"

    def setup(self, *options, whole=True):
        """Return the exit code and the checks that aren't ok, as the JSON output has them."""
        given = ["--owner", self.ground.owner, "--region", self.ground.account.region]
        given += ["--operator-namespace", self.ground.installation.namespace]
        if whole:
            given += ["--operator-role", self.role_arn, "--boundary", self.boundary]
        result = CliRunner(env=self.environment).invoke(cli, ["setup", *given, "-o", "json", *options])
        assert result.stdout, (result.exception, result.stderr)
        checks = json.loads(result.stdout)["checks"]
        return result.exit_code, [check for check in checks if check["state"] != "ok"]

    def run(self, command):
        programs = os.pathsep.join([str(PROGRAM.parent), os.environ["PATH"]])
        bash = shutil.which("bash")
        done = subprocess.run(  # noqa: S603  # what we tell people to run
            [bash, "-c", command],
            env={**self.environment, "PATH": programs},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def platform(ground, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "configure", lambda *_: None)
    provider = ground.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"]
    ground.iam.remove_client_id_from_open_id_connect_provider(
        OpenIDConnectProviderArn=provider, ClientID="elasticache-iam.dev/sign"
    )
    return Platform(ground, tmp_path)


def test_the_commands_that_are_told_bring_all_that_is_missing(platform):
    platform.ground.add_cache(consent=False)

    code, wrong = platform.setup("--cache", "orders-prod")
    says = [check["says"] for check in wrong]
    assert code == 1
    for part in (
        "doesn't take tokens for",
        "permissions boundary",
        f"the role {platform.role_arn} isn't there",
        "the owner of orders-prod hasn't agreed",
        LAST,
    ):
        assert any(part in text for text in says), says
    for _ in range(4):  # what a role lacks shows once it is there
        for check in wrong:
            if check["says"] != LAST:
                platform.run(check["repair"])
        code, wrong = platform.setup("--cache", "orders-prod")
        if len(wrong) == 1:
            break

    assert [check["says"] for check in wrong] == [LAST]


def test_before_anything_is_known_the_way_in_is_told(platform):
    _, wrong = platform.setup(whole=False)

    repairs = {check["says"]: check["repair"] for check in wrong}
    role = next(repair for says, repair in repairs.items() if "names no role" in says)
    assert role.startswith(f"kubectl -n {platform.ground.installation.namespace} annotate serviceaccount")
    assert any(says.startswith("permissionsBoundary isn't set") for says in repairs)
    assert any(says.startswith("no UserGroup names a cache") for says in repairs)


def test_an_operator_that_may_read_secrets_is_told(platform):
    control_plane, namespace = platform.ground.control_plane, platform.ground.installation.namespace
    binding = f"too-much-{platform.ground.owner}"
    control_plane.kubectl(
        *("create", "clusterrolebinding", binding, "--clusterrole=cluster-admin"),
        f"--serviceaccount={namespace}:elasticache-iam-operator",
    )
    try:
        _, wrong = platform.setup()
    finally:
        control_plane.kubectl("delete", "clusterrolebinding", binding)

    assert any("may get, list, watch, patch secrets" in check["says"] for check in wrong)


def test_a_namespace_without_an_operator_is_told_how_to_get_one(platform):
    _, wrong = platform.setup("--operator-namespace", "nowhere")

    check = next(check for check in wrong if "there is no ServiceAccount nowhere/" in check["says"])
    assert check["repair"].startswith("helm install elasticache-iam-operator")


def test_nothing_is_written(platform):
    before = platform.ground.aws_listing()

    platform.setup()

    assert platform.ground.aws_listing() == before
