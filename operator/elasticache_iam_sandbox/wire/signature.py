"""Signatures of requests (SigV4 in the Authorization header), verified by computing them again.

botocore computes, on purpose: the operator has a signer of its own, and two implementations check each other.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import ReadOnlyCredentials

from elasticache_iam_sandbox.world.call import AwsError, SigningIdentity

MAX_SKEW = timedelta(minutes=15)
"""How far a request's date may be from AWS's clock, either way. Source: IAM user guide, "Signature Version 4"."""

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105  # AWS's message
_WRONG_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+"
    r"Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as the client signed it.

    Attributes:
        method: GET, POST …
        url: Scheme, host, raw path and raw query, nothing decoded.
        headers: By lower-case name.
        body: As sent.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Authorization:
    """What the Authorization header says."""

    access_key_id: str
    date: str
    region: str
    service: str
    """The signing name: tagging, not resourcegroupstaggingapi."""
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(request: HttpRequest) -> Authorization | None:
    """Return what the Authorization header says; None if there is none.

    Raises:
        AwsError: There is one, but not of SigV4.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    match = _HEADER.fullmatch(header.strip())
    if match is None:
        raise AwsError("IncompleteSignature", "The Authorization header is not a complete SigV4 signature.", 403)
    return Authorization(
        access_key_id=match["key"],
        date=match["date"],
        region=match["region"],
        service=match["service"],
        signed_headers=tuple(match["headers"].split(";")),
        signature=match["signature"],
    )


def verify_signature(
    request: HttpRequest, authorization: Authorization, identity: SigningIdentity | None, *, now: datetime
) -> None:
    """Check that the request was signed with this identity's secret, recently, for these very bytes.

    Args:
        request: As it came.
        authorization: Parsed from it.
        identity: Whose the access key is; None if nobody's.
        now: AWS's clock, aware.

    Raises:
        AwsError: With the query protocol's code; JSON services word it differently (see the codec).
    """
    if identity is None:
        raise AwsError("InvalidClientTokenId", _INVALID_TOKEN, 403)
    token = request.headers.get("x-amz-security-token", "")
    if not hmac.compare_digest(token.encode(), (identity.session_token or "").encode()):
        raise AwsError("InvalidClientTokenId", _INVALID_TOKEN, 403)
    signed_at = _signed_at(request)
    if signed_at.strftime("%Y%m%d") != authorization.date:
        raise AwsError("SignatureDoesNotMatch", "Date in Credential scope does not match the request's date.", 403)
    _check_skew(signed_at, now)
    expected = _compute(request, authorization, identity, signed_at)
    if not hmac.compare_digest(expected, authorization.signature):
        raise AwsError("SignatureDoesNotMatch", _WRONG_SIGNATURE, 403)
    if identity.expires_at is not None and now >= identity.expires_at:
        raise AwsError("ExpiredToken", "The security token included in the request is expired", 403)


def missing_signature() -> AwsError:
    """Return what AWS says to a request without a signature."""
    return AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)


def _signed_at(request: HttpRequest) -> datetime:
    try:
        if amz_date := request.headers.get("x-amz-date"):
            return datetime.strptime(amz_date, _TIMESTAMP).replace(tzinfo=UTC)
        return parsedate_to_datetime(request.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        message = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        raise AwsError("IncompleteSignature", message, 403) from None


def _check_skew(signed_at: datetime, now: datetime) -> None:
    def text(moment: datetime) -> str:
        return moment.strftime(_TIMESTAMP)

    if signed_at < now - MAX_SKEW:
        message = f"Signature expired: {text(signed_at)} is now earlier than {text(now - MAX_SKEW)}"
        raise AwsError("SignatureDoesNotMatch", f"{message} ({text(now)} - 15 min.)", 403)
    if signed_at > now + MAX_SKEW:
        message = f"Signature not yet current: {text(signed_at)} is still later than {text(now + MAX_SKEW)}"
        raise AwsError("SignatureDoesNotMatch", f"{message} ({text(now)} + 15 min.)", 403)


def _compute(request: HttpRequest, authorization: Authorization, identity: SigningIdentity, signed_at: datetime) -> str:
    credentials: Any = ReadOnlyCredentials(identity.access_key_id, identity.secret_access_key, identity.session_token)
    signer: Any = SigV4Auth(credentials, authorization.service, authorization.region)
    aws_request: Any = AWSRequest(method=request.method, url=request.url)
    aws_request.context["timestamp"] = signed_at.strftime(_TIMESTAMP)
    signed = HTTPHeaders()
    for name in authorization.signed_headers:
        signed[name] = request.headers.get(name, "")
    # As botocore's `canonical_request`, but over just the headers that this client signed (others' SDKs choose
    # differently), and over the body that came: the client's own x-amz-content-sha256 is not believed.
    canonical = "\n".join(
        (
            request.method.upper(),
            signer._normalize_url_path(urlsplit(request.url).path),  # noqa: SLF001  # a step of `canonical_request`
            signer.canonical_query_string(aws_request),
            f"{signer.canonical_headers(signed)}\n",
            signer.signed_headers(signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    return str(signer.signature(signer.string_to_sign(aws_request, canonical), aws_request))
