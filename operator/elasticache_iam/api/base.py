"""What every model here has in common: frozen, camelCase outside, snake_case inside."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import override

from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY
from elasticache_iam.api.schema import VALIDATIONS, Rule, Schema, at_most, cel_string


class ApiModel(BaseModel):
    """Base of all models. Unknown fields are ignored: the API server prunes them, and a newer CRD may add some.

    The text under a field is its description in `kubectl explain`.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Rules across fields: CEL in the CRD, and checked by api/parse.py."""

    @classmethod
    @override
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        document = handler(schema)
        if cls.RULES:
            handler.resolve_ref_schema(document)[VALIDATIONS] = [rule.to_document() for rule in cls.RULES]
        return document


class Metadata(ApiModel):
    """The part of a Kubernetes object's metadata that the operator reads."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def is_deleting(self) -> bool:
        """Whether the API server has been asked to delete the object."""
        return self.deletion_timestamp is not None

    @property
    def is_paused(self) -> bool:
        """Whether the resource asks us to keep our hands off (token refreshes go on)."""
        return is_asked(self.annotations, ANNOTATION_PAUSED)

    @property
    def is_plan_only(self) -> bool:
        """Whether the resource asks for a plan instead of the deed."""
        return is_asked(self.annotations, ANNOTATION_PLAN_ONLY)

    @property
    def is_on_hold(self) -> bool:
        """Whether one of the two is asked for: nothing of the resource's spec is carried out."""
        return self.is_paused or self.is_plan_only


def is_asked(annotations: Mapping[str, Any] | None, name: str) -> bool:
    """Whether an annotation asks for what it is named after: it is there, and doesn't say "false".

    Whoever writes "yes" or "1" wants us to hold still: what is understood otherwise would be done.
    """
    value = (annotations or {}).get(name)
    return value is not None and str(value).lower() != "false"


_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"

NAME_RULE: Final = Rule(
    cel=f"self.metadata.name.matches({cel_string(_NAME)})",
    message="metadata.name must be at most 63 lower-case letters, digits and hyphens, without dots: Secrets are named "
    "<name>.<cache>",
    holds=lambda resource: re.fullmatch(_NAME, resource.metadata.name) is not None,
    field=".metadata.name",
)


class ConditionStatus(StrEnum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """metav1.Condition."""

    type: Annotated[str, Schema({"maxLength": 316, "pattern": r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"})]
    """What the condition speaks of, as Ready."""

    status: ConditionStatus
    """True, False or Unknown."""

    reason: Annotated[str, Schema({"maxLength": 1024, "pattern": r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"})]
    """Why, in one CamelCase word; the reference explains each."""

    message: Annotated[str, at_most(32768)]
    """Why, in words, and what to do about it."""

    observed_generation: Annotated[int, Schema({"format": "int64", "minimum": 0})] = 0
    """The metadata.generation that the condition speaks of."""

    last_transition_time: Annotated[str, Schema({"format": "date-time", "maxLength": 64})] = ""
    """When the status last changed."""

    def to_document(self) -> dict[str, Any]:
        """Return the condition as it stands in a status document."""
        return self.model_dump(by_alias=True, mode="json")
