import pytest

from elasticache_iam_sandbox.world.access_strings import rewrite
from elasticache_iam_sandbox.world.call import AwsError


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param("on ~app:* +@read", "on ~app:* -@all +@read", id="all-is-taken-away-before-the-first-command"),
        pytest.param("on ~* &* +@read", "on ~* &* -@all +@read", id="channels-come-before-commands"),
        pytest.param("~a:* ~b:*", "off ~a:* ~b:* -@all", id="neither-on-nor-off-is-off"),
        pytest.param("on ~app:* -@all +@read", "on ~app:* -@all +@read", id="said-already"),
        pytest.param("on ~* +@all", "on ~* +@all", id="all-is-kept"),
        pytest.param("on ~* +@all -@dangerous", "on ~* +@all -@dangerous", id="order-is-kept"),
        pytest.param("on ~* -@dangerous +@all", "on ~* -@all -@dangerous +@all", id="all-later-is-not-first"),
        pytest.param("off ~* -@all", "off ~* -@all", id="closed"),
        pytest.param("on   ~a\t+get", "on ~a -@all +get", id="white-space-is-collapsed"),
        pytest.param("on %R~a:* %W~b:* +get", "on %R~a:* %W~b:* -@all +get", id="read-and-write-patterns"),
        pytest.param("on ~a +cluster|slots", "on ~a -@all +cluster|slots", id="subcommands"),
        pytest.param("on ~a +get (~b -set)", "on ~a -@all +get (~b -set)", id="selectors"),
        pytest.param("on allkeys allcommands", "on ~* +@all", id="aliases"),
    ],
)
def test_an_access_string_is_answered_in_rewritten_form(sent, answered):
    assert rewrite(sent) == answered


@pytest.mark.parametrize(
    "access_string",
    ["", "   ", "on >secret ~* +@all", "on #abc +@all", "on <x", "on nopass ~*", "reset on ~*", "on hello", "on ~",
     "on +@nonsense", "on ~* (+get", "on ((+get))"],
)  # fmt: skip
def test_what_aws_refuses_is_an_invalid_parameter_value(access_string):
    with pytest.raises(AwsError) as caught:
        rewrite(access_string)

    assert caught.value.code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("+nosuchcommand", "unknown command nosuchcommand"),
        ("-nosuchcommand", "unknown command nosuchcommand"),
        ("+config|nothing", "unknown command config|nothing"),
        ("+nothing|get", "unknown command nothing|get"),
        ("-select|0", "unknown command select|0"),
        ("+json.nothing", "unknown command json.nothing"),
        ("+@nonsense", "unknown category @nonsense"),
        ("-@timeseries", "unknown category @timeseries"),
        ("(~a +nothing)", "unknown command nothing"),
    ],
)
def test_what_no_engine_has_is_refused_by_name(rule, named):
    with pytest.raises(AwsError) as caught:
        rewrite(f"on ~* {rule}")

    assert (caught.value.code, named in caught.value.message) == ("InvalidParameterValue", True)


@pytest.mark.parametrize(
    "rule", ["+CONFIG|Get", "+config", "+select|0", "+json.set", "+bf.add", "+ft.search", "+script|show", "+@JSON"]
)
def test_what_some_engine_has_is_taken(rule):
    assert rewrite(f"on ~* -@all {rule}") == f"on ~* -@all {rule}"


def test_a_password_is_not_repeated_in_the_message():
    with pytest.raises(AwsError) as caught:
        rewrite("on >very-secret ~* +@all")

    assert "very-secret" not in caught.value.message


@pytest.mark.parametrize("sent", ["on ~a +get", "~a", "on ~* +@all -@dangerous", "on allkeys +@read (~b +set)"])
def test_rewriting_twice_changes_nothing(sent):
    once = rewrite(sent)

    assert rewrite(once) == once
