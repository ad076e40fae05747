"""`elasticache-iam import`: resources for users and groups that exist in AWS."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import check_namespace, config_option
from elasticache_iam.cli.terminal import say, write_text
from elasticache_iam.core.foreign import shown

if TYPE_CHECKING:
    from elasticache_iam.core.importing import Import


@click.command("import", short_help="Write resources for what exists in AWS.")
@click.argument("groups", nargs=-1, metavar="[GROUP_ID]...")
@click.option(
    "--adoption",
    type=click.Choice(["Reference", "Adopt"], case_sensitive=False),
    default="Reference",
    show_default=True,
    help="Leave the groups to their owner, or take over them and their users.",
)
@click.option("-n", "--namespace", callback=check_namespace, required=True, help="Of the UserGroups.")
@click.option(
    "--user-namespace", callback=check_namespace, help="Of the ElastiCacheIAMUsers; else that of the UserGroups."
)
@click.option("--memorydb", is_flag=True, help="ACLs of MemoryDB; else user groups of ElastiCache.")
@config_option("The operator's configuration file: its owner, home region and account.")
@click.option("--owner", help="The installation's owner.")
@click.option("--region", help="Where to look; else the operator's region, or that of your AWS profile.")
@click.option("--profile", help="The AWS profile to read with.")
def import_command(
    groups: tuple[str, ...],
    *,
    adoption: str,
    namespace: str,
    user_namespace: str | None,
    memorydb: bool,
    config_path: Path | None,
    owner: str | None,
    region: str | None,
    profile: str | None,
) -> None:
    """Write resources for user groups that exist in AWS: all of them, or those with a GROUP_ID. YAML on the output.

    Reference leaves a group to Terraform or whoever made it: the operator only adds and removes members of its own.
    Adopt writes the group's IAM users, too, and each resource with the annotation plan-only: once applied it shows in
    status.plan what would be done, and does it when you take the annotation off.

    Reads AWS with your own credentials; writes neither there nor in a cluster. In front stand the commands by which
    the owners of AWS objects agree.

    Exits with 2 if a group that was named isn't written.
    """
    # Not at the top: the other commands start without boto3.
    from elasticache_iam.api.group import GroupAdoption, Service  # noqa: PLC0415
    from elasticache_iam.runtime import log  # noqa: PLC0415
    from elasticache_iam.runtime.config import override_config  # noqa: PLC0415
    from elasticache_iam.runtime.importing import Request, make_import  # noqa: PLC0415
    from elasticache_iam.runtime.personal import open_session, require_credentials  # noqa: PLC0415

    log.configure("error", log.LogFormat.TEXT)
    request = Request(
        override_config(config_path, {"owner": owner}),
        Service.MEMORYDB if memorydb else Service.ELASTICACHE,
        region,
        GroupAdoption(adoption.capitalize()),
        namespace,
        user_namespace or namespace,
        frozenset(groups),
    )
    session = open_session(profile)
    require_credentials(session)
    made = asyncio.run(make_import(request, session))
    for line in render_import(made):
        write_text(line)
    for skipped in made.skipped:
        say(f"not written: {skipped}", err=True)
    kinds = [written.body["kind"] for written in made.written]
    counts = f"{kinds.count('UserGroup')} UserGroup, {kinds.count('ElastiCacheIAMUser')} ElastiCacheIAMUser written"
    say(f"{counts}; next: elasticache-iam plan -f FILE" if kinds else "nothing to write", err=True)
    if set(groups) - {written.body["spec"].get("id") for written in made.written}:
        sys.exit(ExitCode.USAGE)


def render_import(made: "Import") -> Iterator[str]:
    """Yield YAML, a resource a document, with comments, of which nothing that stands in AWS can break out."""
    import yaml  # noqa: PLC0415

    if made.consents:
        yield "# First the owners of these AWS objects have to agree:"
        yield from (f"#   {shown(command)}" for command in made.consents)
    for written in made.written:
        yield "---"
        yield from (f"# {shown(comment)}" for comment in written.comments)
        yield yaml.safe_dump(written.body, sort_keys=False, allow_unicode=True, width=120).rstrip()
