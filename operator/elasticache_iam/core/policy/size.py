"""How large a policy may be. IAM counts characters without white space, so the compact form is what counts."""

import json
from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.core.errors import PermanentError

SESSION_POLICY_LIMIT: Final = 2048
"""STS: the Policy parameter. (A packed limit comes on top; one statement of exact ARNs stays far below it.)"""

TRUST_POLICY_LIMIT: Final = 2048
"""IAM's default quota for AssumeRolePolicyDocument; it can be raised, but a default must work everywhere."""

INLINE_POLICIES_LIMIT: Final = 10240
"""IAM: all inline policies of a role together."""

MANAGED_POLICY_LIMIT: Final = 6144
"""IAM: one managed policy."""


class PolicyTooLargeError(PermanentError, ValueError):
    """A policy has more characters than AWS takes: fewer caches or ServiceAccounts are the cure."""

    reason = "PolicyTooLarge"


def compact_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON without white space."""
    return json.dumps(document, separators=(",", ":"))


def check_size(document: Mapping[str, Any], *, limit: int, what: str) -> str:
    """Return the compact JSON of a document that fits.

    Raises:
        PolicyTooLargeError: It doesn't fit.
    """
    text = compact_json(document)
    if len(text) > limit:
        raise PolicyTooLargeError(f"the {what} has {len(text)} characters, AWS takes {limit}")
    return text
