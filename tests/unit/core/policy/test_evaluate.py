"""What a role that isn't ours allows, as far as its documents tell."""

from typing import Any

import pytest

from elasticache_iam.core.policy import Verdict, admitted_accounts, judge_connect, judge_trust, trust_policy

USER = "arn:aws:elasticache:eu-west-1:111122223333:user:checkout"
CACHE = "arn:aws:elasticache:eu-west-1:111122223333:replicationgroup:orders"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"
HOST = "oidc.eks.eu-west-1.amazonaws.com/id/ABC"
PROVIDER = f"arn:aws:iam::111122223333:oidc-provider/{HOST}"
OURS = "elasticache-iam.dev/sign"
SUB = "system:serviceaccount:shop:checkout"
YES, NO, UNKNOWN = Verdict.YES, Verdict.NO, Verdict.UNKNOWN


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any = "elasticache:Connect", resource: Any = (USER, CACHE), **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "elasticache:Connect", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


IF_TLS = {"Condition": {"Bool": {"aws:SecureTransport": "true"}}}


@pytest.mark.parametrize(
    ("documents", "verdict"),
    [
        pytest.param([], NO, id="nothing-allows-nothing"),
        pytest.param([policy(allow())], YES, id="both-arns"),
        pytest.param([{"Statement": allow("*", "*")}], YES, id="all-in-one-statement-without-a-list"),
        pytest.param([policy(allow("ElastiCache:con*"))], YES, id="actions-know-no-case-but-patterns"),
        pytest.param([policy(allow(resource=USER))], NO, id="the-user-alone-is-not-enough"),
        pytest.param([policy(allow(resource=USER)), policy(allow(resource=CACHE))], YES, id="of-several-policies"),
        pytest.param([policy(allow("memorydb:Connect"))], NO, id="another-services-connect"),
        pytest.param([policy(allow(), deny())], NO, id="a-denial-wins"),
        pytest.param([policy(allow(), deny("elasticache:Delete*"))], YES, id="a-denial-of-something-else"),
        pytest.param([policy(allow(**IF_TLS))], UNKNOWN, id="a-condition-is-for-aws-to-judge"),
        pytest.param([policy(allow(), deny(**IF_TLS))], UNKNOWN, id="so-is-a-denials"),
        pytest.param([policy({"Effect": "Allow", "NotAction": "iam:*", "NotResource": "x"})], YES, id="all-but"),
        pytest.param([policy({"Effect": "Allow", "NotAction": "elasticache:*", "Resource": "*"})], NO, id="all-but-us"),
    ],
)
def test_connect(documents: list[Any], verdict: Verdict):
    assert judge_connect(documents, user_arn=USER, cache_arns=[CACHE], service="elasticache") is verdict


def trust(*, provider: str = PROVIDER, effect: str = "Allow", action: Any = "", **condition: Any) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Principal": {"Federated": provider},
        "Action": action or "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }


def names(subject: Any = SUB, audience: Any = OURS) -> dict[str, Any]:
    return {f"{HOST}:sub": subject, f"{HOST}:aud": audience}


def judge(*statements: dict[str, Any], exact: bool) -> Verdict:
    return judge_trust(
        policy(*statements),
        provider_arn=PROVIDER,
        issuer=ISSUER,
        audience=OURS,
        subject=("shop", "checkout"),
        exact=exact,
    )


@pytest.mark.parametrize(
    ("statements", "as_aws", "as_consent"),
    [
        pytest.param([trust(StringEquals=names())], YES, YES, id="named"),
        pytest.param([trust(StringEquals=names([SUB, "another"]))], YES, YES, id="named-among-others"),
        pytest.param([trust(StringLike=names())], YES, YES, id="a-pattern-without-wildcards"),
        pytest.param([trust(StringLike=names("system:serviceaccount:shop:*"))], YES, NO, id="a-wildcard-names-nobody"),
        pytest.param([trust(StringEquals={f"{HOST}:aud": OURS})], YES, NO, id="everybody-is-nobody"),
        pytest.param([trust(StringEquals={f"{HOST}:sub": SUB})], YES, NO, id="any-audience-is-none"),
        pytest.param([trust(StringEquals=names(audience="sts.amazonaws.com"))], NO, NO, id="another-audience"),
        pytest.param([trust(StringEquals=names("system:serviceaccount:shop:x"))], NO, NO, id="another-account"),
        pytest.param([trust(StringNotEquals=names("x", "y"))], YES, NO, id="all-but-some"),
        pytest.param([trust(provider=PROVIDER + "X", StringEquals=names())], NO, NO, id="another-cluster"),
        pytest.param([trust(action="sts:AssumeRole", StringEquals=names())], NO, NO, id="another-call"),
        pytest.param([trust(action="sts:*", StringEquals=names())], YES, YES, id="any-call"),
        pytest.param(
            [trust(StringEquals=names(), IpAddress={"aws:SourceIp": "10.0.0.0/8"})],
            UNKNOWN,
            UNKNOWN,
            id="from-somewhere",
        ),
        pytest.param(
            [trust(StringEquals=names()), trust(effect="Deny", StringLike={f"{HOST}:sub": "*:shop:*"})],
            NO,
            NO,
            id="denied-by-a-pattern",
        ),
        pytest.param([{**trust(), "Principal": {"AWS": "*"}}], NO, NO, id="another-kind-of-principal"),
        pytest.param([], NO, NO, id="nobody"),
    ],
)
def test_trust(statements: list[Any], as_aws: Verdict, as_consent: Verdict):
    assert judge(*statements, exact=False) is as_aws
    assert judge(*statements, exact=True) is as_consent


def test_what_we_ask_for_is_what_we_accept():
    document = trust_policy(provider_arn=PROVIDER, issuer=ISSUER, audience=OURS, subjects=(("shop", "checkout"),))

    assert judge(*document["Statement"], exact=True) is YES


def test_a_trust_policy_of_ours_tells_whom_it_admits():
    subjects = (("shop", "checkout"), ("shop", "worker"))
    document = trust_policy(provider_arn=PROVIDER, issuer=ISSUER, audience=OURS, subjects=subjects)

    assert admitted_accounts(document, issuer=ISSUER, namespace="shop") == {"checkout", "worker"}
    assert admitted_accounts(document, issuer=ISSUER, namespace="other") == frozenset()
