"""What a role that isn't ours allows, as far as its documents tell."""

from typing import Any

import pytest

from elasticache_iam.core.policy import (
    Verdict,
    admitted_accounts,
    judge_connect,
    judge_pod_identity,
    judge_role_chain,
    judge_trust,
    pod_identity_trust,
    role_chain_trust,
    trust_policy,
)

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


# -- the operator's own role ---------------------------------------------------------------------------------------

OPERATOR = "arn:aws:iam::111122223333:role/platform/operator"
ID = "prod/shop/checkout"


def chain(principal: Any = OPERATOR, **equals: str) -> dict[str, Any]:
    condition = {"Condition": {"StringEquals": equals}} if equals else {}
    return policy({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", **condition})


@pytest.mark.parametrize(
    ("document", "loosely", "exactly"),
    [
        pytest.param(role_chain_trust(principal_arn=OPERATOR, external_id=ID), YES, YES, id="as-we-write-it"),
        pytest.param(chain(**{"sts:ExternalId": "prod/shop/other"}), NO, NO, id="another-users-external-id"),
        pytest.param(chain(), YES, NO, id="any-external-id-is-no-consent"),
        pytest.param(chain("arn:aws:iam::111122223333:role/other"), NO, NO, id="another-role"),
        pytest.param(chain("111122223333"), UNKNOWN, NO, id="the-account-leaves-it-to-our-own-policy"),
        pytest.param(chain("arn:aws:iam::444455556666:root"), NO, NO, id="another-account"),
        pytest.param(
            policy(*chain(**{"sts:ExternalId": ID})["Statement"], {**chain()["Statement"][0], "Effect": "Deny"}),
            NO,
            NO,
            id="a-denial-wins",
        ),
    ],
)
def test_who_trusts_the_operator(document: dict[str, Any], loosely: Verdict, exactly: Verdict):
    assert judge_role_chain(document, principal_arn=OPERATOR, external_id=ID, exact=False) is loosely
    assert judge_role_chain(document, principal_arn=OPERATOR, external_id=ID, exact=True) is exactly


# -- pods ------------------------------------------------------------------------------------------------------------

CLUSTER = "arn:aws:eks:eu-west-1:111122223333:cluster/main"


def pods(action: Any = ("sts:AssumeRole", "sts:TagSession"), **tags: str) -> dict[str, Any]:
    equals = {f"aws:RequestTag/{name.replace('_', '-')}": value for name, value in tags.items()}
    condition = {"Condition": {"StringEquals": equals}} if equals else {}
    principal = {"Service": "pods.eks.amazonaws.com"}
    return policy({"Effect": "Allow", "Principal": principal, "Action": list(action), **condition})


@pytest.mark.parametrize(
    ("document", "loosely", "exactly"),
    [
        pytest.param(
            pod_identity_trust(cluster_arn=CLUSTER, subjects=(("shop", "checkout"), ("shop", "worker"))),
            YES,
            YES,
            id="as-we-write-it",
        ),
        pytest.param(pods(), YES, NO, id="any-pod-is-no-consent"),
        pytest.param(pods(kubernetes_namespace="shop"), YES, NO, id="nor-is-any-of-the-namespace"),
        pytest.param(pods(kubernetes_namespace="web"), NO, NO, id="another-namespace"),
        pytest.param(pods(eks_cluster_name="other"), NO, NO, id="another-cluster"),
        pytest.param(pods(("sts:AssumeRole",)), NO, NO, id="without-session-tags-eks-can-not-take-it"),
        pytest.param(pods(kubernetes_pod_name="x-1"), UNKNOWN, NO, id="which-pod-is-for-aws-to-judge"),
    ],
)
def test_who_trusts_pods(document: dict[str, Any], loosely: Verdict, exactly: Verdict):
    for exact, verdict in ((False, loosely), (True, exactly)):
        assert judge_pod_identity(document, cluster_arn=CLUSTER, subject=("shop", "checkout"), exact=exact) is verdict


@pytest.mark.parametrize(
    "make",
    [
        lambda: role_chain_trust(principal_arn="*", external_id=ID),
        lambda: role_chain_trust(principal_arn="arn:aws:iam::111122223333:role/*", external_id=ID),
        lambda: pod_identity_trust(cluster_arn=CLUSTER, subjects=()),
        lambda: pod_identity_trust(cluster_arn=CLUSTER, subjects=(("shop", "a"), ("web", "a"))),
        lambda: pod_identity_trust(cluster_arn=CLUSTER, subjects=(("shop", "*"),)),
    ],
    ids=["anybody", "any-role", "no-account", "two-namespaces", "any-account"],
)
def test_a_trust_that_admits_more_than_is_meant_is_not_written(make: Any):
    with pytest.raises(ValueError, match=r"not|needs|of one namespace"):
        make()
