"""The token: botocore's bytes, and nothing but safe ids in them."""

from datetime import UTC, datetime, timedelta, timezone
from unittest import mock
from urllib.parse import quote

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.token import MAX_TOKEN_SECONDS, Credentials, Token, percent_encoded, sign_token

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_LIVED = Credentials("AKIDEXAMPLE", "SECRETEXAMPLE")
SESSION = Credentials("ASIDEXAMPLE", "SECRETEXAMPLE", "SESSION/TOKEN+EXAMPLE==", NOW + timedelta(hours=1))

IDS = st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True)
REGIONS = st.sampled_from(["eu-west-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-isob-east-1"])
SESSION_TOKENS = st.none() | st.text(st.sampled_from("abzAZ019+/=-_.~ %&?"), min_size=1, max_size=200)


def sign(credentials: Credentials = SESSION, **changes: object) -> Token:
    arguments = {
        "service": "elasticache",
        "region": "eu-west-1",
        "cache_id": "orders-cache",
        "user_id": "orders-app",
        "now": NOW,
    }
    return sign_token(credentials, **{**arguments, **changes})


@pytest.mark.parametrize(
    ("credentials", "changes", "signature"),
    [
        pytest.param(
            LONG_LIVED,
            {},
            "a3ab7e089ccf6fb4b463c75298bf81c052983b1b803caa1fb8b6d76abb33afc9",
            id="replication-group-with-a-long-lived-key",
        ),
        pytest.param(
            SESSION,
            {},
            "3b1b53f29db1e50162899b2239f5046d13c0bf853ddfee1796e6c10ad669129c",
            id="replication-group",
        ),
        pytest.param(
            SESSION,
            {"serverless": True},
            "655ee66357ea905d3831e92660ad98f1a837f17aa75de4a9ccd7fc8622156d97",
            id="serverless-cache",
        ),
        pytest.param(
            SESSION,
            {"service": "memorydb"},
            "1851d5cd4af734e4f85ad09637835d0fa93edb1e1067d6b8c392b5480128269a",
            id="memorydb",
        ),
    ],
)
def test_known_inputs_give_the_known_signature(credentials: Credentials, changes: dict[str, object], signature: str):
    assert sign(credentials, **changes).text.endswith(f"&X-Amz-Signature={signature}")


@given(
    cache_id=IDS,
    user_id=IDS,
    region=REGIONS,
    service=st.sampled_from(["elasticache", "memorydb"]),
    serverless=st.booleans(),
    session_token=SESSION_TOKENS,
    access_key_id=st.from_regex(r"[A-Z0-9]{16,24}", fullmatch=True),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # bounds
    expires_s=st.integers(1, 900),
)
def test_every_token_is_botocores_byte_for_byte(
    *, cache_id, user_id, region, service, serverless, session_token, access_key_id, secret, now, expires_s
):
    query = f"Action=connect&User={user_id}{'&ResourceType=ServerlessCache' if serverless else ''}"
    request = AWSRequest(method="GET", url=f"https://{cache_id}/?{query}")
    frozen = ReadOnlyCredentials(access_key_id, secret, session_token)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        SigV4QueryAuth(frozen, service, region, expires=expires_s).add_auth(request)

    token = sign_token(
        Credentials(access_key_id, secret, session_token),
        service=service,
        region=region,
        cache_id=cache_id,
        user_id=user_id,
        now=now,
        serverless=serverless,
        expires_s=expires_s,
    )

    assert token.text == request.url.removeprefix("https://")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("Orders", id="upper-case"),
        pytest.param("1orders", id="digit-first"),
        pytest.param("orders-", id="trailing-hyphen"),
        pytest.param("or--ders", id="double-hyphen"),
        pytest.param("orders.example.com", id="a-host"),
        pytest.param("orders/../x", id="a-path"),
        pytest.param("x@evil", id="userinfo"),
        pytest.param("x?Action=other", id="a-query"),
        pytest.param("x&User=admin", id="another-parameter"),
        pytest.param("orders\n", id="a-line-end"),
        pytest.param("öl", id="not-ascii"),
        pytest.param("a" * 41, id="too-long"),
    ],
)
@pytest.mark.parametrize("field", ["cache_id", "user_id"])
def test_an_id_that_is_not_one_is_refused(field: str, value: str):
    with pytest.raises(ValueError, match="not a valid"):
        sign(**{field: value})


@pytest.mark.parametrize("region", ["", "eu_west_1", "eu-west-1/x", "eu-west-1\n", "EU-WEST-1"])
def test_a_region_that_is_not_one_is_refused(region: str):
    with pytest.raises(ValueError, match="not a region"):
        sign(region=region)


@pytest.mark.parametrize("service", ["memory-db", "s3", ""])
def test_another_service_is_refused(service: str):
    with pytest.raises(ValueError, match="unknown service"):
        sign(service=service)


@pytest.mark.parametrize("expires_s", [0, -1, MAX_TOKEN_SECONDS + 1])
def test_a_life_out_of_range_is_refused(expires_s: int):
    with pytest.raises(ValueError, match="lives 1 to 900 seconds"):
        sign(expires_s=expires_s)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(NOW.replace(tzinfo=None), id="naive"),
        pytest.param(NOW.astimezone(timezone(timedelta(hours=2))), id="local"),
    ],
)
def test_a_time_that_is_not_utc_is_refused(now: datetime):
    with pytest.raises(ValueError, match="UTC"):
        sign(now=now)


def test_a_token_lives_as_long_as_asked():
    assert sign(expires_s=60).expires_at == NOW + timedelta(seconds=60)


def test_a_token_ends_with_its_session():
    ends_soon = Credentials("ASIDEXAMPLE", "SECRETEXAMPLE", "SESSION", NOW + timedelta(seconds=90))

    assert sign(ends_soon).expires_at == NOW + timedelta(seconds=90)


def test_a_token_of_a_long_lived_key_ends_with_its_own_life():
    assert sign(LONG_LIVED).expires_at == NOW + timedelta(seconds=900)


def test_a_token_is_issued_at_the_second_it_says():
    assert sign(now=NOW.replace(microsecond=999_999)).issued_at == NOW


def test_nothing_secret_is_in_a_repr():
    token = sign()

    shown = f"{SESSION!r} {SESSION!s} {token!r} {token!s}"
    assert "SECRETEXAMPLE" not in shown
    assert "SESSION/TOKEN" not in shown
    assert "X-Amz" not in shown


def test_no_refusal_shows_credentials():
    with pytest.raises(ValueError, match="not a valid") as refusal:
        sign(cache_id="Not An Id")

    assert "SECRETEXAMPLE" not in str(refusal.value)
    assert "SESSION/TOKEN" not in str(refusal.value)


@given(text=st.text(st.sampled_from("aZ09-_.~%/?&=+@: #é")) | st.text())
def test_percent_encoding_is_the_standard_librarys(text: str):
    assert percent_encoded(text) == quote(text, safe="")
