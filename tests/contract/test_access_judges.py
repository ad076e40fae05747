"""Real servers judge what core/access claims: which commands an access string allows, and what lies within what.

Fixed examples in a normal run. For a longer, random one:
ACCESS_EXAMPLES=20000 pytest tests/contract/test_access_judges.py
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import elasticache_iam.core.access
from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access import (
    Catalogue,
    allows,
    find_catalogue,
    is_same_access,
    is_within,
    load_catalogues,
    parse_access_string,
    render_access_string,
)
from elasticache_iam.core.access.globs import covers, matches
from elasticache_iam_sandbox.acl_catalogue import file_name, read_catalogue, render, serve
from elasticache_iam_sandbox.cache_programs import PROGRAMS

FOLDER = Path(elasticache_iam.core.access.__file__).parent / "catalogues"
EXAMPLES = int(os.environ.get("ACCESS_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 80,
    derandomize=not EXAMPLES,
    print_blob=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

COMMANDS = {name: command for catalogue in load_catalogues() for name, command in catalogue.commands.items()}
CATEGORIES = sorted(name for name in load_catalogues()[0].members if name[0] == "@")
COMMON = [
    "get", "set", "mget", "del", "flushall", "keys", "ping", "select", "config", "config|get", "client",
    "client|kill", "eval", "sort", "subscribe", "psubscribe", "publish", "spublish", "zunionstore", "xread", "copy",
    "getdel", "client|capa", "waitaof", "function", "function|flush", "command", "bitfield", "exists", "lmpop",
]  # fmt: skip
GLOBS = [
    "a",
    "ab",
    "a*",
    "*a",
    "a?",
    "a[bc]",
    "a[^b]",
    "[a-c]*",
    "*",
    "**",
    "?*",
    "a\\*",
    "a\\",
    "a[b",
    "a*b",
    "",
    "b*",
    "[a-]b]",
]
NAMES = ["", "a", "ab", "ac", "abc", "b", "*", "a*", "a\\", "a[b", "aa", "é", "aé", "ba", "c-]b", "A"]
NUMBERS = ["0", "1", "2", "3", "-1", "01", "x"]
OPTIONS = ["STREAMS", "STORE", "STOREDIST", "KEYS", "GET", "BY", "COUNT", "streams", "NX"]


@dataclass(frozen=True, repr=False)
class Judge:
    """A real server, and the catalogue of its version if there is one."""

    client: redis.Redis
    catalogue: Catalogue | None

    def takes(self, user: str, access_string: str) -> bool:
        """Give a user these rules and no others. False: the server refuses them, and the user has none."""
        self.client.execute_command("ACL", "SETUSER", user, "reset")
        try:
            self.client.execute_command("ACL", "SETUSER", user, *access_string.split())
        except redis.ResponseError:
            return False
        return True

    def verdicts(self, user: str, commands: Sequence[Sequence[str]]) -> list[bool | None]:
        """Ask for each command whether the user may send it; None: the server doesn't take that command at all."""
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command("ACL", "DRYRUN", user, *command)
        return [self._read(reply) for reply in pipeline.execute(raise_on_error=False)]

    @staticmethod
    def _read(reply: object) -> bool | None:
        if isinstance(reply, Exception):
            assert "wrong number of arguments" in str(reply) or "not found" in str(reply), reply
            return None
        text = reply.decode() if isinstance(reply, bytes) else str(reply)
        assert text == "OK" or "has no permissions" in text, text
        return text == "OK"


@pytest.fixture(scope="module")
def judges() -> Iterator[list[Judge]]:
    with serve("redis") as first, serve("valkey") as second:
        yield [judge(client) for client in (first, second)]


def judge(client: redis.Redis) -> Judge:
    engine, _, version = file_name(read_catalogue(client)).removesuffix(".json").partition("-")
    return Judge(client, find_catalogue(engine, version))


# -- what is generated -------------------------------------------------------------------------------------------------

