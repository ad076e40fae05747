"""The CustomResourceDefinitions, generated from the models: `python -m elasticache_iam.api.crd FOLDER` writes them.

pydantic's JSON schema is turned into what Kubernetes calls structural: references are put in place, "or null" goes,
every list says how server-side apply merges it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from elasticache_iam.api.base import ApiModel
from elasticache_iam.api.group import UserGroup, UserGroupSpec, UserGroupStatus
from elasticache_iam.api.keys import GROUP, VERSION
from elasticache_iam.api.schema import VALIDATIONS, WRITTEN_DEFAULT
from elasticache_iam.api.user import ElastiCacheIAMUser, ElastiCacheIAMUserSpec, ElastiCacheIAMUserStatus

Document = dict[str, Any]

CATEGORY: Final = "elasticache-iam"
HEADER: Final = "# Generated from operator/elasticache_iam/api by `make crds`; do not edit.\n"

# What a schema may say to Kubernetes, in the order in which it reads best.
_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    VALIDATIONS,
)
_RULE: Final = ("rule", "message", "reason", "fieldPath")
_DROPPED: Final = frozenset({"title", "$defs", "anyOf", "$ref", "default", "const", WRITTEN_DEFAULT})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; wide ones show with `-o wide` only."""

    name: str
    json_path: str
    description: str
    type: str = "string"
    is_wide: bool = False

    def to_document(self) -> Document:
        """Return the entry of `additionalPrinterColumns`."""
        document = {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "jsonPath": self.json_path,
        }
        return {**document, "priority": 1} if self.is_wide else document


@dataclass(frozen=True, slots=True)
class Kind:
    """One of our kinds and how it is called."""

    model: type[ApiModel]
    spec: type[ApiModel]
    status: type[ApiModel]
    plural: str
    short: str
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """The kind itself, as ElastiCacheIAMUser."""
        return self.model.__name__

    @property
    def file_name(self) -> str:
        """The file that holds its definition."""
        return f"{self.plural}.yaml"


def _condition(name: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].{part}'


_READY: Final = Column("Ready", _condition("Ready", "status"), "Whether everything asked for is done and works.")
_REASON: Final = Column("Reason", _condition("Ready", "reason"), "Why it is or is not ready.")
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")

KINDS: Final = (
    Kind(
        model=ElastiCacheIAMUser,
        spec=ElastiCacheIAMUserSpec,
        status=ElastiCacheIAMUserStatus,
        plural="elasticacheiamusers",
        short="eciu",
        columns=(
            _READY,
            _REASON,
            Column("User", ".status.id", "The user's id in AWS and its name in Redis."),
            Column("Group", ".spec.groups[0].name", "The UserGroup it joins."),
            _AGE,
            Column("Role", ".status.role.arn", "The IAM role that tokens are signed with.", is_wide=True),
            # Cache, not Caches: a column shows only the first match of its path.
            Column("Cache", ".status.caches[0].id", "The first of its caches; status has all.", is_wide=True),
        ),
    ),
    Kind(
        model=UserGroup,
        spec=UserGroupSpec,
        status=UserGroupStatus,
        plural="usergroups",
        short="ecug",
        columns=(
            _READY,
            _REASON,
            Column("Group", ".status.id", "The group's id in AWS."),
            Column("Members", ".status.members", "Members that are resources here.", type="integer"),
            _AGE,
            Column("Engine", ".spec.engine", "The group's engine.", is_wide=True),
            Column("Cache", ".status.caches[0].id", "The first of its caches; status has all.", is_wide=True),
        ),
    ),
)


