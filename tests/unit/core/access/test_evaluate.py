"""What access strings allow. Real servers judge the same in tests/contract/test_access_judges.py."""

import pytest

from elasticache_iam.core.access import allows, find_catalogue


@pytest.mark.parametrize(
    ("access_string", "command", "verdict"),
    [
        pytest.param("on ~a +get", "GET a", True, id="a-command-and-its-key"),
        pytest.param("on ~a +get", "get b", False, id="another-key"),
        pytest.param("on ~a +get", "set a 1", False, id="another-command"),
        pytest.param("on ~a +get", "get a b", None, id="too-many-arguments"),
        pytest.param("on ~a +get", "unheard a", None, id="an-unknown-command"),
        pytest.param("on ~a +get x", "get a", None, id="a-string-that-servers-refuse"),
        pytest.param("on %R~a +@all", "append a 1", False, id="writing-what-may-be-read"),
        pytest.param("on %R~a +@all", "set a 1", None, id="arguments-that-tell-reading-from-writing"),
        pytest.param("on %R~a %W~b +@all", "copy a b", True, id="from-one-to-another"),
        pytest.param("on %R~a %W~b +@all", "copy b a", False, id="from-the-other-to-the-one"),
        pytest.param("on ~a ~b +zunionstore", "zunionstore a 2 b c", False, id="keys-behind-their-number"),
        pytest.param("on ~a +eval", "eval s 0", True, id="a-script-without-keys"),
        pytest.param("on ~a +eval", "eval s x a", None, id="a-number-that-is-none"),
        pytest.param("on ~a +xread", "xread count 1 streams a b 0 0", False, id="keys-behind-a-keyword"),
        pytest.param("on ~a +sort", "sort a", None, id="keys-that-only-servers-find"),
        pytest.param("on ~* +sort", "sort a", True, id="all-keys"),
        pytest.param("on ~a[ +get", "get a", None, id="a-glob-that-servers-read-in-their-own-way"),
        pytest.param("on +config|get", "config get x", True, id="a-sub-command"),
        pytest.param("on +config|get", "config set x y", False, id="another-sub-command"),
        pytest.param("on +config -config|get", "config get x", False, id="a-sub-command-denied"),
        pytest.param("on +select|0", "select 0", True, id="an-argument"),
        pytest.param("on +select|0", "select 1", False, id="another-argument"),
        pytest.param("on +select|0 -@connection", "select 0", False, id="an-argument-denied-with-its-category"),
        pytest.param("on ~a +get (~b +set)", "get b", False, id="never-from-two-selectors"),
        pytest.param("on ~a +get (~b +set)", "set b 1", True, id="a-selector"),
        pytest.param("on &a* +publish", "publish ab x", True, id="a-channel"),
        pytest.param("on &a* +psubscribe", "psubscribe ab", False, id="a-pattern-is-compared-as-text"),
        pytest.param("on &a* +psubscribe", "psubscribe a*", True, id="a-pattern-s-text"),
        pytest.param("on", "auth x", True, id="logging-in"),
        pytest.param("on +waitaof", "waitaof 0 0 0", None, id="a-command-of-some-engines"),
    ],
)
def test_a_command_is_allowed_refused_or_left_open(access_string: str, command: str, verdict: bool | None):  # noqa: FBT001  # a parameter
    assert allows(access_string, *command.split()) is verdict


def test_an_engine_that_is_known_decides():
    assert allows("on +waitaof", "waitaof", "0", "0", "0", catalogue=find_catalogue("valkey", "8.0")) is True
