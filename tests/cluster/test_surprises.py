"""Resources that come copied, in the wrong order, or where somebody else already is."""

import base64
import time

import pytest
import yaml
from tests.builders import group_manifest, user_manifest
from tests.cluster.ground import GROUPS, USERS, wait_for

from elasticache_iam.core import names

pytestmark = pytest.mark.cluster


def test_a_copy_is_a_user_of_its_own(orders):
    """As `kubectl get -o yaml | sed | kubectl apply` or a restored backup make it: finalizer, annotations, status."""
    original = orders.get(USERS, "checkout")
    secret_before = orders.get("secrets", "checkout")
    copy = {**original, "metadata": {**original["metadata"], "name": "copy", "annotations": {}}}
    copy["metadata"] = {k: v for k, v in copy["metadata"].items() if k not in {"resourceVersion", "uid"}}
    orders.control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(copy))
    status = {"status": original["status"]}
    path = f"{orders.path(USERS, 'copy', 'shop')}/status"
    orders.control_plane.request("PATCH", path, status, content_type="application/merge-patch+json")

    def is_its_own():
        status = orders.get(USERS, "copy").get("status", {})
        return status.get("id") not in (None, original["status"]["id"]) and status.get("caches")

    wait_for(is_its_own, what="ids of its own")
    orders.wait_until_ready("copy")

    ours = orders.secret("copy")
    assert ours["username"] == names.default_id(orders.owner, orders.namespaces["shop"], "copy")
    with orders.login(ours) as client:
        assert client.acl_whoami() == ours["username"]
    assert orders.get("secrets", "checkout") == secret_before


def test_a_deleted_copy_takes_nothing_of_the_originals_along(orders):
    original = orders.get(USERS, "checkout")
    copy = {**original, "metadata": {"name": "copy", "namespace": original["metadata"]["namespace"]}}
    orders.control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(copy))
    orders.wait_until_ready("copy")
    path = f"{orders.path(USERS, 'copy', 'shop')}/status"
    status = {"status": original["status"]}
    orders.annotate("copy", paused="true")
    orders.control_plane.request("PATCH", path, status, content_type="application/merge-patch+json")

    orders.annotate("copy", paused=None)
    orders.delete(USERS, "copy")
    orders.wait_until_gone(USERS, "copy")

    with orders.login(orders.secret()) as client:
        assert client.ping()
    left = [line for line in orders.aws_listing() if "copy" in line]
    assert left == []


def test_user_then_group_then_cache_ends_ready(ground):
    ground.start_operator(driftInterval=1.0)

    ground.apply(user_manifest())
    ground.wait_for_condition(USERS, "checkout", "UserSynced", reason="WaitingForGroup")
    ground.apply(group_manifest())
    ground.wait_for_condition(GROUPS, "orders", "CachesAttached", namespace="platform", status="False")
    ground.wait_for_condition(USERS, "checkout", "MembershipSynced", reason="WaitingForCache")
    assert ground.secret() is None
    ground.add_cache()
    ground.wait_until_ready()

    with ground.login(ground.secret()) as client:
        assert client.ping()


def test_a_service_account_that_comes_later_is_waited_for(ground):
    ground.add_cache()
    ground.start_operator(driftInterval=1.0)
    ground.apply(group_manifest(), user_manifest())
    ground.wait_until_ready()
    ground.apply(user_manifest("late", service_account="checkout"))
    ground.patch(USERS, "late", {"spec": {"serviceAccounts": ["missing"]}})
    ground.wait_for_condition(USERS, "late", "AccessGranted", reason="ServiceAccountNotFound")

    ground.add_service_account(ground.namespaces["shop"], "missing")

    ground.wait_until_ready("late")


def test_a_cache_that_did_not_consent_is_left_open_and_said_so(ground):
    cache = ground.add_cache(consent=False)
    ground.start_operator(driftInterval=1.0, slowDriftInterval=1.0)
    ground.apply(group_manifest(), user_manifest())

    condition = ground.wait_for_condition(GROUPS, "orders", "CachesAttached", namespace="platform", status="False")

    assert f"{ground.owner}/{ground.namespaces['platform']}" in condition["message"]  # what to tag it with
    with ground.anonymous(cache) as anybody:
        assert anybody.ping()
    assert ground.secret() is None


def test_an_aws_user_of_the_same_id_that_is_not_ours_is_left_alone(ground):
    ground.add_cache()
    taken = names.default_id(ground.owner, ground.namespaces["shop"], "checkout")
    theirs = {"UserId": taken, "UserName": taken, "Engine": "redis", "AccessString": "on ~theirs:* +get"}
    ground.elasticache.create_user(**theirs, AuthenticationMode={"Type": "iam"})
    ground.start_operator(driftInterval=1.0)
    ground.apply(group_manifest(), user_manifest())

    ground.wait_for_condition(USERS, "checkout", "UserSynced", status="False", reason="NotOwned")

    (found,) = ground.elasticache.describe_users(UserId=taken)["Users"]
    assert "~theirs:*" in found["AccessString"]
    assert found["UserGroupIds"] == []
    assert ground.secret() is None
    ground.elasticache.delete_user(UserId=taken)
    ground.wait_until_ready()  # once it has made room


def test_a_foreign_secret_of_the_same_name_is_never_touched(ground):
    ground.add_cache()
    path = f"/api/v1/namespaces/{ground.namespaces['shop']}/secrets"
    content = {"password": base64.b64encode(b"somebody else's").decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "checkout"}, "data": content}
    theirs = ground.control_plane.request("POST", path, body)
    ground.start_operator()
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")

    condition = ground.wait_for_condition(USERS, "checkout", "TokenDelivered", reason="SecretConflict")

    assert "checkout" in condition["message"]
    assert ground.get("secrets", "checkout") == theirs
    ground.delete("secrets", "checkout")
    ground.annotate("checkout", refresh="now")  # else it looks once a minute
    ground.wait_until_ready()
    with ground.login(ground.secret()) as client:
        assert client.ping()


def test_a_namespace_with_users_can_be_deleted_whole(orders):
    namespace = orders.namespaces["shop"]

    orders.control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")

    wait_for(
        lambda: not [line for line in orders.aws_listing() if "checkout" in line], what="AWS to be without the user"
    )
    found = orders.control_plane.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
    deadline = time.monotonic() + 15
    while found.stdout.strip() and time.monotonic() < deadline:
        time.sleep(0.3)
        found = orders.control_plane.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
    assert not found.stdout.strip(), "a finalizer wedges the namespace"
