r"""Redis's globs: which names they match, and which glob matches whatever another does.

They know `*`, `?`, `[...]`, and `\`, which takes the next character as it is.

Source: util.c, stringmatchlen, of redis 7.0.15 and valkey 8.0.1. Its surprises: stars alone match any name but the
empty one; a range takes whatever character follows `-` as its end, `]` too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Final

_STAR: Final = -1
_ANY: Final = (1 << 256) - 1
_MAX_TOKENS: Final = 128
_MAX_STEPS: Final = 200
"""What is longer, or isn't decided after so many, is not claimed: who asks for access chooses the patterns, and a
milliseconds' work for each pair of them is enough."""
_MAX_LOOKS: Final = 100_000
"""How often one pair may be compared with a token: about ten milliseconds."""
_MAX_EFFORT: Final = 1_000_000
"""The same of all pairs of one comparison of access rules: about a tenth of a second. Patterns of a prefix and a star,
which nearly all are, take none of it."""


class Effort:
    """What one comparison may still look at. Once it is used up, nothing more is claimed."""

    def __init__(self, looks: int = _MAX_EFFORT) -> None:
        self._left = looks

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left."""
        return self._left <= 0

    def spend(self, looks: int) -> None:
        """Take some away."""
        self._left -= looks


@dataclass(frozen=True, slots=True)
class _Glob:
    """A glob as an automaton. A set of places in it is a number: bit n is the place before the n-th token.

    Attributes:
        size: Number of tokens.
        stars: The places before a star, at which one may stay.
        letters: Sets of bytes (bits again) with the places before tokens that match them.
    """

    size: int
    stars: int
    letters: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        return self._pass_stars(1)

    def is_end(self, places: int) -> bool:
        return bool(places >> self.size & 1)

    def step(self, places: int, letters: int) -> int:
        """Return the places one can be at after one of the letters, which the tokens ahead don't tell apart."""
        after = places & self.stars
        for matched, before in self.letters:
            if matched & letters:
                after |= (places & before) << 1
        return self._pass_stars(after)

    def ahead(self, places: int) -> list[int]:
        """Return the sets of bytes that tokens at these places match."""
        return [matched for matched, before in self.letters if before & places]

    def _pass_stars(self, places: int) -> int:
        """Add the places behind a star, which may match nothing. No two stars stand side by side."""
        return places | (places & self.stars) << 1


def matches(pattern: str, name: str, effort: Effort | None = None) -> bool | None:
    """Whether a glob matches a name; None for globs that servers read in ways of their own (`[` without `]`)."""
    glob = _compile(pattern)
    if glob is None or (effort is not None and effort.is_used_up):
        return None
    if effort is not None:
        effort.spend((len(glob.letters) + 1) * len(name))
    if not name:
        return not glob.size
    places = glob.start
    for byte in name.encode():
        places = glob.step(places, 1 << byte)
    return glob.is_end(places)


def covers(wider: str, narrower: str, effort: Effort | None = None) -> bool:
    """Whether each name that the glob `narrower` matches is matched by `wider` too; False when it can't be shown."""
    if wider == narrower:
        return True
    (prefix, rest), (start, _) = _literal_prefix(wider), _literal_prefix(narrower)
    if rest == "*" and narrower and start.startswith(prefix):
        return True
    if not (start.startswith(prefix) or prefix.startswith(start)):
        return False
    if effort is not None and effort.is_used_up:
        return False
    is_covered, looks = _walk(wider, narrower)
    if effort is not None:
        effort.spend(looks)
    return is_covered


@lru_cache(maxsize=4096)
def _walk(wider: str, narrower: str) -> tuple[bool, int]:
    """Return whether one glob is shown to cover the other, and how many looks at a token that took."""
    wide, narrow = _compile(wider), _compile(narrower)
    if wide is None or narrow is None or max(wide.size, narrow.size) > _MAX_TOKENS:
        return False, 0
    both = zip(_literal_prefix(wider)[0], _literal_prefix(narrower)[0], strict=False)
    prefix = "".join(letter for letter, _ in takewhile(lambda letters: letters[0] == letters[1], both))
    return _is_included(narrow, wide, prefix.encode())


