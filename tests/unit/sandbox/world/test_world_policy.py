import json

import pytest
from tests.unit.sandbox.world.ground import allow, arn, deny, document

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.policy import Effect, evaluate, parse_policy, parse_trust_policy

USER = arn("user", "demo-app")
CACHE = arn("replicationgroup", "orders-prod")
CREATE = "elasticache:CreateUser"


def effect(*statements, action=CREATE, resource=USER, **context):
    return evaluate([parse_policy(document(*statements))], action, resource, context)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param([allow(CREATE)], Effect.ALLOW, id="allow"),
        pytest.param([allow("elasticache:DeleteUser")], Effect.NOTHING, id="another-action"),
        pytest.param([allow("*")], Effect.ALLOW, id="all-actions"),
        pytest.param([allow("elasticache:*")], Effect.ALLOW, id="all-actions-of-a-service"),
        pytest.param([allow("elasticache:Create*")], Effect.ALLOW, id="wildcard"),
        pytest.param([allow("elasticache:CreateUse?")], Effect.ALLOW, id="question-mark"),
        pytest.param([allow("ELASTICACHE:createuser")], Effect.ALLOW, id="case-does-not-matter"),
        pytest.param([allow(["iam:GetRole", CREATE])], Effect.ALLOW, id="one-of-many-actions"),
        pytest.param([allow(CREATE), deny(CREATE)], Effect.DENY, id="an-explicit-deny-wins"),
        pytest.param([deny(CREATE), allow(CREATE)], Effect.DENY, id="whatever-the-order"),
        pytest.param([allow(CREATE), deny("iam:*")], Effect.ALLOW, id="a-deny-of-something-else"),
        pytest.param([allow(CREATE, arn("user", "demo-*"))], Effect.ALLOW, id="resource-wildcard"),
        pytest.param([allow(CREATE, arn("user", "other-*"))], Effect.NOTHING, id="another-resource"),
        pytest.param([allow(CREATE, arn("user", "DEMO-app"))], Effect.NOTHING, id="resources-mind-their-case"),
        pytest.param([allow(CREATE, "arn:aws:elasticache:*:*:user:*")], Effect.ALLOW, id="wildcards-in-parts"),
        pytest.param([allow(CREATE, "arn:aws:elasticache:eu*:user:x:y")], Effect.NOTHING, id="parts-are-apart"),
        pytest.param([allow(CREATE, [CACHE, USER])], Effect.ALLOW, id="one-of-many-resources"),
        pytest.param(
            [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], Effect.ALLOW, id="not-action-lets-others"
        ),
        pytest.param(
            [{"Effect": "Allow", "NotAction": CREATE, "Resource": "*"}], Effect.NOTHING, id="not-action-leaves-out"
        ),
        pytest.param(
            [{"Effect": "Allow", "Action": CREATE, "NotResource": CACHE}], Effect.ALLOW, id="not-resource-lets-others"
        ),
        pytest.param(
            [{"Effect": "Allow", "Action": CREATE, "NotResource": USER}], Effect.NOTHING, id="not-resource-leaves-out"
        ),
    ],
)
def test_statements_are_matched(statements, expected):
    assert effect(*statements) is expected


