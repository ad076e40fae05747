import json

import pytest

from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    ResourceQuotaExceededError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.kube.errors import FENCE_WORDS, ApiStatus, StatusCause, parse_status, to_error

# What kube-apiserver 1.36 answers when a JSON patch on a Secret leaves it with data that isn't base64. The operator may
# not patch Secrets; whatever else is quoted one day looks like this.
QUOTING = {
    "kind": "Status",
    "reason": "Invalid",
    "message": ' "" is invalid: patch: Invalid value: "{\\"data\\":{\\"password\\":\\"aHVudGVyMg==\\"}}": base64',
    "details": {
        "causes": [
            {
                "reason": "FieldValueInvalid",
                "message": 'Invalid value: "{\\"data\\":{\\"password\\":\\"aHVudGVyMg==\\"}}": base64',
                "field": "data[hunter2]",
            }
        ]
    },
}


def refuse(status, document, **headers):
    return parse_status(status, json.dumps({"kind": "Status", **document}).encode(), **headers)


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        pytest.param(401, "Unauthorized", AccessDeniedError, id="a-bad-credential-is-a-missing-right"),
        pytest.param(403, "Forbidden", AccessDeniedError, id="forbidden-is-a-missing-right"),
        pytest.param(404, "NotFound", NotFoundError, id="not-found"),
        pytest.param(409, "AlreadyExists", AlreadyExistsError, id="a-taken-name-is-no-conflict"),
        pytest.param(409, "Conflict", ConflictError, id="a-changed-object-is-a-conflict"),
        pytest.param(410, "Expired", ConflictError, id="an-expired-page-is-listed-again"),
        pytest.param(422, "Invalid", InvalidSpecError, id="invalid-waits-for-an-edit"),
        pytest.param(429, "TooManyRequests", ThrottledError, id="too-many-requests"),
        pytest.param(500, "InternalError", UnavailableError, id="an-internal-error-passes"),
        pytest.param(503, "", UnavailableError, id="unavailable"),
        pytest.param(418, "", UnavailableError, id="an-unknown-status-is-retried"),
    ],
)
def test_each_refusal_has_one_meaning(status, reason, error):
    translated = to_error(refuse(status, {"reason": reason}), what="get things a/b", confidential=False)

    assert type(translated) is error
    assert translated.code == (reason or str(status))


def test_a_terminating_namespace_is_as_good_as_gone():
    refusal = refuse(403, {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}})

    assert isinstance(to_error(refusal, what="create secrets a/b", confidential=True), NotFoundError)


@pytest.mark.parametrize("headers", [{"retry_after": "42"}, {}], ids=["header", "body"])
def test_the_server_says_when_to_come_back(headers):
    refusal = refuse(429, {} if headers else {"details": {"retryAfterSeconds": 42}}, **headers)

    assert to_error(refusal, what="get things", confidential=False).retry_after_s == 42.0


def test_a_short_retry_after_does_not_shorten_our_own():
    refusal = refuse(429, {}, retry_after="1")

    assert to_error(refusal, what="get things", confidential=False).retry_after_s == ThrottledError.retry_after_s


def test_a_retry_after_with_a_date_is_ignored():
    assert parse_status(503, b"", retry_after="Sat, 21 Nov 2026 09:00:00 GMT").retry_after_s is None


def test_an_error_says_what_was_tried_and_what_the_server_said():
    refusal = refuse(409, {"reason": "Conflict", "message": "the object has been modified"})

    error = to_error(refusal, what="patch usergroups shop/orders", confidential=False)

    assert str(error) == "patch usergroups shop/orders: the object has been modified"


def test_a_refusal_that_quotes_a_secret_is_not_repeated():
    refusal = parse_status(422, json.dumps(QUOTING).encode())

    error = to_error(refusal, what="patch secrets shop/checkout", confidential=True)

    assert str(error) == "patch secrets shop/checkout: 422 Invalid, FieldValueInvalid data"
    assert "aHVudGVyMg" not in repr(refusal) + str(error) + repr(error)


def test_a_missing_right_is_named_even_where_messages_are_withheld():
    message = (
        'secrets is forbidden: User "system:serviceaccount:ops:operator" cannot create resource "secrets" '
        'in API group "" in the namespace "shop"'
    )

    error = to_error(refuse(403, {"reason": "Forbidden", "message": message}), what="create secrets", confidential=True)

    assert 'cannot create resource "secrets" in API group "" in the namespace "shop"' in str(error)


