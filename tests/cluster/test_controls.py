"""What people tell the operator to do: refresh, suspend, pause, change, and say no."""

import time

import pytest
import redis
from tests.builders import group_manifest
from tests.cluster.ground import GROUPS, USERS, pass_second
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

Redis = redis.exceptions


@pytest.fixture
def user(shared_orders):
    """The name of a user that is Ready."""
    return shared_orders.add_user()


def is_cut(client):
    try:
        client.ping()
    except Redis.RedisError:
        return True
    return False


def is_refused(ground, secret):
    with ground.login(secret) as client:
        try:
            client.ping()
        except Redis.AuthenticationError:
            return True
    return False


def live_access_string(ground, name):
    user_id = ground.get(USERS, name)["status"]["id"]
    return ground.elasticache.describe_users(UserId=user_id)["Users"][0]["AccessString"]


def test_the_refresh_annotation_mints_anew_and_is_answered(shared_orders, user):
    before = shared_orders.secret(user)
    pass_second()

    shared_orders.annotate(user, refresh="2026-11-21T09:00Z")

    wait_for(lambda: shared_orders.secret(user)["password"] != before["password"], what="a new token")
    answered = "2026-11-21T09:00Z"
    wait_for(lambda: shared_orders.get(USERS, user)["status"].get("refresh") == answered, what="the answer")
    with shared_orders.login(shared_orders.secret(user)) as client:
        assert client.ping()


def test_suspend_cuts_the_live_connection_and_resume_makes_it_ready_again(shared_orders, user):
    client = shared_orders.login(shared_orders.secret(user))
    client.ping()

    shared_orders.patch(USERS, user, {"spec": {"suspend": True}})
    shared_orders.wait_for_condition(USERS, user, "Ready", status="False", reason="Suspended")

    assert shared_orders.secret(user) is None
    with client:
        wait_for(lambda: is_cut(client), what="the connection to be cut")

    shared_orders.patch(USERS, user, {"spec": {"suspend": False}})
    shared_orders.wait_until_ready(user)

    with shared_orders.login(shared_orders.secret(user)) as client:
        assert client.ping()


def test_a_paused_user_is_left_alone_until_it_goes_on(shared_orders, user):
    shared_orders.annotate(user, paused="true")
    time.sleep(0.3)
    before = live_access_string(shared_orders, user)

    shared_orders.patch(USERS, user, {"spec": {"access": {"keys": ["orders:1:*"]}}})
    time.sleep(1.0)
    assert live_access_string(shared_orders, user) == before

    shared_orders.annotate(user, paused=None)
    wait_for(lambda: "~orders:1:*" in live_access_string(shared_orders, user), what="the change to reach AWS")


def test_narrower_keys_hold_a_client_that_is_connected(shared_orders, user):
    with shared_orders.login(shared_orders.secret(user)) as client:
        client.set("orders:2", "x")

        shared_orders.patch(USERS, user, {"spec": {"access": {"keys": ["orders:1:*"]}}})

        def is_held():
            try:
                client.get("orders:2")
            except (Redis.NoPermissionError, Redis.ConnectionError):
                return True
            return False

        wait_for(is_held, what="the narrower keys to hold")


def test_taking_the_admission_back_cuts_the_user_off(shared_orders):
    group = shared_orders.add_group()
    user = shared_orders.add_user(group=group)
    secret = shared_orders.secret(user)

    shared_orders.patch(GROUPS, group, {"spec": {"admission": None}}, "platform")
    shared_orders.wait_for_condition(USERS, user, "Ready", reason="NotAdmitted")

    wait_for(lambda: shared_orders.secret(user) is None, what="the Secret to go")
    wait_for(lambda: is_refused(shared_orders, secret), what="the token to be refused")


def test_one_user_has_a_secret_for_each_cache(shared_orders):
    for name in ("both-now", "both-archive"):
        shared_orders.add_cache(name)
    shared_orders.apply(group_manifest("both", caches=("both-now", "both-archive")))

    user = shared_orders.add_user(group="both")

    ports = set()
    for name in (user, f"{user}.cache2"):
        secret = shared_orders.secret(name)
        ports.add(secret["port"])
        with shared_orders.login(secret) as client:
            assert client.ping()
    assert len(ports) == 2
