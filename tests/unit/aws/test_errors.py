"""The table from AWS's codes to ours, and what is shown of a failure."""

import botocore.session
import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from elasticache_iam.aws.errors import COMMON, ERRORS, MODELLED, SERVICE_TITLES, is_no_operation, translate
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotLeaderError,
    OperatorError,
    PermanentError,
    QuotaExceededError,
    RetryableError,
    ThrottledError,
    UnavailableError,
    UnexpectedAwsError,
)
from elasticache_iam.core.policy.operator import CALLS

SESSION = botocore.session.get_session()


def wire_codes(shapes):
    return {shape.metadata.get("error", {}).get("code", shape.name) for shape in shapes}


def answer(code, message="", *, status=400, operation="CreateUser", request_id="r-1"):
    return boto.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"RequestId": request_id, "HTTPStatusCode": status},
        },
        operation,
    )


def translated(error, *, service="elasticache", operation="CreateUser") -> OperatorError:
    result = translate(error, service=service, operation=operation)
    assert result is not None
    return result


def test_every_modelled_code_is_in_a_model_of_botocore():
    known = set()
    for service in SERVICE_TITLES:
        known |= wire_codes(SESSION.get_service_model(service).error_shapes)

    assert set(MODELLED) - known == set()


def test_no_common_code_is_a_modelled_one():
    assert set(COMMON) & set(MODELLED) == set()


@pytest.mark.parametrize(("service", "operation"), sorted(CALLS), ids=lambda value: value)
def test_every_error_that_a_call_of_ours_can_answer_is_in_the_table(service, operation):
    model = SESSION.get_service_model(service).operation_model(operation)

    assert wire_codes(model.error_shapes) - set(ERRORS) == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("UserAlreadyExists", AlreadyExistsError, id="a-taken-id-is-for-the-caller-to-judge"),
        pytest.param("InvalidUserState", BusyError, id="a-busy-user-is-retried-soon"),
        pytest.param("UserQuotaExceeded", QuotaExceededError, id="a-quota-is-retried-slowly"),
        pytest.param("UserNotFound", NotFoundError, id="a-missing-user-is-not-found"),
        pytest.param("DuplicateUserName", InvalidSpecError, id="a-duplicate-name-needs-an-edit"),
        pytest.param("InvalidParameterValue", InvalidSpecError, id="a-bad-parameter-needs-an-edit"),
        pytest.param("AccessDenied", AccessDeniedError, id="a-missing-right-is-retried-slowly"),
        pytest.param("Throttling", ThrottledError, id="throttling-is-told-apart"),
        pytest.param("LimitExceeded", QuotaExceededError, id="iam-limit-exceeded-is-a-quota-not-a-throttle"),
        pytest.param("InvalidIdentityToken", AccessDeniedError, id="a-refused-web-identity-is-no-edit"),
        pytest.param("ServiceLinkedRoleNotFoundFault", AccessDeniedError, id="a-missing-slr-is-not-a-missing-user"),
    ],
)
def test_a_code_is_translated(code, expected):
    assert type(translated(answer(code))) is expected


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        pytest.param(
            "InvalidParameterValue",
            "demo-a is not a member of user group demo-g.",
            ConflictError,
            id="a-member-that-left-asks-for-a-new-look",
        ),
        pytest.param(
            "UserNotFound",
            "user demo-a is not available for tagging",
            BusyError,
            id="a-user-being-modified-is-busy-not-gone",
        ),
        pytest.param(
            "MalformedPolicyDocument",
            "Invalid principal in policy: arn:aws:iam::111122223333:role/new",
            NotFoundError,
            id="a-principal-made-moments-ago-comes-later",
        ),
    ],
)
def test_the_message_tells_what_the_code_hides(code, message, expected):
    assert type(translated(answer(code, message))) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(503, UnavailableError), (500, UnavailableError), (429, ThrottledError), (400, UnexpectedAwsError)],
)
def test_an_unknown_code_goes_by_its_http_status(status, expected):
    assert type(translated(answer("SomethingNew", status=status))) is expected


