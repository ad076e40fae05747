"""Signatures that are wrong in one way each."""

from datetime import timedelta

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.wire.signature import HttpRequest, parse_authorization, verify_signature
from elasticache_iam_sandbox.world.call import AwsError

ONCE = Config(retries={"total_max_attempts": 1})


def refusal(session, service="sts", operation="get_caller_identity"):
    with pytest.raises(ClientError) as caught:
        getattr(session.client(service, config=ONCE), operation)()
    return caught.value.response


def code(session, service="sts", operation="get_caller_identity"):
    return refusal(session, service, operation)["Error"]["Code"]


def test_a_right_signature_is_accepted(world, session):
    session.client("sts").get_caller_identity()

    assert world.calls[0].access_key_id == "AKIDEXAMPLE"


def test_a_sessions_signature_is_accepted_with_its_token(world, aws):
    session = aws.session("ASIDEXAMPLE", "SECRETEXAMPLE", "eu-central-1", "SESSION/TOKEN+EXAMPLE==")

    session.client("sts").get_caller_identity()

    assert world.calls[0].access_key_id == "ASIDEXAMPLE"


def test_a_wrong_secret_is_a_wrong_signature(world, aws):
    response = refusal(aws.session("AKIDEXAMPLE", "WRONG", "eu-central-1"))

    assert response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert world.calls == []


def test_an_unknown_key_is_an_invalid_token(aws):
    response = refusal(aws.session("AKIDNOBODY", "SECRETEXAMPLE", "eu-central-1"))

    assert response["Error"]["Code"] == "InvalidClientTokenId"
    assert response["Error"]["Message"] == "The security token included in the request is invalid."


@pytest.mark.parametrize("token", [None, "ANOTHER"], ids=["missing", "another"])
def test_a_session_needs_its_own_token(aws, token):
    assert code(aws.session("ASIDEXAMPLE", "SECRETEXAMPLE", "eu-central-1", token)) == "InvalidClientTokenId"


def test_a_long_lived_key_takes_no_token(aws):
    assert code(aws.session("AKIDEXAMPLE", "SECRETEXAMPLE", "eu-central-1", "TOKEN")) == "InvalidClientTokenId"


def test_an_expired_session_says_so(world, aws):
    session = aws.session("ASIDEXAMPLE", "SECRETEXAMPLE", "eu-central-1", "SESSION/TOKEN+EXAMPLE==")
    identity = world.identities["ASIDEXAMPLE"]
    world.identities["ASIDEXAMPLE"] = type(identity)(
        identity.access_key_id,
        identity.secret_access_key,
        identity.session_token,
        world.now(),
        identity.account_id,
        identity.principal_arn,
    )

    assert code(session) == "ExpiredToken"


@pytest.mark.parametrize(
    ("offset", "message"),
    [(timedelta(minutes=16), "Signature expired"), (timedelta(minutes=-16), "Signature not yet current")],
    ids=["our-clock-is-late", "our-clock-is-early"],
)
def test_a_skewed_clock_is_refused(world, session, offset, message):
    world.clock_offset = offset

    error = refusal(session)["Error"]

    assert error["Code"] == "SignatureDoesNotMatch"
    assert error["Message"].startswith(message)


@pytest.mark.parametrize("minutes", [14, -14])
def test_a_little_skew_is_forgiven(world, session, minutes):
    world.clock_offset = timedelta(minutes=minutes)

    session.client("sts").get_caller_identity()

    assert len(world.calls) == 1


@pytest.mark.parametrize(
    ("service", "operation", "status"),
    [("eks", "list_clusters", 403), ("resourcegroupstaggingapi", "get_resources", 400)],
)
def test_json_services_have_their_own_codes(aws, service, operation, status):
    wrong_secret = refusal(aws.session("AKIDEXAMPLE", "WRONG", "eu-central-1"), service, operation)
    unknown_key = refusal(aws.session("AKIDNOBODY", "WRONG", "eu-central-1"), service, operation)

    assert wrong_secret["Error"]["Code"] == "InvalidSignatureException"
    assert unknown_key["Error"]["Code"] == "UnrecognizedClientException"
    assert wrong_secret["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_call_without_signature_is_refused(world, aws):
    from botocore import UNSIGNED

    session = aws.session("AKIDEXAMPLE", "SECRETEXAMPLE", "eu-central-1")
    client = session.client("elasticache", config=Config(signature_version=UNSIGNED))

    with pytest.raises(ClientError) as caught:
        client.describe_users()

    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationToken"
    assert world.calls == []


def test_the_signature_covers_the_body(world, session):
    def forge(request, **_):
        request.body = request.body.replace("UserId=a", "UserId=b")

    session.events.register_first("before-send", forge)

    with pytest.raises(ClientError) as caught:
        session.client("elasticache").delete_user(UserId="a")

    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert world.calls == []


def test_other_headers_than_botocores_may_be_signed(world):
    # As the Go SDK does, which signs content-length and x-amz-content-sha256 too.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    signed = AWSRequest(
        "POST",
        "https://127.0.0.1:4000/",
        data=body,
        headers={"content-length": str(len(body)), "amz-sdk-invocation-id": "1"},
    )
    SigV4Auth(ReadOnlyCredentials("AKIDEXAMPLE", "SECRETEXAMPLE", None), "sts", "eu-central-1").add_auth(signed)
    headers = {name.lower(): value for name, value in signed.headers.items()} | {
        "host": "127.0.0.1:4000",
        "user-agent": "x",
    }
    request = HttpRequest("POST", signed.url, headers, body)

    verify_signature(request, parse_authorization(request), world.signing_identity("AKIDEXAMPLE"), now=world.now())

    assert "content-length" in parse_authorization(request).signed_headers


@pytest.mark.parametrize("header", ["Basic Zm9v", "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu/sts/aws4_request", ""])
def test_another_kind_of_authorization_is_incomplete(header):
    request = HttpRequest("POST", "https://127.0.0.1/", {"authorization": header}, b"")

    with pytest.raises(AwsError) as caught:
        parse_authorization(request)

    assert caught.value.code == "IncompleteSignature"


def test_signatures_are_not_checked_where_a_test_says_so(world):
    unchecked = InProcessAws(world, verify_signatures=False)

    unchecked.client("sts", "AKIDANY", "WRONG", "eu-central-1").get_caller_identity()

    assert world.calls[0].access_key_id == "AKIDANY"


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-central-1/sts/aws4_request, "
    f"SignedHeaders=host, Signature={'0' * 64}"
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "IncompleteSignature"),
        ({"x-amz-date": "yesterday"}, "IncompleteSignature"),
        ({"x-amz-date": "20260102T000000Z"}, "SignatureDoesNotMatch"),
        ({"date": "Fri, 02 Jan 2026 00:00:00 GMT"}, "SignatureDoesNotMatch"),
    ],
    ids=["no-date", "no-iso-date", "not-the-scopes-day", "not-the-scopes-day-in-the-other-header"],
)
def test_a_date_is_needed_and_is_the_scopes(world, headers, expected):
    request = HttpRequest("POST", "https://127.0.0.1/", {"authorization": SIGNED} | headers, b"")
    identity = world.signing_identity("AKIDEXAMPLE")

    with pytest.raises(AwsError) as caught:
        verify_signature(request, parse_authorization(request), identity, now=world.now())

    assert caught.value.code == expected
