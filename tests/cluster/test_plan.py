"""Plans on the real API server: in the status, and by the command."""

import json
import subprocess

import pytest
import yaml
from tests.cluster.ground import PROGRAM, USERS

pytestmark = pytest.mark.cluster


@pytest.fixture
def user(shared_orders):
    """The name of a user that is Ready."""
    return shared_orders.add_user()


def test_a_suspension_is_shown_first_and_done_when_the_annotation_goes(shared_orders, user):
    shared_orders.annotate(user, plan_only="true")
    shared_orders.patch(USERS, user, {"spec": {"suspend": True}})

    shared_orders.wait_for_condition(USERS, user, "Ready", reason="PlanOnly")
    lines = shared_orders.get(USERS, user)["status"]["plan"]
    with shared_orders.login(shared_orders.secret(user)) as client:
        assert client.ping()
    shared_orders.annotate(user, plan_only=None)
    shared_orders.wait_for_condition(USERS, user, "Ready", reason="Suspended")

    assert any("ModifyUserGroup" in line for line in lines)
    assert any("Secret" in line for line in lines)
    assert "plan" not in shared_orders.get(USERS, user)["status"]


def test_the_command_plans_over_what_is_in_the_cluster(shared_orders, user):
    body = shared_orders.get(USERS, user)
    manifest = {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": user, "namespace": body["metadata"]["namespace"]},
        "spec": {**body["spec"], "suspend": True},
    }

    done = subprocess.run(  # noqa: S603  # our own program
        [PROGRAM, "plan", "-f", "-", "--config", shared_orders.folder / "config-0.yaml", "-o", "json"],
        input=yaml.safe_dump(manifest),
        env=shared_orders.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert [call["operation"] for call in plan["calls"]] == ["ModifyUserGroup"]
    assert [(change["action"], change["kind"]) for change in plan["kubernetes"]] == [("delete", "Secret")]
    assert [change["change"] for change in plan["access"]] == ["loses"]
    assert not shared_orders.get(USERS, user)["spec"].get("suspend")
