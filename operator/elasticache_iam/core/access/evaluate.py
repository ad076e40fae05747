"""What access rules let a user do, evaluated as the servers do it.

Source: acl.c of redis 7.0.15 and valkey 8.0.1; a contract test holds every claim against ACL DRYRUN of both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from elasticache_iam.core.access.catalogue import Catalogue, Command, KeySpec, load_catalogues
from elasticache_iam.core.access.globs import matches
from elasticache_iam.core.access.rules import AccessRules, KeyRule, Selector, parse_access_string

_CHANNELS: Final = {
    # Name -> whether its arguments are patterns. COMMAND doesn't tell; source: commands_with_channels of db.c.
    "publish": False,
    "spublish": False,
    "subscribe": False,
    "ssubscribe": False,
    "psubscribe": True,
}
_ONE_CHANNEL: Final = frozenset({"publish", "spublish"})


@dataclass(frozen=True, slots=True)
class Grants:
    """What command rules allow on one engine.

    Attributes:
        commands: Names.
        first_arguments: Of commands that aren't among them: arguments, in lower case, with which they are allowed all
            the same (`+select|0`).
    """

    commands: frozenset[str]
    first_arguments: frozenset[tuple[str, str]] = frozenset()

    def exceeding(self, limit: "Grants") -> tuple[str, ...]:
        """Return what is allowed here and not by `limit`, sorted."""
        more = self.commands - limit.commands
        arguments = {
            f"{command}|{argument}"
            for command, argument in self.first_arguments - limit.first_arguments
            if command not in limit.commands
        }
        return tuple(sorted(more | arguments))


@lru_cache(maxsize=512)
def grant(rules: tuple[str, ...], catalogue: Catalogue) -> Grants:
    """Apply command rules in their order. Names that the engine doesn't have change nothing."""
    allowed: frozenset[str] = frozenset()
    arguments: frozenset[tuple[str, str]] = frozenset()
    for rule in rules:
        name = rule[1:]
        if members := catalogue.members.get(name):
            allowed = allowed | members if rule[0] == "+" else allowed - members
            arguments = frozenset(pair for pair in arguments if pair[0] not in members)
        elif rule[0] == "+":
            command, _, argument = name.partition("|")
            if argument and (known := catalogue.commands.get(command)) and not known.is_container:
                arguments |= {(command, argument)}
    return Grants(allowed, frozenset(pair for pair in arguments if pair[0] not in allowed))


def allows(access: str | AccessRules, command: str, *arguments: str, catalogue: Catalogue | None = None) -> bool | None:
    """Whether a user with this access string may send a command; `on` and `off` don't count.

    Args:
        access: The access string, or its rules.
        command: A name, in any case; a sub-command is the first argument.
        arguments: As the client sends them: keys, channels, values, options.
        catalogue: The engine's; None: what is true of all engines we know.

    Returns:
        None if it can't be shown: a malformed access string or command, an unknown one, keys that only servers find.
    """
    rules = parse_access_string(access) if isinstance(access, str) else access
    if rules.faults:
        return None
    selectors = (rules.root, *rules.selectors)
    catalogues = load_catalogues() if catalogue is None else (catalogue,)
    verdicts = {_allows(selectors, (command, *arguments), each) for each in catalogues}
    return verdicts.pop() if len(verdicts) == 1 else None


def _allows(selectors: Iterable[Selector], words: Sequence[str], catalogue: Catalogue) -> bool | None:
    command = catalogue.commands.get(words[0].lower())
    if command is not None and command.is_container and len(words) > 1:
        command = catalogue.commands.get(f"{command.name}|{words[1].lower()}")
    if command is None or not command.takes(len(words)):
        return None
    if command.is_free:
        return True
    return _any(_selector_allows(selector, command, words, catalogue) for selector in selectors)


def _selector_allows(selector: Selector, command: Command, words: Sequence[str], catalogue: Catalogue) -> bool | None:
    grants = grant(selector.commands, catalogue)
    if command.name not in grants.commands:
        argument = words[1].lower() if len(words) > 1 else ""
        if command.container or (command.name, argument) not in grants.first_arguments:
            return False
    return _all((_allows_keys(selector.keys, command, words), _allows_channels(selector.channels, command, words)))


def _allows_keys(rules: Sequence[KeyRule], command: Command, words: Sequence[str]) -> bool | None:
    if not command.keys or any(rule.is_all for rule in rules):
        return True
    found: list[tuple[KeySpec, str]] = []
    for spec in command.keys:
        keys = None if spec.incomplete else _find_keys(spec, words, is_only=len(command.keys) == 1)
        if keys is None:
            return None
        found += [(spec, key) for key in keys]
    return _all(_allows_key(rules, spec, key) for spec, key in found)


def _allows_key(rules: Sequence[KeyRule], spec: KeySpec, key: str) -> bool | None:
    wide = _any(matches(rule.pattern, key) for rule in rules if set(spec.access) <= set(rule.access))
    if not spec.varying or wide:
        return wide
    return None if _any(matches(rule.pattern, key) for rule in rules) is not False else False


def _find_keys(spec: KeySpec, words: Sequence[str], *, is_only: bool) -> Sequence[str] | None:
    """Return a command's keys as the server's getKeysUsingKeySpecs finds them; None where it would look elsewhere."""
    first = _begin(spec, words)
    if first is None:
        return ()
    find = spec.find
    if "keynumidx" in find:
        at = first + find["keynumidx"]
        number = words[at] if at < len(words) else ""
        if not (number.isascii() and number.isdigit()) or (number != "0" and number[0] == "0") or len(number) > 5:  # noqa: PLR2004  # more keys than anybody sends
            return None
        if number == "0":
            return () if is_only else None
        first += find["firstkey"]
        last = first + int(number) - 1
    elif find["lastkey"] >= 0:
        last = first + find["lastkey"]
    elif not find["limit"]:
        last = len(words) + find["lastkey"]
    else:
        last = first + (len(words) - first) // find["limit"] + find["lastkey"]
    if not first <= last < len(words):
        return None
    return words[first : last + 1 : find["keystep"]]


def _begin(spec: KeySpec, words: Sequence[str]) -> int | None:
    """Return where a command's keys begin; None if the keyword before them isn't there."""
    if "index" in spec.begin:
        return int(spec.begin["index"])
    keyword, start = spec.begin["keyword"].lower(), spec.begin["startfrom"]
    places = range(start, len(words) - 1) if start > 0 else range(len(words) + start, 1, -1)
    return next((at + 1 for at in places if at < len(words) and words[at].lower() == keyword), None)


def _allows_channels(rules: Sequence[str], command: Command, words: Sequence[str]) -> bool | None:
    is_pattern = _CHANNELS.get(command.name)
    if is_pattern is None or "*" in rules:
        return True
    channels = words[1:2] if command.name in _ONE_CHANNEL else words[1:]
    if is_pattern:  # the server compares texts: it doesn't ask whether one pattern covers another
        return all(channel in rules for channel in channels)
    return _all(_any(matches(rule, channel) for rule in rules) for channel in channels)


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    """Or, where some verdicts are unknown."""
    seen = set(verdicts)
    return True if True in seen else None if None in seen else False


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """And, where some verdicts are unknown."""
    seen = set(verdicts)
    return False if False in seen else None if None in seen else True
