"""Limits: what is claimed to be within one is, and what can't be shown is refused with its name."""

import itertools
import string
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access import (
    Catalogue,
    Within,
    find_catalogue,
    is_within,
    lint,
    load_catalogues,
    render_access_string,
    same_access,
)
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.globs import covers
from elasticache_iam.core.access.presets import PRESET_COMMANDS
from elasticache_iam.core.access.within import _may_exceed_elsewhere

GLOB_ALPHABET = "ab:*?[]^-\\"
PATTERNS = st.text(GLOB_ALPHABET, max_size=6) | st.builds(
    "{}{}".format, st.text("ab:\\", max_size=3), st.sampled_from(["*", "", "?", "[a-b]", "**"])
)
NAMES = st.text(GLOB_ALPHABET, max_size=7)
WORDS = st.sampled_from(
    ["~a", "~a*", "~*", "%R~a", "&c", "+@all", "-@all", "+@read", "+@write", "-@dangerous", "+get", "-get", "nopass",
     "(~a +get)", "on", "off"]
)  # fmt: skip
unchecked = Access.model_construct  # the model refuses some of it; a limit must hold whatever it is asked
RAW = st.lists(WORDS, max_size=7).map(lambda words: unchecked(access_string=" ".join(words)))
PRESETS = st.builds(
    unchecked,
    preset=st.sampled_from([Preset.READ_ONLY, Preset.READ_WRITE]),
    keys=st.lists(PATTERNS, min_size=1, max_size=3).map(tuple),
    channels=st.lists(PATTERNS, max_size=2).map(tuple),
)
ACCESSES = RAW | PRESETS | st.just(Access(preset=Preset.ADMIN))


def matches(pattern: str, text: str) -> bool:  # noqa: C901, PLR0912  # a transcript keeps the shape of its source
    """Match as Redis does: util.c, stringmatchlen, of redis 7.0.15, written down step by step."""
    p, s = 0, 0
    while p < len(pattern) and s < len(text):
        if pattern[p] == "*":
            while p + 1 < len(pattern) and pattern[p + 1] == "*":
                p += 1
            if p + 1 == len(pattern):
                return True
            return any(matches(pattern[p + 1 :], text[start:]) for start in range(s, len(text)))
        if pattern[p] == "?":
            pass
        elif pattern[p] == "[":
            p += 1
            negated = p < len(pattern) and pattern[p] == "^"
            p += negated
            found = False
            while True:
                if pattern[p : p + 1] == "\\" and len(pattern) - p >= 2:
                    p += 1
                    found |= pattern[p] == text[s]
                elif pattern[p : p + 1] == "]":
                    break
                elif p >= len(pattern):
                    p -= 1
                    break
                elif len(pattern) - p >= 3 and pattern[p + 1] == "-":
                    low, high = sorted((pattern[p], pattern[p + 2]))
                    p += 2
                    found |= low <= text[s] <= high
                else:
                    found |= pattern[p] == text[s]
                p += 1
            if found == negated:
                return False
        else:
            if pattern[p] == "\\" and len(pattern) - p >= 2:
                p += 1
            if pattern[p] != text[s]:
                return False
        s += 1
        p += 1
        if s == len(text):
            while pattern[p : p + 1] == "*":
                p += 1
            break
    return p >= len(pattern) and s == len(text)


def preset(name: Preset, *keys: str, channels: tuple[str, ...] = ()) -> Access:
    return unchecked(preset=name, keys=keys, channels=channels)


def raw(text: str) -> Access:
    return unchecked(access_string=text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*", "abc", True),
        ("a*c", "abc", True),
        ("a?c", "abc", True),
        ("a[b-d]", "ac", True),
        ("a[^b]", "ab", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("*a", "ba", True),
        ("a", "ab", False),
    ],
)
def test_the_matcher_of_these_tests_matches(pattern: str, text: str, expected: bool):  # noqa: FBT001  # a parameter
    assert matches(pattern, text) is expected


