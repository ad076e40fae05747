"""What a model says to the API server beyond pydantic's words: CEL rules, patterns with a remedy, schema details.

A rule stands next to what it guards and is told twice, as CEL for the API server and as Python for the operator:
objects can reach the operator around the CRD (an older CRD, a ratcheted update), and must not be believed there.

Rules on a field's type hold for every instance. Rules across fields (`ApiModel.RULES`) are checked by api/parse.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"
WRITTEN_DEFAULT: Final = "x-written-default"  # between Schema and crd.py; in no CRD


class Reason(StrEnum):
    """The machine-readable reasons that Kubernetes allows a rule to give."""

    INVALID = "FieldValueInvalid"
    FORBIDDEN = "FieldValueForbidden"
    REQUIRED = "FieldValueRequired"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in CEL and in Python.

    Attributes:
        cel: The expression over `self`, for the API server.
        message: What is wrong and what to do, naming the field.
        holds: The same over the parsed value; None where only a transition is judged (`oldSelf`).
        field: Where the error is shown, relative to `self`: `.id`. Empty: at `self`.
        reason: Kubernetes' word for the kind of error.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    field: str = ""
    reason: Reason = Reason.INVALID

    def to_document(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        document = {"rule": self.cel, "message": self.message, "reason": self.reason.value}
        return {**document, "fieldPath": self.field} if self.field else document

    def is_kept_by(self, value: object) -> bool:
        """Whether the value satisfies the rule; True where it judges transitions only."""
        return self.holds is None or self.holds(value)

    def check(self, value: object) -> object:
        """Return the value, or raise pydantic's error with the rule's message."""
        if not self.is_kept_by(value):
            raise PydanticCustomError("rule", self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        document = handler(schema)
        return {**document, VALIDATIONS: [*document.get(VALIDATIONS, ()), self.to_document()]}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that says in words what it wants: a regular expression alone is no help to its reader.

    `regex` is kept to what Go's RE2 and Python's re both understand; it matches the whole text.
    """

    regex: str
    says: str

    def to_rule(self) -> Rule:
        """Return the rule that carries the words."""
        return Rule(
            cel=f"self.matches({cel_string(self.regex)})",
            message=self.says,
            holds=lambda text: re.fullmatch(self.regex, text) is not None,
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return self.to_rule().__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**self.to_rule().__get_pydantic_json_schema__(schema, handler), "pattern": self.regex}


@dataclass(frozen=True, slots=True)
class Schema:
    """Details for the API server alone; the operator does not check them.

    For status, mostly: its limits bind what we write, and must not keep us from reading it back.
    """

    extra: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), **self.extra}


def list_map(*keys: str) -> Schema:
    """Return the marker of a list that server-side apply merges by these keys; unmarked lists are atomic."""
    return Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def at_most(length: int) -> Schema:
    """Return the marker of a text of ours in a status."""
    return Schema({"maxLength": length})


def items_at_most(count: int) -> Schema:
    """Return the marker of a list of ours in a status."""
    return Schema({"maxItems": count})


EMPTY_LIST: Final = Schema({WRITTEN_DEFAULT: []})
"""The API server writes the empty list; without this marker an absent list stays absent."""

EMPTY_MAP: Final = Schema({WRITTEN_DEFAULT: {}})
"""The API server writes the empty map; without this marker an absent map stays absent."""


def cel_string(text: str) -> str:
    """Return the text as a CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def immutable(field: str, why: str) -> Rule:
    """Return the rule that a field never changes, is added or is removed once the object exists.

    It stands on the parent: a rule on the field itself would not run when the field comes or goes.
    """
    return Rule(
        cel=f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        message=f"{field} is immutable: {why}",
        holds=None,
        field=f".{field}",
        reason=Reason.FORBIDDEN,
    )
