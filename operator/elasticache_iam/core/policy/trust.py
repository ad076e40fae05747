"""Who may become a workload's role: ServiceAccounts of one cluster by their tokens or pods, or the operator."""

import re
from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.core.names import issuer_host
from elasticache_iam.core.policy.connect import POLICY_VERSION
from elasticache_iam.core.policy.size import TRUST_POLICY_LIMIT, check_size

POD_IDENTITY: Final = "pods.eks.amazonaws.com"
"""Who hands roles to pods. Source: EKS user guide, "Create IAM role with trust policy required by EKS Pod Identity"."""

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
    _check_subjects(subjects)
    host = issuer_host(issuer)
    accounts = {f"system:serviceaccount:{namespace}:{name}" for namespace, name in subjects}
    return _document(
        principal={"Federated": provider_arn},
        action="sts:AssumeRoleWithWebIdentity",
        equal={f"{host}:aud": audience, f"{host}:sub": _one_or_all(accounts)},
    )


def role_chain_trust(*, principal_arn: str, external_id: str) -> dict[str, Any]:
    """Return the trust policy of a role that the operator itself becomes (`signing: AssumeRole`).

    Weaker than `trust_policy`: no ServiceAccount has a part in it. The external id says for which user the operator
    asks, so that no slip of its own uses another one's role.

    Args:
        principal_arn: The operator's own role.
        external_id: As `core.names.external_id`.

    Raises:
        ValueError: The principal is no ARN of one role or user.
    """
    if not principal_arn.startswith("arn:") or not {"*", "?"}.isdisjoint(principal_arn):
        raise ValueError(f"not an exact ARN: {principal_arn!r}")
    return _document(principal={"AWS": principal_arn}, action="sts:AssumeRole", equal={"sts:ExternalId": external_id})


def pod_identity_trust(*, cluster_arn: str, subjects: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the trust policy of a role that pods get by EKS Pod Identity.

    Cluster, namespace and ServiceAccount are pinned: else whoever may make associations in another cluster of the
    account could use the role.

    Args:
        cluster_arn: The EKS cluster's ARN.
        subjects: Namespace and name of each ServiceAccount; all of one namespace.

    Raises:
        ValueError: As `trust_policy`, and for subjects of several namespaces, which a policy can't tell apart.
    """
    _check_subjects(subjects)
    namespaces = {namespace for namespace, _ in subjects}
    if len(namespaces) > 1:
        raise ValueError("the ServiceAccounts of one Pod Identity role are of one namespace")
    return _document(
        principal={"Service": POD_IDENTITY},
        action=["sts:AssumeRole", "sts:TagSession"],
        equal={
            "aws:RequestTag/eks-cluster-arn": cluster_arn,
            "aws:RequestTag/kubernetes-namespace": _one_or_all(namespaces),
            "aws:RequestTag/kubernetes-service-account": _one_or_all({name for _, name in subjects}),
        },
    )


def _check_subjects(subjects: tuple[tuple[str, str], ...]) -> None:
    if not subjects:
        raise ValueError("a trust policy needs at least one ServiceAccount")
    for name in (part for subject in subjects for part in subject):
        if not _KUBERNETES_NAME.fullmatch(name):
            raise ValueError(f"not a Kubernetes name: {name!r}")


def _one_or_all(values: set[str]) -> str | list[str]:
    """Return values as IAM writes them."""
    ordered = sorted(values)
    return ordered[0] if len(ordered) == 1 else ordered


def _document(
    *, principal: Mapping[str, str], action: str | list[str], equal: Mapping[str, str | list[str]]
) -> dict[str, Any]:
    """Return a policy of one statement. Raises PolicyTooLargeError."""
    document = {
        "Version": POLICY_VERSION,
        "Statement": [
            {"Effect": "Allow", "Principal": principal, "Action": action, "Condition": {"StringEquals": dict(equal)}}
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
