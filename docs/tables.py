"""Writes the tables of docs/reference/ that come from code: `python docs/tables.py`. A test compares."""  # noqa: INP001

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.metrics import MetricWrapperBase

from elasticache_iam.api.access import Preset
from elasticache_iam.core.access.catalogue import Catalogue, load_catalogues
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.presets import PRESET_COMMANDS
from elasticache_iam.runtime.metrics import Metrics

ROOT: Final = Path(__file__).resolve().parents[1]
REFERENCE: Final = ROOT / "docs" / "reference"
VALUES: Final = ROOT / "charts" / "elasticache-iam-operator" / "values.yaml"

BEGIN: Final = "<!-- begin {name}: written by docs/tables.py -->"
END: Final = "<!-- end {name} -->"


def render_tables() -> dict[Path, dict[str, str]]:
    """Return all tables: by page, then by the name of the markers around each."""
    kinds = {"UserGroup": "usergroups", "ElastiCacheIAMUser": "elasticacheiamusers"}
    resources = {}
    for kind, plural in kinds.items():
        crd = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        resources[f"{kind} spec"] = _spec_table(schema["properties"]["spec"])
        resources[f"{kind} status"] = _status_table(schema["properties"]["status"])
    return {
        REFERENCE / "resources.md": resources,
        REFERENCE / "metrics.md": {"metrics": _metric_table()},
        REFERENCE / "values.md": _value_tables(VALUES.read_text(encoding="utf-8")),
        ROOT / "docs" / "access-strings.md": {preset.value: _preset_list(preset) for preset in PRESET_COMMANDS},
    }


def put_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with the text between each pair of markers replaced. Raises ValueError for missing markers."""
    for name, table in tables.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"the page has no markers for {name}")
        page = f"{before}{begin}\n\n{table}\n{end}{after}"
    return page


def _spec_table(schema: Mapping[str, Any]) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for path, field, required in _fields(schema, ""):
        default = "required" if required else _default(field)
        rows.append(f"| `{path}` | {_type(field)} | {default} | {_cell(field.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _status_table(schema: Mapping[str, Any]) -> str:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    rows += [
        f"| `{path}` | {_type(field)} | {_cell(field.get('description', ''))} |"
        for path, field, _ in _fields(schema, "")
    ]
    return "\n".join(rows) + "\n"


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield path, schema and whether it is required, of every field below a schema."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        items = field.get("items", {})
        yield path, field, name in required
        if path == "conditions":  # metav1.Condition, known to everybody
            continue
        if "properties" in field:
            yield from _fields(field, f"{path}.")
        elif "properties" in items:
            yield from _fields(items, f"{path}[].")


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {field['items'].get('type', 'any')}"
    if "additionalProperties" in field:
        return "map of string"
    return str(field.get("type", "any"))


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if value is None or (isinstance(value, dict) and value):
        return ""  # an object's default stands at its fields
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`"


def _metric_table() -> str:
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    collectors = Metrics(version="0").registry._collector_to_names  # noqa: SLF001  # the registry lists them nowhere else
    for collector in collectors:
        assert isinstance(collector, MetricWrapperBase)  # noqa: S101  # for the type checker: our registry has no others
        metric = next(iter(collector.describe()))
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001  # as above
        rows.append(f"| `{name}` | {metric.type} | {labels} | {_cell(metric.documentation)} |")
    return "\n".join(rows) + "\n"


def _value_tables(text: str) -> dict[str, str]:
    """Return the tables of a values.yaml: one for each of its keys with keys of their own, and one of all others.

    Raises ValueError for a value without a comment above it.
    """
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    tables: dict[str, list[str]] = {"the operator": []}
    for path, node, line in _values(root, lines, ()):
        above = [text.strip() for text in lines[:line]]
        start = max(number for number, text in enumerate(["", *above]) if not text.startswith("#"))
        comment = " ".join(text.removeprefix("#").strip() for text in above[start:])
        if not comment:
            raise ValueError(f"values.yaml doesn't say what {'.'.join(path)} means")
        value = yaml.safe_load(yaml.serialize(node))
        shown = "" if value in ("", [], {}) else f"`{value if isinstance(value, str) else json.dumps(value)}`"
        table = tables.setdefault(path[0] if len(path) > 1 else "the operator", [])
        table.append(f"| `{'.'.join(path)}` | {_cell(shown)} | {_cell(comment)} |")
    head = ["| value | default | meaning |", "|---|---|---|"]
    return {name: "\n".join(head + rows) + "\n" for name, rows in tables.items()}


def _values(
    node: yaml.Node, lines: list[str], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], yaml.Node, int]]:
    """Yield path, node and line of every value: of a mapping's keys if these are explained, else of the whole."""
    assert isinstance(node, yaml.MappingNode)  # noqa: S101  # for the type checker: so are values, and what is descended to
    for key, value in node.value:
        here = (*path, key.value)
        if isinstance(value, yaml.MappingNode) and _is_explained_by_key(value, lines):
            yield from _values(value, lines, here)
        else:
            yield here, value, key.start_mark.line


def _is_explained_by_key(node: yaml.MappingNode, lines: list[str]) -> bool:
    """Whether comments stand above the keys of a mapping, or of those further below."""
    if node.flow_style or not node.value:
        return False
    key, value = node.value[0]
    above = lines[key.start_mark.line - 1].lstrip().startswith("#")
    return above or (isinstance(value, yaml.MappingNode) and _is_explained_by_key(value, lines))


def _preset_list(preset: Preset) -> str:
    """Return the access string's command rules, and the commands that they come to."""
    rules = tuple(PRESET_COMMANDS[preset].split())
    if rules == ("+@all",):
        return f"`{rules[0]}`\n"
    first, *others = load_catalogues()
    allowed = _runnable(rules, first)
    sentences = [f"{len(allowed)} commands of {first.title}: {_named(allowed)}."]
    for other in others:
        here = _runnable(rules, other)
        sentences.append(f"Of {other.title} also: {_named(here - allowed)}.")
        sentences += [f"Not there: {_named(allowed - here)}."] if allowed - here else []
    return "\n\n".join((f"`{' '.join(rules)}`", *(textwrap.fill(each, 120) for each in sentences))) + "\n"


def _runnable(rules: tuple[str, ...], catalogue: Catalogue) -> frozenset[str]:
    """Return what can be sent: CLIENT alone can't, COMMAND can."""
    commands = catalogue.commands
    granted = grant(rules, catalogue).commands
    return frozenset(name for name in granted if not commands[name].is_container or commands[name].takes(1))


def _named(commands: Iterable[str]) -> str:
    return ", ".join(name.upper().replace("|", " ") for name in sorted(commands))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the tables into their pages."""
    for path, tables in render_tables().items():
        path.write_text(put_tables(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