def test_the_text_has_call_code_message_and_request_id():
    error = translated(answer("UserQuotaExceeded", "too many users", request_id="r-42"))

    assert str(error) == "ElastiCache CreateUser: UserQuotaExceeded: too many users (request id r-42)"
    assert error.code == "UserQuotaExceeded"
    assert error.request_id == "r-42"


def test_a_rule_may_set_its_own_pace():
    error = translated(answer("DeleteConflict"), service="iam", operation="DeleteRole")

    assert isinstance(error, RetryableError)
    assert error.retry_after_s == 60.0
    assert ConflictError.retry_after_s == 1.0


def test_a_signature_error_quotes_nothing_of_the_request():
    message = "The Canonical String for this request should have been 'x-amz-security-token:SESSIONTOKEN'"

    error = translated(answer("SignatureDoesNotMatch", message))

    assert "SESSIONTOKEN" not in str(error)


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", id="web-identity-token"),
        pytest.param("IQoJb3JpZ2luX2VjE" * 10, id="session-token"),
    ],
)
def test_what_looks_like_a_token_is_cut_out(secret):
    error = translated(answer("InvalidIdentityToken", f"bad token {secret} given"))

    assert secret not in str(error)
    assert "bad token […] given" in str(error)


def test_a_refused_parameter_is_not_quoted():
    error = translated(
        boto.ParamValidationError(report="Invalid type for parameter WebIdentityToken, value: SECRET, type: int")
    )

    assert isinstance(error, InvalidSpecError)
    assert "SECRET" not in str(error)
    assert "WebIdentityToken" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        boto.EndpointConnectionError(endpoint_url="https://elasticache.eu-central-1.amazonaws.com/"),
        boto.ConnectTimeoutError(endpoint_url="https://x/"),
        boto.ReadTimeoutError(endpoint_url="https://x/"),
        boto.ConnectionClosedError(endpoint_url="https://x/"),
        boto.ProxyConnectionError(proxy_url="http://p/"),
        boto.SSLError(endpoint_url="https://x/", error="certificate verify failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_connection_is_unavailable(error):
    assert type(translated(error)) is UnavailableError


def test_an_answer_that_cannot_be_read_is_none_and_not_quoted():
    error = translated(ResponseParserError("Unable to parse response, invalid XML: <html>hunter2</html>"))

    assert isinstance(error, UnavailableError)
    assert error.code == "ResponseParserError"
    assert error.message == "ElastiCache CreateUser: an answer that can't be read"


def test_an_untrusted_endpoint_tells_which_variable_to_set():
    error = translated(boto.SSLError(endpoint_url="https://x/", error="certificate verify failed"))

    assert "AWS_CA_BUNDLE" in str(error)


def test_missing_credentials_tell_how_to_give_them():
    error = translated(boto.NoCredentialsError())

    assert isinstance(error, AccessDeniedError)
    assert "eks.amazonaws.com/role-arn" in str(error)


def test_a_failure_to_get_own_credentials_says_so():
    error = translated(answer("InvalidIdentityToken", "no provider", operation="AssumeRoleWithWebIdentity"))

    assert "getting the operator's own credentials by AssumeRoleWithWebIdentity" in str(error)


def test_our_own_errors_pass():
    error = NotLeaderError("not the leader")

    assert translate(error, service="iam", operation="CreateRole") is error


def test_a_bug_is_nobody_elses_fault():
    assert translate(KeyError("x"), service="iam", operation="CreateRole") is None


def test_nothing_to_do_is_recognised():
    error = translated(answer("InvalidParameterCombination", "No modifications were requested"))

    assert is_no_operation(error)
    assert not is_no_operation(translated(answer("InvalidParameterCombination", "auth token enabled")))


@pytest.mark.parametrize("code", ["InvalidAction", "ValidationError"])
def test_a_malformed_request_waits_for_an_edit(code):
    assert isinstance(translated(answer(code)), PermanentError)
