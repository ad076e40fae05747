"""How access ends: what cuts live connections, what refuses old tokens, and how long it takes from the API call on.

AWS has no way to take a single token back: it ends with its life, its role or its place in the group.
"""

import threading
import time

import pytest
import redis
from tests.builders import group_manifest
from tests.cluster.ground import GROUPS, USERS, note_measured, pass_second
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

Redis = redis.exceptions
QUICK_S = 30.0
"""Loose: a second or two on an idle machine."""


class Connected(threading.Thread):
    """An application with a live connection, which it uses all the time; notes when it ends, and how."""

    def __init__(self, ground, name):
        super().__init__(name="connected")
        self.secret = ground.secret(name)
        self._client = ground.login(self.secret, single_connection_client=True)
        self._client.ping()
        self._enough = threading.Event()
        self.cut_at = None
        self.error = None
        self.start()

    def run(self):
        while not self._enough.wait(0.02):
            try:
                self._client.ping()
            except Redis.RedisError as error:
                self.cut_at, self.error = time.monotonic(), error
                return

    def wait_until_cut(self, *, since, what):
        """Return how long after a moment the connection ended, and note it."""
        wait_for(lambda: self.cut_at, what=f"{what} to cut the connection")
        note_measured(self.cut_at - since, f"{what}, until the live connection ends")
        return self.cut_at - since

    def close(self):
        self._enough.set()
        self.join()
        self._client.close()


@pytest.fixture
def connect(shared_orders):
    """What opens a connection as a user, closed in the end."""
    opened = []

    def open_connection(name):
        opened.append(Connected(shared_orders, name))
        return opened[-1]

    yield open_connection
    for connected in opened:
        connected.close()


@pytest.fixture
def user(shared_orders):
    """The name of a user that is Ready."""
    return shared_orders.add_user()


def why_refused(ground, secret):
    """Try to log in; return AWS's true reason, None if it worked."""
    with ground.login(secret) as client:
        try:
            client.ping()
        except Redis.AuthenticationError:
            return ground.sandbox.refusals()[-1].reason
    return None


def wait_until_refused(ground, secret, *, since, what):
    reason = wait_for(lambda: why_refused(ground, secret), what=f"{what} to refuse the old token")
    note_measured(time.monotonic() - since, f"{what}, until the old token is refused")
    return reason


def test_suspend_cuts_the_connection_and_refuses_the_token_that_still_lives(shared_orders, user, connect):
    connected, begin = connect(user), time.monotonic()

    shared_orders.patch(USERS, user, {"spec": {"suspend": True}})

    assert connected.wait_until_cut(since=begin, what="suspend") < QUICK_S
    assert wait_until_refused(shared_orders, connected.secret, since=begin, what="suspend") == "UserNotInGroup"
    wait_for(lambda: shared_orders.secret(user) is None, what="the Secret to go")


def test_a_stolen_session_is_of_no_use_after_a_suspend_and_works_again_after_it(shared_orders, user, connect):
    """The role stays while a user is suspended; it is the place in the group that is gone."""
    stolen = connect(user).secret
    shared_orders.patch(USERS, user, {"spec": {"suspend": True}})
    wait_for(lambda: why_refused(shared_orders, stolen), what="the token to be refused")

    shared_orders.patch(USERS, user, {"spec": {"suspend": False}})
    shared_orders.wait_until_ready(user)

    with shared_orders.login(shared_orders.secret(user)) as client:
        assert client.ping()


def test_deletion_cuts_the_connection_and_takes_role_and_user_away(shared_orders, user, connect):
    connected, begin = connect(user), time.monotonic()
    role = shared_orders.get(USERS, user)["status"]["role"]["arn"].rpartition("/")[2]

    shared_orders.delete(USERS, user)

    assert connected.wait_until_cut(since=begin, what="delete") < QUICK_S
    wait_until_refused(shared_orders, connected.secret, since=begin, what="delete")
    shared_orders.wait_until_gone(USERS, user)
    note_measured(time.monotonic() - begin, "delete, until all is gone")
    assert role not in {found["RoleName"] for found in shared_orders.iam.list_roles()["Roles"]}
    assert shared_orders.secret(user) is None


def test_a_refresh_brings_a_new_token_and_leaves_connections_and_old_tokens_as_aws_does(shared_orders, user, connect):
    connected, begin = connect(user), time.monotonic()
    pass_second()

    shared_orders.annotate(user, refresh="2026-11-21T09:00Z")

    def is_new():
        return shared_orders.secret(user)["password"] != connected.secret["password"]

    wait_for(is_new, what="a new token")
    note_measured(time.monotonic() - begin, "refresh, until there is a new token")
    assert why_refused(shared_orders, connected.secret) is None  # AWS can't take it back
    assert connected.cut_at is None


def test_moving_to_another_group_cuts_the_connection_to_the_first_ones_cache(shared_orders, user, connect):
    group = shared_orders.add_group()
    shared_orders.wait_until_ready(group, plural=GROUPS, namespace="platform")
    connected, begin = connect(user), time.monotonic()

    shared_orders.patch(
        USERS, user, {"spec": {"groups": [{"name": group, "namespace": shared_orders.namespaces["platform"]}]}}
    )

    assert connected.wait_until_cut(since=begin, what="another group") < QUICK_S
    assert wait_until_refused(shared_orders, connected.secret, since=begin, what="another group")
    shared_orders.wait_until_ready(user)
    wait_for(lambda: why_refused(shared_orders, shared_orders.secret(user)) is None, what="a token for the other cache")
    assert shared_orders.secret(user)["port"] != connected.secret["port"]


def test_a_rule_taken_back_cuts_the_connection(shared_orders, connect):
    group = shared_orders.add_group()
    user = shared_orders.add_user(group=group)
    connected, begin = connect(user), time.monotonic()

    shared_orders.patch(GROUPS, group, {"spec": {"admission": None}}, "platform")

    assert connected.wait_until_cut(since=begin, what="admission taken back") < QUICK_S
    assert wait_until_refused(shared_orders, connected.secret, since=begin, what="admission taken back")


def test_a_narrower_limit_of_the_group_cuts_those_who_ask_for_more(shared_orders, connect):
    manifest = group_manifest()["spec"]["admission"]
    group = shared_orders.add_group()
    user = shared_orders.add_user(group=group)
    connected, begin = connect(user), time.monotonic()
    rule = {"namespaces": {"names": [shared_orders.namespaces["shop"]]}}

    shared_orders.patch(
        *(GROUPS, group),
        {"spec": {"admission": [{**manifest[0], **rule, "limit": {"preset": "ReadOnly", "keys": ["*"]}}]}},
        "platform",
    )

    assert connected.wait_until_cut(since=begin, what="a narrower limit") < QUICK_S


def test_narrower_keys_bind_the_live_connection(shared_orders, user, connect):
    connected = connect(user)
    with shared_orders.login(connected.secret, single_connection_client=True) as client:
        client.set("orders:2", "x")
        begin = time.monotonic()

        shared_orders.patch(USERS, user, {"spec": {"access": {"keys": ["orders:1:*"]}}})

        def is_held():
            try:
                client.get("orders:2")
            except Redis.NoPermissionError:
                return True
            return False

        wait_for(is_held, what="the narrower keys to hold")
        note_measured(time.monotonic() - begin, "narrower keys, until they hold on a live connection")
    assert connected.cut_at is None
