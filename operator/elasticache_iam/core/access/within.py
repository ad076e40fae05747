"""Whether what a user asks for lies within a limit. What can't be shown is refused, and the reason says what it was.

Commands are compared in two ways. What is true of any engine: that dropping a `+` rule or adding a `-` rule never
allows more. And what the catalogues of engines say (see `catalogue`). AWS runs versions that we have no catalogue of;
so, unless the engine is given, a claim must also hold for commands that a later version may add, in any categories.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations_with_replacement
from operator import and_
from typing import Final

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access.catalogue import Catalogue, Command, load_catalogues
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.globs import covers
from elasticache_iam.core.access.presets import PRESET_COMMANDS
from elasticache_iam.core.access.rules import AccessRules, KeyRule, Selector, parse_access_string, shown

_ORDER: Final = (Preset.READ_ONLY, Preset.READ_WRITE, Preset.ADMIN)
"""Each allows all that the one before it does (tests/unit/core/access proves it with the catalogues)."""

_REMEDY: Final = "ask for less, use a preset, or ask the group's owner to widen admission[].limit"
_SHOWN: Final = 5
"""So many commands are named in a refusal."""


@dataclass(frozen=True, slots=True)
class Within:
    """The answer; `why` names what is outside the limit, and is empty if nothing is."""

    ok: bool
    why: str = ""


def is_within(asked: Access, limit: Access, *, catalogue: Catalogue | None = None) -> Within:
    """Whether all that `asked` allows is allowed by `limit` as well.

    `on` and `off` don't count: a limit speaks of what may be done, not of whether anybody may log in. A channel pattern
    lies within one that covers it: PSUBSCRIBE to it hears nothing that PSUBSCRIBE to the wider one doesn't.

    Args:
        asked: What a user wants.
        limit: What it may have at most.
        catalogue: Of the engine; None: of any version, those that we know nothing of included.
    """
    asks, allows = _rules(asked), _rules(limit)
    if replace(asks, enabled=allows.enabled) == allows:
        return Within(ok=True)
    for what in (*asks.others, *allows.others):
        return _refused(f"can't show what {shown(what)!r} allows")
    if asked.preset is not None and limit.preset is not None:
        if why := _keys_exceed(asks.root, allows.root) or _channels_exceed(asks.root, allows.root):
            return _refused(why)
        if _ORDER.index(asked.preset) <= _ORDER.index(limit.preset):
            return Within(ok=True)
        return _refused(f"preset {asked.preset} allows more than the limit's {limit.preset}")
    why = rules_exceed(asks, allows, catalogue)
    return _refused(why) if why else Within(ok=True)


def rules_exceed(asked: AccessRules, limit: AccessRules, catalogue: Catalogue | None) -> str:
    """Return what isn't shown to lie within the limit; empty if everything is. Neither may hold unknown words."""
    if why := _exceeds_all(asked.root, limit, catalogue):
        return why
    for selector in asked.selectors:
        if why := _exceeds_all(selector, limit, catalogue):
            return f"selector '({selector.text})' isn't shown to lie within the limit: {why}"
    return ""


def _exceeds_all(asked: Selector, limit: AccessRules, catalogue: Catalogue | None) -> str:
    """Return why none of the limit's selectors is shown to allow what one asked selector does: the first one's why."""
    if asked in limit.selectors or not any(rule[0] == "+" for rule in asked.commands):
        return ""
    whys = [
        _keys_exceed(asked, wider)
        or _channels_exceed(asked, wider)
        or _commands_exceed(asked.commands, wider.commands, catalogue)
        for wider in (limit.root, *limit.selectors)
    ]
    return whys[0] if all(whys) else ""


# -- keys and channels -------------------------------------------------------------------------------------------------


def _keys_exceed(asked: Selector, limit: Selector) -> str:
    for key in asked.keys:
        if not any(_covers_key(wider, key) for wider in limit.keys):
            return f"key pattern {key.text!r} isn't shown to lie within {_listed(rule.text for rule in limit.keys)}"
    return ""


def _covers_key(wider: KeyRule, narrower: KeyRule) -> bool:
    if wider.is_all:
        return True
    if narrower.pattern == "*":  # SORT ... BY wants this very text: `**` won't do; and `~*` has the empty key too
        return wider.pattern == "*" and set(narrower.access) <= set(wider.access) and not narrower.is_all
    return set(narrower.access) <= set(wider.access) and covers(wider.pattern, narrower.pattern)