@given(
    pair=st.tuples(PATTERNS, PATTERNS)
    | st.builds(lambda start, end: (f"{start}*", f"{start}{end}"), st.text(GLOB_ALPHABET, max_size=4), PATTERNS),
    names=st.lists(NAMES, min_size=20, max_size=40),
)
def test_a_covering_pattern_matches_whatever_the_covered_one_does(pair: tuple[str, str], names: list[str]):
    wider, narrower = pair
    plain_start = wider.rstrip("*").replace("\\", "")
    candidates = [start + name for start in ("", plain_start) for name in names]
    matched = [name for name in candidates if matches(narrower, name)]

    assert not covers(wider, narrower) or all(matches(wider, name) for name in matched)


@given(limit=PATTERNS, literal=st.text("ab:", max_size=6))
def test_a_key_that_the_limits_glob_does_not_match_is_never_within(limit: str, literal: str):
    assume(limit != "*" and not matches(limit, literal))

    assert not is_within(preset(Preset.READ_ONLY, literal), preset(Preset.READ_ONLY, limit)).ok


@given(access=ACCESSES)
def test_everything_is_within_itself(access: Access):
    assert is_within(access, access).ok


@given(access=PRESETS | st.just(Access(preset=Preset.ADMIN)))
def test_every_preset_is_within_admin(access: Access):
    assert is_within(access, Access(preset=Preset.ADMIN)).ok


@given(asked=ACCESSES, limit=ACCESSES)
def test_a_refusal_has_a_reason_and_a_yes_has_none(asked: Access, limit: Access):
    within = is_within(asked, limit)

    assert within.ok == (within.why == "")


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        ("*", "orders:?[ab]*"),
        ("orders:*", "orders:*"),
        ("orders:*", "orders:eu:*"),
        ("orders:*", "orders:1"),
        ("orders:*", "orders:[0-9]"),
        ("orders:*", "ord\\ers:x"),
        ("a\\*b*", "a\\*bc"),
        ("orders\\:1", "orders:1"),
        ("orders:*", "[o]rders:1"),
        ("orders:*:eu", "orders:1:eu"),
        ("orders:*:eu", "orders:*:*:eu"),
        ("orders:[0-9]", "orders:[3-5]"),
        ("orders:[^a]", "orders:b"),
        ("orders:?", "orders:1"),
        ("**", "*"),
        ("*a", "?*[a]"),
        ("orders:*", "orders:["),
    ],
)
def test_a_pattern_whose_names_the_limit_matches_is_covered(wider: str, narrower: str):
    assert covers(wider, narrower)


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        ("orders:*", "*"),
        ("orders:*", "order*"),
        ("orders:*", "orders"),
        ("orders:*", "order?:1"),
        ("orders:*", "[op]rders:1"),
        ("orders:*", "[^o]rders:1"),
        ("orders:*:eu", "orders:1:us"),
        ("orders:?", "orders:12"),
        ("orders:?", "orders:é"),
        ("orders:?*", "orders:*"),
        ("orders:\\*", "orders:1"),
        ("orders:*", "\\*"),
        ("*", ""),
        ("*[", "a*["),
        ("*a*a*a*a*a*a*a*a*a*a*b", "*a?a?a?a?a?a?a?a?a?a?c"),
        ("orders:1", "orders:*"),
    ],
)
def test_what_is_not_shown_is_not_covered(wider: str, narrower: str):
    assert not covers(wider, narrower)


@pytest.mark.parametrize(
    ("asked", "limit", "ok"),
    [
        (Preset.READ_ONLY, Preset.READ_ONLY, True),
        (Preset.READ_ONLY, Preset.READ_WRITE, True),
        (Preset.READ_WRITE, Preset.READ_WRITE, True),
        (Preset.READ_WRITE, Preset.READ_ONLY, False),
    ],
)
def test_presets_have_an_order(asked: Preset, limit: Preset, ok: bool):  # noqa: FBT001  # a parameter
    assert is_within(preset(asked, "a"), preset(limit, "a")).ok is ok


