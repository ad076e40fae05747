"""Who may become a workload's role: some ServiceAccounts of one cluster, for one audience."""

import re
from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.core.names import issuer_host
from elasticache_iam.core.policy.connect import POLICY_VERSION
from elasticache_iam.core.policy.size import TRUST_POLICY_LIMIT, check_size

_KUBERNETES_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def trust_policy(
    *, provider_arn: str, issuer: str, audience: str, subjects: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    """Return a role's trust policy.

    Subject and audience are both pinned with StringEquals: without the subject every ServiceAccount of the cluster
    could become the role, without the audience any token of the right one, also one made for something else.

    Args:
        provider_arn: The account's IAM OIDC provider.
        issuer: The cluster's issuer URL.
        audience: The one audience that tokens must have been made for.
        subjects: Namespace and name of each ServiceAccount.

    Raises:
        ValueError: No subject, a name that isn't Kubernetes', or (PolicyTooLargeError) too many of them.
    """
    if not subjects:
        raise ValueError("a trust policy needs at least one ServiceAccount")
    for name in (part for subject in subjects for part in subject):
        if not _KUBERNETES_NAME.fullmatch(name):
            raise ValueError(f"not a Kubernetes name: {name!r}")
    host = issuer_host(issuer)
    accounts = sorted({f"system:serviceaccount:{namespace}:{name}" for namespace, name in subjects})
    document = {
        "Version": POLICY_VERSION,
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider_arn},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        f"{host}:aud": audience,
                        f"{host}:sub": accounts[0] if len(accounts) == 1 else accounts,
                    }
                },
            }
        ],
    }
    check_size(document, limit=TRUST_POLICY_LIMIT, what="trust policy")
    return document


def admitted_accounts(trust: Mapping[str, Any], *, issuer: str, namespace: str) -> frozenset[str]:
    """Return the names of a namespace's ServiceAccounts that a trust policy of ours admits."""
    key, prefix = f"{issuer_host(issuer)}:sub", f"system:serviceaccount:{namespace}:"
    statements = trust.get("Statement", ())
    found: set[str] = set()
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        subjects = statement.get("Condition", {}).get("StringEquals", {}).get(key, ())
        found |= {subjects} if isinstance(subjects, str) else set(subjects)
    return frozenset(subject.removeprefix(prefix) for subject in found if subject.startswith(prefix))
