"""`elasticache-iam status`, `suspend`, `resume` and `refresh` against a real API server and a running operator."""

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from tests.builders import user_manifest
from tests.cluster.ground import GROUPS, USERS, pass_second
from tests.waiting import wait_for

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError, UnavailableError
from elasticache_iam.kube.token_kube import CHECKPOINT_KEY, CHECKPOINT_NAME
from elasticache_iam.tokens.checkpoint import Life, encode

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def ground(shared_orders):
    shared_orders.wait_until_ready("orders", plural=GROUPS, namespace="platform")
    return shared_orders


@pytest.fixture
def user(ground):
    """The name of a user that is Ready."""
    return ground.add_user()


def call(ground, *arguments, kubeconfig=None):
    kubeconfig = kubeconfig or ground.control_plane.kubeconfig
    return CliRunner(env={"KUBECONFIG": str(kubeconfig)}).invoke(cli, arguments)


def order(ground, what, *names, options=()):
    return call(ground, what, *names, "-n", ground.namespaces["shop"], "--timeout", "60", *options)


def status(ground, *options, kubeconfig=None):
    result = call(ground, "status", "-o", "json", *options, kubeconfig=kubeconfig)
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def in_shop(ground):
    return "-n", ground.namespaces["shop"]


def log_in_as(ground, tmp_path, *groups_of_rights):
    """Return a kubeconfig of somebody with the rights of these cluster roles in the namespace shop, and no others."""
    person = f"person-{secrets.token_hex(3)}"
    for role in groups_of_rights:
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{person}-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}],
        }
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ground.namespaces['shop']}/rolebindings"
        ground.control_plane.request("POST", path, binding)
    return ground.control_plane.write_kubeconfig(tmp_path / f"{person}.kubeconfig", user=person)


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_shows_a_namespaces_users_and_their_groups(ground):
    document = status(ground, *in_shop(ground))

    (group,) = document["groups"]
    checkout = next(entry for entry in document["users"] if entry["name"] == "checkout")
    assert (group["namespace"], group["name"], group["ready"]) == (ground.namespaces["platform"], "orders", True)
    assert [(cache["id"], cache["state"]) for cache in group["caches"]] == [("orders-prod", "Attached")]
    assert (checkout["ready"], checkout["state"], checkout["reason"]) == (True, "Ready", "Ready")
    assert [token["secret"] for token in checkout["tokens"]] == ["checkout"]


def test_status_tells_the_seconds_that_are_left_by_the_operators_schedule(ground):
    now = datetime.now(UTC)
    uid = ground.get(USERS, "checkout")["metadata"]["uid"]
    content = encode({(uid, "main"): Life(now, now + timedelta(seconds=600))}, now=now)
    namespace = ground.namespaces["web"]
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CHECKPOINT_NAME},
        "binaryData": {CHECKPOINT_KEY: base64.b64encode(content).decode()},
    }
    ground.control_plane.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)

    document = status(ground, *in_shop(ground), "--operator-namespace", namespace)

    checkout = next(entry for entry in document["users"] if entry["name"] == "checkout")
    (token,) = checkout["tokens"]
    assert 0 < token["secondsLeft"] <= 600
    assert document["notes"] == []


def test_status_tells_what_is_wrong_and_what_to_do(ground):
    name = f"greedy-{secrets.token_hex(3)}"
    ground.apply(user_manifest(name, access={"preset": "ReadWrite", "keys": ["*"]}))
    ground.wait_for_condition(USERS, name, "Ready", reason="NotAdmitted")

    document = status(ground, *in_shop(ground))

    problem = next(entry for entry in document["problems"] if entry["name"] == name)
    assert (problem["kind"], problem["reason"]) == ("ElastiCacheIAMUser", "NotAdmitted")
    assert problem["next"] == f"elasticache-iam verify {name} -n {ground.namespaces['shop']}"


def test_status_of_all_namespaces_shows_both_kinds(ground):
    document = status(ground, "-A")

    assert ground.namespaces["platform"] in {group["namespace"] for group in document["groups"]}
    assert ground.namespaces["shop"] in {user["namespace"] for user in document["users"]}


def test_the_tables_show_the_same(ground):
    result = call(ground, "status", *in_shop(ground))

    assert f"{ground.namespaces['platform']}/orders" in result.output
    assert f"{ground.namespaces['shop']}/checkout" in result.output


def test_status_needs_no_more_than_the_right_to_view(ground, tmp_path):
    document = status(ground, *in_shop(ground), kubeconfig=log_in_as(ground, tmp_path, "view"))

    assert "checkout" in {user["name"] for user in document["users"]}
    assert document["groups"] == []
    assert any(note.startswith("you may not list usergroups in ") for note in document["notes"])
    assert any("how long tokens live isn't known" in note for note in document["notes"])


