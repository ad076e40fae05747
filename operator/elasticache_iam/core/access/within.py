"""Whether what a user asks for lies within a limit. What can't be shown is refused, and the reason says what it was.

Nothing here knows which commands a category holds: engines disagree and grow. It rests on what is true of any engine:
the presets' order, and that dropping a `+` rule or adding a `-` rule never allows more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import and_
from typing import Final

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access.presets import PRESET_COMMANDS
from elasticache_iam.core.access.rules import AccessRules, KeyRule, parse_access_string, shown

_ORDER: Final = (Preset.READ_ONLY, Preset.READ_WRITE, Preset.ADMIN)
"""Each allows all that the one before it does (tests/unit/core/access proves it with recorded command tables)."""

_REMEDY: Final = "ask for less, use a preset, or ask the group's owner to widen admission[].limit"


@dataclass(frozen=True, slots=True)
class Within:
    """The answer; `why` names what is outside the limit, and is empty if nothing is."""

    ok: bool
    why: str = ""


def is_within(asked: Access, limit: Access) -> Within:
    """Whether all that `asked` allows is allowed by `limit` as well.

    `on` and `off` don't count: a limit speaks of what may be done, not of whether anybody may log in.
    """
    asks, allows = _rules(asked), _rules(limit)
    if replace(asks, enabled=allows.enabled) == allows:
        return Within(ok=True)
    # The limit's own selectors only widen it: whatever doesn't need them is within without them.
    unknown = [selector for selector in asks.selectors if selector not in allows.selectors]
    for what in (*unknown, *asks.others, *allows.others):
        return _refused(f"can't show what {shown(what)!r} allows")
    for key in asks.keys:
        if not any(_covers_key(wider, key) for wider in allows.keys):
            return _refused(
                f"key pattern {key.text!r} isn't shown to lie within {_listed(rule.text for rule in allows.keys)}"
            )
    for channel in asks.channels:
        if not any(covers(wider, channel) for wider in allows.channels):
            within = _listed(f"&{pattern}" for pattern in allows.channels)
            return _refused(f"channel pattern {'&' + channel!r} isn't shown to lie within {within}")
    if asked.preset is not None and limit.preset is not None:
        if _ORDER.index(asked.preset) <= _ORDER.index(limit.preset):
            return Within(ok=True)
        return _refused(f"preset {asked.preset} allows more than the limit's {limit.preset}")
    return _commands_within(asks.commands, allows.commands)


def covers(wider: str, narrower: str) -> bool:
    r"""Whether each name that the glob `narrower` matches is matched by `wider` too; False when it can't be shown.

    Shown are: equal patterns, `*`, and `prefix*` around a pattern that begins with that literal prefix. The globs are
    Redis's (stringmatchlen): `*`, `?`, `[...]`, and `\` which takes the next character as it is.
    """
    if wider in {narrower, "*"}:
        return True
    prefix, rest = _literal_prefix(wider)
    literal, narrower_rest = _literal_prefix(narrower)
    if rest == "*" and prefix:
        return literal.startswith(prefix)
    return not rest and not narrower_rest and prefix == literal


def _literal_prefix(pattern: str) -> tuple[str, str]:
    """Return the characters that any match begins with, unescaped, and the pattern from its first wildcard on."""
    literal: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character in "*?[":
            break
        if character == "\\" and position + 1 < len(pattern):  # a last backslash stands for itself
            position += 1
            character = pattern[position]
        literal.append(character)
        position += 1
    return "".join(literal), pattern[position:]


def _covers_key(wider: KeyRule, narrower: KeyRule) -> bool:
    return set(narrower.permissions) <= set(wider.permissions) and covers(wider.pattern, narrower.pattern)


def _commands_within(asked: Sequence[str], limit: Sequence[str]) -> Within:
    """Whether the asked command rules can be had from the limit's by dropping `+` rules and adding `-` rules.

    Rules are applied in order, each of them to a growing or shrinking set in a monotone way. So each such step can only
    make the result smaller, whatever the categories hold.
    """
    if limit == ("+@all",) or _is_derivable(asked, limit):
        return Within(ok=True)
    return _refused(f"{_offending_command(asked, limit)} isn't shown to lie within {' '.join(limit)!r}")


def _is_derivable(asked: Sequence[str], limit: Sequence[str]) -> bool:
    """Whether dropping `+` rules of `limit` and adding `-` rules can give `asked`: an edit distance with few edits.

    A `+` rule right before the limit's opening `+@all` changes nothing either, so that may be added too.
    """
    # reached[j]: the rules of `asked` seen so far come from limit[:j].
    reached: list[bool] = [True, *accumulate((rule[0] == "+" for rule in limit), and_)]
    for rule in asked:
        added = rule[0] == "-"
        row = [reached[0] and (added or limit[0] == "+@all")]
        for j, of_limit in enumerate(limit):
            kept = rule == of_limit and reached[j]
            dropped = of_limit[0] == "+" and row[j]
            row.append(kept or dropped or (added and reached[j + 1]))
        reached = row
    return reached[-1]


def _offending_command(asked: Sequence[str], limit: Sequence[str]) -> str:
    for rule in asked:
        if rule[0] == "+" and rule not in limit:
            return f"command rule {rule!r}"
    for rule in limit:
        if rule[0] == "-" and rule not in asked:
            return f"leaving out {rule!r}"
    return f"the order of {' '.join(asked)!r}"


def _rules(access: Access) -> AccessRules:
    """Return the rules of an access. Patterns of a preset are taken as they are, so that no word can hide in one."""
    if access.preset is None:
        return parse_access_string(access.access_string or "")
    everything = access.preset is Preset.ADMIN
    return AccessRules(
        enabled=True,
        keys=(KeyRule("*"),) if everything else tuple(sorted(KeyRule(pattern) for pattern in set(access.keys))),
        channels=("*",) if everything else tuple(sorted(set(access.channels))),
        commands=tuple(PRESET_COMMANDS[access.preset].split()),
    )


def _refused(why: str) -> Within:
    return Within(ok=False, why=f"{why}: {_REMEDY}")


def _listed(patterns: Iterable[str]) -> str:
    return ", ".join(repr(pattern) for pattern in patterns) or "the limit, which has none"
