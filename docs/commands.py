"""Writes docs/reference/cli.md from the commands: `python docs/commands.py`. A test compares."""  # noqa: INP001

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from elasticache_iam.cli.exit_codes import MEANINGS
from elasticache_iam.cli.main import SECTIONS, cli

PAGE: Final = Path(__file__).resolve().parent / "reference" / "cli.md"

HEAD: Final = """\
# The command line

<!-- written by docs/commands.py -->

`elasticache-iam` comes with the Python package, which is a file of the [release](../releases.md) and on no index:
`pip install './elasticache_iam_operator-X.Y.Z-py3-none-any.whl[operator,cli]'`, or in a clone
`pip install '.[operator,cli]'`. It is in the operator's image, too. As `kubectl-elasticache_iam` in the `PATH` it is a
kubectl plugin: `kubectl elasticache-iam status`.

Commands that look at a cluster use your kubeconfig, those that look at AWS your own credentials, as boto3 finds them.
None needs the operator's rights, and only `refresh`, `suspend` and `resume` change anything: one field of a resource.

An error is one line on the standard error, which says what to do where that is yours to do. `--debug` (or
`ELASTICACHE_IAM_DEBUG=1`), before or behind the command, shows where it comes from. `elasticache-iam completion bash`
(`zsh`, `fish`) completes commands and options.
"""


def render_page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    yield "## Exit codes"
    yield ""
    yield "| code | means |"
    yield "|---|---|"
    for code, meaning in MEANINGS.items():
        yield f"| {int(code)} | {meaning} |"
    context = click.Context(cli, info_name="elasticache-iam", max_content_width=120)
    for title, names in SECTIONS.items():
        yield ""
        yield f"## {title}"
        for name in names:
            command = cli.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _command(command, context, level=3)


def _command(command: click.Command, parent: click.Context, *, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, parent=parent)
    yield ""
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`"
    yield ""
    yield from _help(command)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    rows = [_row(option, context) for option in options if not option.hidden]
    if rows:
        yield "| option | default | meaning |"
        yield "|---|---|---|"
        yield from rows
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, context, level=level + 1)


def _help(command: click.Command) -> Iterator[str]:
    """Yield the help's paragraphs; those that click leaves as they are become a block."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```text"
            yield paragraph.removeprefix("\b").strip("\n")
            yield "```"
        else:
            yield " ".join(paragraph.split())
        yield ""


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    takes = "" if option.is_flag else f" {_cell(option.make_metavar(context))}"
    default = option.get_default(context) if option.show_default and not option.is_flag else None
    told = _told_default(option, default)
    variable = f" Or `{option.envvar}`." if isinstance(option.envvar, str) else ""
    return f"| {names}{takes} | {told} | {_cell(option.help or '')}{variable} |"


def _told_default(option: click.Option, default: object) -> str:
    if option.required:
        return "required"
    if default is None or default == () or callable(default):
        return ""
    return f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    PAGE.write_text(render_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
