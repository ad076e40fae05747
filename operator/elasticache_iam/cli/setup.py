"""`elasticache-iam setup`: what AWS and the cluster still need for an installation."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import cluster_options, installation_options
from elasticache_iam.cli.terminal import Line, Styled, say, write_json

if TYPE_CHECKING:
    from elasticache_iam.core.prerequisites import Prerequisite

_COLOURS: Final = {"✔": "green", "✘": "red", "?": "yellow"}


@click.command(short_help="Check what an installation still needs.")
@installation_options
@click.option("--cluster-name", help="The EKS cluster, for its issuer and for Pod Identity.")
@click.option("--boundary", metavar="ARN", help="The permissions boundary of the roles that the operator makes.")
@click.option("--operator-role", metavar="ARN", help="The operator's role; else as its ServiceAccount says.")
@click.option("--cache", "caches", multiple=True, metavar="ID", help="Look at this cache; repeatable.")
@click.option(
    "--name", default="elasticache-iam-operator", show_default=True, help="Of its ServiceAccount: the Helm release's."
)
@click.option("--no-cluster", is_flag=True, help="Look at AWS alone.")
@click.option("--profile", help="The AWS profile to read with.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@cluster_options
def setup(
    *,
    config_path: Path | None,
    owner: str | None,
    region: str | None,
    account: str | None,
    issuer: str | None,
    cluster_name: str | None,
    boundary: str | None,
    operator_role: str | None,
    caches: tuple[str, ...],
    operator_namespace: str,
    name: str,
    no_cluster: bool,
    profile: str | None,
    output: str,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Check, one by one, what AWS and the cluster still need for an installation, with the command for each.

    Before an installation and after it: the OIDC provider and its audience, the permissions boundary, the operator's
    role with its trust and policy, CRDs, rights, admission policies, whether an operator leads, and the caches'
    engine, encryption and consent. Reads AWS and the cluster with your own credentials, and writes nothing.

    Exits with 0 if nothing is missing, 1 if something is, 2 if that can't be told: something couldn't be looked at.
    """
    # Not at the top: the other commands start without boto3 and the Kubernetes client.
    from elasticache_iam.core.diagnosis import Mark  # noqa: PLC0415
    from elasticache_iam.core.prerequisites import prerequisites_document  # noqa: PLC0415
    from elasticache_iam.runtime import log  # noqa: PLC0415
    from elasticache_iam.runtime.installation import Said  # noqa: PLC0415
    from elasticache_iam.runtime.personal import open_session, require_credentials  # noqa: PLC0415
    from elasticache_iam.runtime.setup import Survey, survey  # noqa: PLC0415

    log.configure("error", log.LogFormat.TEXT)
    settings = {"owner": owner, "region": region, "account": account, "oidcIssuer": issuer}
    settings |= {"clusterName": cluster_name, "permissionsBoundary": boundary}
    asked = Survey(
        Said(settings, config_path, operator_namespace, name),
        operator_role,
        caches,
        uses_cluster=not no_cluster,
        kubeconfig=kubeconfig,
        context=context,
    )
    session = open_session(profile)
    require_credentials(session)
    found = asyncio.run(survey(asked, session))
    if output == "json":
        write_json(prerequisites_document(found))
    else:
        for line in render_setup(found):
            say(*line)
    if any(each.mark is Mark.BROKEN for each in found):
        sys.exit(ExitCode.FAILED)
    if not all(each.is_seen for each in found):
        sys.exit(ExitCode.USAGE)


def render_setup(found: "Sequence[Prerequisite]") -> Iterator[Line]:
    """Yield the lines that people see."""
    section = ""
    for each in found:
        if each.section != section:
            if section:
                yield ()
            section = each.section
            yield (Styled(section, bold=True),)
        yield "  ", Styled(each.mark.value, _COLOURS[each.mark.value]), f" {each.says}"
        if each.repair:
            yield (f"      $ {each.repair}",)
    missing = sum(each.mark.value == "✘" for each in found)
    unseen = sum(not each.is_seen for each in found)
    yield ()
    if unseen:
        things = "1 thing" if unseen == 1 else f"{unseen} things"
        yield (f"? {things} couldn't be looked at, and may be missing",)
    if missing:
        things = "1 thing is" if missing == 1 else f"{missing} things are"
        yield (f"✘ {things} missing; run this again after each command",)
    elif not unseen:
        yield ("✔ nothing is missing",)