KEY_RULES = st.builds("{}{}".format, st.sampled_from(["~", "~", "%R~", "%W~", "%RW~"]), st.sampled_from(GLOBS))
CHANNEL_RULES = st.builds("&{}".format, st.sampled_from(GLOBS))
NAMED = st.one_of(
    st.sampled_from(CATEGORIES), st.sampled_from(CATEGORIES), st.sampled_from(COMMON), st.sampled_from(sorted(COMMANDS))
)
COMMAND_RULES = st.builds("{}{}".format, st.sampled_from("+++-"), NAMED) | st.sampled_from(
    ["+select|0", "+get|a", "-get"]
)
STARTS = st.sampled_from(
    ["", "", "", "~*", "%RW~*", "~* +@all", "+@all", "+@all -@dangerous", "+@read +@write", "%R~* ~a*"]
)
RULES = st.builds(
    "{} {}".format,
    STARTS,
    st.lists(KEY_RULES | CHANNEL_RULES | COMMAND_RULES | COMMAND_RULES, max_size=8).map(" ".join),
)
SELECTORS = (
    st.lists(KEY_RULES | COMMAND_RULES | COMMAND_RULES | CHANNEL_RULES, max_size=4).map(" ".join).map("({})".format)
)
STRINGS = st.builds(" ".join, st.tuples(RULES, st.lists(SELECTORS, max_size=1).map(" ".join)))
PRESETS = st.builds(
    Access,
    preset=st.sampled_from([Preset.READ_ONLY, Preset.READ_WRITE]),
    keys=st.lists(st.sampled_from([glob for glob in GLOBS if glob]), min_size=1, max_size=3).map(tuple),
    channels=st.lists(st.sampled_from([glob for glob in GLOBS if glob]), max_size=2).map(tuple),
).map(render_access_string)
ODD_WORDS = [
    "+", "~*", "~a", "&*", "&a", "%X~a", "%rr~a", "+@", "+get|a|b", "(", ")", "(~a", "+get)", "on", "-select|0",
    "x", "+client|", "resetkeys", "resetchannels", "allkeys", "%RW~*", "off", "clearselectors", "(~*", "+@all)",
    "nocommands", "+config|get", "-config|get", "@read", "%~a",
]  # fmt: skip
NARROWER = {
    "+": ["+get", "+mget", "-flushall", "-keys"],
    "~": ["~ab", "%R~ab", "%W~a*"],
    "&": ["&ab"],
    "%": ["%R~ab", "%R~a"],
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two access strings, the first mostly made of the second one: dropped, narrowed and added words."""
    limit = draw(st.one_of(STRINGS, STRINGS, PRESETS))
    if draw(st.integers(0, 4)) == 0:
        return draw(STRINGS), limit
    words = []
    for word in limit.split():
        match draw(st.integers(0, 9)):
            case 0:
                continue
            case 1:
                words.append(draw(st.sampled_from(NARROWER.get(word[0], [word]))))
            case 2:
                words += [
                    word,
                    draw(st.sampled_from(["-get", "-@dangerous", "-client|kill", "~ab", "+get", "-@write"])),
                ]
            case _:
                words.append(word)
    return " ".join(words), limit


def some_commands(seed: int, access_strings: Sequence[str], number: int) -> list[tuple[str, ...]]:
    """Return commands with arguments that mostly fit; such as the access strings name come first."""
    chance = random.Random(seed)  # noqa: S311  # tests
    named = [word[1:] for text in access_strings for word in text.replace("(", "").replace(")", "").split()]
    names = [name for name in named if name in COMMANDS and not COMMANDS[name].is_container]
    names += chance.sample(COMMON, 12)
    names += chance.sample(sorted(COMMANDS), number - len(names)) if number > len(names) else []
    return [words_of(chance, name) for name in names]


def words_of(chance: random.Random, name: str) -> tuple[str, ...]:
    """Return a command's words. Its arity is respected, its keys and channels are mostly where they belong."""
    command = COMMANDS[name]
    words = name.split("|")
    missing = abs(command.arity) - len(words)
    if command.arity < 0:
        missing += chance.choice([0, 0, 1, 2, 3])
    words += [chance.choice(NAMES) for _ in range(max(missing, 0))]
    for spec in command.keys:
        if "keynumidx" in spec.find and "index" in spec.begin and spec.begin["index"] < len(words):
            words[spec.begin["index"]] = chance.choice(NUMBERS)
        if "keyword" in spec.begin and chance.random() < 0.7:
            at = spec.begin["startfrom"] if spec.begin["startfrom"] > 0 else len(words) - 2
            if len(name.split("|")) <= at < len(words):
                words[at] = spec.begin["keyword"]
    for at in range(len(name.split("|")), len(words)):
        if chance.random() < 0.05:
            words[at] = chance.choice(OPTIONS + NUMBERS)
    return tuple(words)


# -- what servers say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", PROGRAMS)
def test_a_catalogue_is_what_the_server_says(engine):
    with serve(engine) as client:
        found = read_catalogue(client)

    known = find_catalogue(found["engine"], found["version"])
    text = (FOLDER / file_name(found)).read_text(encoding="utf-8") if known else render(found)
    assert text == render(found | {"version": known.version} if known else found), "run: make acl-data"


def raw(text: str) -> Access:
    return Access.model_construct(preset=None, access_string=text, keys=(), channels=())


def hears_no_more(judge: Judge, channels: Sequence[str], limit: str) -> bool:
    """Whether the limit's user may PSUBSCRIBE to patterns of its own that cover these."""
    rules = parse_access_string(limit)
    own = [pattern for selector in (rules.root, *rules.selectors) for pattern in selector.channels]
    return all(
        any(judge.verdicts("limit", [("psubscribe", wider)]) == [True] for wider in own if covers(wider, channel))
        for channel in channels
    )


def assert_not_contradicted(judges: list[Judge], asked: str, limit: str, commands: Sequence[tuple[str, ...]]) -> None:
    """Hold all claims about two access strings against what servers say of these commands."""
    is_same = is_same_access(asked, limit)
    for judge in judges:
        if not all([judge.takes("asked", asked), judge.takes("limit", limit)]):
            continue
        of_asked, of_limit = judge.verdicts("asked", commands), judge.verdicts("limit", commands)
        for text, verdicts in ((asked, of_asked), (limit, of_limit)):
            rules = parse_access_string(text)
            for words, verdict in zip(commands, verdicts, strict=True):
                for catalogue in {None, judge.catalogue}:
                    assert allows(rules, *words, catalogue=catalogue) in (None, verdict), (text, words, verdict)
        is_claimed = any(is_within(raw(asked), raw(limit), catalogue=each).ok for each in {None, judge.catalogue})
        for words, first, second in zip(commands, of_asked, of_limit, strict=True):
            assert is_same is not True or first == second, (asked, limit, words)
            if is_claimed and first and not second:
                assert words[0] == "psubscribe", (asked, limit, words)
                assert hears_no_more(judge, words[1:], limit), (asked, limit, words)


@SETTINGS
@given(pair=pairs(), seed=st.integers(0, 2**32))
def test_no_server_contradicts_in_all_the_language(judges: list[Judge], pair: tuple[str, str], seed: int):
    assert_not_contradicted(judges, *pair, some_commands(seed, pair, 50))


def words(text: str, *, most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(text.split()), max_size=most).map(" ".join)


SMALL_PARTS = (
    words("~a ~ab ~a* %R~a %W~a %R~a* %W~ab ~* %RW~* resetkeys", most=3),
    words("&a &ab &a* &* resetchannels", most=2),
    st.one_of(
        words("+get +append +set +copy +sort +dump -get -set +@read -@read +@write -@write +@all", most=4),
        words("+select|0 +select|1 +select -select +@connection -@connection +@all -@all", most=4),
        words("+config +config|get -config -config|get +@slow -@slow +@dangerous -@dangerous", most=4),
        words("+publish +psubscribe +subscribe +@pubsub -publish -@pubsub +@all", most=3),
        words("+@all", most=1),
    ),
    st.sampled_from(
        ["", "", "", "(~a +get)", "(%R~a* +@read)", "(~ab &a +@write +@pubsub)", "(~a +get) clearselectors"]
    ),
)
SMALL_COMMANDS = [
    *((name, key) for name in ("get", "sort", "dump") for key in ("", "a", "ab", "b")),
    *((name, key, "x") for name in ("append", "set") for key in ("a", "ab", "b")),
    *(("copy", source, target) for source in ("a", "ab") for target in ("a", "ab")),
    *((name, channel) for name in ("psubscribe", "subscribe") for channel in ("", "a", "ab", "a*", "*", "b")),
    *(("publish", channel, "x") for channel in ("", "a", "ab")),
    *(("select", number) for number in "01"),
    *(("config", *words) for words in (("get", "x"), ("set", "x", "y"), ("help",))),
    *((name,) for name in ("ping", "multi", "flushall", "quit")),
]


@settings(SETTINGS, max_examples=EXAMPLES or 250)
@given(parts=st.tuples(*SMALL_PARTS), others=st.tuples(*SMALL_PARTS))
def test_no_server_contradicts_in_a_small_world(judges, parts: tuple[str, ...], others: tuple[str, ...]):
    """Few rules that get in each other's way, and all commands that could tell. One part differs at a time."""
    for at in range(len(parts)):
        other = [*parts[:at], others[at], *parts[at + 1 :]]
        assert_not_contradicted(judges, " ".join(parts), " ".join(other), SMALL_COMMANDS)


@SETTINGS
@given(text=STRINGS | st.lists(st.sampled_from(ODD_WORDS), max_size=5).map(" ".join))
def test_servers_refuse_what_is_found_faulty_and_nothing_else(judges: list[Judge], text: str):
    rules = parse_access_string(text)
    assume(not any("inside a selector" in fault.problem for fault in rules.faults))  # servers forget the outer one

    for judge in judges:
        if judge.catalogue is not None:
            written = [word[1:] for word in text.lower().replace("(", " ").replace(")", " ").split() if word[0] in "+-"]
            unknown = [name for name in written if not is_named(judge.catalogue, name, text)]
            assert judge.takes("asked", text) is not bool(rules.faults or unknown), (rules.faults, unknown)


def is_named(catalogue: Catalogue, name: str, text: str) -> bool:
    """Whether a server knows a command rule's name."""
    command, bar, argument = name.partition("|")
    known = catalogue.commands.get(command)
    if name in catalogue.members or not name:
        return True
    return bool(bar and argument and known and not known.is_container) and f"-{name}" not in text.lower()


GLOB_TEXTS = st.text("ab:*?[]^-\\", max_size=7)


@SETTINGS
@given(pattern=GLOB_TEXTS, names=st.lists(GLOB_TEXTS, min_size=10, max_size=20))
def test_globs_match_what_servers_match(judges: list[Judge], pattern: str, names: list[str]):
    expected = [matches(pattern, name) for name in names]

    for judge in judges:
        assert judge.takes("asked", f"%R~{pattern} +get")
        found = judge.verdicts("asked", [("get", name) for name in names])
        assert all(mine in (None, theirs) for mine, theirs in zip(expected, found, strict=True)), (expected, found)


# -- presets -----------------------------------------------------------------------------------------------------------

WIPES = [("flushall",), ("flushdb",), ("swapdb", "0", "1"), ("function", "flush"), ("script", "flush")]
ADMINISTERS = [
    ("config", "get", "x"),
    ("shutdown",),
    ("acl", "setuser", "x"),
    ("client", "kill", "x"),
    ("keys", "*"),
    ("debug", "x"),
]
CLIENTS_SEND = [
    ("ping",),
    ("select", "0"),
    ("multi",),
    ("cluster", "slots"),
    ("command",),
    ("acl", "whoami"),
    ("info",),
]


@pytest.mark.parametrize("preset", [Preset.READ_ONLY, Preset.READ_WRITE])
def test_the_limited_presets_neither_wipe_nor_administer(judges, preset):
    text = render_access_string(Access(preset=preset, keys=("*",), channels=("*",)))
    for judge in judges:
        assert judge.takes("asked", text)
        assert judge.verdicts("asked", WIPES + ADMINISTERS) == [False] * len(WIPES + ADMINISTERS)
        assert judge.verdicts("asked", CLIENTS_SEND) == [True] * len(CLIENTS_SEND)


@pytest.mark.parametrize("text", ["~*", "~* +@all"])
def test_the_empty_key_is_one_of_all(judges, text):
    """`~*` is a flag, `%RW~*` a glob; the two differ by one key."""
    for judge in judges:
        assert judge.takes("asked", f"+get {text}")
        assert judge.takes("limit", "+@all %RW~*")
        assert judge.verdicts("asked", [("get", "")]) == [True]
        assert judge.verdicts("limit", [("get", "")]) == [False]
    assert not is_within(raw(f"+get {text}"), raw("+@all %RW~*")).ok
