"""`elasticache-iam policy`, as a person who installs calls it."""

import json
from typing import Any, cast

import hcl2
import pytest
from click.testing import CliRunner

from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.policy import connect_policy, operator_policy, render_hcl, same_policy, trust_policy

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


def test_a_boundary_that_is_no_policy_is_refused():
    result = CliRunner().invoke(cli, ["policy", "operator", "--owner", "prod", *PLACE, "--boundary", "nonsense"])

    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.message.startswith("--boundary: must be a policy's ARN")


def test_the_policy_of_a_login_is_printed():
    assert printed("connect", USER, CACHE) == connect_policy(USER, [CACHE])


def test_whom_a_role_must_trust_is_printed():
    assert printed("trust", "shop/checkout", "--issuer", ISSUER, *PLACE) == trust_policy(
        provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/1",
        issuer=ISSUER,
        audience="elasticache-iam.dev/sign",
        subjects=(("shop", "checkout"),),
    )


def blocks(value: Any) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) else list(value)


def as_policy(text: str) -> dict[str, Any]:
    """Return the policy that Terraform would make of a data source."""
    (data,) = hcl2.loads(text)["data"]
    ((_, named),) = [item for item in data.items() if not item[0].startswith("__")]
    ((_, body),) = [item for item in named.items() if not item[0].startswith("__")]
    statements = []
    for block in blocks(body["statement"]):
        statement: dict[str, Any] = {"Effect": plain(block["effect"]), "Action": plain(block["actions"])}
        if "resources" in block:
            statement["Resource"] = plain(block["resources"])
        if "principals" in block:
            statement["Principal"] = {
                plain(each["type"]): plain(each["identifiers"]) for each in blocks(block["principals"])
            }
        for each in blocks(block.get("condition", [])):
            keys = statement.setdefault("Condition", {}).setdefault(plain(each["test"]), {})
            keys[plain(each["variable"])] = plain(each["values"])
        statements.append(statement)
    return {"Version": plain(body["version"]), "Statement": statements}


def plain(value: Any) -> Any:
    """Return HCL's strings without the quotes that some versions of its parser leave."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value).removeprefix('"').removesuffix('"').replace("$${", "${")


POLICIES = {
    "operator": ["operator", "--owner", "prod", *PLACE, "--boundary", BOUNDARY, "--pod-identity-cluster", "main"],
    "connect": ["connect", USER, CACHE],
    "trust": ["trust", "shop/checkout", "shop/worker", "--issuer", ISSUER, *PLACE],
}


@pytest.mark.parametrize("arguments", POLICIES.values(), ids=POLICIES)
def test_a_policy_for_terraform_says_the_same(arguments: list[str]):
    result = CliRunner().invoke(cli, ["policy", *arguments, "-o", "hcl"])

    assert result.exit_code == 0
    assert same_policy(as_policy(result.output), cast("dict[str, Any]", printed(*arguments)))


def test_what_terraform_would_take_for_a_template_is_escaped():
    variable = "${aws:PrincipalTag/team}"
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": variable}],
    }

    text = render_hcl(document, "x")

    assert '["$${aws:PrincipalTag/team}"]' in text
    assert same_policy(as_policy(text), document)


def test_what_hcl_would_lose_is_refused():
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}

    with pytest.raises(ValueError, match="NotAction"):
        render_hcl(document, "x")


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
