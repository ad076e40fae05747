"""What people tell the operator to do: refresh, suspend, pause, change, and say no."""

import time

import pytest
import redis
from tests.builders import group_manifest, user_manifest
from tests.cluster.ground import GROUPS, USERS, wait_for

pytestmark = pytest.mark.cluster


def password(ground):
    secret = ground.secret()
    return secret["password"] if secret else None


def test_the_refresh_annotation_mints_anew_and_is_answered(orders):
    before = password(orders)
    time.sleep(1.0)  # within one second the signature is the same

    orders.annotate("checkout", refresh="2026-11-21T09:00Z")

    wait_for(lambda: password(orders) != before, what="a new token")
    wait_for(lambda: orders.get(USERS, "checkout")["status"].get("refresh") == "2026-11-21T09:00Z", what="the answer")
    with orders.login(orders.secret()) as client:
        assert client.ping()


def test_suspend_cuts_the_live_connection_and_takes_the_secret_away(orders):
    client = orders.login(orders.secret())
    client.ping()

    orders.patch(USERS, "checkout", {"spec": {"suspend": True}})
    orders.wait_for_condition(USERS, "checkout", "Ready", status="False", reason="Suspended")

    assert orders.secret() is None

    def is_cut():
        try:
            client.ping()
        except redis.exceptions.RedisError:
            return True
        return False

    with client:
        wait_for(is_cut, what="the connection to be cut")


def test_suspended_and_resumed_is_ready_again(orders):
    orders.patch(USERS, "checkout", {"spec": {"suspend": True}})
    orders.wait_for_condition(USERS, "checkout", "Ready", status="False", reason="Suspended")

    orders.patch(USERS, "checkout", {"spec": {"suspend": False}})
    orders.wait_until_ready()

    with orders.login(orders.secret()) as client:
        assert client.ping()


def test_a_paused_user_is_left_alone_until_it_goes_on(orders):
    orders.annotate("checkout", paused="true")
    time.sleep(0.5)
    before = orders.elasticache.describe_users(UserId=orders.get(USERS, "checkout")["status"]["id"])["Users"][0]

    orders.patch(USERS, "checkout", {"spec": {"access": {"keys": ["orders:1:*"]}}})
    time.sleep(1.0)
    assert orders.elasticache.describe_users(UserId=before["UserId"])["Users"][0] == before

    orders.annotate("checkout", paused=None)
    wait_for(
        lambda: "orders:1:*" in orders.elasticache.describe_users(UserId=before["UserId"])["Users"][0]["AccessString"],
        what="the change to reach AWS",
    )


def test_a_paused_users_token_is_refreshed_all_the_same(ground):
    ground.add_cache()
    ground.start_operator(tokenSeconds=10)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()

    ground.annotate("checkout", paused="true")
    before = password(ground)

    wait_for(lambda: password(ground) != before, timeout_s=8.0, what="a new token")


def test_a_narrower_access_string_holds_a_client_that_is_connected(orders):
    with orders.login(orders.secret()) as client:
        client.set("orders:2", "x")

        orders.patch(USERS, "checkout", {"spec": {"access": {"keys": ["orders:1:*"]}}})

        def is_refused():
            try:
                client.get("orders:2")
            except (redis.exceptions.NoPermissionError, redis.exceptions.ConnectionError):
                return True
            return False

        wait_for(is_refused, what="the narrower keys to hold")


def test_taking_the_admission_back_cuts_the_user_off(orders):
    secret = orders.secret()

    orders.patch(GROUPS, "orders", {"spec": {"admission": None}}, "platform")
    orders.wait_for_condition(USERS, "checkout", "Ready", reason="NotAdmitted")

    wait_for(lambda: orders.secret() is None, what="the Secret to go")

    def is_refused():
        with orders.login(secret) as client:
            try:
                client.ping()
            except redis.exceptions.AuthenticationError:
                return True
        return False

    wait_for(is_refused, what="the token to be refused")


def test_a_deleted_secret_is_back_at_the_next_refresh(ground):
    ground.add_cache()
    ground.start_operator(tokenSeconds=10)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()

    ground.delete("secrets", "checkout")

    secret = wait_for(ground.secret, timeout_s=8.0, what="the Secret")
    with ground.login(secret) as client:
        assert client.ping()
    wait_for(
        lambda: (
            ground.get(USERS, "checkout")["status"]["caches"][0]["secret"]["uid"]
            == ground.get("secrets", "checkout")["metadata"]["uid"]
        ),
        what="the new Secret's uid in the status",
    )


def test_one_user_has_a_secret_for_each_cache(ground):
    for name in ("orders-prod", "orders-archive"):
        ground.add_cache(name)
    ground.start_operator()

    ground.apply(group_manifest(caches=("orders-prod", "orders-archive")), user_manifest())
    ground.wait_until_ready()

    for name in ("checkout", "checkout.cache2"):
        with ground.login(ground.secret(name)) as client:
            assert client.ping()
    assert ground.secret("checkout")["port"] != ground.secret("checkout.cache2")["port"]