def _channels_exceed(asked: Selector, limit: Selector) -> str:
    for channel in asked.channels:
        if not any(wider == "*" or (channel != "*" and covers(wider, channel)) for wider in limit.channels):
            within = _listed(f"&{pattern}" for pattern in limit.channels)
            return f"channel pattern {'&' + channel!r} isn't shown to lie within {within}"
    return ""


# -- commands ----------------------------------------------------------------------------------------------------------


def _commands_exceed(asked: tuple[str, ...], limit: tuple[str, ...], catalogue: Catalogue | None) -> str:
    if limit == ("+@all",) or _is_derivable(asked, limit):
        return ""
    for known in load_catalogues() if catalogue is None else (catalogue,):
        if more := grant(asked, known).exceeding(grant(limit, known)):
            named = ", ".join(name.upper().replace("|", " ") for name in more[:_SHOWN])
            rest = f" and {len(more) - _SHOWN} more" if len(more) > _SHOWN else ""
            offender = _offending_command(asked, limit)
            return f"{offender} isn't shown to lie within {' '.join(limit)!r}, which lacks {named}{rest}"
    if catalogue is None and _may_exceed_elsewhere(asked, limit):
        return (
            f"{_offending_command(asked, limit)} isn't shown to lie within {' '.join(limit)!r} on engines whose "
            "commands aren't known here; commands named one by one can be shown"
        )
    return ""


def _is_derivable(asked: Sequence[str], limit: Sequence[str]) -> bool:
    """Whether dropping `+` rules of `limit` and adding `-` rules can give `asked`: an edit distance with few edits.

    Rules are applied in order, each of them to a growing or shrinking set in a monotone way. So each such step can only
    make the result smaller, whatever the categories hold. A `+` rule right before the limit's opening `+@all` changes
    nothing either, so that may be added too.
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


def _may_exceed_elsewhere(asked: Sequence[str], limit: Sequence[str]) -> bool:
    """Whether some command that no catalogue has could be allowed by `asked` and not by `limit`.

    It may be one that no rule names, one that some rule names (of a module, say), or a new sub-command of a command
    that `asked` allows by name; its categories are anybody's guess. What counts is the last rule about it. If any
    categories tell the two apart, then so do the two of those last rules.
    """
    known = {name: command for each in load_catalogues() for name, command in each.commands.items()}
    named = {rule[1:] for rule in (*asked, *limit)}
    strangers = {name for name in named if name[0] != "@" and not _is_known(name, known)}
    containers = {rule[1:] for rule in asked if rule[0] == "+" and rule[1:] in known and known[rule[1:]].is_container}
    categories = sorted(name for name in named if name[0] == "@" and name != "@all")
    pairs = [frozenset[str](), *map(frozenset, combinations_with_replacement(categories, 2))]
    ours, theirs = _last_places(asked), _last_places(limit)
    for name in ("", *sorted(strangers), *(f"{container}|?" for container in sorted(containers))):
        about = {"@all", name, name.partition("|")[0]}
        if any(_verdict(asked, ours, about | pair) and not _verdict(limit, theirs, about | pair) for pair in pairs):
            return True
    return False


def _is_known(name: str, known: Mapping[str, Command]) -> bool:
    """Whether catalogues tell all about a name: a command's, or that of one without sub-commands with an argument."""
    command, bar, _ = name.partition("|")
    return name in known or (bool(bar) and command in known and not known[command].is_container)


def _last_places(rules: Sequence[str]) -> dict[str, int]:
    return {rule[1:]: at for at, rule in enumerate(rules)}


def _verdict(rules: Sequence[str], last_places: dict[str, int], about: Iterable[str]) -> bool:
    """Whether the last rule about a command allows it, given all that rules may call it."""
    return rules[max(last_places.get(name, -1) for name in about)][0] == "+"


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
        root=Selector(
            keys=(KeyRule("*"),) if everything else tuple(sorted(KeyRule(pattern) for pattern in set(access.keys))),
            channels=("*",) if everything else tuple(sorted(set(access.channels))),
            commands=tuple(PRESET_COMMANDS[access.preset].split()),
        ),
    )


def _refused(why: str) -> Within:
    return Within(ok=False, why=f"{why}: {_REMEDY}")


def _listed(patterns: Iterable[str]) -> str:
    return ", ".join(repr(pattern) for pattern in patterns) or "the limit, which has none"
