import io
import json
import logging
import warnings
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.token import Credentials, sign_token
from elasticache_iam.runtime.log import MASK, QUIET_LOGGERS, LogFormat, configure, redact

TOKEN = sign_token(
    Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI", "FwoGZXIvYXdzEXAMPLE/session=="),
    service="elasticache",
    region="eu-central-1",
    cache_id="orders-prod",
    user_id="demo-checkout",
    now=datetime(2026, 11, 21, 9, tzinfo=UTC),
).text
SIGNATURE = TOKEN.rpartition("=")[2]
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL29pZGMifQ.c2lnbmF0dXJl-X_Y"


@pytest.fixture
def lines():
    """Logging into a buffer; returns what reads it. The process' logging is put back afterwards."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, {name: logging.getLogger(name).level for name in QUIET_LOGGERS})
    stream = io.StringIO()

    def start(level="info", form=LogFormat.JSON):
        configure(level, form, stream)
        return stream

    yield start
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], level = before[0], before[1]
    root.setLevel(level)
    for name, old in before[2].items():
        logging.getLogger(name).setLevel(old)


def parse(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_agreed_names(lines):
    stream = lines()

    structlog.get_logger("reconcile").info("created user", kind="ElastiCacheIAMUser", namespace="shop", name="checkout")

    (line,) = parse(stream)
    assert list(line) == ["ts", "level", "msg", "logger", "kind", "namespace", "name"]
    assert line["ts"].endswith("Z")
    assert (line["level"], line["msg"], line["logger"]) == ("info", "created user", "reconcile")


def test_a_library_s_line_looks_the_same(lines):
    stream = lines()

    logging.getLogger("aiohttp.client").warning("slow %s", "answer")

    (line,) = parse(stream)
    assert (line["level"], line["msg"], line["logger"]) == ("warning", "slow answer", "aiohttp.client")


def test_a_line_about_an_object_has_kopf_s_reference(lines):
    stream = lines()

    reference = {"kind": "UserGroup", "namespace": "platform", "name": "orders", "uid": "1"}
    logging.getLogger("kopf.objects").warning("gone", extra={"k8s_ref": reference})

    (line,) = parse(stream)
    assert (line["kind"], line["namespace"], line["name"]) == ("UserGroup", "platform", "orders")
    assert "k8s_ref" not in line


def test_kopf_s_line_an_event_is_not_shown_even_at_debug(lines):
    stream = lines("debug")

    logging.getLogger("kopf.objects").info("Handler 'x' succeeded.")
    logging.getLogger("botocore.auth").debug("CanonicalRequest: …")

    assert stream.getvalue() == ""


def test_what_is_below_the_level_is_not_shown(lines):
    stream = lines("warning")

    structlog.get_logger("x").info("no")
    structlog.get_logger("x").warning("yes")

    assert [line["msg"] for line in parse(stream)] == ["yes"]


def test_an_exception_is_one_line_with_its_traceback(lines):
    stream = lines()

    try:
        int(TOKEN)
    except ValueError:
        structlog.get_logger("x").exception("failed")

    (line,) = parse(stream)
    assert "ValueError: invalid literal" in line["exception"]
    assert SIGNATURE not in stream.getvalue()


def test_what_a_context_binds_is_on_every_line(lines):
    stream = lines()

    with structlog.contextvars.bound_contextvars(reconcileID="42"):
        structlog.get_logger("x").info("a")

    assert parse(stream)[0]["reconcileID"] == "42"


def test_a_warning_is_a_log_line(lines):
    stream = lines()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert parse(stream)[0]["logger"] == "py.warnings"


def test_text_is_for_people(lines):
    stream = lines(form=LogFormat.TEXT)

    structlog.get_logger("x").info("created user", name="checkout", token="hunter2")

    assert "created user" in stream.getvalue()
    assert "name=checkout" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_configuring_twice_does_not_double_the_lines(lines):
    lines()
    stream = lines()

    structlog.get_logger("x").info("once")

    assert len(parse(stream)) == 1


def test_values_are_masked_by_their_name_at_any_depth_and_names_are_kept(lines):
    stream = lines()

    structlog.get_logger("x").info(
        "wrote",
        password="hunter2",
        secret={"data": {"uri": "hunter2", "host": "h"}},
        keys=[{"token": "hunter2"}],
        token="",
    )

    (line,) = parse(stream)
    assert line["password"] == MASK
    assert line["secret"] == {"data": {"uri": MASK, "host": MASK}}
    assert line["keys"] == [{"token": MASK}]
    assert line["token"] == ""


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        pytest.param(TOKEN, SIGNATURE, id="an-auth-token"),
        pytest.param(f"rediss://demo-checkout:{quote(TOKEN, safe='')}@h:6379", SIGNATURE, id="a-uri-with-a-token"),
        pytest.param(quote(TOKEN, safe=""), SIGNATURE, id="an-encoded-token"),
        pytest.param(quote(quote(TOKEN, safe=""), safe=""), SIGNATURE, id="a-twice-encoded-token"),
        pytest.param("redis://u:hunter2@host", "hunter2", id="a-uri-with-a-password"),
        pytest.param("rediss://:hunter2@host", "hunter2", id="a-uri-with-an-auth-token"),
        pytest.param("GET https://x/?X-Amz-Signature=hunter2&a=1", "hunter2", id="a-presigned-url"),
        pytest.param("X-Amz-Security-Token=hunter2", "hunter2", id="a-session-token-in-a-query"),
        pytest.param(f"token {JWT} refused", JWT.split(".")[1], id="a-service-account-token"),
        pytest.param("Authorization: Bearer hunter2", "hunter2", id="a-bearer-token"),
        pytest.param("{'Authorization': 'bearer hunter2'}", "hunter2", id="headers-as-a-dict"),
        pytest.param("<SecretAccessKey>hunter2</SecretAccessKey>", "hunter2", id="sts-in-xml"),
        pytest.param('{"SessionToken": "hunter2"}', "hunter2", id="sts-in-json"),
        pytest.param('{\\"SecretAccessKey\\": \\"hunter2\\"}', "hunter2", id="json-in-json"),
        pytest.param("password='hunter2'", "hunter2", id="a-repr"),
        pytest.param("{'secret_access_key': 'hunter2'}", "hunter2", id="a-dict"),
    ],
)
def test_what_opens_a_door_is_masked(text, hidden):
    masked = redact(f"before {text} after")

    assert hidden not in masked
    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:elasticache:eu-central-1:111122223333:user:demo-checkout",
        "patch secrets shop/checkout: 409 Conflict",
        "https://127.0.0.1:6443/api/v1/namespaces/shop/secrets/checkout?fieldManager=elasticache-iam-tokens",
        "on ~orders:* &* +@read -@dangerous",
        "wrote keys host, password, uri",
        "rediss://host:6379/0",
    ],
)
def test_what_opens_none_is_left(text):
    assert redact(text) == text


@given(st.text())
def test_masking_twice_changes_nothing(text):
    assert redact(redact(text)) == redact(text)
