"""What `elasticache-iam lint` says, and how programs read it: JSON, and SARIF for code hosts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from os.path import normpath
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote


class Level(StrEnum):
    """How bad it is, in SARIF's words."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a manifest, or about an access string.

    Attributes:
        code: Which rule, one of `RULES`.
        message: What it is.
        what: The object, in words; "" for an access string alone.
        suggestion: What to do; "" if the message says that.
        file: Where; "" for an access string on the command line.
        line: In the file, from 1.
        column: In the line, or in the access string, from 1.
    """

    code: str
    message: str
    what: str = ""
    suggestion: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None

    @property
    def level(self) -> Level:
        """How bad it is: as the rule says."""
        return RULES[self.code].level

    @property
    def says(self) -> str:
        """The message with what to do."""
        return f"{self.message}: {self.suggestion}" if self.suggestion else self.message


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means."""

    level: Level
    says: str


def _error(says: str) -> Rule:
    return Rule(Level.ERROR, says)


def _warning(says: str) -> Rule:
    return Rule(Level.WARNING, says)


RULES: Final[Mapping[str, Rule]] = {
    # -- manifests
    "not-read": _error("Manifests that weren't looked at."),
    "not-yaml": _error("The file isn't YAML."),
    "repeated-key": _error("A key stands twice in one mapping: the API server refuses it, or the last one wins."),
    "not-an-object": _error("A document isn't a Kubernetes object."),
    "unknown-kind": _error("A kind or version that the operator doesn't have."),
    "duplicate": _error("Two resources of one kind, namespace and name."),
    "invalid-field": _error("A field is unknown, missing or breaks a rule: the API server would refuse or drop it."),
    "unknown-annotation": _error("An annotation that the operator doesn't have, or a value that it doesn't have."),
    "invalid-template": _error("A template of spec.delivery can't be rendered."),
    "unknown-cache": _error("A user names a cache that its UserGroup doesn't list."),
    "not-admitted": _error("The UserGroup doesn't let the user in, or not with so much access."),
    "cache-claimed": _error("Two UserGroups list one cache: the older one holds it."),
    "secret-claimed": _error("Two users of a namespace want one Secret."),
    # -- access strings
    "refused-word": _error("AWS refuses the word in an access string."),
    "not-a-rule": _error("Not a rule of the access string's language."),
    "disabled": _warning("The user can't log in."),
    "unknown-category": _warning("No known engine has the category."),
    "unknown-command": _warning("No known engine has the command."),
    "denied-argument": _warning("An argument can't be denied."),
    "first-argument": _warning("A command allowed with one first argument only."),
    "no-keys": _warning("No key pattern: every command that takes a key is refused."),
    "no-commands": _warning("No command is allowed."),
    "all-commands": _warning("+@all reaches all keys, whatever the key patterns say."),
    "dangerous": _warning("+@dangerous allows FLUSHALL, KEYS and the like."),
    "wipes-data": _warning("The user may empty whole databases."),
    "blocks-clients": _warning("Refuses what most client libraries send on their own."),
    "idle-rule": _warning("A rule that changes nothing where it stands."),
    "aws-refuses": _warning("AWS refuses the command to everybody."),
}

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def remarks_document(remarks: Sequence[Remark]) -> list[dict[str, Any]]:
    """Return remarks as a JSON document."""
    return [
        {
            "level": remark.level.value,
            "code": remark.code,
            "resource": remark.what or None,
            "message": remark.message,
            "suggestion": remark.suggestion or None,
            "file": remark.file or None,
            "line": remark.line,
            "column": remark.column,
        }
        for remark in remarks
    ]


def sarif_document(remarks: Sequence[Remark], *, version: str, folder: PurePath) -> dict[str, Any]:
    """Return remarks as a SARIF 2.1.0 log: what code hosts show beside the lines of a change.

    Args:
        remarks: What was found.
        version: Of this program.
        folder: Where it works; files are named from there, as code hosts name them from the root of a repository.
    """
    used = sorted({remark.code for remark in remarks})
    driver = {"name": "elasticache-iam", "version": version, "rules": [_rule_document(code) for code in used]}
    results = [_result(remark, used, folder) for remark in remarks]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule_document(code: str) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "id": code,
        "shortDescription": {"text": rule.says},
        "defaultConfiguration": {"level": rule.level.value},
    }


def _result(remark: Remark, used: Sequence[str], folder: PurePath) -> dict[str, Any]:
    text = f"{remark.what}: {remark.says}" if remark.what else remark.says
    result: dict[str, Any] = {
        "ruleId": remark.code,
        "ruleIndex": used.index(remark.code),
        "level": remark.level.value,
        "message": {"text": text},
    }
    if remark.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(remark.file, folder)}}
        region = {"startLine": remark.line, "startColumn": remark.column}
        if remark.line is not None:
            place["region"] = {name: value for name, value in region.items() if value is not None}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(file: str, folder: PurePath) -> str:
    path = PurePath(normpath(folder / file))
    inside = path.is_relative_to(folder)
    name = (path.relative_to(folder) if inside else path).as_posix()
    # Names that aren't UTF-8 are percent-encoded as the bytes that they are.
    return ("" if inside else "file://") + quote(name, errors="surrogateescape")


def has_errors(remarks: Iterable[Remark], *, strict: bool) -> bool:
    """Whether remarks should fail a build: errors do, warnings only if somebody is strict."""
    return any(strict or remark.level is Level.ERROR for remark in remarks)
