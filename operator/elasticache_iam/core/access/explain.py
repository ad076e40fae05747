"""Access strings in words."""

from collections.abc import Iterator, Sequence
from typing import Final

from elasticache_iam.core.access.catalogue import Catalogue, load_catalogues
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.lint import CLIENTS_NEED, WIPES
from elasticache_iam.core.access.rules import Selector, parse_access_string, shown

_DONE: Final = {"R": "read", "W": "write", "RW": "read and write"}
_NOTABLE: Final = (*WIPES, "keys", "config|get", "client|kill", *CLIENTS_NEED)
"""What the lines say of these is what most people want to know."""


def explain(text: str, *, catalogue: Catalogue | None = None) -> tuple[str, ...]:
    """Return what an access string allows, in lines for people. No password is in them.

    Args:
        text: The access string.
        catalogue: Of the engine; None: all that we know, one count of commands for each.
    """
    catalogues = load_catalogues() if catalogue is None else (catalogue,)
    rules = parse_access_string(text)
    lines = ["may log in" if rules.enabled else "may not log in", *_explain(rules.root, catalogues)]
    for selector in rules.selectors:
        lines += [f"or else, by ({shown(selector.text)}):", *(f"  {line}" for line in _explain(selector, catalogues))]
    lines += [f"not understood: {fault}" for fault in rules.faults]
    return tuple(lines)


def _explain(selector: Selector, catalogues: Sequence[Catalogue]) -> Iterator[str]:
    keys = "all" if any(key.is_all for key in selector.keys) else ""
    keys = keys or ", ".join(f"{key.pattern or '(the empty one)'} ({_DONE[key.access]})" for key in selector.keys)
    channels = "all" if "*" in selector.channels else ", ".join(selector.channels)
    yield f"keys: {keys or 'none'}"
    yield f"channels: {channels or 'none'}"
    yield f"commands: {_in_words(selector.commands)}"
    if len(selector.commands) > 1:
        yield from _results(selector, catalogues)


def _in_words(commands: Sequence[str]) -> str:
    """Put the rules into words, in their order: `all of @read, but none of @dangerous, and INFO`."""
    words = ["all" if commands[0] == "+@all" else ""]
    for rule in commands[1:]:
        name = rule[1:] if rule[1] == "@" else rule[1:].upper().replace("|", " ")
        is_first = words == [""]
        if rule[0] == "+":
            again = "and " if words[-1].startswith("but") else ""
            words.append(again + (f"all of {name}" if rule[1] == "@" else name))
        elif not is_first:
            words.append(f"but none of {name}" if rule[1] == "@" else f"but not {name}")
    return ", ".join(word for word in words if word) or "none"


def _results(selector: Selector, catalogues: Sequence[Catalogue]) -> Iterator[str]:
    grants = {known: grant(selector.commands, known).commands for known in catalogues}
    counts = ", ".join(f"{len(grants[known])} of {len(known.commands)} of {known.title}" for known in catalogues)
    yield f"these are {counts}"
    allowed = [name for name in _NOTABLE if all(name in grants[known] for known in catalogues)]
    refused = [name for name in _NOTABLE if not any(name in grants[known] for known in catalogues)]
    for title, names in (("among them", allowed), ("not among them", refused)):
        if names:
            yield f"{title}: {', '.join(name.upper().replace('|', ' ') for name in names)}"