def crd(kind: Kind) -> Document:
    """Return the CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_document() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _resource_schema(kind)},
                }
            ],
        },
    }


def _resource_schema(kind: Kind) -> Document:
    """Return the schema of the whole resource."""
    status = _without_defaults(structural(kind.status.model_json_schema()))
    return {
        "description": _sentence(kind.model.__doc__ or ""),
        "type": "object",
        "required": ["spec"],
        VALIDATIONS: [rule.to_document() for rule in kind.model.RULES],
        "properties": {
            "apiVersion": {
                "description": f"The version of this resource's shape: {GROUP}/{VERSION}.",
                "type": "string",
            },
            "kind": {"description": f"The kind of this resource: {kind.name}.", "type": "string"},
            # Without a length here, a rule on the name has no bounded cost.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}}},
            "spec": _described(structural(kind.spec.model_json_schema()), kind, "spec"),
            # kstatus takes a resource without a status for finished; -1 says that nobody has looked at it yet.
            "status": {**_described(status, kind, "status"), "default": {"observedGeneration": -1}},
        },
    }


def _described(schema: Document, kind: Kind, field: str) -> Document:
    return {**schema, "description": kind.model.model_fields[field].description}


def structural(schema: Mapping[str, Any]) -> Document:
    """Return pydantic's JSON schema as a structural OpenAPI v3 schema.

    Raises:
        ValueError: The schema says something that has no structural form, or that this function does not know.
    """
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Document:
    node = _resolved(node, definitions)
    schema = {word: node[word] for word in _KEPT if word in node}
    if "description" in schema:
        schema["description"] = _sentence(schema["description"])
    unknown = node.keys() - set(_KEPT) - _DROPPED - {"properties", "required", "additionalProperties", "items"}
    if unknown:
        raise ValueError(f"no structural form for {sorted(unknown)} in {node.get('title')}")
    if node.get("type") == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
        schema["items"] = _structural(node["items"], definitions)
    if "properties" in node:
        schema["required"] = list(node.get("required", ()))
        schema["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
        if not schema["required"]:
            del schema["required"]
    elif "additionalProperties" in node:
        values = node["additionalProperties"]
        if values is True:
            schema["x-kubernetes-preserve-unknown-fields"] = True
        else:
            schema["additionalProperties"] = _structural(values, definitions)
    if VALIDATIONS in schema:
        schema[VALIDATIONS] = [{word: rule[word] for word in _RULE if word in rule} for rule in schema[VALIDATIONS]]
    return schema | _default(node, schema)


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the node with its reference put in place and "or null" taken away; its own words win."""
    own = {word: value for word, value in node.items() if word not in {"$ref", "anyOf"}}
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return {**_resolved(definitions[name], definitions), **own}
    if "anyOf" in node:
        branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"{node.get('title')} is a union: not structural")
        return {**_resolved(branches[0], definitions), **own}
    return node


def _default(node: Mapping[str, Any], schema: Document) -> Document:
    """Return what the API server should fill in.

    An object's default is that of its fields, in full: the API server checks the rules on a default before it fills in
    the fields'. An empty list or map is the operator's way to say "absent"; it is written into the resource only where
    the model asks for it (EMPTY_LIST, EMPTY_MAP).
    """
    if WRITTEN_DEFAULT in node:
        return {"default": node[WRITTEN_DEFAULT]}
    default = node.get("default")
    if default is None or default in ([], {}):
        return {}
    if "properties" not in schema:
        return {"default": default}
    children = schema["properties"].items()
    return {"default": {name: child["default"] for name, child in children if "default" in child}}


def _without_defaults(schema: Document) -> Document:
    """Return the schema without any default: a status is what we wrote, nothing else."""
    bare = {word: value for word, value in schema.items() if word != "default"}
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(child) for name, child in bare["properties"].items()}
    for word in ("items", "additionalProperties"):
        if word in bare:
            bare[word] = _without_defaults(bare[word])
    return bare


def _sentence(text: str) -> str:
    """Return a docstring as one line."""
    return " ".join(text.split())


def render(document: Document) -> str:
    """Return the file's text."""
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def files() -> dict[str, str]:
    """Return all files by name."""
    return {kind.file_name: render(crd(kind)) for kind in KINDS}


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