@pytest.mark.parametrize("catalogue", load_catalogues(), ids=lambda catalogue: catalogue.title)
def test_the_order_is_one_of_what_the_presets_allow(catalogue: Catalogue):
    read_only, read_write, admin = (
        grant(tuple(PRESET_COMMANDS[name].split()), catalogue)
        for name in (Preset.READ_ONLY, Preset.READ_WRITE, Preset.ADMIN)
    )

    assert read_only.exceeding(read_write) == read_write.exceeding(admin) == ()


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        pytest.param("on ~orders:* +get", Preset.READ_WRITE, id="one-command"),
        pytest.param("on ~orders:* -@all +get +set +expire +ping", Preset.READ_WRITE, id="some-commands"),
        pytest.param("on %R~orders:1 +get +mget +cluster|slots +info", Preset.READ_ONLY, id="reading-less"),
        pytest.param("on ~orders:* +@read -@dangerous", Preset.READ_ONLY, id="a-category"),
        pytest.param(
            "on ~orders:* -@all +@write +@read -@dangerous -function", Preset.READ_WRITE, id="in-another-order"
        ),
        pytest.param("on ~orders:* +select|0", Preset.READ_ONLY, id="a-command-with-one-argument"),
        pytest.param("on ~x -@all (%R~orders:* +get) (~orders:1 +set)", Preset.READ_WRITE, id="selectors"),
        pytest.param("on", Preset.READ_ONLY, id="nothing"),
    ],
)
def test_what_catalogues_show_is_within_a_preset(asked: str, limit: Preset):
    assert is_within(raw(asked), preset(limit, "orders:*")) == Within(ok=True)


@pytest.mark.parametrize(
    ("asked", "limit", "lacking"),
    [
        pytest.param("on ~orders:* +@read", Preset.READ_ONLY, "KEYS, SORT_RO", id="a-category-with-dangers"),
        pytest.param("on ~orders:* +get +set", Preset.READ_ONLY, "SET", id="a-command-too-many"),
        pytest.param("on ~orders:* +client", Preset.READ_WRITE, "CLIENT KILL", id="a-dangerous-sub-command"),
        pytest.param("on ~orders:* +debug|object", Preset.READ_WRITE, "DEBUG OBJECT", id="an-argument-too-many"),
        pytest.param("on ~orders:* +json.get", Preset.READ_WRITE, "aren't known", id="a-module's-command"),
        pytest.param("on ~orders:* +client|unheard", Preset.READ_WRITE, "aren't known", id="a-newer-sub-command"),
        pytest.param("on ~orders:* +@hash", Preset.READ_WRITE, "aren't known", id="another-category"),
        pytest.param("on ~orders:* (~items:* +get)", Preset.READ_WRITE, "'~items:*'", id="a-selector"),
        pytest.param("on (~'orders:*' +get)", Preset.READ_WRITE, "can't show", id="a-selector-with-quotes"),
    ],
)
def test_what_is_beyond_a_preset_is_refused_by_name(asked: str, limit: Preset, lacking: str):
    within = is_within(raw(asked), preset(limit, "orders:*"))

    assert not within.ok
    assert lacking in within.why


def test_more_can_be_shown_where_the_engine_is_known():
    asked, limit = raw("on ~orders:* +@hash"), preset(Preset.READ_WRITE, "orders:*")

    assert is_within(asked, limit, catalogue=find_catalogue("valkey", "8.0")).ok


def test_an_engine_without_a_catalogue_is_not_known():
    assert find_catalogue("valkey", "7.2") is None


def test_admin_is_within_admin_alone():
    assert not is_within(Access(preset=Preset.ADMIN), preset(Preset.READ_WRITE, "*", channels=("*",))).ok