def test_status_reads_no_secret(ground):
    before = len(list(ground.control_plane.audit_events()))

    status(ground, *in_shop(ground))

    def asked():
        events = list(ground.control_plane.audit_events())[before:]
        ours = [event for event in events if event["user"]["username"] == "sandbox-admin" and "objectRef" in event]
        return {event["objectRef"]["resource"] for event in ours}

    wait_for(lambda: {USERS, GROUPS} <= asked(), what="the audit log")
    assert "secrets" not in asked()


def test_who_may_see_nothing_is_told_what_to_try(ground, tmp_path):
    result = call(ground, "status", "-A", kubeconfig=log_in_as(ground, tmp_path))

    assert isinstance(result.exception, ConfigurationError)
    assert "you may not list elasticacheiamusers in all namespaces; try -n NAMESPACE" in result.exception.message


def test_a_cluster_that_does_not_answer_is_told_in_one_line(ground, tmp_path):
    kubeconfig = ground.control_plane.write_kubeconfig(tmp_path / "dead.kubeconfig", user="nobody")
    kubeconfig.write_text(kubeconfig.read_text().replace(ground.control_plane.url, "https://127.0.0.1:1"))

    result = call(ground, "status", "-A", kubeconfig=kubeconfig)

    assert isinstance(result.exception, UnavailableError)
    assert len(result.exception.message.splitlines()) == 1


# -- orders ------------------------------------------------------------------------------------------------------------


def test_a_refresh_waits_for_the_new_token(ground, user):
    before = ground.get("secrets", user)
    pass_second()

    result = order(ground, "refresh", user)

    assert (result.exit_code, result.output) == (0, f"{ground.namespaces['shop']}/{user}: has new tokens\n")
    assert ground.get("secrets", user)["data"]["password"] != before["data"]["password"]


def test_a_suspended_user_has_no_secret_until_it_is_resumed(ground, user):
    suspended = order(ground, "suspend", user)
    assert (suspended.exit_code, ground.secret(user)) == (0, None), suspended.output

    resumed = order(ground, "resume", user)

    assert resumed.exit_code == 0, resumed.output
    with ground.login(wait_for(lambda: ground.secret(user), what="the Secret")) as client:
        assert client.ping()


def test_several_users_take_one_order(ground, user):
    other = ground.add_user()

    result = order(ground, "refresh", user, other)

    assert result.exit_code == 0
    assert sorted(line.partition(":")[0] for line in result.output.splitlines()) == sorted(
        f"{ground.namespaces['shop']}/{name}" for name in (user, other)
    )


def test_who_does_not_wait_is_told_that_it_was_asked_for(ground, user):
    result = order(ground, "suspend", user, options=["--no-wait"])

    assert (result.exit_code, result.output) == (0, f"{ground.namespaces['shop']}/{user}: suspend asked for\n")
    assert ground.get(USERS, user)["spec"]["suspend"] is True


def test_what_is_not_done_in_time_has_an_exit_code_of_its_own(ground):
    name = f"early-{secrets.token_hex(3)}"
    ground.apply(user_manifest(name, group="missing"))
    ground.wait_for_condition(USERS, name, "Ready", reason="WaitingForGroup")

    result = call(ground, "resume", name, *in_shop(ground), "--timeout", "1")

    assert result.exit_code == ExitCode.NOT_YET
    assert "not within 1 s; WaitingForGroup: " in result.output
    assert f"$ elasticache-iam verify {name}" in result.output


def test_a_user_that_is_not_there_is_told_about(ground):
    result = order(ground, "refresh", "nobody")

    assert isinstance(result.exception, ConfigurationError)
    assert f"there is no ElastiCacheIAMUser {ground.namespaces['shop']}/nobody" in result.exception.message


def test_who_is_misspelt_keeps_nobody_else_from_being_suspended(ground, user):
    result = order(ground, "suspend", "nobody", user, "nobodys")

    assert isinstance(result.exception, ConfigurationError)
    assert "/nobody;" in result.exception.message
    assert f"{user}: suspended" in result.output
    assert "/nobodys;" in result.output
    assert ground.get(USERS, user)["spec"]["suspend"] is True


def test_a_refresh_of_a_suspended_user_is_refused(ground, user):
    order(ground, "suspend", user)

    result = order(ground, "refresh", user)

    assert isinstance(result.exception, ConfigurationError)
    assert "it is suspended: resume it first" in result.exception.message


def test_who_may_only_view_is_told_which_right_is_missing(ground, user, tmp_path):
    result = call(ground, "suspend", user, *in_shop(ground), kubeconfig=log_in_as(ground, tmp_path, "view"))

    assert isinstance(result.exception, ConfigurationError)
    assert "you may not patch ElastiCacheIAMUser" in result.exception.message


def test_who_may_edit_may_give_orders(ground, user, tmp_path):
    kubeconfig = log_in_as(ground, tmp_path, "edit")

    result = call(ground, "refresh", user, *in_shop(ground), "--timeout", "60", kubeconfig=kubeconfig)

    assert result.exit_code == 0, result.exception
