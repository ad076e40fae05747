"""What is wrong with a field, in plain words: pydantic speaks to programmers, of tuples and dictionaries."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_Context = Mapping[str, Any]
_NAME: Final = re.compile(r"[\w./-]+", re.ASCII)


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _characters(count: int) -> str:
    return f"{count} {'character' if count == 1 else 'characters'}"


_OBJECT: Final = "must have fields of its own, as in {name: value}"
_LIST: Final = "must be a list"
_TEXT: Final = "must be text; put a number, true or false in quotes"
_YES_OR_NO: Final = "must be true or false"
_WHOLE: Final = "must be a whole number"
_NUMBER: Final = "must be a number"

WORDS: Final[Mapping[str, str | Callable[[_Context], str]]] = {
    "missing": "required",
    "extra_forbidden": "unknown field",
    "none_required": "must be left out",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "frozen_set_type": _LIST,
    "string_type": _TEXT,
    "string_too_short": lambda found: f"needs at least {_characters(found['min_length'])}",
    "string_too_long": lambda found: f"must have at most {_characters(found['max_length'])}",
    "string_pattern_mismatch": lambda found: f"must match the pattern {found['pattern']}",
    "too_short": lambda found: f"needs at least {_entries(found['min_length'])}",
    "too_long": lambda found: f"must have at most {_entries(found['max_length'])}",
    "enum": lambda found: f"must be {_plainly(found['expected'])}",
    "literal_error": lambda found: f"must be {_plainly(found['expected'])}",
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "greater_than": lambda found: f"must be more than {found['gt']:g}",
    "greater_than_equal": lambda found: f"must be at least {found['ge']:g}",
    "less_than": lambda found: f"must be less than {found['lt']:g}",
    "less_than_equal": lambda found: f"must be at most {found['le']:g}",
    "datetime_type": "must be a time, as in 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time, as in 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time, as in 2026-01-31T12:00:00Z",
}
"""By pydantic's type of error; None of them quotes a value."""


def say(detail: ErrorDetails) -> str:
    """Return what is wrong with a field, and what it must be."""
    words = WORDS.get(detail["type"])
    if words is None:
        return detail["msg"].removeprefix("Value error, ")
    return words if isinstance(words, str) else words(detail.get("ctx", {}))


def step(name: str) -> str:
    """Return a field's part of a path, `.name`; what isn't a name is quoted, so that it stays on its line."""
    return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name)}]"


def _plainly(expected: str) -> str:
    """Return pydantic's list of words without its quotes."""
    return expected.replace("'", "")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean x?` for a misspelt name, "" where nothing comes near."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def find_unknown(document: object, model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the fields of a document that its model doesn't know, with a suggestion: `spec.a: unknown field`.

    What the values are plays no part: a document that is wrong otherwise tells its misspelt fields, too.
    """
    if not isinstance(document, Mapping):
        return
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for name, value in document.items():
        here = path + step(str(name))
        if name not in fields:
            yield f"{here}: unknown field{suggest(str(name), fields)}"
            continue
        inner = _model_in(fields[name])
        if inner is None:
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from find_unknown(item, inner, f"{here}[{index}]")
        else:
            yield from find_unknown(value, inner, here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, alone, as an option or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
