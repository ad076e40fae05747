"""Tokens with a life of seconds: replaced in time, by one write each, and worthless after their end."""

import threading
import time
from datetime import UTC, datetime

import pytest
import redis
from tests.cluster.ground import USERS
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

LIFE_S = 10


class Reader(threading.Thread):
    """An application: reads its Secret all the time, and notes what it sees."""

    def __init__(self, ground):
        super().__init__(name="reader")
        self._ground = ground
        self._enough = threading.Event()
        self.versions = []
        self.least_left_s = float("inf")

    def run(self):
        while not self._enough.wait(0.05):
            secret = self._ground.secret()
            if not self.versions or self.versions[-1] != secret:
                self.versions.append(secret)
            left = datetime.fromisoformat(secret["expires-at"]) - datetime.now(UTC)
            self.least_left_s = min(self.least_left_s, left.total_seconds())

    def stop(self):
        self._enough.set()
        self.join()


class Rotation:
    """A user watched for a little longer than a token lives."""

    def __init__(self, ground, reader, events, sts_calls):
        self.ground = ground
        self.reader = reader
        self.events = events
        self.sts_calls = sts_calls


@pytest.fixture(scope="module")
def rotation(new_ground):
    with new_ground() as ground:
        ground.add_cache()
        ground.start_operator(tokenSeconds=LIFE_S)
        ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
        ground.wait_until_ready()
        time.sleep(0.5)  # the last status write
        calls_before, events_before = ground.sts_calls(), len(ground.audit())
        reader = Reader(ground)
        reader.start()
        time.sleep(LIFE_S + 1.0)
        wait_for(lambda: len(reader.versions) >= 3, what="two new tokens")
        reader.stop()
        yield Rotation(ground, reader, ground.audit()[events_before:], ground.sts_calls() - calls_before)


def test_the_secret_gets_new_tokens(rotation):
    assert len({version["password"] for version in rotation.reader.versions}) == len(rotation.reader.versions)


def test_no_reader_ever_sees_an_expired_token(rotation):
    # Replaced at half of its life at the latest; all the rest is for a busy machine.
    assert rotation.reader.least_left_s > 0.0


def test_the_new_token_logs_in(rotation):
    with rotation.ground.login(rotation.ground.secret()) as client:
        assert client.ping()


def test_the_old_token_is_refused_after_its_end(rotation):
    old = rotation.reader.versions[0]

    def has_ended():
        return datetime.now(UTC) > datetime.fromisoformat(old["expires-at"])

    wait_for(has_ended, what="the first token's end")
    time.sleep(1.0)  # `expires-at` is rounded down

    with rotation.ground.login(old) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()
    assert rotation.ground.sandbox.refusals()[-1].reason == "TokenExpired"


def test_a_refresh_is_one_write_and_no_read(rotation):
    tenants = [rotation.ground.namespaces[name] for name in ("shop", "platform", "web")]
    seen = [
        (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in rotation.events
        if event["objectRef"]["namespace"] in tenants
    ]

    seen_by_the_reader = len(rotation.reader.versions) - 1  # and perhaps one after its last look
    assert set(seen) == {("update", "secrets", 200)}
    assert seen_by_the_reader <= len(seen) <= seen_by_the_reader + 1


def test_sts_is_not_asked_again(rotation):
    assert rotation.sts_calls == 0


def test_a_paused_users_token_is_refreshed_all_the_same(rotation):
    ground = rotation.ground
    ground.annotate("checkout", paused="true")
    before = ground.secret()["password"]

    wait_for(lambda: ground.secret()["password"] != before, what="a new token")

    ground.annotate("checkout", paused=None)


def test_a_deleted_secret_is_back_at_the_next_refresh(rotation):
    ground = rotation.ground

    ground.delete("secrets", "checkout")
    secret = wait_for(ground.secret, what="the Secret")

    with ground.login(secret) as client:
        assert client.ping()
    uid = ground.get("secrets", "checkout")["metadata"]["uid"]
    wait_for(lambda: ground.get(USERS, "checkout")["status"]["caches"][0]["secret"]["uid"] == uid, what="its uid")