def _is_included(narrow: _Glob, wide: _Glob, prefix: bytes) -> tuple[bool, int]:
    """Walk through both at once: at no place may `narrow` be at its end and `wide` not.

    Args:
        narrow: The one.
        wide: The other.
        prefix: What both begin with: there is but one way through it.
    """
    if not narrow.size:
        return not wide.size, 0
    start = (narrow.start, wide.start)
    for byte in prefix:
        start = (narrow.step(start[0], 1 << byte), wide.step(start[1], 1 << byte))
    if narrow.is_end(start[0]) and not wide.is_end(start[1]):
        return False, 1
    seen, waiting, looks = {start}, [start], 1 + len(prefix)
    while waiting and len(seen) < _MAX_STEPS and looks < _MAX_LOOKS:
        of_narrow, of_wide = waiting.pop()
        classes = _split(narrow.ahead(of_narrow) + wide.ahead(of_wide))
        looks += len(classes) * (len(narrow.letters) + len(wide.letters))
        for letters in classes:
            after = (narrow.step(of_narrow, letters), wide.step(of_wide, letters))
            if narrow.is_end(after[0]) and not wide.is_end(after[1]):
                return False, looks
            if after[0] and after not in seen:
                seen.add(after)
                waiting.append(after)
    return not waiting, looks


def _split(sets: Iterable[int]) -> list[int]:
    """Return sets of bytes none of which the given sets tell apart."""
    classes = [_ANY]
    for letters in set(sets) - {_ANY}:
        classes = [part for each in classes for part in (each & letters, each & ~letters) if part]
    return classes


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> _Glob | None:
    tokens: list[int] = []
    try:
        for token in _read(pattern.encode()):
            if token != _STAR or tokens[-1:] != [_STAR]:
                tokens.append(token)
    except ValueError:
        return None
    places: dict[int, int] = {}
    for at, token in enumerate(tokens):
        places[token] = places.get(token, 0) | 1 << at
    return _Glob(len(tokens), places.pop(_STAR, 0), tuple(places.items()))


def _read(pattern: bytes) -> Iterator[int]:
    """Yield the tokens. Raises ValueError for a class that isn't closed."""
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        match chr(byte):
            case "*":
                yield _STAR
            case "?":
                yield _ANY
            case "[":
                letters, at = _read_class(pattern, at)
                yield letters
            case "\\" if at < len(pattern):  # a last backslash stands for itself
                yield 1 << pattern[at]
                at += 1
            case _:
                yield 1 << byte


def _read_class(pattern: bytes, at: int) -> tuple[int, int]:
    """Return the bytes of a class and the place behind it, from the place behind its `[`."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    letters = 0
    while (ahead := pattern[at : at + 3])[:1] != b"]":
        match list(ahead):
            case []:
                raise ValueError("a class isn't closed")
            case [0x5C, escaped, *_]:
                letters |= 1 << escaped
                at += 2
            case [first, 0x2D, last]:
                low, high = sorted((first, last))
                if high > 0x7F:  # noqa: PLR2004  # servers compare signed characters: beyond ASCII it is another range
                    raise ValueError("a range beyond ASCII")
                letters |= sum(1 << byte for byte in range(low, high + 1))
                at += 3
            case _:
                letters |= 1 << ahead[0]
                at += 1
    return (_ANY & ~letters if negated else letters), at + 1


def _literal_prefix(pattern: str) -> tuple[str, str]:
    """Return the characters that any match begins with, unescaped, and the pattern from its first wildcard on."""
    literal: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character in "*?[":
            break
        if character == "\\" and position + 1 < len(pattern):
            position += 1
            character = pattern[position]
        literal.append(character)
        position += 1
    return "".join(literal), pattern[position:]
