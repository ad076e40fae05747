r"""Redis's globs: which names they match, and which glob matches whatever another does.

They know `*`, `?`, `[...]`, and `\`, which takes the next character as it is.

Source: util.c, stringmatchlen, of redis 7.0.15 and valkey 8.0.1. Its surprises: stars alone match any name but the
empty one; a range takes whatever character follows `-` as its end, `]` too.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeAlias

_STAR: Final = -1
_ANY: Final = (1 << 256) - 1
_MAX_STEPS: Final = 4000
"""What isn't decided after so many is not claimed."""
_MAX_STARS: Final = 100
"""Newer servers give up a match that nests deeper than 1000."""

_Tokens: TypeAlias = tuple[int, ...]
"""A glob taken apart: per token the set of bytes that it matches, as bits, or _STAR."""


def matches(pattern: str, name: str) -> bool | None:
    """Whether a glob matches a name; None for globs that servers read in ways of their own (`[` without `]`)."""
    tokens = _tokens(pattern)
    if tokens is None:
        return None
    if not name:
        return not tokens
    states = _closure(tokens, 1)
    for byte in name.encode():
        states = _step(tokens, states, 1 << byte)
    return bool(states >> len(tokens) & 1)


def covers(wider: str, narrower: str) -> bool:
    """Whether each name that the glob `narrower` matches is matched by `wider` too; False when it can't be shown."""
    if wider == narrower:
        return True
    wide, narrow = _tokens(wider), _tokens(narrower)
    if wide is None or wide.count(_STAR) > _MAX_STARS:
        return False
    if narrow is None:
        prefix, rest = _literal_prefix(wider)
        return rest == "*" and _literal_prefix(narrower)[0].startswith(prefix)
    return _is_included(narrow, wide)


def _is_included(narrow: _Tokens, wide: _Tokens) -> bool:
    """Walk through both at once: at no place may `narrow` be at its end and `wide` not."""
    start = (_closure(narrow, 1), _closure(wide, 1))
    if not narrow:
        return not wide
    seen, waiting = {start}, [start]
    while waiting:
        narrow_states, wide_states = waiting.pop()
        for letters in _letter_classes(narrow, narrow_states, wide, wide_states):
            after = (_step(narrow, narrow_states, letters), _step(wide, wide_states, letters))
            if after[0] >> len(narrow) & 1 and not after[1] >> len(wide) & 1:
                return False
            if after[0] and after not in seen:
                if len(seen) > _MAX_STEPS:
                    return False
                seen.add(after)
                waiting.append(after)
    return True


def _letter_classes(narrow: _Tokens, narrow_states: int, wide: _Tokens, wide_states: int) -> list[int]:
    """Return sets of bytes none of which the tokens ahead tell apart."""
    classes = [_ANY]
    for tokens, states in ((narrow, narrow_states), (wide, wide_states)):
        for token in {token for at, token in enumerate(tokens) if states >> at & 1} - {_STAR, _ANY}:
            classes = [part for letters in classes for part in (letters & token, letters & ~token) if part]
    return classes


def _step(tokens: _Tokens, states: int, letters: int) -> int:
    """Return the places one can be at after one of the letters (which the tokens don't tell apart)."""
    after = 0
    for at, token in enumerate(tokens):
        if states >> at & 1:
            if token == _STAR:
                after |= 1 << at
            elif token & letters:
                after |= 1 << at + 1
    return _closure(tokens, after)


def _closure(tokens: _Tokens, states: int) -> int:
    """Add the places behind a star, which may match nothing."""
    for at, token in enumerate(tokens):
        if token == _STAR and states >> at & 1:
            states |= 1 << at + 1
    return states


@lru_cache(maxsize=4096)
def _tokens(pattern: str) -> _Tokens | None:
    tokens: list[int] = []
    try:
        for token in _read(pattern.encode()):
            if token != _STAR or tokens[-1:] != [_STAR]:
                tokens.append(token)
    except ValueError:
        return None
    return tuple(tokens)


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