def test_no_channels_asked_need_none():
    assert is_within(preset(Preset.READ_WRITE, "a"), preset(Preset.READ_WRITE, "a", channels=("c",))).ok


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        pytest.param("on ~a:1 +get", "on ~a:* +get +set", id="fewer-commands"),
        pytest.param("on ~b +json.get", "on ~* +@all -@dangerous +json.get", id="a-module's-command"),
        pytest.param("on %R~* +get", "on ~* +get", id="reading-all-keys"),
        pytest.param("on ~b -@all +ping -@all", "on ~a +get", id="a-key-for-no-command"),
        pytest.param("on &a* +psubscribe", "on ~* &* +psubscribe", id="a-channel-of-all"),
        pytest.param("on ~a:1 +@read -@dangerous", "~a:* +@read +@write -@dangerous", id="fewer-categories"),
        pytest.param("on ~a:1 +@read -keys -@dangerous", "~a:* +@read -@dangerous", id="one-minus-more"),
        pytest.param("on ~a:1 +@read -@dangerous", "~* +@all -@dangerous", id="all-but-something"),
        pytest.param("on %R~a:1 +get", "on ~a:* +get", id="fewer-key-permissions"),
        pytest.param("on ~a +get", "on ~a +get (~b +set)", id="without-the-limits-selector"),
        pytest.param("on ~a +get (~b +set)", "~a ~c +get (~b +set)", id="with-the-limits-selector"),
        pytest.param("on +get &c:1", "on ~a &c:* +get", id="a-channel"),
        pytest.param("on ~x +@all", "on ~* &* +@all", id="a-limit-of-everything"),
        pytest.param("off", "on ~a +get", id="nothing"),
    ],
)
def test_an_access_string_with_less_is_within(asked: str, limit: str):
    assert is_within(raw(asked), raw(limit)).ok


@pytest.mark.parametrize(
    ("asked", "limit", "offender"),
    [
        pytest.param("on ~b +get", "on ~a +get", "'~b'", id="another-key"),
        pytest.param("on ~a +get", "on %R~a +get", "'~a'", id="more-key-permissions"),
        pytest.param("on ~a &d +get", "on ~a &c +get", "'&d'", id="another-channel"),
        pytest.param("on ~a +get +set", "on ~a +get", "'+set'", id="another-command"),
        pytest.param("on ~a +@all", "on ~a +@all -@dangerous", "'-@dangerous'", id="a-minus-left-out"),
        pytest.param("on ~a -@dangerous +@all", "on ~a +@all -@dangerous", "'-@dangerous'", id="a-minus-undone"),
        pytest.param("on ~a -@dangerous +@read", "on ~a +@read -@dangerous", "order", id="a-minus-too-early"),
        pytest.param("on ~a +@read", "on ~a +get", "'+@read'", id="a-category-nobody-can-compare"),
        pytest.param("on ~a +get (~b +set)", "on ~a +get", "(~b -@all +set)", id="a-selector"),
        pytest.param("on ~a +get nopass", "on ~a +get", "'nopass'", id="an-unknown-word"),
        pytest.param("on ~a +get", "on ~a +get reset", "'reset'", id="an-unknown-word-in-the-limit"),
        pytest.param("on ~* +sort", "on %RW~** +sort", "'~*'", id="all-keys"),
        pytest.param("on %R~* +sort", "on ~** +sort", "'%R~*'", id="a-text-that-sort-looks-for"),
        pytest.param("on &* +publish", "on &** +publish", "'&*'", id="all-channels"),
    ],
)
def test_an_access_string_with_more_is_refused_by_name(asked: str, limit: str, offender: str):
    within = is_within(raw(asked), raw(limit))

    assert not within.ok
    assert offender in within.why


def test_a_refusal_says_what_to_do():
    assert "widen admission[].limit" in is_within(raw("on ~b +get"), raw("on ~a +get")).why


