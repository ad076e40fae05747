"""Tokens with one thing wrong, and the reason for which each must be refused, at NOW by the user `app`."""

from datetime import timedelta

import pytest
from tests.unit.sandbox.front.one_cache import NOW, presign, signing_identity


def without(token: str, name: str) -> str:
    """Return a token without a parameter."""
    return "&".join(pair for pair in token.split("&") if not pair.removeprefix("orders-cache/?").startswith(f"{name}="))


TOKEN = presign(at=NOW)

FORGED = [
    # Text
    pytest.param("https://" + TOKEN, "Malformed", id="a-scheme"),
    pytest.param(TOKEN.replace("/?", "?"), "Malformed", id="no-slash"),
    pytest.param(TOKEN.replace("/?", "/path?"), "Malformed", id="a-path"),
    pytest.param("", "Malformed", id="empty"),
    pytest.param("orders-cache/?", "Malformed", id="empty-query"),
    pytest.param("örders" + TOKEN, "Malformed", id="not-ascii"),
    pytest.param("a@" + TOKEN, "Malformed", id="user-in-host"),
    pytest.param(TOKEN + "%", "Malformed", id="broken-escape"),
    pytest.param(TOKEN + "&x", "Malformed", id="no-equals-sign"),
    pytest.param(without(TOKEN, "X-Amz-Date"), "Malformed", id="no-date"),
    pytest.param(without(TOKEN, "User"), "Malformed", id="no-user"),
    pytest.param(TOKEN.replace("X-Amz-Date=2026", "X-Amz-Date=2025"), "Malformed", id="date-not-of-the-scope"),
    pytest.param(TOKEN.replace("aws4_request", "aws5_request"), "Malformed", id="scope-terminator"),
    pytest.param(TOKEN.replace("Expires=900", "Expires=-900"), "Malformed", id="negative-expiry"),
    pytest.param(TOKEN.replace("20260102", "20261302"), "Malformed", id="no-such-month"),
    pytest.param(TOKEN + "&User=app", "DuplicateParameter", id="user-twice"),
    pytest.param(TOKEN + "&Version=1", "UnknownParameter", id="a-parameter-more"),
    pytest.param(TOKEN.replace("Action", "action"), "UnknownParameter", id="parameters-are-case-sensitive"),
    pytest.param(TOKEN.replace("HMAC-SHA256", "HMAC-SHA1"), "WrongAlgorithm", id="algorithm"),
    pytest.param(TOKEN.replace("Headers=host", "Headers=host%3Bdate"), "WrongSignedHeaders", id="signed-headers"),
    # Signer
    pytest.param(TOKEN.replace("ASIDEXAMPLE", "ASIDOTHER"), "UnknownAccessKey", id="unknown-key"),
    pytest.param(without(TOKEN, "X-Amz-Security-Token"), "WrongSessionToken", id="session-token-left-out"),
    pytest.param(
        presign(at=NOW, identity=signing_identity(session_token="OTHER")), "WrongSessionToken", id="session-token"
    ),
    pytest.param(
        presign(at=NOW, identity=signing_identity(secret_access_key="OTHER")), "WrongSignature", id="secret-key"
    ),
    pytest.param(TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1"), "WrongSignature", id="last-character"),
    pytest.param(TOKEN.replace("User=app", "User=off"), "WrongSignature", id="user-changed-after-signing"),
    pytest.param(TOKEN.replace("orders-cache", "other-cache"), "WrongSignature", id="host-changed-after-signing"),
    pytest.param(TOKEN.replace("Expires=900", "Expires=800"), "WrongSignature", id="expiry-changed-after-signing"),
    # Time
    pytest.param(presign(at=NOW + timedelta(seconds=301)), "SignedInTheFuture", id="signed-in-the-future"),
    pytest.param(presign(at=NOW, expires_s=901), "LifeTooLong", id="signed-for-too-long"),
    pytest.param(presign(at=NOW - timedelta(seconds=900)), "TokenExpired", id="expired"),
    pytest.param(presign(at=NOW - timedelta(seconds=10), expires_s=10), "TokenExpired", id="short-life-expired"),
    # Target
    pytest.param(presign(at=NOW, action="Connect"), "WrongAction", id="action"),
    pytest.param(presign("other", at=NOW), "WrongUser", id="user-signed-is-not-the-user-given"),
    pytest.param(presign("App", at=NOW), "WrongUser", id="user-in-another-case"),
    pytest.param(presign(at=NOW, host="other-cache"), "WrongCache", id="cache"),
    pytest.param(presign(at=NOW, host="Orders-Cache"), "WrongCache", id="cache-in-another-case"),
    pytest.param(presign(at=NOW, host="orders-cache:6379"), "WrongCache", id="a-port"),
    pytest.param(presign(at=NOW, region="eu-west-1"), "WrongRegion", id="region"),
    pytest.param(presign(at=NOW, service="memorydb"), "WrongService", id="service"),
    pytest.param(
        presign(at=NOW, extra={"ResourceType": "ServerlessCache"}), "WrongResourceType", id="serverless-token"
    ),
]
