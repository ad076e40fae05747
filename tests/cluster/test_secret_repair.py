"""With `secretRepair` and the right to watch Secrets, whoever deletes or changes one has it back at once."""

import base64
import time

import pytest
from tests.cluster.ground import note_measured
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture
def repaired(ground):
    """The quickstart, with an operator that watches its Secrets; the right is for this test's namespaces alone."""
    for namespace in ground.namespaces.values():
        ground.control_plane.kubectl(
            *("create", "role", "secret-repair", "-n", namespace, "--verb=list,watch", "--resource=secrets")
        )
        ground.control_plane.kubectl(
            *("create", "rolebinding", "secret-repair", "-n", namespace, "--role=secret-repair"),
            f"--user={ground.installation.username}",
        )
    ground.add_cache()
    ground.start_operator(secretRepair=True)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()
    return ground


def test_a_deleted_and_a_changed_secret_are_back_at_once_and_log_in(repaired):
    before = repaired.get("secrets", "checkout")["metadata"]["uid"]

    repaired.delete("secrets", "checkout")
    begin = time.monotonic()
    wait_for(lambda: repaired.get("secrets", "checkout"), what="the Secret to be back", timeout_s=20)
    note_measured(time.monotonic() - begin, "a deleted Secret is back")

    assert repaired.get("secrets", "checkout")["metadata"]["uid"] != before
    with repaired.login(repaired.secret()) as client:
        assert client.ping()

    time.sleep(1.1)  # managed fields are dated in whole seconds
    wrong = base64.b64encode(b"hunter2").decode()
    repaired.patch("secrets", "checkout", {"data": {"password": wrong}})
    wait_for(lambda: repaired.secret()["password"] != "hunter2", what="the token to be back", timeout_s=60)
    with repaired.login(repaired.secret()) as client:
        assert client.ping()


def test_without_the_right_everything_else_works(ground):
    ground.add_cache()
    operator = ground.start_operator(secretRepair=True)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")

    ground.wait_until_ready()

    (said,) = operator.said("Secrets aren't watched")[:1]
    assert said["reason"] == "AccessDenied"
    assert "config.secretRepair" in said["message"]
