"""What is wrong, in words for people who write manifests."""

from typing import Annotated, Literal, get_args

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType
from tests.contract.manifests import manifest

from elasticache_iam.api.group import UserGroupSpec
from elasticache_iam.api.parse import InvalidResourceError, parse_user
from elasticache_iam.api.words import WORDS, find_unknown, say, suggest


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("spec.groups", ["orders"], "must have fields of its own, as in {name: value}"),
        ("spec.access", "ReadOnly", "must have fields of its own, as in {name: value}"),
        ("spec.access.keys", "orders:*", "must be a list"),
        ("spec.access.preset", "Readonly", "must be ReadOnly, ReadWrite or Admin"),
        ("spec.serviceAccounts", [1], "must be text; put a number, true or false in quotes"),
        ("spec.suspend", "maybe", "must be true or false"),
        ("spec.groups", [], "needs at least 1 entry"),
        ("spec.access.keys", ["x"] * 65, "must have at most 64 entries"),
        ("spec.id", "x" * 41, "must have at most 40 characters"),
    ],
    ids=["no-object", "a-word", "no-list", "no-choice", "a-number", "no-truth", "too-few", "too-many", "too-long"],
)
def test_a_wrong_value_is_told_in_plain_words(field: str, value: object, said: str):
    with pytest.raises(InvalidResourceError) as refused:
        parse_user(manifest("user", {field: value}))

    told = refused.value.problems
    assert any(said in problem for problem in told)
    assert not [word for word in ("Input", "dictionary", "instance of", "Tuple") if word in "".join(told)]


def test_a_missing_field_is_required():
    body = manifest("user")
    del body["spec"]["groups"]

    with pytest.raises(InvalidResourceError, match=r"^spec\.groups: required$"):
        parse_user(body)


def test_all_words_are_for_errors_that_exist():
    assert set(WORDS) <= set(get_args(ErrorType))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Annotated[int, Field(ge=3600)], 1, "must be at least 3600"),
        (Annotated[int, Field(le=900)], 901, "must be at most 900"),
        (Annotated[float, Field(gt=0)], 0, "must be more than 0"),
        (Annotated[float, Field(lt=1)], 1, "must be less than 1"),
        (Annotated[str, Field(min_length=1)], "", "needs at least 1 character"),
        (Annotated[str, Field(pattern="^a$")], "b", "must match the pattern ^a$"),
        (Literal["a", "b"], "c", "must be a or b"),
        (int, 1.5, "must be a whole number"),
        (float, "x", "must be a number"),
    ],
    ids=["at-least", "at-most", "more", "less", "short", "pattern", "choice", "whole", "number"],
)
def test_a_limit_is_told_with_its_number(kind: object, value: object, said: str):
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(value)

    assert say(refused.value.errors()[0]) == said


def test_misspelt_fields_are_found_at_any_depth():
    spec = {"caches": [{"replicationGrup": "a"}, 3], "admission": [{"namespaces": {"nmaes": ["a"]}}], "zzz": 1}

    assert list(find_unknown(spec, UserGroupSpec, "spec")) == [
        "spec.caches[0].replicationGrup: unknown field; did you mean replicationGroup?",
        "spec.admission[0].namespaces.nmaes: unknown field; did you mean names?",
        "spec.zzz: unknown field",
    ]


def test_free_maps_have_no_unknown_fields():
    assert list(find_unknown({"tags": {"team": "shop"}}, UserGroupSpec, "spec")) == []


def test_a_suggestion_minds_no_case():
    assert suggest("REPLICATIONGROUP", ("replicationGroup",)) == "; did you mean replicationGroup?"
