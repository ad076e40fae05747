"""Access strings as a language: render presets, parse, compare, explain, lint, evaluate, and prove limits."""

from elasticache_iam.core.access.catalogue import Catalogue, find_catalogue, load_catalogues
from elasticache_iam.core.access.compare import is_same_access, same_access
from elasticache_iam.core.access.evaluate import allows
from elasticache_iam.core.access.explain import explain
from elasticache_iam.core.access.lint import Finding, find_surprises, lint
from elasticache_iam.core.access.presets import render_access_string
from elasticache_iam.core.access.rules import (
    AccessRules,
    Fault,
    check_access_string,
    normalise,
    parse_access_string,
)
from elasticache_iam.core.access.within import Within, is_within

__all__ = [
    "AccessRules",
    "Catalogue",
    "Fault",
    "Finding",
    "Within",
    "allows",
    "check_access_string",
    "explain",
    "find_catalogue",
    "find_surprises",
    "is_same_access",
    "is_within",
    "lint",
    "load_catalogues",
    "normalise",
    "parse_access_string",
    "render_access_string",
    "same_access",
]
