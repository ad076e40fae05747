from typing import Annotated, ClassVar

import pytest
from pydantic import ValidationError

from elasticache_iam.api.base import ApiModel
from elasticache_iam.api.schema import VALIDATIONS, Pattern, Reason, Rule, Schema, cel_string, immutable

LETTERS = Pattern("^[a-z]+$", "letters only, as {this}")
EVEN = Rule("self % 2 == 0", "count must be even", holds=lambda count: count % 2 == 0, reason=Reason.FORBIDDEN)


class Box(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = (immutable("label", "it is printed on"),)

    label: Annotated[str, LETTERS] | None = None
    count: Annotated[int, EVEN] = 0
    note: Annotated[str, Schema({"maxLength": 3})] = ""


@pytest.mark.parametrize("label", ["A", "", "a1", "a\n", "\na"])
def test_a_pattern_must_match_the_whole_text(label):
    with pytest.raises(ValidationError, match=r"letters only, as \{this\}"):
        Box(label=label)


def test_a_rule_on_a_field_holds_for_every_instance():
    with pytest.raises(ValidationError, match="count must be even"):
        Box(count=3)


def test_what_keeps_the_rules_is_taken_as_it_is():
    assert Box(label="abc", count=4) == Box(label="abc", count=4)


def test_details_for_the_api_server_do_not_bind_the_operator():
    assert Box(note="longer than three").note == "longer than three"


def test_the_schema_tells_rules_patterns_and_details():
    fields = Box.model_json_schema()["properties"]

    assert fields["note"]["maxLength"] == 3
    assert fields["count"][VALIDATIONS] == [
        {"rule": "self % 2 == 0", "message": "count must be even", "reason": "FieldValueForbidden"}
    ]
    label = fields["label"]["anyOf"][0]
    assert label["pattern"] == "^[a-z]+$"
    assert [rule["rule"] for rule in label[VALIDATIONS]] == ["self.matches('^[a-z]+$')"]


def test_a_rule_across_fields_stands_on_their_parent():
    (rule,) = Box.model_json_schema()[VALIDATIONS]

    assert rule["fieldPath"] == ".label"
    assert rule["message"] == "label is immutable: it is printed on"


def test_a_rule_on_transitions_has_nothing_to_say_about_a_single_value():
    assert immutable("label", "it is printed on").is_kept_by(Box())


def test_a_text_becomes_one_cel_literal():
    assert cel_string(r"it's \d") == r"'it\'s \\d'"
