"""The one way of all commands to the terminal, so that nothing that others wrote gives it orders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from elasticache_iam.core.foreign import shown


@dataclass(frozen=True, slots=True)
class Styled:
    """A part of a line that stands out."""

    text: str
    colour: str | None = None
    bold: bool = False


Line = Sequence[str | Styled]
"""One line for people, part by part."""


def render(line: Line) -> str:
    """Return a line fit for a terminal, whatever somebody has put into it."""
    return "".join(
        click.style(shown(part.text), fg=part.colour, bold=part.bold or None)
        if isinstance(part, Styled)
        else shown(part)
        for part in line
    )


def say(*parts: str | Styled, err: bool = False) -> None:
    """Tell people one line, on the standard output or the standard error."""
    click.echo(render(parts), err=err)


def write_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a document for programs: JSON spells out all that isn't ASCII."""
    click.echo(json.dumps(document, indent=2))


def write_text(text: str) -> None:
    """Write for programs, as it is: YAML, HCL, a shell's completions. What others wrote must be escaped in it."""
    click.echo(text, nl=not text.endswith("\n"))
