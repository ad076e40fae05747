"""An access string taken apart, and the one form that all strings of the same rules share. The only parser there is.

What one sends is not what one reads back: AWS adds `off` and `-@all`, MemoryDB `resetchannels` (observed; see
`normalise`). Command rules are never sorted: `+@all -@dangerous` isn't `-@dangerous +@all`. Key and channel patterns
are unions, so their order means nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from typing_extensions import override

from elasticache_iam.core.errors import InvalidSpecError

_ALIASES: Final = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all", "nocommands": "-@all"}
_WORDS: Final = (*_ALIASES, "resetkeys", "resetchannels", "clearselectors", "on", "off")
_KEY: Final = re.compile(r"%(?P<access>r|w|rw|wr)~(?P<pattern>.*)", re.DOTALL | re.IGNORECASE)
_COMMAND: Final = re.compile(r"\+[a-z0-9_.-]+(\|[^|\s]+)?|-[a-z0-9_.-]+(\|[a-z0-9_.-]+)?|[+-]@[a-z0-9_-]+")
_ALL_COMMANDS: Final = frozenset({"+@all", "-@all"})
_QUOTE: Final = re.compile(r"['\"]")
_PASSWORD_WORDS: Final = frozenset({"nopass", "resetpass", "reset"})


@dataclass(frozen=True, slots=True)
class Fault:
    """A word that servers or AWS refuse.

    Attributes:
        column: Where it stands in the access string, counted from 1.
        word: As people may see it: of a password rule only what it is.
        problem: What is wrong.
        remedy: What to write instead.
    """

    column: int
    word: str
    problem: str
    remedy: str

    @override
    def __str__(self) -> str:
        return f"column {self.column}: {self.word!r} {self.problem}: {self.remedy}"


@dataclass(frozen=True, slots=True, order=True)
class KeyRule:
    """A key pattern with what it allows: reading, writing or both.

    Attributes:
        pattern: A glob.
        access: `R`, `W` or `RW`.
        spelled: `%RW~*`, which isn't `~*`: as a glob, `*` doesn't match the empty key.
    """

    pattern: str
    access: str = "RW"
    spelled: bool = False

    @property
    def is_all(self) -> bool:
        """Whether it is `~*`: every key, without looking."""
        return self.pattern == "*" and self.access == "RW" and not self.spelled

    @property
    def text(self) -> str:
        """The rule as it stands in an access string."""
        return f"~{self.pattern}" if self.access == "RW" and not self.spelled else f"%{self.access}~{self.pattern}"


@dataclass(frozen=True, slots=True)
class Selector:
    """One set of rules: a command is allowed if one of a user's selectors allows it together with all its keys.

    Attributes:
        keys: What `~` and `%` rules allow, sorted.
        channels: Patterns of `&` rules, sorted.
        commands: `+` and `-` rules in their order, beginning with the `+@all` or `-@all` that all others build on.
        others: Words that are no rule we know, in their order. Out of the repr, and to be shown by `shown` only: a
            password may be among them.
    """

    keys: tuple[KeyRule, ...]
    channels: tuple[str, ...]
    commands: tuple[str, ...]
    others: tuple[str, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The rules as they stand in an access string, without parentheses."""
        return " ".join(
            (
                *self.others,
                *(key.text for key in self.keys),
                *(f"&{channel}" for channel in self.channels),
                *self.commands,
            )
        )


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The parts of an access string.

    Attributes:
        enabled: `on`. Neither `on` nor `off` means off.
        root: The rules outside of parentheses.
        selectors: The rules of each `( ... )`, without repetitions.
        unclosed: A selector without its end. Like `others`, it may hold anything.
        faults: What servers or AWS refuse, in their order. They are no part of the meaning.
    """

    enabled: bool
    root: Selector
    selectors: tuple[Selector, ...] = ()
    unclosed: str = field(default="", repr=False)
    faults: tuple[Fault, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The access string, in normal form."""
        selectors = (f"({selector.text})" for selector in self.selectors)
        return " ".join(
            word for word in ("on" if self.enabled else "off", self.root.text, *selectors, self.unclosed) if word
        )

    @property
    def others(self) -> tuple[str, ...]:
        """All words that are no rule we know. To be shown by `shown` only."""
        inner = (word for selector in self.selectors for word in selector.others)
        return (*self.root.others, *inner, *([self.unclosed] if self.unclosed else []))


