"""Warnings about raw access strings that do other things than their authors mostly think."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from typing_extensions import override

from elasticache_iam.core.access.catalogue import Catalogue, load_catalogues
from elasticache_iam.core.access.evaluate import Grants, grant
from elasticache_iam.core.access.rules import AccessRules, Selector, parse_access_string

WIPES: Final = ("flushall", "flushdb", "swapdb", "function|flush")
"""What empties or swaps whole databases, whatever the key patterns say."""
CLIENTS_NEED: Final = ("ping", "select", "multi", "cluster|slots", "command", "acl|whoami")
"""What most clients send on their own."""
AWS_REFUSES: Final = frozenset(
    {"acl|deluser", "acl|load", "acl|save", "acl|setuser", "bgrewriteaof", "bgsave", "config", "debug", "migrate"}
    | {"module", "psync", "replicaof", "save", "shutdown", "slaveof", "sync"}
)
"""Refused to everybody on managed caches. Source: ElastiCache user guide, "Restricted commands"."""

_MAX_ORDERED: Final = 40
"""Beyond so many rules the order isn't looked at: the time grows with the square."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about an access string that its author may not think.

    Attributes:
        code: Stable, for programs; docs/access-strings.md explains each.
        message: What it is, with what to do, for people. Never holds a password.
        column: Of the word in question, counted from 1; None if it is about the whole.
        suggestion: What to write, or to do, instead.
    """

    code: str
    message: str
    column: int | None
    suggestion: str

    @override
    def __str__(self) -> str:
        return f"{self.message}: {self.suggestion}" if self.suggestion else self.message


@lru_cache(maxsize=1024)
def lint(text: str) -> tuple[str, ...]:
    """Return warnings about an access string, one line each, for people; () if there is nothing to say."""
    return tuple(str(finding) for finding in find_surprises(text))


def find_surprises(text: str, *, catalogue: Catalogue | None = None) -> tuple[Finding, ...]:
    """Return what its author may not think about an access string.

    Args:
        text: The access string.
        catalogue: Of the engine; None: something is unknown only if no engine has it, allowed if one allows it, and
            refused if one refuses it.
    """
    catalogues = load_catalogues() if catalogue is None else (catalogue,)
    rules = parse_access_string(text)
    return tuple(find for check in _CHECKS for find in check(text, rules, catalogues))


def _find_faults(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    del text, catalogues
    for fault in rules.faults:
        shouted = fault.word.upper() if fault.word.isalpha() else fault.word
        if "refused by AWS" in fault.problem:
            yield Finding("refused-word", f"AWS refuses {shouted} in an access string", fault.column, fault.remedy)
        else:
            yield Finding("not-a-rule", f"{shouted} {fault.problem}", fault.column, fault.remedy)


def _find_disabled(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    del catalogues
    if rules.enabled:
        return
    if "off" in text.lower().split():
        yield Finding("disabled", "off: the user can't log in", None, "write on once it may")
    else:
        yield Finding("disabled", "neither on nor off: AWS takes that as off", None, "write on in front")


def _find_unknown_names(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    where = " or ".join(catalogue.title for catalogue in catalogues)
    for rule in _all_commands(rules):
        name, column = rule[1:], _column(text, rule)
        command, bar, argument = name.partition("|")
        if name[0] != "@" and "." in name:
            continue  # of a module: ElastiCache has JSON, Bloom filters and search, stock servers don't
        if any(name in catalogue.members for catalogue in catalogues):
            continue
        if name[0] == "@":
            if name not in {"@json", "@bloom", "@search"}:
                yield Finding("unknown-category", f"no {where} has {name}", column, "ACL CAT lists the categories")
        elif not any(command in catalogue.commands for catalogue in catalogues):
            yield Finding(
                "unknown-command", f"no {where} has {_shout(name)}", column, "COMMAND LIST lists the commands"
            )
        elif any(catalogue.commands[command].is_container for catalogue in catalogues if command in catalogue.commands):
            suggestion = f"{_shout(command)} HELP lists its sub-commands"
            yield Finding("unknown-command", f"no {where} has {_shout(name)}", column, suggestion)
        elif rule[0] == "-":
            message = f"{_shout(command)} has no sub-commands, and an argument ({argument}) can't be denied"
            yield Finding("denied-argument", message, column, f"write -{command} +{command}|... with what is allowed")
        elif bar:
            message = f"{_shout(command)} allowed with the first argument {argument} only, which servers call a misuse"
            yield Finding("first-argument", message, column, f"allow {_shout(command)} as a whole, or not at all")


def _find_missing_parts(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    del text, catalogues
    if rules.selectors:
        return
    if not rules.root.keys:
        yield Finding("no-keys", "no key pattern: every command that takes a key is refused", None, "add ~pattern")
    if not any(rule[0] == "+" for rule in rules.root.commands):
        yield Finding("no-commands", "allows no command at all", None, "add +@category or +command")


def _find_dangers(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    for selector in (rules.root, *rules.selectors):
        grants = [grant(selector.commands, catalogue) for catalogue in catalogues]
        wiping = _allowed_somewhere(WIPES, grants)
        first = selector.commands[0]
        if first == "+@all" and not _has_all_keys(selector) and wiping:
            message = f"+@all with key patterns still reaches all keys by {_names(wiping)}"
            yield Finding(
                "all-commands", message, _column(text, first), "put -@dangerous -function behind it, or use a preset"
            )
        elif "+@dangerous" in selector.commands and "@all" not in first[1:2]:
            at = _column(text, "+@dangerous")
            if _allowed_somewhere(("keys", "flushall"), grants):
                message = "+@dangerous allows KEYS, SORT, FLUSHALL, CLIENT KILL and the like"
                yield Finding("dangerous", message, at, "name the commands that are needed")
        elif first == "-@all" and wiping:
            yield Finding("wipes-data", f"allows {_names(wiping)}", None, "put -@dangerous -function behind it")


def _find_needs(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    del text
    if rules.selectors or not any(rule[0] == "+" for rule in rules.root.commands):
        return
    grants = [grant(rules.root.commands, catalogue) for catalogue in catalogues]
    missing = [name for name in CLIENTS_NEED if any(name not in each.commands for each in grants)]
    if missing:
        yield Finding(
            "blocks-clients",
            f"refuses {_names(missing)}, which most clients send",
            None,
            "add +@connection +@transaction +cluster|slots +command +acl|whoami",
        )


def _find_idle_rules(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    """Find rules that change nothing where they stand: mostly the order is not what was meant."""
    for selector in (rules.root, *rules.selectors):
        commands = selector.commands
        if len(commands) > _MAX_ORDERED:
            continue
        for at, rule in enumerate(commands[1:], start=1):
            if not any(rule[1:] in catalogue.members for catalogue in catalogues):
                continue
            before, after = commands[:at], commands[at + 1 :]
            if any(grant(commands, each) != grant((*before, *after), each) for each in catalogues):
                continue
            if rule[0] == "-" and all(grant(before, each) == grant((*before, rule), each) for each in catalogues):
                message = f"{rule} takes away nothing here"
                if any(rule[1:] in each.members and _is_added_back(rule, after, each) for each in catalogues):
                    suggestion = "rules apply from left to right: put it behind the + rules that it is to restrict"
                    yield Finding("idle-rule", message, _column(text, rule), suggestion)
            elif rule[0] == "-":
                suggestion = "rules apply from left to right: put it behind them"
                message = f"{rule} is undone by the rules behind it"
                yield Finding("idle-rule", message, _column(text, rule), suggestion)


def _is_added_back(rule: str, after: Sequence[str], catalogue: Catalogue) -> bool:
    return bool(catalogue.members[rule[1:]] & grant(("-@all", *after), catalogue).commands)


def _find_refused_commands(text: str, rules: AccessRules, catalogues: Sequence[Catalogue]) -> Iterator[Finding]:
    del catalogues
    for rule in _all_commands(rules):
        if rule[0] == "+" and {rule[1:], rule[1:].partition("|")[0]} & AWS_REFUSES:
            message = f"AWS refuses {_shout(rule[1:])} to everybody"
            yield Finding("aws-refuses", message, _column(text, rule), "leave it out: AWS may refuse the string for it")


_CHECKS: Final[tuple[Callable[[str, AccessRules, Sequence[Catalogue]], Iterator[Finding]], ...]] = (
    _find_disabled,
    _find_faults,
    _find_unknown_names,
    _find_missing_parts,
    _find_dangers,
    _find_needs,
    _find_idle_rules,
    _find_refused_commands,
)


def _all_commands(rules: AccessRules) -> tuple[str, ...]:
    found = (rule for selector in (rules.root, *rules.selectors) for rule in selector.commands)
    return tuple(dict.fromkeys(found))


def _allowed_somewhere(names: Sequence[str], grants: Sequence[Grants]) -> list[str]:
    return [name for name in names if any(name in each.commands for each in grants)]


def _has_all_keys(selector: Selector) -> bool:
    return any(key.pattern == "*" for key in selector.keys)


def _column(text: str, rule: str) -> int | None:
    """Return where a command rule stands last; None for one that nobody wrote."""
    at = max(f" {text.lower().replace('(', ' ').replace(')', ' ')} ".rfind(f" {word} ") for word in _spellings(rule))
    return at + 1 if at >= 0 else None


def _spellings(rule: str) -> tuple[str, ...]:
    return (rule, {"+@all": "allcommands", "-@all": "nocommands"}.get(rule, rule))


def _names(words: Sequence[str]) -> str:
    return ", ".join(_shout(word) for word in words)


def _shout(name: str) -> str:
    return name.upper().replace("|", " ")
