"""AWS's rewriting of access strings is no change; another meaning is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elasticache_iam.core.access import (
    check_access_string,
    find_catalogue,
    is_same_access,
    normalise,
    parse_access_string,
    same_access,
)
from elasticache_iam.core.errors import InvalidSpecError

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
        pytest.param("on %R~a %W~a +get", "on ~a +get", id="permissions-in-two-rules"),
        pytest.param("on ~a ~* +get", "on ~* +get", id="a-pattern-before-all-keys"),
        pytest.param("on ~a* ~ab +get", "on ~a* +get", id="a-pattern-within-another"),
        pytest.param("on ~a +get +get", "on ~a +get", id="a-command-twice"),
        pytest.param("on ~a +set +get", "on ~a +get +set", id="commands-that-don't-get-in-each-other's-way"),
        pytest.param("on ~a +@all -get +@read -@read", "on ~a +@all -@read", id="a-rule-that-is-overruled"),
        pytest.param("on ~a +json.get +get", "on ~a +get +json.get", id="a-module's-command"),
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
        pytest.param("on ~* +get", "on %RW~* +get", id="all-keys-and-a-glob-for-all-but-the-empty-one"),
        pytest.param("on &a* +psubscribe", "on &a* &ab +psubscribe", id="a-channel-pattern-more-to-subscribe-to"),
        pytest.param("on ~a +@read +@write +json.get", "on ~a +@read +@write", id="a-module's-command-more"),
        pytest.param("on ~a +@string", "on ~a +@string +@bitmap", id="a-category-more"),
    ],
)
def test_another_meaning_is_another_access(a: str, b: str):
    assert not same_access(a, b)


@pytest.mark.parametrize(
    ("a", "b", "is_same"),
    [
        pytest.param("on ~a +get", "off ~a +get", False, id="log-in"),
        pytest.param("on ~a +get", "on ~a +get +set", False, id="a-command-more"),
        pytest.param("on ~a +get", "on ~b +get", False, id="another-key"),
        pytest.param("on ~a* +get", "on ~ab* +get", False, id="a-narrower-key"),
        pytest.param("on ~a &c +publish", "on ~a &d +publish", False, id="another-channel"),
        pytest.param("on ~a +get", "on ~a +get (~a +get)", True, id="a-selector-that-adds-nothing"),
        pytest.param("on ~a +get", "on ~b +get (~a +get)", None, id="a-selector-that-may-make-up-for-it"),
        pytest.param("on ~a +get", "on ~a +get nopass", None, id="a-word-that-nobody-understands"),
        pytest.param("on ~a +@hyperloglog", "on ~a +pfadd +pfcount +pfmerge +pfdebug +pfselftest", None, id="a-list"),
    ],
)
def test_sameness_is_shown_denied_or_left_open(a: str, b: str, is_same: bool | None):  # noqa: FBT001  # a parameter
    assert is_same_access(a, b) is is_same


def test_a_category_written_out_is_the_same_on_an_engine_that_is_known():
    written_out = "on ~a +pfadd +pfcount +pfmerge +pfdebug +pfselftest"

    assert is_same_access("on ~a +@hyperloglog", written_out, catalogue=find_catalogue("redis", "7.0")) is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("on >secret ~a", "column 4: '>(password)' is refused by AWS", id="a-password"),
        pytest.param("on ~a nopass", "column 7: 'nopass' is refused by AWS", id="nopass"),
        pytest.param("reset on ~a", "column 1: 'reset' is refused by AWS", id="reset"),
        pytest.param("on orders:* +get", "write ~orders:* for keys or &orders:* for channels", id="a-bare-pattern"),
        pytest.param("on ~a @read", "write +@read or -@read", id="a-bare-category"),
        pytest.param("on ~a get", "write +get or -get for a command", id="a-bare-command"),
        pytest.param("on ~a resetkey", "did you mean resetkeys", id="a-misspelling"),
        pytest.param("on %X~a", "write %R~pattern, %W~pattern or ~a", id="an-unknown-permission"),
        pytest.param("on %RR~a", "write %R~pattern", id="a-permission-twice"),
        pytest.param("on ~* ~a", "column 7: '~a' stands behind ~*", id="a-key-behind-all-keys"),
        pytest.param("on &* &a", "column 7: '&a' stands behind &*", id="a-channel-behind-all-channels"),
        pytest.param("on (~a +get", "begins a selector that nothing ends", id="an-open-selector"),
        pytest.param("on (~a (~b +get)", "selectors don't nest", id="a-selector-in-a-selector"),
        pytest.param("on (~a off +get)", "column 8: 'off' is no rule of a selector", id="off-in-a-selector"),
        pytest.param("on (~'a' +get)", "has a quote", id="a-quote-in-a-selector"),
        pytest.param("on ~a +config|get|x", "names an argument of a sub-command", id="too-deep"),
        pytest.param("on ~a +", "is not finished", id="a-sign"),
        pytest.param("on ~a +client|", "is not finished", id="no-sub-command"),
        pytest.param("on ~a +g/t", "is no command's name", id="a-bad-name"),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_to_write(text: str, why: str):
    with pytest.raises(InvalidSpecError) as caught:
        check_access_string(text)

    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_good_string_is_checked_into_its_rules():
    assert check_access_string("on ~a +get").text == "on ~a -@all +get"


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