def test_a_raw_string_equal_to_a_preset_is_within_it():
    asked = raw(
        "on ~a:1 -@all +@read +@connection +@transaction -@dangerous"
        " +cluster|slots +cluster|shards +cluster|nodes +command +acl|whoami +info"
    )

    assert is_within(asked, preset(Preset.READ_ONLY, "a:*")).ok


def test_a_rule_hidden_in_a_key_of_a_preset_stays_a_key():
    assert not is_within(preset(Preset.READ_ONLY, "a ~b"), raw("on ~a ~b +@all")).ok


def test_no_password_is_in_a_refusal():
    within = is_within(raw("on >hunter2 ~a +get"), raw("on ~a +get"))

    assert not within.ok
    assert "hunter2" not in within.why


@pytest.mark.parametrize(
    ("wider", "narrower"), [("*" + "[a-z]?" * 20 + "*z*", "[a-z]*" * 20 + "z"), ("*" + "?" * 200, "?" * 200)]
)
def test_patterns_that_would_take_long_are_not_shown(wider: str, narrower: str):
    assert not covers(wider, narrower)


def test_long_access_strings_are_no_burden():
    asked = raw("on ~a " + "+get -get " * 60 + "+set")

    assert not is_within(asked, raw("on ~a " + "+get -get -set " * 40)).ok


def words(number: int, letters: int, *, start: int = 0) -> list[str]:
    """Return so many words, none of them a command's."""
    found = itertools.product(string.ascii_lowercase, repeat=letters)
    return ["z" + "".join(word) for word in itertools.islice(found, start, start + number)]


def infix(word: str) -> str:
    """Return a glob that takes long to compare with others of its kind."""
    return "*" + "*".join(f"{letter}*?{letter}" for letter in word) + "*"


LETTERS = [string.printable[at : at + 15].translate({ord(letter): "x" for letter in "*?[]^-\\"}) for at in range(64)]
HEAVY = {
    "categories": (
        raw("on ~a -@all +get " + " ".join(f"-@{word}" for word in words(124, 2))),
        raw("on ~a -@all +get " + " ".join(f"-@{word}" for word in words(124, 2, start=60))),
    ),
    "categories and commands": (
        raw("on ~a -@all +get " + " ".join(f"-@{word} -{word}" for word in words(62, 2))),
        raw("on ~a -@all +get " + " ".join(f"-@{word} -{word}" for word in words(62, 2, start=30))),
    ),
    "categories to and fro": (
        raw("on ~a -@all " + " ".join(f"-@{one} +@{two}" for one, two in itertools.pairwise(words(60, 2)))),
        raw("on ~a -@all " + " ".join(f"-@{two} +@{one}" for one, two in itertools.pairwise(words(60, 2)))),
    ),
    "more than a resource may ask for": (
        raw("on ~orders:* -@all +get " + " ".join(f"-@{word} -{word}" for word in words(400, 2))),
        raw("on ~orders:* -@all +get " + " ".join(f"-{word} -@{word}" for word in words(400, 2, start=200))),
    ),
    "selectors": (
        raw("on " + " ".join(f"(+{word} -@{word} +@{word}x +get -set +mget)" for word in words(16, 2))),
        raw("on " + " ".join(f"(-{word} +@{word} -@{word}x -get +set -mget)" for word in words(16, 2, start=8))),
    ),
    "globs": (
        preset(Preset.READ_WRITE, *map(infix, LETTERS), channels=tuple(map(infix, LETTERS))),
        preset(Preset.READ_WRITE, *(infix(word[2:]) for word in LETTERS), channels=tuple(map(infix, LETTERS[1:]))),
    ),
    "globs of one letter": (
        preset(Preset.READ_WRITE, *("?" * at + "*a" * 60 for at in range(64)), channels=tuple(map(infix, LETTERS))),
        preset(Preset.READ_WRITE, *("*" + "a?" * at + "*b*" for at in range(64)), channels=tuple(map(infix, LETTERS))),
    ),
    "long names": (
        raw("on +get " + " ".join(f"~{('x' * 250 + word)[:256]}*?" for word in words(64, 2))),
        raw("on +get " + " ".join(f"~*{('?' * 200 + word)[:256]}*" for word in words(64, 2))),
    ),
}


