"""AWS's rewriting of access strings is no change; another meaning is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elasticache_iam.core.access import normalise, parse_access_string, same_access

WORDS = st.sampled_from(
    [
        "on", "off", "OFF", "~*", "~a", "~b:*", "%R~a", "%rw~a", "%W~c", "&*", "&ch", "allkeys", "resetkeys",
        "allchannels", "resetchannels", "+@all", "-@all", "allcommands", "nocommands", "+get", "-GET", "+@read",
        "+config|get", "-@dangerous", "(~x", "+get)", "(~y -@all +@read)", "clearselectors", "()", "(", ")", "+", "~",
        "nopass", ">pw", "reset", "%X~q",
    ]
)  # fmt: skip
ACCESS_STRINGS = st.lists(WORDS | st.text(max_size=4), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        pytest.param("on ~app:* +@read", "on ~app:* -@all +@read", id="elasticache-adds-a-start"),
        pytest.param("on ~* &* +@read", "on ~* &* -@all +@read", id="memorydb-adds-a-start"),
        pytest.param(
            "~objects:* ~items:* ~public:*", "off ~objects:* ~items:* ~public:* -@all", id="off-when-neither-is-said"
        ),
        pytest.param(
            "~objects:* ~items:* ~public:*",
            "off ~objects:* ~items:* ~public:* resetchannels -@all",
            id="memorydb-adds-resetchannels",
        ),
        pytest.param("on ~* +@all", "on ~* +@all", id="unchanged"),
        pytest.param("on allkeys allcommands", "on ~* +@all", id="aliases"),
        pytest.param("  on\t~a  +get ", "on ~a -@all +get", id="white-space"),
        pytest.param("on ~a +GET", "on ~a -@all +get", id="case-of-commands"),
        pytest.param("on ~a ~b +get", "on ~b ~a ~b +get", id="order-and-repetition-of-keys"),
        pytest.param("+get on ~a", "on ~a +get", id="parts-in-another-order"),
        pytest.param("on %RW~a +get", "on ~a +get", id="both-permissions"),
        pytest.param("on ~a +get -@all +set", "on ~a -@all +set", id="what-a-later-all-undoes"),
        pytest.param("on ~a +get (~b +set)", "on ~a -@all +get (~b  -@all +SET)", id="inside-a-selector"),
    ],
)
def test_what_aws_returns_is_what_was_sent(sent: str, returned: str):
    assert same_access(sent, returned)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("on ~a +get", "off ~a +get", id="on-and-off"),
        pytest.param("on ~a +get", "on ~A +get", id="case-of-keys"),
        pytest.param("on ~a +get", "on ~a +get +set", id="one-command-more"),
        pytest.param("on ~a +get", "on ~a ~b +get", id="one-key-more"),
        pytest.param("on ~a +get", "on ~a &c +get", id="one-channel-more"),
        pytest.param("on ~a +@all -@dangerous", "on ~a -@dangerous +@all", id="order-of-commands"),
        pytest.param("on ~a +@read -@dangerous +info", "on ~a +@read +info -@dangerous", id="order-after-a-minus"),
        pytest.param("on ~a +get", "on %R~a +get", id="key-permissions"),
        pytest.param("on ~a +get", "on ~a +get (~b +set)", id="a-selector"),
        pytest.param("on ~a &c resetchannels +get", "on ~a &c +get", id="channels-taken-back"),
        pytest.param("on ~a +get", "on ~a +get nopass", id="an-unknown-word"),
    ],
)
def test_another_meaning_is_another_access(a: str, b: str):
    assert not same_access(a, b)


@given(text=ACCESS_STRINGS)
@example(text="( a")
@example(text="() ( (~x +get) off")
def test_normalising_twice_changes_nothing(text: str):
    once = normalise(text)

    assert normalise(once) == once


@given(text=ACCESS_STRINGS)
def test_the_normal_form_says_on_or_off_first_and_starts_from_all_or_nothing(text: str):
    rules = parse_access_string(text)

    assert rules.text.split()[0] in {"on", "off"}
    assert rules.root.commands[0] in {"+@all", "-@all"}


def test_a_password_is_not_in_the_repr():
    assert "hunter2" not in repr(parse_access_string("on >hunter2 ~* +@all"))
