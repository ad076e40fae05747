"""Whether two access strings mean the same: what we sent, and what AWS made of it."""

from collections.abc import Iterable
from functools import lru_cache

from elasticache_iam.core.access.catalogue import Catalogue, load_catalogues
from elasticache_iam.core.access.evaluate import grant
from elasticache_iam.core.access.globs import Effort, matches
from elasticache_iam.core.access.rules import AccessRules, KeyRule, Selector, parse_access_string
from elasticache_iam.core.access.within import is_too_long, rules_exceed


def same_access(a: str, b: str) -> bool:
    """Whether two access strings mean the same on any engine. When in doubt they don't."""
    return is_same_access(a, b) is True


@lru_cache(maxsize=4096)
def is_same_access(a: str, b: str, *, catalogue: Catalogue | None = None) -> bool | None:
    """Whether two access strings mean the same: log-in, and each what lies within the other.

    Args:
        a: An access string.
        b: Another.
        catalogue: Of the engine; None: of any version. What a category holds is known of one engine only, so that
            categories which AWS has written out as commands compare only where the engine is given.

    Returns:
        True or False if it can be shown; None if not: then only what was recorded can tell (see plan_user).
    """
    x, y = parse_access_string(a), parse_access_string(b)
    if x == y:
        return True
    if x.others or y.others or is_too_long(x) or is_too_long(y):
        return None
    if x.enabled != y.enabled:
        return False
    if _channels(x) == _channels(y) and not rules_exceed(x, y, catalogue) and not rules_exceed(y, x, catalogue):
        return True
    return False if _is_shown_to_differ(x, y, catalogue) else None


def _channels(rules: AccessRules) -> set[tuple[str, ...]]:
    """Return all sets of channel patterns. They are compared as texts: PSUBSCRIBE does so too."""
    return {selector.channels for selector in (rules.root, *rules.selectors)}


def _is_shown_to_differ(x: AccessRules, y: AccessRules, catalogue: Catalogue | None) -> bool:
    """Whether some part of the rules differs, whatever the engine. With selectors a difference may be made up for."""
    if x.selectors or y.selectors:
        return False
    catalogues = load_catalogues() if catalogue is None else (catalogue,)
    effort = Effort()
    return (
        all(grant(x.root.commands, known) != grant(y.root.commands, known) for known in catalogues)
        or _has_key_beyond(x.root, y.root, effort)
        or _has_key_beyond(y.root, x.root, effort)
        or any(_is_beyond(pattern, y.root.channels, effort) for pattern in x.root.channels)
        or any(_is_beyond(pattern, x.root.channels, effort) for pattern in y.root.channels)
    )


def _has_key_beyond(x: Selector, y: Selector, effort: Effort) -> bool:
    return any(_is_beyond(key.pattern, _globs(y.keys, key.access), effort) for key in x.keys)


def _globs(rules: Iterable[KeyRule], access: str) -> list[str]:
    return [rule.pattern for rule in rules if set(access) <= set(rule.access)]


def _is_beyond(pattern: str, others: Iterable[str], effort: Effort) -> bool:
    """Whether a sample of a pattern's names is matched by it, and by none of the others for sure."""
    name = _sample(pattern)
    return matches(pattern, name, effort) is True and all(matches(other, name, effort) is False for other in others)


def _sample(pattern: str) -> str:
    """Return a name that most patterns of this form match."""
    return pattern.replace("*", "x").replace("?", "x")
