"""`elasticache-iam policy`: IAM policies, as JSON or HCL. Nothing is asked of AWS or a cluster."""

from collections.abc import Mapping
from typing import Any

import click

from elasticache_iam.cli.terminal import write_json, write_text

_output = click.option(
    "-o", "--output", type=click.Choice(["json", "hcl"]), default="json", show_default=True, help="The form."
)


@click.group(short_help="Print the IAM policies that an installation needs.")
def policy() -> None:
    """Print IAM policies: the operator's own, and those of a workload's role that you make yourself.

    As JSON, or (-o hcl) as Terraform's data "aws_iam_policy_document".
    """


@policy.command(short_help="Print the operator's own policy.")
@click.option("--owner", required=True, help="The installation's owner.")
@click.option("--account", required=True, help="The AWS account that the policy is for.")
@click.option(
    "--region", "regions", multiple=True, required=True, help="The caches' region; again for each other region."
)
@click.option("--boundary", metavar="ARN", help="The permissions boundary that the roles it makes must have.")
@click.option("--trusted-cache", "trusted_caches", multiple=True, metavar="ARN", help="Of trustedCaches; repeatable.")
@click.option("--without-memorydb", is_flag=True, help="Without the rights for MemoryDB.")
@click.option("--existing-roles", is_flag=True, help="For users with role.mode: Existing.")
@click.option("--role-elsewhere", "elsewhere", multiple=True, metavar="ARN", help="Of accounts[].roleArn; repeatable.")
@click.option("--other-account", is_flag=True, help="For the role that the operator becomes in another account.")
@click.option("--assume-role-signing", is_flag=True, help="For signing: AssumeRole.")
@click.option("--pod-identity-cluster", metavar="NAME", help="For users with role.binding: PodIdentity.")
@_output
def operator(  # noqa: PLR0917  # click passes them by name
    owner: str,
    account: str,
    regions: tuple[str, ...],
    boundary: str | None,
    trusted_caches: tuple[str, ...],
    without_memorydb: bool,  # noqa: FBT001  # a flag of the command line
    existing_roles: bool,  # noqa: FBT001
    elsewhere: tuple[str, ...],
    other_account: bool,  # noqa: FBT001
    assume_role_signing: bool,  # noqa: FBT001
    pod_identity_cluster: str | None,
    output: str,
) -> None:
    """Print the policy of the operator's own role: what its calls need, fenced by owner, path and tags."""
    from elasticache_iam.core.names import partition_of  # noqa: PLC0415  # other commands start without all that
    from elasticache_iam.core.policy import operator_policy  # noqa: PLC0415
    from elasticache_iam.runtime.config import override_config  # noqa: PLC0415

    for region in regions:
        settings = {"owner": owner, "account": account, "region": region, "permissionsBoundary": boundary}
        override_config(None, settings)  # refuses what can't be meant
    _print(
        operator_policy(
            owner=owner,
            partition=partition_of(regions[0]),
            account=account,
            region=regions[0],
            more_regions=regions[1:],
            boundary=boundary,
            trusted_caches=trusted_caches,
            memorydb=not without_memorydb,
            existing_roles=existing_roles,
            is_home=not other_account,
            roles_elsewhere=elsewhere,
            assume_role_signing=assume_role_signing,
            pod_identity_cluster=pod_identity_cluster,
        ),
        output,
        name="elasticache_iam_operator",
    )


@policy.command(short_help="Print the policy that lets a role log in.")
@click.argument("user_arn")
@click.argument("cache_arns", nargs=-1, required=True, metavar="CACHE_ARN...")
@_output
def connect(user_arn: str, cache_arns: tuple[str, ...], output: str) -> None:
    """Print the policy that lets a role log in as the user USER_ARN to caches: for role.mode External.

    The user's `status.arn` and its group's `status.caches[].arn` tell the ARNs.
    """
    from elasticache_iam.core.errors import ConfigurationError  # noqa: PLC0415
    from elasticache_iam.core.policy import connect_policy  # noqa: PLC0415

    services = {arn.split(":")[2] if arn.count(":") > 1 else arn for arn in (user_arn, *cache_arns)}
    if not services <= {"elasticache", "memorydb"} or len(services) > 1:
        raise ConfigurationError("the user and its caches must be ARNs of one service: elasticache or memorydb")
    try:
        _print(connect_policy(user_arn, cache_arns, services.pop()), output, name="connect")
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


@policy.command(short_help="Print whom a workload's role must trust.")
@click.argument("service_accounts", nargs=-1, required=True, metavar="NAMESPACE/NAME...")
@click.option("--issuer", required=True, help="The cluster's OIDC issuer.")
@click.option("--account", required=True, help="The AWS account of the role.")
@click.option("--region", required=True, help="A region of it: it tells the partition.")
@click.option("--audience", help="Of the tokens; sts.amazonaws.com for workloads that sign for themselves.")
@_output
def trust(
    service_accounts: tuple[str, ...], *, issuer: str, account: str, region: str, audience: str | None, output: str
) -> None:
    """Print the trust policy of a role for ServiceAccounts, by their tokens."""
    from elasticache_iam.api.keys import DEFAULT_AUDIENCE  # noqa: PLC0415
    from elasticache_iam.core.errors import ConfigurationError  # noqa: PLC0415
    from elasticache_iam.core.names import oidc_provider_arn  # noqa: PLC0415
    from elasticache_iam.core.policy import trust_policy  # noqa: PLC0415
    from elasticache_iam.runtime.config import override_config  # noqa: PLC0415

    override_config(None, {"owner": "any", "account": account, "region": region, "oidcIssuer": issuer})
    parts = [account_name.partition("/") for account_name in service_accounts]
    try:
        _print(
            trust_policy(
                provider_arn=oidc_provider_arn(region, account, issuer),
                issuer=issuer,
                audience=audience or DEFAULT_AUDIENCE,
                subjects=tuple((namespace, name) for namespace, _, name in parts),
            ),
            output,
            name="trust",
        )
    except ValueError as error:
        raise ConfigurationError(f"{error}; say NAMESPACE/NAME") from error


def _print(document: Mapping[str, Any], output: str, *, name: str) -> None:
    if output == "hcl":
        from elasticache_iam.core.policy import render_hcl  # noqa: PLC0415  # the other commands start without pydantic

        write_text(render_hcl(document, name))
    else:
        write_json(document)
