from pathlib import Path

import pytest
import yaml

from elasticache_iam.api import crd
from elasticache_iam.api.schema import VALIDATIONS

CRDS = Path(__file__).parents[3] / "crds"
DOCUMENTS = {kind.name: crd.crd(kind) for kind in crd.KINDS}
NAMES = list(DOCUMENTS)

ATOMIC = "atomic"
DEFAULTS = {
    "ElastiCacheIAMUser": {
        "status": {"observedGeneration": -1},
        "spec.access.channels": [],
        "spec.role": {"mode": "Managed", "binding": "IRSA"},
        "spec.role.mode": "Managed",
        "spec.role.binding": "IRSA",
        "spec.annotateServiceAccounts": False,
        "spec.delivery": {"mode": "Secret", "secret": {"labels": {}, "annotations": {}}},
        "spec.delivery.mode": "Secret",
        "spec.delivery.secret": {"labels": {}, "annotations": {}},
        "spec.delivery.secret.labels": {},
        "spec.delivery.secret.annotations": {},
        "spec.suspend": False,
        "spec.adoption": "Never",
        "spec.deletionPolicy": "Delete",
        "spec.tags": {},
    },
    "UserGroup": {
        "status": {"observedGeneration": -1},
        "spec.service": "ElastiCache",
        "spec.adoption": "Never",
        "spec.caches[].name": "main",
        "spec.attachment": {"policy": "Refuse"},
        "spec.attachment.policy": "Refuse",
        "spec.defaultUser": "Disabled",
        "spec.membership": "Additive",
        "spec.admission[].limit.channels": [],
        "spec.deletionPolicy": "Retain",
    },
}
MERGED_LISTS = {
    "ElastiCacheIAMUser": {
        "status.conditions": ["type"],
        "status.caches": ["name"],
        "status.podIdentity": ["serviceAccount"],
    },
    "UserGroup": {"spec.caches": ["name"], "status.conditions": ["type"], "status.caches": ["name"]},
}


def root(name):
    return DOCUMENTS[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema, path=""):
    """Yield each schema with its path, from spec and status down."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


def fields(name):
    """Return everything below spec and status by path."""
    return {path: schema for path, schema in walk(root(name)) if path.startswith(("spec", "status"))}


def test_the_files_are_what_make_crds_writes():
    assert {path.name: path.read_text(encoding="utf-8") for path in CRDS.iterdir()} == crd.files()


def test_the_files_are_written_into_a_new_folder(tmp_path):
    crd.main(tmp_path / "crds")

    assert {path.name for path in (tmp_path / "crds").iterdir()} == {"elasticacheiamusers.yaml", "usergroups.yaml"}


@pytest.mark.parametrize("kind", crd.KINDS, ids=NAMES)
def test_a_definition_is_small_enough_for_client_side_apply(kind):
    assert len(crd.render(crd.crd(kind)).encode()) < 100_000


@pytest.mark.parametrize("kind", crd.KINDS, ids=NAMES)
def test_a_file_holds_the_definition(kind):
    assert yaml.safe_load(crd.render(crd.crd(kind))) == crd.crd(kind)


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_bounded(name):
    loose = [
        path
        for path, schema in fields(name).items()
        if schema.get("type") == "string" and not schema.keys() & {"enum", "maxLength"}
    ]

    assert loose == []


@pytest.mark.parametrize("name", NAMES)
def test_every_list_is_bounded_and_says_how_it_merges(name):
    lists = {path: schema for path, schema in fields(name).items() if schema["type"] == "array"}

    assert [path for path, schema in lists.items() if "maxItems" not in schema] == []
    assert {
        path: schema["x-kubernetes-list-map-keys"]
        for path, schema in lists.items()
        if schema["x-kubernetes-list-type"] != ATOMIC
    } == MERGED_LISTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_map_is_bounded(name):
    maps = {path: schema for path, schema in fields(name).items() if "additionalProperties" in schema}

    assert [path for path, schema in maps.items() if "maxProperties" not in schema] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_explained_in_one_line(name):
    named = {path: schema for path, schema in fields(name).items() if not path.endswith(("[]", "{}"))}

    assert [path for path, schema in named.items() if len(schema.get("description", "")) < 5] == []
    assert [path for path, schema in named.items() if "\n" in schema["description"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_those_of_the_documentation(name):
    assert {path: schema["default"] for path, schema in fields(name).items() if "default" in schema} == DEFAULTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_points_at_a_field_that_exists(name):
    for path, schema in walk(root(name)):
        for rule in schema.get(VALIDATIONS, ()):
            node = schema
            for part in rule.get("fieldPath", "").split(".")[1:]:
                assert part in node["properties"], f"{path}: {rule}"
                node = node["properties"][part]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_says_why_within_kubernetes_limits(name):
    rules = [rule for _, schema in walk(root(name)) for rule in schema.get(VALIDATIONS, ())]

    assert [rule for rule in rules if not 20 <= len(rule["message"]) <= 2048 or "\n" in rule["message"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_status_is_filled_in_by_nobody_but_the_operator(name):
    below = [path for path, schema in fields(name).items() if path.startswith("status.") and "default" in schema]

    assert below == []


@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [
        ("ElastiCacheIAMUser", ["Ready", "Reason", "User", "Group", "Age"], ["Role", "Cache"]),
        ("UserGroup", ["Ready", "Reason", "Group", "Members", "Age"], ["Engine", "Cache"]),
    ],
)
def test_the_columns_are_those_of_the_documentation(name, narrow, wide):
    columns = DOCUMENTS[name]["spec"]["versions"][0]["additionalPrinterColumns"]

    assert [column["name"] for column in columns if not column.get("priority")] == narrow
    assert [column["name"] for column in columns if column.get("priority")] == wide


def test_a_schema_of_two_types_has_no_structural_form():
    with pytest.raises(ValueError, match="union"):
        crd.structural({"title": "Port", "anyOf": [{"type": "integer"}, {"type": "string"}]})


def test_a_word_without_structural_form_is_not_lost_silently():
    with pytest.raises(ValueError, match="exclusiveMinimum"):
        crd.structural({"title": "Port", "type": "integer", "exclusiveMinimum": 0})
