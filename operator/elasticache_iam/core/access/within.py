"""Whether what a user asks for lies within a limit. What can't be shown is refused, and the reason says what it was.

Commands are compared in two ways. What is true of any engine: that dropping a `+` rule or adding a `-` rule never
allows more. And what the catalogues of engines say (see `catalogue`). AWS runs versions that we have no catalogue of;
so, unless the engine is given, a claim must also hold for commands that a later version may add, in any categories.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from operator import and_
from typing import Final

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.api.syntax import MOST_SELECTORS
from elasticache_iam.core.access.catalogue import Catalogue, Command, load_catalogues
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.globs import Effort, covers
from elasticache_iam.core.access.presets import PRESET_COMMANDS
from elasticache_iam.core.access.rules import AccessRules, KeyRule, Selector, parse_access_string, shown

_ORDER: Final = (Preset.READ_ONLY, Preset.READ_WRITE, Preset.ADMIN)
"""Each allows all that the one before it does (tests/unit/core/access proves it with the catalogues)."""

_REMEDY: Final = "ask for less, use a preset, or ask the group's owner to widen admission[].limit"
_SHOWN: Final = 5
"""So many commands, or patterns of a limit, are named in a refusal."""
_MOST_RULES: Final = 256
"""What has more rules isn't compared: an AWS user whose access string didn't come from a resource. A resource's has at
most half of that."""
_MOST_SELECTORS: Final = MOST_SELECTORS + 1


@dataclass(frozen=True, slots=True)
class Within:
    """The answer; `why` names what is outside the limit, and is empty if nothing is."""

    ok: bool
    why: str = ""


@lru_cache(maxsize=4096)
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
        effort = Effort()
        if why := _keys_exceed(asks.root, allows.root, effort) or _channels_exceed(asks.root, allows.root, effort):
            return _refused(why)
        if _ORDER.index(asked.preset) <= _ORDER.index(limit.preset):
            return Within(ok=True)
        return _refused(f"preset {asked.preset} allows more than the limit's {limit.preset}")
    why = rules_exceed(asks, allows, catalogue)
    return _refused(why) if why else Within(ok=True)


def rules_exceed(asked: AccessRules, limit: AccessRules, catalogue: Catalogue | None) -> str:
    """Return what isn't shown to lie within the limit; empty if everything is. Neither may hold unknown words."""
    if is_too_long(asked) or is_too_long(limit):
        return f"access with more than {_MOST_RULES} rules or {_MOST_SELECTORS} selectors isn't compared"
    effort = Effort()
    if why := _exceeds_all(asked.root, limit, catalogue, effort):
        return why
    for selector in asked.selectors:
        if why := _exceeds_all(selector, limit, catalogue, effort):
            return f"selector '({selector.text})' isn't shown to lie within the limit: {why}"
    return ""


def is_too_long(rules: AccessRules) -> bool:
    """Whether comparing these rules takes more time than anybody's access may cost all others."""
    selectors = (rules.root, *rules.selectors)
    number = sum(len(each.keys) + len(each.channels) + len(each.commands) for each in selectors)
    return number > _MOST_RULES or len(rules.selectors) > _MOST_SELECTORS


def _exceeds_all(asked: Selector, limit: AccessRules, catalogue: Catalogue | None, effort: Effort) -> str:
    """Return why none of the limit's selectors is shown to allow what one asked selector does: the first one's why."""
    if asked in limit.selectors or not any(rule[0] == "+" for rule in asked.commands):
        return ""
    whys = [
        _keys_exceed(asked, wider, effort)
        or _channels_exceed(asked, wider, effort)
        or _commands_exceed(asked.commands, wider.commands, catalogue)
        for wider in (limit.root, *limit.selectors)
    ]
    return whys[0] if all(whys) else ""


# -- keys and channels -------------------------------------------------------------------------------------------------


def _keys_exceed(asked: Selector, limit: Selector, effort: Effort) -> str:
    for key in asked.keys:
        if not any(_covers_key(wider, key, effort) for wider in limit.keys):
            return f"key pattern {key.text!r} isn't shown to lie within {_listed([rule.text for rule in limit.keys])}"
    return ""


def _covers_key(wider: KeyRule, narrower: KeyRule, effort: Effort) -> bool:
    if wider.is_all:
        return True
    if narrower.pattern == "*":  # SORT ... BY wants this very text: `**` won't do; and `~*` has the empty key too
        return wider.pattern == "*" and set(narrower.access) <= set(wider.access) and not narrower.is_all
    return set(narrower.access) <= set(wider.access) and covers(wider.pattern, narrower.pattern, effort)


def _channels_exceed(asked: Selector, limit: Selector, effort: Effort) -> str:
    for channel in asked.channels:
        if not any(wider == "*" or (channel != "*" and covers(wider, channel, effort)) for wider in limit.channels):
            within = _listed([f"&{pattern}" for pattern in limit.channels])
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
    categories tell the two apart, then so do two: the one of the last rule in `asked`, and the one of the last rule in
    `limit`. Of those that could be the latter the one with the latest `-` will do. So this takes a look at each name
    with each category, not with each pair: both are up to whoever asks.
    """
    known = {name: command for each in load_catalogues() for name, command in each.commands.items()}
    named = {rule[1:] for rule in (*asked, *limit)}
    strangers = {name for name in named if name[0] != "@" and not _is_known(name, known)}
    containers = {rule[1:] for rule in asked if rule[0] == "+" and rule[1:] in known and known[rule[1:]].is_container}
    categories = {name for name in named if name[0] == "@" and name != "@all"}
    ours, theirs = _last_places(asked), _last_places(limit)
    places = [(ours.get(category, -1), theirs.get(category, -1)) for category in categories]
    latest_denial = _latest_denials(places, asked, limit)
    about = {
        tuple(max(last.get(each, -1) for each in ("@all", name, name.partition("|")[0])) for last in (ours, theirs))
        for name in ("", *strangers, *(f"{container}|?" for container in containers))
    }
    for in_asked, in_limit in about:
        for at_asked, at_limit in ((-1, -1), *places):
            first, second = max(in_asked, at_asked), max(in_limit, at_limit)
            if asked[first][0] == "+" and (limit[second][0] == "-" or latest_denial[first] > second):
                return True
    return False


def _latest_denials(places: Iterable[tuple[int, int]], asked: Sequence[str], limit: Sequence[str]) -> Sequence[int]:
    """Return for each place in `asked` the latest `-` rule of `limit` about a category that comes no later; -1: none.

    Args:
        places: Where in `asked` and in `limit` the last rule about each category stands; -1: nowhere.
        asked: Rules.
        limit: Rules.
    """
    latest = [-1] * len(asked)
    for at_asked, at_limit in places:
        if at_limit >= 0 and limit[at_limit][0] == "-":
            latest[max(at_asked, 0)] = max(latest[max(at_asked, 0)], at_limit)
    return list(accumulate(latest, max))


def _is_known(name: str, known: Mapping[str, Command]) -> bool:
    """Whether catalogues tell all about a name: a command's, or that of one without sub-commands with an argument."""
    command, bar, _ = name.partition("|")
    return name in known or (bool(bar) and command in known and not known[command].is_container)


def _last_places(rules: Sequence[str]) -> dict[str, int]:
    return {rule[1:]: at for at, rule in enumerate(rules)}


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


def _listed(patterns: Sequence[str]) -> str:
    rest = f" and {len(patterns) - _SHOWN} more" if len(patterns) > _SHOWN else ""
    return ", ".join(repr(pattern) for pattern in patterns[:_SHOWN]) + rest or "the limit, which has none"