def parse_access_string(text: str) -> AccessRules:
    """Take an access string apart. Nothing is an error: what isn't understood is kept, and told in `faults`."""
    root = _Draft()
    selectors: list[Selector] = []
    faults: list[Fault] = []
    enabled, unclosed = False, ""
    for words in _grouped(text):
        column, word = words[0]
        if word.startswith("("):
            whole = " ".join(inner for _, inner in words)
            if not whole.endswith(")"):
                unclosed = whole
                faults.append(_fault(words[0], "begins a selector that nothing ends", "put ) at its end"))
            else:
                selectors.append(_parse_selector(words, faults))
        elif word.lower() in {"on", "off"}:
            enabled = word.lower() == "on"
        elif word.lower() == "clearselectors":
            selectors.clear()
        else:
            root.add(column, word, faults)
    return AccessRules(
        enabled=enabled,
        root=root.finish(),
        selectors=tuple(dict.fromkeys(selectors)),
        unclosed=unclosed,
        faults=tuple(faults),
    )


def check_access_string(text: str) -> AccessRules:
    """Take an access string apart that has to be a good one.

    Raises:
        InvalidSpecError: AWS or the servers refuse a word of it; the message says where, and what to write instead.
    """
    rules = parse_access_string(text)
    if rules.faults:
        raise InvalidSpecError("; ".join(str(fault) for fault in rules.faults))
    return rules


def normalise(text: str) -> str:
    """Return the one form of all access strings with these rules.

    The rewritings it evens out: `off` where neither is said; `-@all` before the first command rule, or at the end where
    there is none; `resetchannels` before any channel; white space; aliases (`allkeys`); repeated patterns. Normalising
    twice changes nothing. Source of the rewritings: recorded answers of ElastiCache and MemoryDB, AWS CLI examples.
    """
    return parse_access_string(text).text


def shown(word: str) -> str:
    """Return a word of an access string for people: of a password rule only what it is."""
    return re.sub(r"(?<![^\s(])([><#!])\S+", r"\1(password)", word)


class _Draft:
    """The rules of one selector, as a server takes them in."""

    def __init__(self) -> None:
        self._access: dict[str, frozenset[str]] = {}
        self._all_keys = False
        self._channels: set[str] = set()
        self._commands: list[str] = []
        self._others: list[str] = []

    def add(self, column: int, word: str, faults: list[Fault]) -> None:
        """Apply one word to what the words before it gave."""
        rule = _ALIASES.get(word.lower(), word)
        match rule[0]:
            case "~" | "%" if rule[0] == "~" or _KEY.fullmatch(rule):
                self._add_key(column, rule, faults)
            case "&":
                if "*" in self._channels and rule != "&*":
                    faults.append(_fault((column, word), "stands behind &*, which has every channel", "leave it out"))
                else:
                    self._channels = {"*"} if rule == "&*" else {*self._channels, rule[1:]}
            case "+" | "-" if _COMMAND.fullmatch(rule.lower()):
                self._commands.append(rule.lower())  # commands and categories are case-insensitive, patterns are not
            case _ if rule.lower() == "resetkeys":
                self._access, self._all_keys = {}, False
            case _ if rule.lower() == "resetchannels":
                self._channels = set()
            case _:
                self.refuse(word, _unknown(column, word), faults)

    def refuse(self, word: str, fault: Fault, faults: list[Fault]) -> None:
        """Keep a word that nobody can say the meaning of."""
        self._others.append(word)
        faults.append(fault)

    def _add_key(self, column: int, rule: str, faults: list[Fault]) -> None:
        if rule == "~*":
            self._access, self._all_keys = {}, True
        elif self._all_keys:
            faults.append(_fault((column, rule), "stands behind ~*, which has every key", "leave it out"))
        else:
            match = _KEY.fullmatch(rule)
            pattern = match["pattern"] if match else rule[1:]
            access = match["access"].upper() if match else "RW"
            self._access[pattern] = self._access.get(pattern, frozenset()) | set(access)

    def finish(self) -> Selector:
        keys = [
            KeyRule(pattern, "".join(sorted(access)), spelled=pattern == "*" and len(access) == 2)  # noqa: PLR2004  # R, W
            for pattern, access in self._access.items()
        ]
        return Selector(
            keys=(KeyRule("*"),) if self._all_keys else tuple(sorted(keys)),
            channels=tuple(sorted(self._channels)),
            commands=_from_last_all(self._commands),
            others=tuple(self._others),
        )


