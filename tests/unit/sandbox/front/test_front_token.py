"""The verdict on a token: each check failed on its own, then all of it at the client."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from tests.unit.sandbox.front.forged import FORGED, TOKEN
from tests.unit.sandbox.front.one_cache import (
    NOW,
    OneCache,
    cache_view,
    engine_user,
    presign,
    signing_identity,
)

from elasticache_iam_sandbox.front.token import Admitted, Refused, is_on, verify_token
from elasticache_iam_sandbox.world.call import ConnectDecision

USERS = (
    engine_user(),
    engine_user("off", access_string="off ~* +@all"),
    engine_user("never-on", access_string="~* +@all"),
    engine_user("reader", auth_mode="password", password_sha256=("ab" * 32,)),
)


def verdict(token: str, *, username: str = "app", world: OneCache | None = None, **view: object):
    """Judge a token for the app user at NOW, unless told otherwise."""
    asked = world or OneCache(cache_view(*USERS))
    seen = replace(asked.view, **view)
    return verify_token(
        token.encode(),
        username=username,
        view=seen,
        now=asked.time or NOW,
        token_seconds=asked.settings.token_seconds,
        signing_identity=asked.signing_identity,
        decide_connect=lambda identity, user_id: asked.decide_connect(identity, seen, user_id, source_ip="127.0.0.1"),
    )


@pytest.mark.parametrize(("token", "reason"), FORGED)
def test_a_forged_token_is_refused_for_its_reason(token, reason):
    refused = verdict(token)

    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert "SESSION" not in refused.detail


def test_a_good_token_is_admitted():
    assert verdict(TOKEN) == Admitted(USERS[0], signing_identity().principal_arn)


@pytest.mark.parametrize("age_s", [-300, 0, 899])
def test_a_token_is_good_from_the_tolerated_skew_to_its_last_second(age_s):
    assert isinstance(verdict(presign(at=NOW - timedelta(seconds=age_s))), Admitted)


def test_the_order_of_parameters_is_free():
    host, _, query = TOKEN.partition("/?")

    assert isinstance(verdict(f"{host}/?{'&'.join(reversed(query.split('&')))}"), Admitted)


def test_escaping_more_than_needed_is_the_same_token():
    assert isinstance(verdict(TOKEN.replace("User=app", f"User=%{ord('a'):02X}pp")), Admitted)


def test_a_plus_sign_is_no_blank():
    session = signing_identity(session_token="a b")
    token = presign(at=NOW, identity=session).replace(quote("a b"), "a+b")

    refused = verdict(token, world=OneCache(cache_view(*USERS), identity=session))

    assert refused.reason == "WrongSessionToken"


def test_long_lived_keys_sign_without_a_session_token():
    world = OneCache(cache_view(*USERS), identity=signing_identity(session_token=None, expires_at=None))

    assert isinstance(verdict(presign(at=NOW, identity=world.identity), world=world), Admitted)


def test_a_session_token_is_too_much_for_long_lived_keys():
    world = OneCache(cache_view(*USERS), identity=signing_identity(session_token=None, expires_at=None))

    assert verdict(TOKEN, world=world).reason == "WrongSessionToken"


def test_the_setting_caps_a_token_s_life():
    world = OneCache(cache_view(*USERS))
    world.settings.token_seconds = 30

    assert isinstance(verdict(presign(at=NOW - timedelta(seconds=29)), world=world), Admitted)
    assert verdict(presign(at=NOW - timedelta(seconds=30)), world=world).reason == "TokenExpired"


def test_a_token_ends_with_the_session_that_signed_it():
    world = OneCache(cache_view(*USERS), identity=signing_identity(expires_at=NOW))

    assert verdict(TOKEN, world=world).reason == "SessionExpired"


@pytest.mark.parametrize(
    ("username", "reason"),
    [
        pytest.param("stranger", "UserNotInGroup", id="not-in-the-group"),
        pytest.param("reader", "UserNotIam", id="password-user"),
        pytest.param("off", "UserOff", id="off"),
        pytest.param("never-on", "UserOff", id="without-on"),
    ],
)
def test_a_good_token_needs_a_good_user(username, reason):
    assert verdict(presign(username, at=NOW), username=username).reason == reason


def test_connect_must_be_allowed():
    world = OneCache(cache_view(*USERS), decision=ConnectDecision(allowed=False, reason="no statement allows"))

    assert verdict(TOKEN, world=world) == Refused("ConnectDenied", "no statement allows")


def test_a_serverless_cache_needs_the_resource_type():
    token = presign(at=NOW, extra={"ResourceType": "ServerlessCache"})

    assert isinstance(verdict(token, serverless=True), Admitted)
    assert verdict(TOKEN, serverless=True).reason == "WrongResourceType"


def test_memorydb_signs_for_its_own_service():
    assert isinstance(verdict(presign(at=NOW, service="memorydb"), service="memorydb"), Admitted)
    assert verdict(TOKEN, service="memorydb").reason == "WrongService"


@pytest.mark.parametrize(
    ("access_string", "expected"), [("on ~*", True), ("off", False), ("off ON", True), ("on off", False), ("~*", False)]
)
def test_the_last_switch_of_an_access_string_counts(access_string, expected):
    assert is_on(access_string) is expected


@pytest.mark.parametrize(
    ("parameters", "signature"),
    [
        pytest.param({}, "3b1b53f29db1e50162899b2239f5046d13c0bf853ddfee1796e6c10ad669129c", id="replication-group"),
        pytest.param(
            {"extra": {"ResourceType": "ServerlessCache"}},
            "655ee66357ea905d3831e92660ad98f1a837f17aa75de4a9ccd7fc8622156d97",
            id="serverless",
        ),
        pytest.param(
            {"service": "memorydb"},
            "1851d5cd4af734e4f85ad09637835d0fa93edb1e1067d6b8c392b5480128269a",
            id="memorydb",
        ),
    ],
)
def test_the_known_signatures_of_botocore_are_admitted(parameters, signature):
    token = presign("orders-app", at=NOW, region="eu-west-1", **parameters)

    admitted = verdict(
        token,
        username="orders-app",
        users={"orders-app": engine_user("orders-app")},
        region="eu-west-1",
        service=parameters.get("service", "elasticache"),
        serverless="extra" in parameters,
    )

    assert token.endswith(signature)
    assert isinstance(admitted, Admitted)
