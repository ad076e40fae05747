"""`elasticache-iam status`: groups, users, caches, how long tokens live, what is wrong and what to do next."""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from elasticache_iam.cli.options import cluster_options, namespace_option, operator_namespace_option, resolve_namespace
from elasticache_iam.cli.terminal import Line, Styled, say, write_json, write_text
from elasticache_iam.core.foreign import shown

if TYPE_CHECKING:
    from elasticache_iam.core.overview import GroupView, Overview, UserView

_COLOURS: Final = {"✔": "green", "✘": "red", "…": "yellow", "-": "bright_black", "?": "yellow"}
_MARKS: Final = {"Ready": "✔", "Waiting": "…", "Stuck": "✘", "AtRest": "-", "NotSeen": "?"}
_SHORT_LIFE_S: Final = 300
"""Less is left to a token only if its refresh has failed for minutes."""
_GAP: Final = "  "


@click.command(short_help="Show groups, users, caches, tokens and what is wrong.")
@namespace_option("Look at this namespace")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look at all namespaces.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="The form."
)
@click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds, to --watch.")
@operator_namespace_option("Where the operator runs: its schedule tells how long tokens live.")
@cluster_options
def status(
    *,
    namespace: str | None,
    all_namespaces: bool,
    output: str,
    watch: bool,
    interval: float,
    operator_namespace: str,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Show groups, users, caches, how long tokens live, what is wrong and what to do next.

    Reads the resources and the operator's schedule, never a Secret. In a namespace of users the groups that they are
    in are shown, too, wherever they are.

    \b
    ✔ ready   … under way   ✘ needs an edit   - suspended or only planned   ? not looked at yet
    """  # noqa: D301  # click's mark: keep these lines as they are
    # Not at the top: the other commands start without the Kubernetes client.
    from elasticache_iam.runtime import overview  # noqa: PLC0415

    all_of = "" if all_namespaces else resolve_namespace(namespace, kubeconfig=kubeconfig, context=context)

    def show(looked: "Overview") -> None:
        if watch and output == "table":
            click.clear()
        _show(looked, output, namespace=all_of)
        sys.stdout.flush()

    scope = overview.Scope(all_of, operator_namespace, kubeconfig, context)
    asyncio.run(overview.watch(scope, show, interval_s=interval if watch else None))


def _show(overview: "Overview", output: str, *, namespace: str) -> None:
    from elasticache_iam.core.overview import overview_document  # noqa: PLC0415

    if output == "json":
        write_json(overview_document(overview))
    elif output == "yaml":
        import yaml  # noqa: PLC0415

        write_text("---\n" + yaml.safe_dump(overview_document(overview), sort_keys=False, allow_unicode=True))
    else:
        for line in render_overview(overview, namespace=namespace, width=_width()):
            say(*line)


def _width() -> int | None:
    """Return the terminal's width; None where the output goes to a file or a program, which has none."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal():
        return int(columns)
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None


def render_overview(overview: "Overview", *, namespace: str, width: int | None) -> Iterator[Line]:
    """Yield the lines that people see.

    Args:
        overview: What to show.
        namespace: The one that was asked for; "" for all.
        width: Of the terminal. What doesn't fit is cut in the column that can best spare it; None: nothing is.
    """
    if not overview.groups and not overview.users:
        nothing = f"no UserGroup and no ElastiCacheIAMUser in {namespace or 'any namespace'}"
        yield nothing, "; all namespaces: -A" if namespace else ""
    if overview.groups:
        rows = [row for view in overview.groups for row in _group_rows(view)]
        yield from _table(("", "GROUP", "REASON", "IN AWS", "MEMBERS", "CACHES"), rows, spare=3, width=width)
    if overview.users:
        if overview.groups:
            yield ()
        rows = [row for view in overview.users for row in _user_rows(view, overview)]
        yield from _table(("", "USER", "REASON", "IN AWS", "GROUP", "TOKENS"), rows, spare=3, width=width)
    for problem in overview.problems:
        yield ()
        who = Styled(f"{problem.kind} {problem.namespace}/{problem.name}", bold=True)
        says = f"{problem.reason}: {problem.message}" if problem.reason else problem.message
        yield who, f": {says}"
        yield (f"  $ {problem.next}",)
    for note in overview.notes:
        yield ()
        yield (f"note: {note}",)


def _group_rows(view: "GroupView") -> Iterator[Sequence[str]]:
    group = view.resource
    caches = [
        f"{cache.name}: {cache.id} {group.spec.engine.value} {cache.engine_version}".rstrip()
        + (f" {cache.state}" if cache.state and cache.state != "Attached" else "")
        for cache in group.status.caches
    ]
    name = f"{group.metadata.namespace}/{group.metadata.name}"
    first, *others = caches or ["-"]
    yield _MARKS[view.state], name, view.reason or "-", group.status.id or "-", str(group.status.members), first
    for cache in others:
        yield "", "", "", "", "", cache


def _user_rows(view: "UserView", overview: "Overview") -> Iterator[Sequence[str]]:
    user = view.resource
    name = f"{user.metadata.namespace}/{user.metadata.name}"
    tokens = []
    for token in view.tokens:
        left = token.left_s(overview.now)
        if not token.secret:
            tokens.append(f"{token.cache}: signs its own")
        elif left is None:
            tokens.append(f"{token.cache}: ?")
        else:
            tokens.append(f"{token.cache}: {left} s{' !' if left < _SHORT_LIFE_S else ''}")
    first, *others = tokens or ["-"]
    yield _MARKS[view.state], name, view.reason or "-", user.status.id or "-", view.group, first
    for token_text in others:
        yield "", "", "", "", "", token_text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, spare: int, width: int | None) -> Iterator[Line]:
    """Yield a table without lines. Too wide for the terminal, the column `spare` is cut, and then left out."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    total = sum(widths) + len(_GAP) * (len(widths) - 1)
    kept = list(range(len(header)))
    if width is not None and total > width:
        room = widths[spare] - (total - width)
        if room >= len("demo-c…-9f8e7d6c"):
            widths[spare] = room
        else:
            kept.remove(spare)
    for row in (header, *rows):
        cells = [_cut(row[column], widths[column]).ljust(widths[column]) for column in kept]
        line = _GAP.join(cells).rstrip()
        if row is header:
            yield (Styled(line, bold=True),)
        else:
            yield (Styled(row[0], _COLOURS[row[0]]), line[len(row[0]) :]) if row[0] else (line,)


def _cut(text: str, width: int) -> str:
    """Return a text that fits: of an id the end tells it from others."""
    if len(text) <= width:
        return text
    kept = width - 1
    tail = min(8, kept // 2)
    return f"{text[: kept - tail]}…{text[len(text) - tail :]}"
