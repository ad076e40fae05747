"""Access strings: render presets, parse, compare what we sent with what AWS made of it, lint, and prove limits."""

from elasticache_iam.core.access.lint import lint
from elasticache_iam.core.access.presets import render_access_string
from elasticache_iam.core.access.rules import AccessRules, normalise, parse_access_string, same_access
from elasticache_iam.core.access.within import Within, is_within

__all__ = [
    "AccessRules",
    "Within",
    "is_within",
    "lint",
    "normalise",
    "parse_access_string",
    "render_access_string",
    "same_access",
]
