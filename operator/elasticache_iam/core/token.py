"""The IAM auth token: a SigV4 presigned GET without its scheme. Standard library only.

The bytes are botocore's (tests compare them). Source: ElastiCache user guide, "Authenticating with IAM";
AWS's developer-toolkit-elasticache, token_generator.py.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

MAX_TOKEN_SECONDS: Final = 900
"""AWS documents a life of 15 minutes; longer ones are unproven, so they are never signed."""

_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_SERVICES: Final = frozenset({"elasticache", "memorydb"})

_ESCAPES: Final = (("%", "%25"), ("/", "%2F"), ("+", "%2B"), ("=", "%3D"), ("&", "%26"), ("?", "%3F"))
"""All that session tokens (base64) and our own tokens (a query string) need; `%` comes first."""

_PERCENT_ENCODED: Final = re.compile(r"[A-Za-z0-9_.~%-]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """AWS credentials; `expires_at` (aware, UTC) is None for long-lived keys."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A signed token. `text` is the password; it is kept out of every repr."""

    text: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime


def sign_token(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    cache_id: str,
    user_id: str,
    now: datetime,
    serverless: bool = False,
    expires_s: int = MAX_TOKEN_SECONDS,
) -> Token:
    """Sign a token for one user on one cache.

    Args:
        credentials: Frozen credentials of the workload's role.
        service: `elasticache` or `memorydb` (not the endpoint prefix `memory-db`).
        region: The cache's region.
        cache_id: Replication group id, serverless cache name or MemoryDB cluster name; never an endpoint.
        user_id: The ElastiCache user id, which is the Redis user name too.
        now: Aware, in UTC.
        serverless: Whether the cache is a serverless one: `ResourceType` is part of what is signed.
        expires_s: Life in seconds, 1 to 900.

    Returns:
        The token; it ends with `expires_s` or with the credentials, whichever is first.

    Raises:
        ValueError: An id, the region, the service, time or life is not acceptable. Ids become a signing host, so
            anything but lower-case letters, digits and single hyphens is an injection.
    """
    if service not in _SERVICES:
        raise ValueError(f"unknown service {service!r}: elasticache or memorydb")
    if not _REGION.fullmatch(region):
        raise ValueError(f"not a region: {region!r}")
    for what, value in (("cache id", cache_id), ("user id", user_id)):
        if len(value) > 40 or not _ID.fullmatch(value):  # noqa: PLR2004  # AWS: 1-40 characters
            raise ValueError(
                f"not a valid {what}: {value!r} (lower-case letters, digits, single hyphens, letter first)"
            )
    if not 1 <= expires_s <= MAX_TOKEN_SECONDS:
        raise ValueError(f"a token lives 1 to {MAX_TOKEN_SECONDS} seconds, not {expires_s}")
    if now.utcoffset() != timedelta(0):
        raise ValueError("now must be in UTC: what is signed says Z")
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    parameters = {
        "Action": "connect",
        "User": user_id,
        **({"ResourceType": "ServerlessCache"} if serverless else {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": credentials.session_token} if credentials.session_token else {}),
    }
    encoded = {name: percent_encoded(value) for name, value in parameters.items()}
    canonical_query = "&".join(f"{name}={encoded[name]}" for name in sorted(encoded))
    request = f"GET\n/\n{canonical_query}\nhost:{cache_id}\n\nhost\n{_EMPTY_SHA256}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    query = "&".join(f"{name}={value}" for name, value in encoded.items())
    issued_at = now.replace(microsecond=0)
    expires_at = issued_at + timedelta(seconds=expires_s)
    if credentials.expires_at is not None:
        expires_at = min(expires_at, credentials.expires_at)
    return Token(f"{cache_id}/?{query}&X-Amz-Signature={signature}", issued_at=issued_at, expires_at=expires_at)


def percent_encoded(text: str) -> str:
    """Return `urllib.parse.quote(text, safe="")`, for the texts at hand at a twentieth of its price.

    A few replacements do; a text with anything else in it takes the long way.
    """
    encoded = text
    for character, escape in _ESCAPES:
        encoded = encoded.replace(character, escape)
    return encoded if _PERCENT_ENCODED.fullmatch(encoded) else quote(text, safe="")