ENV = {"aws:resourcetag/owner": ("demo",)}
PRINCIPAL = {"aws:principalarn": ("arn:aws:iam::1:role/x/y",)}
TIMES = dict.fromkeys(("aws:tokenissuetime", "aws:currenttime"), ("2025-01-01T00:00:00+00:00",))
KEYS = {"aws:tagkeys": ("owner", "team")}


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"aws:ResourceTag/owner": "demo"}}, ENV, True),
        ({"StringEquals": {"aws:resourcetag/OWNER": "demo"}}, ENV, True),
        ({"StringEquals": {"aws:ResourceTag/owner": ["x", "demo"]}}, ENV, True),
        ({"StringEquals": {"aws:ResourceTag/owner": "Demo"}}, ENV, False),
        ({"StringEquals": {"aws:ResourceTag/owner": "demo"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/owner": "demo"}}, {}, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/owner": "x"}}, ENV, False),
        ({"StringEqualsIgnoreCase": {"aws:ResourceTag/owner": "DEMO"}}, ENV, True),
        ({"StringNotEquals": {"aws:ResourceTag/owner": "x"}}, ENV, True),
        ({"StringNotEquals": {"aws:ResourceTag/owner": ["x", "demo"]}}, ENV, False),
        ({"StringNotEquals": {"aws:ResourceTag/owner": "x"}}, {}, True),
        ({"StringLike": {"aws:ResourceTag/owner": "d*o"}}, ENV, True),
        ({"StringLike": {"aws:ResourceTag/owner": "d?o"}}, ENV, False),
        ({"StringNotLike": {"aws:ResourceTag/owner": "d*"}}, ENV, False),
        ({"Null": {"aws:ResourceTag/owner": "true"}}, ENV, False),
        ({"Null": {"aws:ResourceTag/owner": "true"}}, {}, True),
        ({"Null": {"aws:ResourceTag/owner": False}}, ENV, True),
        ({"Null": {"elasticache:CacheNodeType": "true"}}, {}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["owner", "team"]}}, KEYS, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]}}, KEYS, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]}}, {}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["stage"]}}, KEYS, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["team"]}}, KEYS, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["team", "x"]}}, KEYS, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["x"]}}, KEYS, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["team"]}}, {}, False),
        ({"ForAnyValue:StringNotLike": {"aws:TagKeys": ["own*"]}}, KEYS, True),
        ({"ForAnyValue:StringNotLike": {"aws:TagKeys": ["*"]}}, KEYS, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:securetransport": ("true",)}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws:securetransport": ("true",)}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x/*"}}, PRINCIPAL, True),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:role/z"}}, PRINCIPAL, False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/z"}}, PRINCIPAL, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}, {"aws:sourceip": ("10.1.2.3",)}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": ("10.1.2.3",)}, False),
        ({"NumericLessThan": {"elasticache:NumNodeGroups": 3}}, {"elasticache:numnodegroups": ("2",)}, True),
        ({"NumericNotEquals": {"elasticache:NumNodeGroups": "2"}}, {"elasticache:numnodegroups": ("2",)}, False),
        ({"DateLessThan": {"aws:TokenIssueTime": "2026-01-01T00:00:00Z"}}, TIMES, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "1767225600"}}, TIMES, False),
        ({"StringEquals": {"oidc.example/id/X:sub": "a"}}, {"oidc.example/id/x:sub": ("a",)}, True),
        ({"StringEquals": {"127.0.0.1:6443:aud": "a"}}, {"127.0.0.1:6443:aud": ("a",)}, True),
        ({"StringEquals": {"aws:ResourceTag/owner": "demo"}, "Null": {"aws:TagKeys": "true"}}, {**ENV, **KEYS}, False),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_conditions_hold_or_do_not(condition, context, holds):
    assert (effect(allow(CREATE, Condition=condition), **context) is Effect.ALLOW) is holds


@pytest.mark.parametrize(
    "condition",
    [
        {"BinaryEquals": {"aws:PrincipalArn": "x"}},
        {"ForSomeValues:StringEquals": {"aws:TagKeys": "x"}},
        {"StringEquals": {"aws:SourceVpce": "x"}},
        {"StringEquals": {"elasticache:Durability": "x"}},
        {"StringEquals": {"s3:prefix": "x"}},
        {"StringEquals": {"aws:TagKeys": "x"}},
        {"StringEquals": {"aws:ResourceTag/owner": "${aws:PrincipalTag/owner}"}},
    ],
    ids=json.dumps,
)
def test_what_is_not_known_is_refused_when_written(condition):
    with pytest.raises(AwsError, match=r"^NotImplementedInSandbox"):
        parse_policy(document(allow(CREATE, Condition=condition)))


def test_a_key_that_cannot_be_known_in_a_place_is_refused_when_evaluated():
    policy = parse_policy(document(allow(CREATE, Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})))

    with pytest.raises(AwsError, match=r"^NotImplementedInSandbox"):
        evaluate([policy], CREATE, USER, {"aws:sourceip": None})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nonsense", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param('{"Version": "2012-10-17"}', id="no-statement"),
        pytest.param('{"Version": "2012-10-17", "Statement": []}', id="empty"),
        pytest.param('{"Version": "2020-01-01", "Statement": [{}]}', id="unknown-version"),
        pytest.param('{"Vershun": "2012-10-17", "Statement": [{}]}', id="unknown-element"),
        pytest.param(document({"Effect": "Perhaps", "Action": "iam:*", "Resource": "*"}), id="unknown-effect"),
        pytest.param(document({"Effect": "Allow", "Resource": "*"}), id="no-action"),
        pytest.param(document({"Effect": "Allow", "Action": "iam:*"}), id="no-resource"),
        pytest.param(document({"Effect": "Allow", "Action": "GetRole", "Resource": "*"}), id="no-service"),
        pytest.param(document(allow("iam:*", "my-bucket")), id="no-arn"),
        pytest.param(document(allow("iam:*", "arn:aws:iam::*")), id="too-short-an-arn"),
        pytest.param(document(allow("iam:*", Principal="*")), id="principal"),
        pytest.param(document(allow("iam:*", Sid="a"), allow("iam:*", Sid="a")), id="sid-twice"),
        pytest.param(document(allow("iam:*", Nonsense=1)), id="unknown-element-of-a-statement"),
        pytest.param(
            document(allow("iam:*", Condition={"NumericEquals": {"elasticache:NumNodeGroups": "x"}})), id="nan"
        ),
        pytest.param(document(allow("iam:*")).replace("iam", "iam\u20ac"), id="characters"),
    ],
)
def test_a_policy_that_cannot_be_read_is_malformed(text):
    with pytest.raises(AwsError, match=r"^MalformedPolicyDocument"):
        parse_policy(text)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param({"Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"}, id="resource"),
        pytest.param({"Action": "sts:AssumeRole"}, id="no-principal"),
        pytest.param({"Principal": {"Somebody": "x"}, "Action": "sts:AssumeRole"}, id="unknown-principal"),
        pytest.param({"Principal": "*", "Action": "iam:GetRole"}, id="another-service"),
    ],
)
def test_a_trust_policy_that_cannot_be_read_is_malformed(statement):
    with pytest.raises(AwsError, match=r"^MalformedPolicyDocument"):
        parse_trust_policy(document({"Effect": "Allow", **statement}))
