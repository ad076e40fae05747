"""IAM's spelling of a policy is not a change; anything that means something else is."""

import itertools
import json
from typing import Any

import pytest

from elasticache_iam.core.policy import normal_form, same_policy


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> dict[str, Any]:
    return {"Version": version, "Statement": list(statements)}


def allow(**changes: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": ["arn:a", "arn:b"], **changes}


TRUST = {
    "Effect": "Allow",
    "Principal": {"Federated": "arn:provider"},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {"StringEquals": {"host:sub": "system:a", "host:aud": "x"}},
}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(policy(allow()), {"Version": "2012-10-17", "Statement": allow()}, id="one-statement-unlisted"),
        pytest.param(policy(allow()), policy(allow(Action=["elasticache:Connect"])), id="scalar-is-a-list-of-one"),
        pytest.param(policy(allow()), policy(allow(Resource=["arn:b", "arn:a"])), id="order-of-resources"),
        pytest.param(policy(allow()), policy(allow(Resource=["arn:b", "arn:a", "arn:a"])), id="repetition"),
        pytest.param(policy(allow()), policy(allow(Action="ElastiCache:connect")), id="case-of-actions"),
        pytest.param(policy(allow()), policy(allow(Sid="Name")), id="names-of-statements"),
        pytest.param(policy(allow(), TRUST), policy(TRUST, allow()), id="order-of-statements"),
        pytest.param(policy(allow()), policy(allow(), allow()), id="a-statement-twice"),
        pytest.param(
            policy(TRUST),
            policy(TRUST | {"Condition": {"StringEquals": {"HOST:aud": ["x"], "host:sub": ["system:a"]}}}),
            id="conditions-case-of-keys-and-lists",
        ),
        pytest.param(
            policy(TRUST), policy(TRUST | {"Principal": {"Federated": ["arn:provider"]}}), id="a-listed-principal"
        ),
        pytest.param(
            policy(allow(Condition={"Bool": {"k": True}})),
            policy(allow(Condition={"Bool": {"k": "true"}})),
            id="a-boolean-as-text",
        ),
    ],
)
def test_another_spelling_is_the_same(a: dict[str, Any], b: dict[str, Any]):
    assert same_policy(a, b)
    assert same_policy(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(policy(allow()), policy(allow(Effect="Deny")), id="effect"),
        pytest.param(policy(allow()), policy(allow(Resource=["arn:a"])), id="fewer-resources"),
        pytest.param(policy(allow()), policy(allow(Resource=["arn:A", "arn:b"])), id="case-of-resources"),
        pytest.param(policy(allow()), policy(allow(Action="elasticache:*")), id="action"),
        pytest.param(policy(allow()), policy(allow(), TRUST), id="one-statement-more"),
        pytest.param(policy(allow()), policy(), id="no-statement"),
        pytest.param(policy(allow()), {}, id="nothing"),
        pytest.param(policy(allow()), policy(allow(), version="2008-10-17"), id="version"),
        pytest.param(policy(TRUST), policy(TRUST | {"Condition": {}}), id="no-condition"),
        pytest.param(
            policy(TRUST),
            policy(TRUST | {"Condition": {"StringLike": TRUST["Condition"]["StringEquals"]}}),
            id="condition-operator",
        ),
        pytest.param(
            policy(TRUST),
            policy(TRUST | {"Condition": {"StringEquals": {"host:sub": "system:A", "host:aud": "x"}}}),
            id="case-of-a-conditions-value",
        ),
        pytest.param(policy(TRUST), policy(TRUST | {"Principal": "*"}), id="principal"),
        pytest.param(
            policy(allow()),
            policy({"Effect": "Allow", "NotAction": "elasticache:Connect", "Resource": ["arn:a", "arn:b"]}),
            id="not-action",
        ),
    ],
)
def test_another_meaning_is_not_the_same(a: dict[str, Any], b: dict[str, Any]):
    assert not same_policy(a, b)
    assert not same_policy(b, a)


def test_a_policy_is_the_same_after_a_trip_through_json():
    document = policy(allow(), TRUST)

    assert same_policy(document, json.loads(json.dumps(document)))


def test_the_normal_form_is_one_for_all_orders_and_another_for_another_meaning():
    statements = [allow(), allow(Effect="Deny"), TRUST]

    forms = {normal_form(policy(*order)) for order in itertools.permutations(statements)}

    assert len(forms) == 1
    assert normal_form(policy(*statements[:2])) not in forms
