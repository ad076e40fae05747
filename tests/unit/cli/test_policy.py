"""`elasticache-iam policy`, as a person who installs calls it."""

import json

import pytest
from click.testing import CliRunner

from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.policy import connect_policy, operator_policy, trust_policy

ACCOUNT, REGION, ISSUER = "111122223333", "eu-central-1", "https://oidc.example.com/id/1"
USER = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:demo-shop-checkout"
CACHE = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders-prod"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/elasticache-iam-boundary"
PLACE = ["--account", ACCOUNT, "--region", REGION]


def printed(*arguments: str) -> object:
    result = CliRunner().invoke(cli, ["policy", *arguments])
    assert result.exception is None
    return json.loads(result.output)


def test_the_operators_own_policy_is_printed():
    assert printed("operator", "--owner", "prod", *PLACE, "--boundary", BOUNDARY) == operator_policy(
        owner="prod", partition="aws", account=ACCOUNT, region=REGION, boundary=BOUNDARY
    )


def test_all_that_an_installation_can_ask_for_has_an_option():
    role = "arn:aws:iam::444455556666:role/elasticache-iam-operator"
    flags = ["--without-memorydb", "--existing-roles", "--other-account", "--assume-role-signing"]
    lists = ["--region", "us-east-1", "--trusted-cache", CACHE, "--role-elsewhere", role]

    assert printed(
        "operator", "--owner", "prod", *PLACE, *flags, *lists, "--pod-identity-cluster", "main"
    ) == operator_policy(
        owner="prod",
        partition="aws",
        account=ACCOUNT,
        region=REGION,
        more_regions=("us-east-1",),
        trusted_caches=(CACHE,),
        memorydb=False,
        existing_roles=True,
        is_home=False,
        roles_elsewhere=(role,),
        assume_role_signing=True,
        pod_identity_cluster="main",
    )


def test_the_region_tells_the_partition():
    document = printed("operator", "--owner", "prod", "--account", ACCOUNT, "--region", "cn-north-1")

    assert "arn:aws-cn:" in json.dumps(document)
    assert "arn:aws:" not in json.dumps(document)


def test_the_policy_of_a_login_is_printed():
    assert printed("connect", USER, CACHE) == connect_policy(USER, [CACHE])


def test_whom_a_role_must_trust_is_printed():
    assert printed("trust", "shop/checkout", "--issuer", ISSUER, *PLACE) == trust_policy(
        provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/1",
        issuer=ISSUER,
        audience="elasticache-iam.dev/sign",
        subjects=(("shop", "checkout"),),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["operator", "--owner", "prod", "--account", "1", "--region", REGION], "--account: "),
        (
            ["operator", "--owner", "prod", "--account", ACCOUNT, "--region", "mars"],
            "--region: 'mars' is no AWS region",
        ),
        (["connect", USER, "orders-prod"], "must be ARNs of one service"),
        (["connect", USER, f"{CACHE}*"], "not an exact ARN"),
        (["trust", "checkout", "--issuer", ISSUER, *PLACE], "say NAMESPACE/NAME"),
        (["trust", "shop/checkout", "--issuer", "foo", *PLACE], "--issuer: 'foo' is no OIDC issuer"),
    ],
    ids=["account", "region", "no-arn", "wildcard", "no-namespace", "issuer"],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str):
    result = CliRunner().invoke(cli, ["policy", *arguments])

    assert isinstance(result.exception, ConfigurationError)
    assert said in result.exception.message