@pytest.mark.parametrize(("asked", "limit"), HEAVY.values(), ids=HEAVY.keys())
def test_nothing_that_an_author_writes_keeps_all_others_waiting(asked: Access, limit: Access):
    texts = [access.access_string or render_access_string(access) for access in (asked, limit)]
    start = time.process_time()

    is_within(asked, limit)
    same_access(*texts)
    lint(texts[0])

    assert time.process_time() - start < 2.0


def test_a_verdict_is_not_found_twice():
    asked, limit = HEAVY["globs"]
    first = is_within(asked, limit)

    assert is_within(asked.model_copy(), limit.model_copy()) is first


def test_dozens_of_patterns_with_wildcards_in_them_are_still_compared():
    keys = [f"orders-service:eu-central-1:{word}:*:items" for word in words(24, 2)]
    limit = [f"orders-service:eu-central-1:*{word[1:]}:*:items" for word in words(24, 2)]

    assert is_within(preset(Preset.READ_WRITE, *keys), preset(Preset.READ_WRITE, *limit)).ok


SOME_RULES = st.lists(
    st.builds("{}{}".format, st.sampled_from("+-"), st.sampled_from(["x.a", "x.b", "@u", "@v", "@w", "client", "get"])),
    max_size=7,
)


@settings(max_examples=400)
@given(start=st.sampled_from(["+@all", "-@all"]), asked=SOME_RULES, limit_start=st.sampled_from(["+@all", "-@all"]),
       limit=SOME_RULES)  # fmt: skip
def test_what_is_said_of_unknown_commands_is_what_trying_all_categories_says(
    start: str, asked: list[str], limit_start: str, limit: list[str]
):
    first, second = (start, *asked), (limit_start, *limit)
    containers = ["client|?"] if "+client" in asked else []
    categories = [set(some) for size in range(4) for some in itertools.combinations(("@u", "@v", "@w"), size)]

    def is_allowed(rules: tuple[str, ...], about: set[str]) -> bool:
        return next(rule for rule in reversed(rules) if rule[1:] in about)[0] == "+"

    expected = any(
        is_allowed(first, {"@all", name, name.partition("|")[0], *some})
        and not is_allowed(second, {"@all", name, name.partition("|")[0], *some})
        for name in ("", "x.a", "x.b", *containers)
        for some in categories
    )

    assert _may_exceed_elsewhere(first, second) is expected


COMMANDS = ("get", "set", "del", "keys", "flushall")
CATEGORIES = {"@all": set(COMMANDS), "@read": {"get", "keys"}, "@write": {"set", "del", "flushall"},
              "@dangerous": {"keys", "flushall"}}  # fmt: skip
RULES = st.lists(
    st.builds("{}{}".format, st.sampled_from("+-"), st.sampled_from([*COMMANDS, *CATEGORIES])), max_size=6
).map(" ".join)


def allowed(rules: str) -> set[str]:
    """Evaluate command rules as an engine does, over a few commands."""
    result: set[str] = set()
    for rule in rules.split():
        named = CATEGORIES.get(rule[1:], {rule[1:]})
        result = result | named if rule[0] == "+" else result - named
    return result


@given(asked=RULES, limit=RULES)
def test_commands_within_a_limit_are_commands_of_the_limit(asked: str, limit: str):
    assume(is_within(raw(f"on ~a {asked}"), raw(f"on ~a {limit}")).ok)

    assert allowed(asked) <= allowed(limit)
