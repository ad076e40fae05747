"""`elasticache-iam plan`: what manifests would do, before they do it."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import (
    cluster_options,
    installation_options,
    namespace_option,
    recursive_option,
    resolve_namespace,
)
from elasticache_iam.cli.terminal import Styled, say, write_json

_COLOURS: Final = {"+": "green", "-": "red", "~": "yellow", "!": "magenta"}


@click.command(short_help="Show what manifests would do, and write nothing.")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A file, a folder, or - for the standard input; may be repeated.",
)
@recursive_option
@namespace_option("Of resources that name none")
@click.option("--deleting", is_flag=True, help="What deleting these resources would do.")
@installation_options
@cluster_options
@click.option("--no-cluster", is_flag=True, help="Look at no cluster: there is nothing but these manifests.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--detailed-exitcode", is_flag=True, help=f"Exit with {ExitCode.SOMETHING_TO_DO:d} if there is something to do."
)
def plan(  # noqa: PLR0917  # click passes them by name
    files: tuple[str, ...],
    recursive: bool,  # noqa: FBT001  # a flag of the command line
    namespace: str | None,
    deleting: bool,  # noqa: FBT001
    config_path: Path | None,
    owner: str | None,
    region: str | None,
    account: str | None,
    issuer: str | None,
    operator_namespace: str,
    kubeconfig: str | None,
    context: str | None,
    no_cluster: bool,  # noqa: FBT001
    output: str,
    detailed_exitcode: bool,  # noqa: FBT001
) -> None:
    """Show what manifests would do: calls to AWS, IAM, access, cut clients.

    Reads AWS and the cluster with your own credentials, and writes nothing.
    """
    # Not at the top: the other commands start without boto3 and the Kubernetes client.
    from elasticache_iam.core.plan.describe import plan_document, render_plan  # noqa: PLC0415
    from elasticache_iam.runtime import log  # noqa: PLC0415
    from elasticache_iam.runtime.installation import Said  # noqa: PLC0415
    from elasticache_iam.runtime.manifests import read_manifests  # noqa: PLC0415
    from elasticache_iam.runtime.planning import Question, make_plan  # noqa: PLC0415

    log.configure("error", log.LogFormat.TEXT)
    settings = {"owner": owner, "region": region, "account": account, "oidcIssuer": issuer}
    said = Said(settings, config_path, operator_namespace)
    here = namespace or ("default" if no_cluster else None)
    here = resolve_namespace(here, kubeconfig=kubeconfig, context=context)
    manifests = read_manifests(files, namespace=here, recursive=recursive)
    for ignored in manifests.ignored:
        say(f"not looked at: {ignored}", err=True)
    made = asyncio.run(
        make_plan(
            Question(
                manifests,
                said,
                is_deletion=deleting,
                uses_cluster=not no_cluster,
                kubeconfig=kubeconfig,
                context=context,
            )
        )
    )
    if output == "json":
        write_json(plan_document(made))
    else:
        for line in render_plan(made):
            say(Styled(line.plain, _COLOURS.get(line.mark), bold=line.mark == "#"))
    if detailed_exitcode and not made.is_empty:
        sys.exit(ExitCode.SOMETHING_TO_DO)
