"""`elasticache-iam verify`: why can't this user log in?"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import cluster_options, installation_options, namespace_option, resolve_namespace
from elasticache_iam.cli.terminal import Styled, say, write_json

_COLOURS: Final = {"✔": "green", "✘": "red", "?": "yellow"}


@click.command(short_help="Show why a user can't log in.")
@click.argument("user")
@namespace_option("The user's namespace")
@click.option("--login", "tries_login", is_flag=True, help="Read the Secret, and try its token from here.")
@installation_options
@cluster_options
@click.option("-o", "--output", type=click.Choice(["tree", "json"]), default="tree", show_default=True)
def verify(  # noqa: PLR0917  # click passes them by name
    user: str,
    namespace: str | None,
    tries_login: bool,  # noqa: FBT001  # a flag of the command line
    config_path: Path | None,
    owner: str | None,
    region: str | None,
    account: str | None,
    issuer: str | None,
    operator_namespace: str,
    kubeconfig: str | None,
    context: str | None,
    output: str,
) -> None:
    """Show why USER, an ElastiCacheIAMUser, can't log in: each link from the clock to the session.

    Reads AWS and the cluster with your own credentials, and writes nothing. Under each broken link stands the command
    that repairs it. No token is shown, and none is signed.

    Exits with 0 if no link is broken, 1 if one is, 2 if it can't be told: wrong usage, no such user, no answer of AWS
    or the cluster, or, with --login, no route to the cache.
    """
    # Not at the top: the other commands start without boto3 and the Kubernetes client.
    from elasticache_iam.core.diagnosis_tree import render_tree, tree_document  # noqa: PLC0415
    from elasticache_iam.core.errors import ConfigurationError, OperatorError  # noqa: PLC0415
    from elasticache_iam.runtime import log  # noqa: PLC0415
    from elasticache_iam.runtime.installation import Said  # noqa: PLC0415
    from elasticache_iam.runtime.verifying import Inquiry  # noqa: PLC0415
    from elasticache_iam.runtime.verifying import verify as examine  # noqa: PLC0415

    log.configure("error", log.LogFormat.TEXT)
    settings = {"owner": owner, "region": region, "account": account, "oidcIssuer": issuer}
    said = Said(settings, config_path, operator_namespace)
    here = resolve_namespace(namespace, kubeconfig=kubeconfig, context=context)
    inquiry = Inquiry(here, user, said, tries_login=tries_login, kubeconfig=kubeconfig, context=context)
    try:
        tree = asyncio.run(examine(inquiry))
    except OperatorError as error:
        raise ConfigurationError(error.message) from error  # not to be taken for a broken link
    if output == "json":
        write_json(tree_document(tree))
    else:
        for line in render_tree(tree):
            say(Styled(line.text, _COLOURS[line.mark.value]) if line.mark is not None else line.text)
    if tree.broken:
        sys.exit(ExitCode.FAILED)
    if tries_login and not tree.is_proven:
        sys.exit(ExitCode.USAGE)
