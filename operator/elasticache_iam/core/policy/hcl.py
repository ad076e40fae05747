"""A policy document as Terraform writes it: `data "aws_iam_policy_document"`, whose `json` is the policy."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_LISTS: Final = {"Action": "actions", "Resource": "resources"}
_KNOWN: Final = frozenset({"Sid", "Effect", "Principal", "Condition", *_LISTS})


def render_hcl(document: Mapping[str, Any], name: str) -> str:
    """Return a policy of ours as a Terraform data source.

    Args:
        document: The policy: Allow and Deny with actions, resources, principals and conditions.
        name: Of the data source.

    Raises:
        ValueError: A statement has something else, which would be lost.
    """
    return "\n".join(_lines(document, name)) + "\n"


def _lines(document: Mapping[str, Any], name: str) -> Iterator[str]:
    yield f'data "aws_iam_policy_document" "{name}" {{'
    yield f"  version = {_quoted(document['Version'])}"
    for statement in document["Statement"]:
        yield ""
        yield "  statement {"
        yield from _statement(statement)
        yield "  }"
    yield "}"


def _statement(statement: Mapping[str, Any]) -> Iterator[str]:
    if surplus := sorted(statement.keys() - _KNOWN):
        raise ValueError(f"a statement with {', '.join(surplus)} can't be written as HCL")
    if "Sid" in statement:
        yield f"    sid       = {_quoted(statement['Sid'])}"
    yield f"    effect    = {_quoted(statement['Effect'])}"
    for key, field in _LISTS.items():
        if key in statement:
            yield from _list(field.ljust(9), _values(statement[key]), indent="    ")
    for kind, names in statement.get("Principal", {}).items():
        yield from _block("principals", {"type": kind}, "identifiers", _values(names))
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            yield from _block("condition", {"test": operator, "variable": key}, "values", _values(values))


def _block(title: str, words: Mapping[str, str], field: str, values: Sequence[str]) -> Iterator[str]:
    width = max(map(len, (*words, field)))
    yield ""
    yield f"    {title} {{"
    for word, value in words.items():
        yield f"      {word:<{width}} = {_quoted(value)}"
    yield from _list(field.ljust(width), values, indent="      ")
    yield "    }"


def _list(field: str, values: Sequence[str], *, indent: str) -> Iterator[str]:
    if len(values) == 1:
        yield f"{indent}{field} = [{_quoted(values[0])}]"
        return
    yield f"{indent}{field} = ["
    yield from (f"{indent}  {_quoted(value)}," for value in values)
    yield f"{indent}]"


def _values(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def _quoted(text: str) -> str:
    """Return a string of HCL: as JSON's, but what begins a template is doubled."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")