def _grouped(text: str) -> Iterator[list[tuple[int, str]]]:
    """Split at white space into words with their columns; the words of a selector, `( ... )`, stay together."""
    group: list[tuple[int, str]] = []
    for match in re.finditer(r"\S+", text):
        group.append((match.start() + 1, match[0]))
        if not group[0][1].startswith("(") or match[0].endswith(")"):
            yield group
            group = []
    if group:
        yield group


def _parse_selector(words: Sequence[tuple[int, str]], faults: list[Fault]) -> Selector:
    draft = _Draft()
    for position, (start, word) in enumerate(words):
        inner, column = word, start
        if position == 0:
            inner, column = inner[1:], column + 1
        if position == len(words) - 1:
            inner = inner[:-1]
        if _QUOTE.search(inner):
            fault = _fault(
                (column, inner), "has a quote, which servers interpret in selectors", "match it by a ? instead"
            )
            draft.refuse(inner, fault, faults)
        elif inner:
            draft.add(column, inner, faults)
    return draft.finish()


def _from_last_all(commands: list[str]) -> tuple[str, ...]:
    """Return the command rules that count: `+@all` and `-@all` undo whatever stands before them."""
    for position in range(len(commands) - 1, -1, -1):
        if commands[position] in _ALL_COMMANDS:
            return tuple(commands[position:])
    return ("-@all", *commands)


def _fault(word: tuple[int, str], problem: str, remedy: str) -> Fault:
    return Fault(word[0], shown(word[1]), problem, remedy)


def _unknown(column: int, word: str) -> Fault:
    """Say what is wrong with a word that is no rule, and what its author may have meant."""
    lower = word.lower()
    at = (column, word)
    if lower in _PASSWORD_WORDS or lower[0] in "><#!":
        return _fault(at, "is refused by AWS in access strings", "leave it out, an IAM user has no password")
    if lower[0] == "(":
        return _fault(at, "begins a selector inside a selector", "selectors don't nest; put them side by side")
    if lower in {"on", "off", "clearselectors"}:
        return _fault(at, "is no rule of a selector", "put it outside of the parentheses")
    if lower[0] == "%":
        return _fault(
            at, "is no key pattern", f"write %R~pattern, %W~pattern or ~{word.partition('~')[2] or 'pattern'}"
        )
    if lower[0] in "+-":
        return _malformed_command(at)
    if lower[0] == "@":
        return _fault(at, "is a category without a sign", f"write +{word} or -{word}")
    if close := get_close_matches(lower, _WORDS, n=1, cutoff=0.75):
        return _fault(at, "is unknown", f"did you mean {close[0]}?")
    if re.search(r"[:*?\[{]", word):
        return _fault(at, "is unknown", f"write ~{word} for keys or &{word} for channels")
    if _COMMAND.fullmatch(f"+{lower}"):
        return _fault(at, "is unknown", f"write +{word} or -{word} for a command, ~{word} for a key")
    return _fault(at, "is unknown", "rules begin with ~ & + - % or (; others are on, off and the like")


def _malformed_command(at: tuple[int, str]) -> Fault:
    word = at[1]
    if word.count("|") > 1:
        return _fault(
            at, "names an argument of a sub-command", "allow the sub-command as a whole: +command|sub-command"
        )
    if len(word) == 1 or word.endswith(("|", "@")):
        return _fault(at, "is not finished", "write a command, command|sub-command or @category behind the sign")
    return _fault(at, "is no command's name", "write a command, command|sub-command or @category behind the sign")
