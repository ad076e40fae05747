import pytest
from tests.contract.manifests import ACCEPTED, REFUSED, ids, manifest

from elasticache_iam.api.access import Preset
from elasticache_iam.api.group import Engine, UserGroupStatus
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user
from elasticache_iam.api.user import RoleMode

PARSE = {"user": parse_user, "group": parse_group}
REFUSED_HERE = [case for case in REFUSED if case.parser_too]


@pytest.mark.parametrize("case", REFUSED_HERE, ids=ids(REFUSED_HERE))
def test_what_the_api_server_refuses_is_refused_here(case):
    with pytest.raises(InvalidResourceError) as caught:
        PARSE[case.base](manifest(case.base, case.changes))

    assert any(problem.startswith(case.field) for problem in caught.value.problems)


@pytest.mark.parametrize("case", ACCEPTED, ids=ids(ACCEPTED))
def test_what_the_api_server_accepts_is_accepted_here(case):
    resource = PARSE[case.base](manifest(case.base, case.changes))

    assert resource.metadata.name == manifest(case.base, case.changes)["metadata"]["name"]


def test_a_document_becomes_values():
    parsed = parse_user(manifest("user"))

    assert parsed.spec.access.preset is Preset.READ_WRITE
    assert parsed.spec.access.keys == ("orders:*",)
    assert parsed.spec.role.mode is RoleMode.MANAGED
    assert parsed.status.observed_generation == -1


@pytest.mark.parametrize(
    ("says", "is_on"),
    [
        ("true", True),
        ("True", True),
        ("yes", True),
        ("1", True),
        ("tru", True),
        ("false", False),
        ("False", False),
        ("", True),
    ],
)
def test_an_annotation_that_asks_us_to_hold_still_is_taken_unless_it_says_false(says, is_on):
    annotations = {"elasticache-iam.dev/paused": says, "elasticache-iam.dev/plan-only": says}

    metadata = parse_user(manifest("user", {"metadata.annotations": annotations})).metadata

    assert (metadata.is_paused, metadata.is_plan_only) == (is_on, is_on)


def test_a_group_is_parsed_as_a_group():
    assert parse_group(manifest("group")).spec.engine is Engine.VALKEY


def test_every_problem_is_named_at_once():
    with pytest.raises(InvalidResourceError) as caught:
        parse_user(manifest("user", {"spec.access": {}, "spec.serviceAccounts": [], "metadata.name": "a.b"}))

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "metadata.name",
        "spec.serviceAccounts",
        "spec.access",
    ]


def test_the_message_quotes_no_value():
    with pytest.raises(InvalidResourceError) as caught:
        parse_user(manifest("user", {"spec.access": {"accessString": "on ~* +@all >hunter2"}}))

    assert "hunter2" not in str(caught.value)


def test_a_key_that_is_no_name_stays_on_its_line():
    with pytest.raises(InvalidResourceError) as caught:
        parse_group(manifest("group", {"spec.tags": {"a\nReady: true": "x" * 300}}))

    (problem,) = caught.value.problems
    assert problem.startswith('spec.tags["a\\nReady: true"]: ')
    assert "\n" not in problem


def test_a_document_without_a_spec_is_refused():
    with pytest.raises(InvalidResourceError, match=r"^spec: "):
        parse_user({"metadata": {"name": "checkout", "namespace": "shop"}})


@pytest.mark.parametrize("status", [None, "gone", [], 7, {"caches": 3}, {"conditions": [{"type": "Ready"}]}])
def test_a_broken_status_is_as_good_as_none(status):
    parsed = parse_group(manifest("group", {"status": status}))

    assert parsed.status == UserGroupStatus()


def test_what_can_be_read_of_a_broken_status_is_kept():
    parsed = parse_user(manifest("user", {"status": {"id": "demo-checkout-1", "conditions": ["?"], "caches": {}}}))

    assert parsed.status.id == "demo-checkout-1"
    assert parsed.status.conditions == ()


def test_a_status_of_a_later_version_is_read():
    parsed = parse_user(manifest("user", {"status": {"id": "a", "invented": {"later": True}}}))

    assert parsed.status.id == "a"
