"""Bodies of the two kinds as the CRDs' schemas describe them, and as no schema would have them: for hypothesis.

An object can be stored under an older CRD, or a newer one: what reaches the operator needn't keep today's rules.
"""

import copy
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import strategies as st
from tests.builders import Manifest, group_manifest, user_manifest

CRDS: Final = Path(__file__).parents[2] / "crds"
KINDS: Final = {"UserGroup": "usergroups", "ElastiCacheIAMUser": "elasticacheiamusers"}
NAMESPACES: Final = ("shop", "platform", "elsewhere")

HOSTILE_TEXTS: Final = (
    "",
    " ",
    "*",
    "default",
    "rival-checkout",
    "demo-checkout",
    "legacy",
    "legacy-prod",
    "legacy-batch",
    "theirs",
    "orders",
    "checkout",
    "main",
    "demo",
    "arn:aws:elasticache:eu-central-1:444455556666:user:root",
    "arn:aws:iam::444455556666:role/Admin",
    "arn:aws:iam::111122223333:role/demo-checkout",
    "444455556666",
    "../../etc/passwd",
    "evil.example/@orders?User=root#",
    "a\nb",
    "a\x00b",
    "ünïcödé-🦊",
    "\u202eorders",
    "{{ password }}",
    "{% for i in (1..100000000) %}x{% endfor %}",
    "on ~* +@all >hunter2",
    "on ~* &* +@all",
    '","Resource":"*',
    "${jndi:ldap://evil}",
    "x" * 300,
)
HOSTILE_VALUES: Final = (None, True, 0, -1, 2**63, 1.5, [], {}, [None], [[]], {"": None}, ["a", 1], [{"name": "main"}])

texts: Final = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=40)
anything: Final = st.sampled_from(HOSTILE_VALUES) | texts


@cache
def schema_of(kind: str) -> Mapping[str, Any]:
    """Return the schema of a kind's spec."""
    definition = yaml.safe_load((CRDS / f"{KINDS[kind]}.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    found: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema describes, but for its CEL rules."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(schema)
        case "array":
            most = min(int(schema.get("maxItems", 3)), 3)
            return st.lists(values(schema["items"]), min_size=int(schema.get("minItems", 0)), max_size=most)
        case "integer":
            return st.integers(int(schema.get("minimum", -(2**31))), int(schema.get("maximum", 2**31)))
        case "boolean":
            return st.booleans()
        case "string":
            return _strings(schema)
        case _:
            return anything


def _strings(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    pattern = _compile(schema.get("pattern", ""))
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 300))

    def fits(text: str) -> bool:
        return least <= len(text) <= most and pattern.search(text) is not None

    known = st.sampled_from([text for text in HOSTILE_TEXTS if fits(text)] or ["a"])
    return (known | st.from_regex(pattern).filter(fits)) if pattern.pattern else (known | texts.filter(fits))


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """Return one of the API server's patterns, which are Go's, as one of ours."""
    for go, ours in {"$": r"\Z", r"\z": r"\Z", r"\p{L}": "a-zé", r"\p{Z}": " ", r"\p{N}": "0-9"}.items():
        pattern = pattern.replace(go, ours)
    return re.compile(pattern, re.DOTALL)


def _objects(schema: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    properties = schema.get("properties")
    if properties is None:
        inner = schema.get("additionalProperties")
        return st.dictionaries(texts, values(inner) if isinstance(inner, Mapping) else anything, max_size=3)
    required = set(schema.get("required", ()))
    fields = {name: values(field) for name, field in properties.items()}
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


@st.composite
def broken(draw: st.DrawFn, spec: Any) -> Any:
    """Return a spec with a few fields taken out, or replaced by what doesn't belong there."""
    spec = copy.deepcopy(spec)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(spec))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(anything))
    return spec


def _places(value: Any) -> Any:
    """Yield every container within a value with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


statuses: Final = st.fixed_dictionaries(
    {},
    optional={
        "observedGeneration": st.sampled_from((-1, 0, 1, 99)),
        "id": texts,
        "arn": texts,
        "role": st.fixed_dictionaries({}, optional={"arn": texts, "maxSessionSeconds": st.integers(-1, 10**6)}),
        "caches": st.lists(
            st.fixed_dictionaries(
                {"name": texts, "id": texts},
                optional={
                    "arn": texts,
                    "host": texts,
                    "port": st.integers(-1, 70000),
                    "region": texts,
                    "service": texts,
                    "secret": st.fixed_dictionaries({"name": texts}, optional={"uid": texts}),
                },
            ),
            max_size=2,
        ),
        "conditions": st.lists(st.sampled_from(({"type": "Ready"}, {}, None, "x")), max_size=2),
        "binding": anything,
    },
)
"""What somebody may have written there, or restored from another cluster's backup."""

annotations: Final = st.dictionaries(
    st.sampled_from(("paused", "plan-only", "refresh", "owner", "x")).map("elasticache-iam.dev/{}".format),
    st.sampled_from(("true", "True", "false", "", "1", "🦊")),
    max_size=2,
)


@st.composite
def bodies(draw: st.DrawFn) -> Manifest:
    """Return one resource: close to a good one, whatever the schema allows, or broken."""
    kind = draw(st.sampled_from(tuple(KINDS)))
    base = group_manifest() if kind == "UserGroup" else user_manifest()
    spec = draw(
        st.one_of(
            st.just(base["spec"]),
            values(schema_of(kind)).map(lambda spec: {**base["spec"], **spec}),
            values(schema_of(kind)),
        )
    )
    if draw(st.booleans()):
        spec = draw(broken(spec))
    body: Manifest = {
        **base,
        "metadata": {
            "name": f"fuzz-{draw(st.integers(0, 3))}",
            "namespace": draw(st.sampled_from(NAMESPACES)),
            "annotations": draw(annotations),
        },
        "spec": spec,
    }
    if draw(st.booleans()):
        body["status"] = draw(statuses)
    return body
