"""Whether two policy documents mean the same: IAM hands back its own spelling of what it was given."""

import json
from collections.abc import Mapping
from typing import Any, Final

_DEFAULT_VERSION: Final = "2008-10-17"
"""IAM's, when a document has none."""

_ACTIONS: Final = frozenset({"Action", "NotAction"})


def same_policy(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two documents say the same.

    A scalar equals a list of one; the order of keys, statements and list elements, repetitions, the case of actions and
    of condition keys, and names (Sid, Id) don't matter. Anything else does: when in doubt they differ, which costs one
    idempotent write.
    """
    return normal_form(a) == normal_form(b)


def normal_form(document: Mapping[str, Any]) -> str:
    """Return a document as JSON that is the same for all documents that say the same, see `same_policy`."""
    statements = document.get("Statement", [])
    if isinstance(statements, Mapping):
        statements = [statements]
    distinct = {json.dumps(_statement(statement), sort_keys=True) for statement in statements}
    return json.dumps([str(document.get("Version", _DEFAULT_VERSION)), sorted(distinct)])


def _statement(statement: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _element(key, value) for key, value in statement.items() if key != "Sid"}


def _element(key: str, value: Any) -> Any:
    if key in _ACTIONS:
        return sorted({action.lower() for action in _values(value)})
    if key == "Condition":
        return {
            operator: {name.lower(): _values(wanted) for name, wanted in keys.items()}
            for operator, keys in value.items()
        }
    if isinstance(value, Mapping):  # Principal, NotPrincipal
        return {kind: _values(names) for kind, names in value.items()}
    if key == "Effect":
        return value
    return _values(value)


def _values(value: Any) -> list[str]:
    """Return a scalar or a list as a sorted list of distinct strings. Booleans are written as IAM does: true."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return sorted({str(item).lower() if isinstance(item, bool) else str(item) for item in values})
