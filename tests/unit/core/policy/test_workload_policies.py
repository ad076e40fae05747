"""What a workload's role may, and who may be it."""

import json

import pytest

from elasticache_iam.core.errors import PermanentError
from elasticache_iam.core.policy import PolicyTooLargeError, connect_policy, session_policy, trust_policy

USER = "arn:aws:elasticache:eu-west-1:111122223333:user:prod-checkout-1286e5f6"
CACHE = "arn:aws:elasticache:eu-west-1:111122223333:replicationgroup:orders"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"
PROVIDER = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"


def trust(*subjects: tuple[str, str]) -> dict[str, object]:
    return trust_policy(provider_arn=PROVIDER, issuer=ISSUER, audience="elasticache-iam.dev/sign", subjects=subjects)


def test_connect_is_allowed_on_exactly_the_user_and_its_caches():
    assert connect_policy(USER, [CACHE]) == {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": [CACHE, USER]}],
    }


def test_memorydb_has_a_connect_of_its_own():
    assert connect_policy(USER, [CACHE], "memorydb")["Statement"][0]["Action"] == "memorydb:Connect"


def test_the_order_and_repetition_of_caches_change_nothing():
    other = CACHE + "-2"

    assert connect_policy(USER, [other, CACHE, other]) == connect_policy(USER, [CACHE, other])


@pytest.mark.parametrize("arn", ["*", CACHE[:-1] + "*", CACHE + "?", CACHE + "${aws:username}", "orders", ""])
def test_an_arn_that_covers_more_than_one_thing_is_refused(arn: str):
    with pytest.raises(ValueError, match="not an exact ARN"):
        connect_policy(USER, [arn])
    with pytest.raises(ValueError, match="not an exact ARN"):
        connect_policy(arn, [CACHE])


def test_a_session_policy_is_the_connect_policy_without_white_space():
    text = session_policy(USER, [CACHE])

    assert json.loads(text) == connect_policy(USER, [CACHE])
    assert " " not in text


def test_a_session_policy_that_sts_would_refuse_is_refused_here():
    caches = [f"{CACHE}-{number}" for number in range(40)]

    with pytest.raises(ValueError, match=r"session policy has .* AWS takes 2048"):
        session_policy(USER, caches)


def test_a_policy_that_is_too_large_waits_for_an_edit():
    assert issubclass(PolicyTooLargeError, PermanentError)


def test_a_trust_policy_pins_subject_and_audience():
    assert trust(("shop", "checkout")) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": PROVIDER},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        "oidc.eks.eu-west-1.amazonaws.com/id/ABC:aud": "elasticache-iam.dev/sign",
                        "oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub": "system:serviceaccount:shop:checkout",
                    }
                },
            }
        ],
    }


def test_several_service_accounts_share_one_statement():
    condition = trust(("shop", "worker"), ("shop", "checkout"))["Statement"][0]["Condition"]["StringEquals"]

    assert condition["oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub"] == [
        "system:serviceaccount:shop:checkout",
        "system:serviceaccount:shop:worker",
    ]


def test_a_trust_policy_for_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one ServiceAccount"):
        trust()


@pytest.mark.parametrize("name", ["", "*", "a:b", "Checkout", "check?ut", "a/b", "${x}"])
def test_a_subject_that_is_no_kubernetes_name_is_refused(name: str):
    with pytest.raises(ValueError, match="not a Kubernetes name"):
        trust(("shop", name))


def test_a_trust_policy_beyond_iams_quota_is_refused():
    with pytest.raises(PolicyTooLargeError, match=r"trust policy has .* AWS takes 2048"):
        trust(*(("shop", f"service-account-{number}") for number in range(60)))


def test_twenty_service_accounts_fit():
    assert trust(*(("shop", f"service-account-{number}") for number in range(20)))
