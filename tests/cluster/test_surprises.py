"""Resources that come copied, in the wrong order, or where somebody else already is."""

import base64

import pytest
import yaml
from tests.builders import group_manifest, user_manifest
from tests.cluster.ground import GROUPS, USERS
from tests.waiting import wait_for

from elasticache_iam.core import names

pytestmark = pytest.mark.cluster

MERGE = "application/merge-patch+json"


def copy_user(ground, name, copy):
    """Copy a user as `kubectl get -o yaml | sed | kubectl apply` or a restored backup do: with finalizer and status."""
    original = ground.get(USERS, name)
    metadata = {**original["metadata"], "name": copy, "annotations": {}}
    for server_set in ("resourceVersion", "uid"):
        del metadata[server_set]
    ground.control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump({**original, "metadata": metadata}))
    status = {"status": original["status"]}
    ground.control_plane.request("PATCH", f"{ground.path(USERS, copy, 'shop')}/status", status, content_type=MERGE)
    return original


def test_a_copy_is_a_user_of_its_own(shared_orders):
    ground = shared_orders
    name = ground.add_user()
    secret_before = ground.get("secrets", name)

    original = copy_user(ground, name, f"{name}-copy")

    def is_its_own():
        status = ground.get(USERS, f"{name}-copy")["status"]
        return status["id"] != original["status"]["id"] and status.get("caches")

    wait_for(is_its_own, what="an id of its own")
    ground.wait_until_ready(f"{name}-copy")
    ours = names.default_id(ground.owner, ground.namespaces["shop"], f"{name}-copy")
    wait_for(lambda: ground.secret(f"{name}-copy")["username"] == ours, what="a Secret of its own")
    with ground.login(ground.secret(f"{name}-copy")) as client:
        assert client.acl_whoami() == ours
    assert ground.get("secrets", name) == secret_before


def test_a_deleted_copy_takes_nothing_of_the_originals_along(shared_orders):
    ground = shared_orders
    name = ground.add_user()
    copy_user(ground, name, f"{name}-copy")

    ground.delete(USERS, f"{name}-copy")
    ground.wait_until_gone(USERS, f"{name}-copy")

    with ground.login(ground.secret(name)) as client:
        assert client.ping()
    assert not [line for line in ground.aws_listing() if f"{name}-copy" in line]


def test_user_then_group_then_cache_ends_ready(attentive):
    attentive.apply(user_manifest("early", group="early"))
    attentive.wait_for_condition(USERS, "early", "UserSynced", reason="WaitingForGroup")
    attentive.apply(group_manifest("early", caches=("early",)))
    attentive.wait_for_condition(GROUPS, "early", "CachesAttached", namespace="platform", status="False")
    attentive.wait_for_condition(USERS, "early", "MembershipSynced", reason="WaitingForCache")
    assert attentive.secret("early") is None

    attentive.add_cache("early")
    attentive.wait_until_ready("early")

    with attentive.login(attentive.secret("early")) as client:
        assert client.ping()


def test_a_service_account_that_comes_later_is_waited_for(attentive):
    user = attentive.add_user(group=attentive.add_group())
    attentive.patch(USERS, user, {"spec": {"serviceAccounts": ["late"]}})
    attentive.wait_for_condition(USERS, user, "AccessGranted", reason="ServiceAccountNotFound")

    attentive.add_service_account(attentive.namespaces["shop"], "late")

    attentive.wait_until_ready(user)


def test_a_cache_that_did_not_consent_is_left_open_and_said_so(attentive):
    cache = attentive.add_cache("silent", consent=False)
    attentive.apply(group_manifest("silent", caches=("silent",)), user_manifest("silent", group="silent"))

    condition = attentive.wait_for_condition(
        GROUPS, "silent", "CachesAttached", namespace="platform", reason="ConsentMissing"
    )

    assert f"{attentive.owner}/{attentive.namespaces['platform']}" in condition["message"]  # what to tag it with
    with attentive.anonymous(cache) as anybody:
        assert anybody.ping()
    assert attentive.secret("silent") is None


def test_an_aws_user_of_the_same_id_that_is_not_ours_is_left_alone(attentive):
    taken = names.default_id(attentive.owner, attentive.namespaces["shop"], "taken")
    theirs = {"UserId": taken, "UserName": taken, "Engine": "redis", "AccessString": "on ~theirs:* +get"}
    attentive.elasticache.create_user(**theirs, AuthenticationMode={"Type": "iam"})
    attentive.apply(user_manifest("taken", group=attentive.add_group()))

    attentive.wait_for_condition(USERS, "taken", "UserSynced", status="False", reason="NotOwned")

    (found,) = attentive.elasticache.describe_users(UserId=taken)["Users"]
    assert "~theirs:*" in found["AccessString"]
    assert found["UserGroupIds"] == []
    assert attentive.secret("taken") is None
    attentive.elasticache.delete_user(UserId=taken)
    attentive.wait_until_ready("taken")  # once it has made room


def test_a_foreign_secret_of_the_same_name_is_never_touched(shared_orders):
    ground = shared_orders
    content = {"password": base64.b64encode(b"somebody else's").decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "data": content}
    path = f"/api/v1/namespaces/{ground.namespaces['shop']}/secrets"
    theirs = ground.control_plane.request("POST", path, body)
    ground.apply(user_manifest("theirs"))

    condition = ground.wait_for_condition(USERS, "theirs", "TokenDelivered", reason="SecretConflict")

    assert "theirs" in condition["message"]
    assert ground.get("secrets", "theirs") == theirs
    ground.delete("secrets", "theirs")
    ground.annotate("theirs", refresh="now")  # else it looks once a minute
    ground.wait_until_ready("theirs")
    with ground.login(ground.secret("theirs")) as client:
        assert client.ping()


def test_a_namespace_that_is_deleted_is_not_wedged_by_its_users(shared_orders):
    ground = shared_orders
    group = ground.add_group(admits=(ground.namespaces["web"],))
    ground.add_user("fleeting", namespace="web", group=group)

    ground.control_plane.request("DELETE", f"/api/v1/namespaces/{ground.namespaces['web']}")

    ground.wait_until_gone(USERS, "fleeting", "web")
    assert not [line for line in ground.aws_listing() if "fleeting" in line]
