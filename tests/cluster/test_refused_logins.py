"""WRONGPASS from a real cache: its cause is named, and the command that is told repairs it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs
from tests.cluster.ground import USERS

from elasticache_iam.api.keys import ROLE_POLICY_NAME
from elasticache_iam.cli.main import cli
from elasticache_iam.core.names import role_name_of
from elasticache_iam.runtime import log

pytestmark = pytest.mark.cluster

AWS = Path(sys.executable).with_name("aws")
CACHE = "orders-prod"
NARROW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}


class OnCall:
    """A person with an administrator's rights, and no operator that would repair anything."""

    def __init__(self, ground, environment):
        self.ground = ground
        self.environment = environment
        status = ground.get(USERS, "checkout")["status"]
        self.user_id = status["id"]
        self.role = role_name_of(status["role"]["arn"])
        groups = ground.elasticache.describe_replication_groups(ReplicationGroupId=CACHE)["ReplicationGroups"]
        self.group_id = groups[0]["UserGroupIds"][0]

    def verify(self):
        """Return the exit code and the document of `elasticache-iam verify --login`."""
        arguments = ["verify", "checkout", "-n", self.ground.namespaces["shop"], "--login", "-o", "json"]
        config = next(self.ground.folder.glob("config-*.yaml"))
        result = CliRunner(env=self.environment).invoke(cli, [*arguments, "--config", str(config)])
        assert result.stdout, (result.exception, result.stderr)
        return result.exit_code, json.loads(result.stdout)

    def run(self, command):
        program, *arguments = shlex.split(command)
        assert program == "aws"
        subprocess.run([AWS, *arguments], env=self.environment, check=True, capture_output=True)  # noqa: S603  # told


def leave_iam_mode(on_call):
    mode = {"Type": "password", "Passwords": ["a-password-of-their-own"]}
    on_call.ground.elasticache.modify_user(UserId=on_call.user_id, AuthenticationMode=mode)


def leave_group(on_call):
    on_call.ground.elasticache.modify_user_group(UserGroupId=on_call.group_id, UserIdsToRemove=[on_call.user_id])


def detach_group(on_call):
    on_call.ground.elasticache.modify_replication_group(
        ReplicationGroupId=CACHE, RemoveUserGroups=True, ApplyImmediately=True
    )


def delete_policy(on_call):
    on_call.ground.iam.delete_role_policy(RoleName=on_call.role, PolicyName=ROLE_POLICY_NAME)


BREAKS = {
    "UserNotInIamMode": leave_iam_mode,
    "NotInGroup": leave_group,
    "GroupNotAttached": detach_group,
    "PolicyDenies": delete_policy,
}


@pytest.fixture(scope="module")
def on_call(new_ground):
    with new_ground() as ground, capture_logs():
        ground.add_cache()
        operator = ground.start_operator()
        ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
        ground.wait_until_ready()
        operator.kill()
        administrator = ground.sandbox.env(ground.account.admin) | {"KUBECONFIG": str(ground.control_plane.kubeconfig)}
        environment = ground.environment(**administrator)
        yield OnCall(ground, environment)


@pytest.mark.parametrize("cause", BREAKS)
def test_the_command_that_is_told_repairs_a_refused_login(on_call, cause, monkeypatch):
    monkeypatch.setattr(log, "configure", lambda *_: None)
    BREAKS[cause](on_call)

    code, document = on_call.verify()
    (cache,) = document["caches"]
    broken = [check for check in cache["checks"] if check["state"] == "broken"]
    assert (code, cache["cause"]) == (1, cause)
    assert "WRONGPASS" in next(check["says"] for check in broken if check["link"] == "login")

    on_call.run(broken[0]["repair"])

    code, document = on_call.verify()
    assert (code, document["result"]) == (0, "ok"), document


def test_the_operator_names_what_a_real_cache_refuses(orders):
    role = role_name_of(orders.get(USERS, "checkout")["status"]["role"]["arn"])
    boundary = orders.iam.create_policy(PolicyName="narrow", PolicyDocument=json.dumps(NARROW))["Policy"]["Arn"]
    orders.iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=boundary)

    orders.patch(USERS, "checkout", {"spec": {"delivery": {"secret": {"labels": {"edited": "yes"}}}}})

    found = orders.wait_for_condition(USERS, "checkout", "Verified", reason="BoundaryDenies")
    assert boundary in found["message"]
