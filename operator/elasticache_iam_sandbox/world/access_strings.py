"""Access strings: what ElastiCache refuses, and how it rewrites the ones it takes.

Source: ElastiCache user guide, "Role-Based Access Control", and answers recorded from live accounts: what is sent is
not what is read back.
"""

import re

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.commands import CATEGORIES, COMMANDS, CONTAINERS

_COMMAND = re.compile(r"[+-][a-z0-9_.-]+(\|[a-z0-9_.-]+)?", re.IGNORECASE)
_PATTERN = re.compile(r"(~|%(R|W|RW|WR)~|&)\S+", re.IGNORECASE)
_PLAIN = frozenset({"on", "off", "resetkeys", "resetchannels", "clearselectors"})
_ALIASES = {"allkeys": "~*", "allcommands": "+@all", "nocommands": "-@all", "allchannels": "&*"}
"""Accepted and answered in another form; the exact form AWS uses is not documented."""
_REFUSED = frozenset({"reset", "resetpass", "nopass"})
_MAX_LENGTH = 2048


def rewrite(access_string: str, *, invalid: str = "InvalidParameterValue", channels: bool = False) -> str:
    """Return what ElastiCache or MemoryDB answers for an access string that it was sent.

    - `off` is put in front when neither `on` nor `off` is said.
    - `-@all` is put before the first command rule unless that rule is about @all; at the end when there is none.
    - Order is kept: it is meaning.

    Args:
        access_string: As sent.
        invalid: The code of the error for one that is refused.
        channels: As MemoryDB: `resetchannels` is put before the command rules when no channel is said. There is no
            evidence that ElastiCache does so.

    Raises:
        AwsError: A password rule, `reset`, a command or category that no engine has, or no rule
            at all.
    """
    try:
        rules = [_ALIASES.get(rule.lower(), rule) for rule in _split(access_string)]
        for rule in rules:
            _check(rule)
    except ValueError as error:
        raise AwsError(invalid, f"Access String must be a valid ACL rule: {error}.") from None
    if not any(rule.lower() in {"on", "off"} for rule in rules):
        rules.insert(0, "off")
    first = next((at for at, rule in enumerate(rules) if rule[0] in "+-"), None)
    if first is None:
        rules.append("-@all")
    elif rules[first].lower() not in {"+@all", "-@all"}:
        rules.insert(first, "-@all")
    if channels and not any(rule.startswith("&") or rule.lower() == "resetchannels" for rule in rules):
        rules.insert(next(at for at, rule in enumerate(rules) if rule[0] in "+-"), "resetchannels")
    return " ".join(rules)


def _split(access_string: str) -> list[str]:
    """Return the rules; a selector in parentheses is one rule."""
    if not access_string.strip() or len(access_string) > _MAX_LENGTH:
        raise ValueError("must not be blank, nor longer than 2048 characters")
    rules: list[str] = []
    selector: list[str] = []
    for word in access_string.split():
        if selector or word.startswith("("):
            selector.append(word)
            if word.endswith(")"):
                rules.append(" ".join(selector))
                selector = []
        else:
            rules.append(word)
    if selector:
        raise ValueError("a selector is not closed")
    return rules


def _check(rule: str) -> None:
    if rule.startswith("("):
        for inner in rule[1:-1].split():
            if inner.startswith("("):
                raise ValueError("selectors do not nest")
            _check(_ALIASES.get(inner.lower(), inner))
        return
    lowered = rule.lower()
    if lowered[0] in "><#!" or lowered in _REFUSED:
        raise ValueError("password rules and reset are not allowed")  # never repeat the rule: it may hold a password
    if lowered in _PLAIN or _PATTERN.fullmatch(rule):
        return
    if lowered[:2] in {"+@", "-@"}:
        if lowered[2:] not in CATEGORIES:
            raise ValueError(f"unknown category {rule[1:]}")
        return
    if not _COMMAND.fullmatch(rule):
        raise ValueError(f"unknown rule {rule}")
    if not _is_known(lowered[1:], allows=lowered[0] == "+"):
        raise ValueError(f"unknown command {rule[1:]}")


def _is_known(name: str, *, allows: bool) -> bool:
    """Whether an engine has a command; `+select|0` allows one that has no sub-commands with one first argument."""
    command, bar, _ = name.partition("|")
    return name in COMMANDS or (allows and bool(bar) and command in COMMANDS and command not in CONTAINERS)
