"""Warnings about raw access strings that do other things than their authors mostly think."""

from collections.abc import Mapping
from typing import Final

from elasticache_iam.core.access.rules import AccessRules, parse_access_string, shown

_COMMANDS: Final[Mapping[str, frozenset[str]]] = {
    # Name -> categories, as redis-server 7.0.15 and valkey-server 8.0.1 answer COMMAND INFO.
    "flushall": frozenset({"keyspace", "write", "slow", "dangerous"}),
    "flushdb": frozenset({"keyspace", "write", "slow", "dangerous"}),
    "swapdb": frozenset({"keyspace", "write", "fast", "dangerous"}),
    "ping": frozenset({"fast", "connection"}),
    "select": frozenset({"fast", "connection"}),
    "multi": frozenset({"fast", "transaction"}),
    "cluster|slots": frozenset({"slow"}),
    "command": frozenset({"slow", "connection"}),
    "acl|whoami": frozenset({"slow"}),
}
_WIPE: Final = ("flushall", "flushdb", "swapdb")
_CLIENTS_NEED: Final = ("ping", "select", "multi", "cluster|slots", "command", "acl|whoami")


def lint(text: str) -> tuple[str, ...]:
    """Return warnings about an access string, one line each, for people; () if there is nothing to say."""
    rules = parse_access_string(text)
    return tuple(warning for warning in _warnings(text, rules) if warning)


def _warnings(text: str, rules: AccessRules) -> tuple[str, ...]:
    wiping = [command for command in _WIPE if _allows(rules.commands, command)]
    missing = [command for command in _CLIENTS_NEED if not _allows(rules.commands, command)]
    allows_nothing = not any(rule[0] == "+" for rule in rules.commands)
    return (
        "" if rules.enabled or "off" in text.lower().split() else "neither on nor off: AWS takes that as off",
        f"AWS refuses {_names([shown(word) for word in rules.others])} in an access string" if rules.others else "",
        "no key pattern: every command that takes a key is refused" if not rules.keys and not rules.selectors else "",
        "allows no command at all" if allows_nothing and not rules.selectors else "",
        f"allows {_names(wiping)}: put -@dangerous behind it" if wiping and rules.commands[0] == "-@all" else "",
        f"refuses {_names(missing)}, which most clients send: add +@connection +@transaction "
        "+cluster|slots +command +acl|whoami"
        if missing and not allows_nothing and not rules.selectors
        else "",
    )


def _allows(commands: tuple[str, ...], name: str) -> bool:
    """Apply the command rules to one command whose categories we know."""
    own = {name, name.partition("|")[0], "@all", *(f"@{category}" for category in _COMMANDS[name])}
    verdict = False
    for rule in commands:
        if rule[1:] in own:
            verdict = rule[0] == "+"
    return verdict


def _names(words: list[str]) -> str:
    return ", ".join(word.upper().replace("|", " ") for word in words)
