"""`elasticache-iam lint`: what is wrong or odd in manifests and access strings, before anything is applied."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import recursive_option
from elasticache_iam.cli.terminal import Styled, say, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elasticache_iam.core.remarks import Remark

_COLOURS: Final = {"error": "red", "warning": "yellow"}


@click.command(short_help="Check manifests and access strings, for CI.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-f", "--filename", "more_files", multiple=True, metavar="FILE", help="The same, as kubectl writes it.")
@recursive_option
@click.option("--access-string", "access_strings", multiple=True, metavar="TEXT", help="Check this one; repeatable.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Of resources that name none.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
def lint(
    files: tuple[str, ...],
    *,
    more_files: tuple[str, ...],
    recursive: bool,
    access_strings: tuple[str, ...],
    namespace: str,
    strict: bool,
    output: str,
) -> None:
    """Check manifests in FILEs (or folders, or - for the standard input) and access strings.

    An error is what the API server would refuse, or what can never become Ready; a warning is what an access string
    does though its author mostly doesn't think so. Neither a cluster nor AWS is asked. Objects of other kinds are
    passed over. A folder in a folder is an error if it holds YAML or JSON, unless -R looks into it. Of Helm
    and kustomize check what they make: kustomize build | elasticache-iam lint -

    Exits with 1 if there is an error, with 2 if a file isn't there or a folder has no YAML and no JSON of its own.
    SARIF is for code hosts: GitHub shows it beside the lines of a pull request.
    """
    # Not at the top: the other commands start without pydantic.
    from elasticache_iam.core.remarks import has_errors, remarks_document, sarif_document  # noqa: PLC0415
    from elasticache_iam.runtime.linting import lint_access_string, lint_manifests  # noqa: PLC0415

    paths = (*files, *more_files)
    if not paths and not access_strings:
        raise click.UsageError("nothing to check: name files, or an --access-string", click.get_current_context())
    remarks = [remark for text in access_strings for remark in lint_access_string(text)]
    remarks += lint_manifests(paths, namespace=namespace, recursive=recursive) if paths else ()
    if output == "sarif":
        document = sarif_document(remarks, version=version("elasticache-iam-operator"), folder=Path.cwd())
        write_json(document)
    elif output == "json":
        write_json(remarks_document(remarks))
    else:
        _show(remarks)
    if has_errors(remarks, strict=strict):
        sys.exit(ExitCode.FAILED)


def _show(remarks: "Sequence[Remark]") -> None:
    for remark in remarks:
        where = ":".join(str(part) for part in (remark.file, remark.line, remark.column) if part)
        if not remark.file:
            where = f"column {remark.column}" if remark.column else "access string"
        level = Styled(f"{remark.level.value}[{remark.code}]", _COLOURS[remark.level.value])
        what = f"{remark.what}: " if remark.what else ""
        say(f"{where}: ", level, f": {what}{remark.says}")
    errors = sum(remark.level.value == "error" for remark in remarks)
    counts = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in _counted(errors, len(remarks) - errors))
    say(", ".join(counts) or "nothing to say", err=True)


def _counted(errors: int, warnings: int) -> "list[tuple[int, str]]":
    return [(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count]