QUOTA = "exceeded quota: team.a, requested: count/secrets=1, used: count/secrets=10, limited: count/secrets=10"


@pytest.mark.parametrize("confidential", [True, False])
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(f'secrets "checkout" is forbidden: {QUOTA}', id="used-up"),
        pytest.param(f"events.events.k8s.io is forbidden: {QUOTA}", id="of-an-object-without-a-name"),
        pytest.param('secrets "a" is forbidden: failed quota: team.a: must specify hunter2', id="unmet"),
        pytest.param('secrets "a" is forbidden: status unknown for quota: team.a, resources: x', id="not-counted-yet"),
    ],
)
def test_a_resource_quota_is_named_and_nothing_else_is_quoted(message, confidential):
    refusal = refuse(403, {"reason": "Forbidden", "message": message})

    error = to_error(refusal, what="create secrets shop", confidential=confidential)

    assert type(error) is ResourceQuotaExceededError
    assert (error.reason, error.code) == ("ResourceQuotaExceeded", "Forbidden")
    assert error.message == (
        "create secrets shop: the namespace's ResourceQuota team.a doesn't allow it: raise it, or delete what isn't "
        "needed; what counts shows: kubectl describe resourcequota team.a"
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(403, f'admission webhook "a.b" denied the request: {QUOTA}', id="a-webhooks-words"),
        pytest.param(403, 'secrets "a" is forbidden: exceeded quota: $(reboot), requested: 1', id="no-name"),
        pytest.param(403, f'secrets "a" is forbidden: exceeded quota: {"a" * 254}, requested: 1', id="a-long-name"),
        pytest.param(403, 'secrets "a" is forbidden: exceeded quota: a..b, requested: 1', id="no-dns-name"),
        pytest.param(409, f'secrets "a" is forbidden: {QUOTA}', id="no-403"),
    ],
)
def test_no_other_refusal_is_taken_for_a_quotas(status, message):
    refusal = refuse(status, {"reason": "Forbidden", "message": message})

    assert not isinstance(to_error(refusal, what="create secrets", confidential=True), ResourceQuotaExceededError)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"[]", b'{"kind":"Secret","message":"x"}'])
def test_an_answer_that_is_no_status_has_nothing_to_say(body):
    assert parse_status(502, body) == ApiStatus(502)


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(ApiStatus(409, message="the UID in the precondition (…)"), True, id="deletion"),
        pytest.param(ApiStatus(409, message="Precondition failed: UID in precondition: 1, …"), True, id="update"),
        pytest.param(ApiStatus(409, message='secrets "squid": the object has been modified'), False, id="modified"),
        pytest.param(ApiStatus(422, message="UID in precondition: 1, …"), False, id="no-conflict"),
    ],
)
def test_another_object_is_told_from_other_refusals(refusal, expected):
    assert refusal.is_other_object is expected


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(ApiStatus(422), True, id="a-failed-test-has-no-causes"),
        pytest.param(ApiStatus(422, causes=(StatusCause("spec", "FieldValueInvalid"),)), False, id="validation-has"),
        pytest.param(ApiStatus(409), False, id="a-conflict-is-none"),
    ],
)
def test_a_failed_test_is_told_from_a_refused_value(refusal, expected):
    assert refusal.is_failed_test is expected


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        pytest.param(
            403,
            f"ValidatingAdmissionPolicy 'x' with binding 'y' denied request: {FENCE_WORDS}: it hasn't made this one",
            True,
            id="our-policy",
        ),
        pytest.param(
            403,
            "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: Secrets need a team label",
            False,
            id="another-policy",
        ),
        pytest.param(403, 'User "x" cannot create resource "secrets" in API group ""', False, id="rbac"),
        pytest.param(403, f"admission webhook denied the request: {FENCE_WORDS}: no", False, id="a-webhook"),
        pytest.param(
            409, f"ValidatingAdmissionPolicy 'x' with binding 'y' denied request: {FENCE_WORDS}:", False, id="no-403"
        ),
    ],
)
def test_our_policy_is_told_from_all_else_that_forbids(status, message, expected):
    assert ApiStatus(status, message=message).is_fenced is expected
