"""An access string taken apart, and the one form that all strings of the same meaning share.

What one sends is not what one reads back: AWS adds `off` and `-@all`, MemoryDB `resetchannels` (observed; see
`normalise`). Command rules are never sorted: `+@all -@dangerous` isn't `-@dangerous +@all`. Key and channel patterns
are unions, so their order means nothing.
"""

import re
from dataclasses import dataclass, field
from typing import Final

_ALIASES: Final = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all", "nocommands": "-@all"}
_KEY: Final = re.compile(r"%(?P<permissions>[rwRW]{1,2})~(?P<pattern>.*)", re.DOTALL)
_ALL_COMMANDS: Final = frozenset({"+@all", "-@all"})


@dataclass(frozen=True, slots=True, order=True)
class KeyRule:
    """A key pattern with what it allows: reading, writing or both."""

    pattern: str
    permissions: str = "RW"

    @property
    def text(self) -> str:
        """The rule as it stands in an access string."""
        return f"~{self.pattern}" if self.permissions == "RW" else f"%{self.permissions}~{self.pattern}"


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The parts of an access string.

    Attributes:
        enabled: `on`. Neither `on` nor `off` means off.
        keys: What `~` and `%` rules allow, sorted.
        channels: Patterns of `&` rules, sorted.
        commands: `+` and `-` rules in their order, beginning with the `+@all` or `-@all` that all others build on.
        selectors: Texts of `( ... )`, normalised.
        others: Words that are no rule we know (passwords, reset, misspellings), in their order. Out of the repr, and to
            be shown by `shown` only: a password may be among them.
    """

    enabled: bool
    keys: tuple[KeyRule, ...]
    channels: tuple[str, ...]
    commands: tuple[str, ...]
    selectors: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The access string, in normal form."""
        words = (
            "on" if self.enabled else "off",
            *self.others,
            *(key.text for key in self.keys),
            *(f"&{channel}" for channel in self.channels),
            *self.commands,
            *self.selectors,
        )
        return " ".join(words)


def parse_access_string(text: str) -> AccessRules:
    """Take an access string apart. Nothing is an error: what isn't understood is kept in `others`."""
    selectors: list[str] = []
    others: list[str] = []
    words: list[str] = []
    for word in _words(text):
        if word.startswith("("):
            selectors.append(_normalised_selector(word))
        elif word.lower() == "clearselectors":
            selectors.clear()
        else:
            words.append(word)
    enabled, rules = False, []
    for word in words:
        lower = word.lower()
        if lower in {"on", "off"}:
            enabled = lower == "on"
        else:
            rules.append(_ALIASES.get(lower, word))
    keys, channels, commands = _sorted_rules(rules, others)
    return AccessRules(
        enabled=enabled,
        keys=keys,
        channels=channels,
        commands=_from_last_all(commands),
        selectors=tuple(dict.fromkeys(selectors)),
        others=tuple(others),
    )


def normalise(text: str) -> str:
    """Return the one form of all access strings with this meaning.

    The rewritings it evens out: `off` where neither is said; `-@all` before the first command rule, or at the end where
    there is none; `resetchannels` before any channel; white space; aliases (`allkeys`); repeated patterns. Normalising
    twice changes nothing. Source of the rewritings: recorded answers of ElastiCache and MemoryDB, AWS CLI examples.
    """
    return parse_access_string(text).text


def same_access(a: str, b: str) -> bool:
    """Whether two access strings mean the same. When in doubt they don't."""
    return normalise(a) == normalise(b)


def shown(word: str) -> str:
    """Return a word of an access string for people: of a password rule only what it is."""
    return f"{word[0]}(password)" if word[0] in "><#!" else word


def _words(text: str) -> list[str]:
    """Split at white space, but keep a selector, `( ... )`, in one word."""
    words: list[str] = []
    selector: list[str] = []
    for word in text.split():
        if selector or word.startswith("("):
            selector.append(word)
            if word.endswith(")"):
                words.append(" ".join(selector))
                selector = []
        else:
            words.append(word)
    return [*words, *([" ".join(selector)] if selector else [])]


def _normalised_selector(word: str) -> str:
    """Return a selector in one spelling; one that isn't closed stays as it is, and equals only itself."""
    if not word.endswith(")"):
        return word
    inner: list[str] = []
    keys, channels, commands = _sorted_rules([_ALIASES.get(part.lower(), part) for part in word[1:-1].split()], inner)
    rules = (*inner, *(key.text for key in keys), *(f"&{channel}" for channel in channels), *_from_last_all(commands))
    return f"({' '.join(rules)})"


def _sorted_rules(words: list[str], others: list[str]) -> tuple[tuple[KeyRule, ...], tuple[str, ...], list[str]]:
    keys: set[KeyRule] = set()
    channels: set[str] = set()
    commands: list[str] = []
    for word in words:
        lower = word.lower()
        if lower == "resetkeys":
            keys.clear()
        elif lower == "resetchannels":
            channels.clear()
        elif word[0] == "~":
            keys.add(KeyRule(word[1:]))
        elif match := _KEY.fullmatch(word):
            keys.add(KeyRule(match["pattern"], "".join(sorted(set(match["permissions"].upper())))))
        elif word[0] == "&":
            channels.add(word[1:])
        elif word[0] in "+-":
            commands.append(lower)  # commands and categories are case-insensitive, patterns are not
        else:
            others.append(word)
    return tuple(sorted(keys)), tuple(sorted(channels)), commands


def _from_last_all(commands: list[str]) -> tuple[str, ...]:
    """Return the command rules that count: `+@all` and `-@all` undo whatever stands before them."""
    for position in range(len(commands) - 1, -1, -1):
        if commands[position] in _ALL_COMMANDS:
            return tuple(commands[position:])
    return ("-@all", *commands)
