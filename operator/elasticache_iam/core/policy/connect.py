"""The right to log in: Connect on one user and its caches, by exact ARN."""

from collections.abc import Iterable
from typing import Any, Final

from elasticache_iam.core.policy.size import SESSION_POLICY_LIMIT, check_size

POLICY_VERSION: Final = "2012-10-17"

_WILDCARDS: Final = frozenset("*?$")
"""`$` begins a policy variable."""


def connect_policy(user_arn: str, cache_arns: Iterable[str], service: str = "elasticache") -> dict[str, Any]:
    """Return the policy that lets a role log in as one user to some caches.

    Both sides must be allowed: with only the user's or only the cache's ARN, AWS answers WRONGPASS. One statement is
    enough: with a single user, its cross product with the caches is just what is meant.

    Args:
        user_arn: The ElastiCache user's ARN.
        cache_arns: The caches' ARNs; their order doesn't matter.
        service: `elasticache` or `memorydb`.

    Raises:
        ValueError: An ARN holds a wildcard, which would silently cover users and caches yet to come.
    """
    arns = [*sorted(set(cache_arns)), user_arn]
    for arn in arns:
        if not is_exact_arn(arn):
            raise ValueError(f"not an exact ARN: {arn!r}")
    return {
        "Version": POLICY_VERSION,
        "Statement": [{"Effect": "Allow", "Action": f"{service}:Connect", "Resource": arns}],
    }


def is_exact_arn(arn: str) -> bool:
    """Whether a text can be the ARN of one object: it covers none that are yet to come."""
    return arn.startswith("arn:") and _WILDCARDS.isdisjoint(arn)


def session_policy(user_arn: str, cache_arns: Iterable[str], service: str = "elasticache") -> str:
    """Return the same policy as the text that narrows an STS session.

    The session gets the intersection with the role: what leaks from the operator opens nothing else of the workload's.

    Raises:
        ValueError: An ARN holds a wildcard, or (PolicyTooLargeError) there are too many for STS.
    """
    document = connect_policy(user_arn, cache_arns, service)
    return check_size(document, limit=SESSION_POLICY_LIMIT, what="session policy")
