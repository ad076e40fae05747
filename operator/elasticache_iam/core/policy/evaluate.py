"""What a role that isn't ours allows, as far as its documents tell: some conditions only AWS can judge.

Deny wins over Allow, and what can't be told is told as such: nobody is sent to repair what may be in order.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from elasticache_iam.core.names import issuer_host
from elasticache_iam.core.policy.trust import POD_IDENTITY

Statement = Mapping[str, Any]
Document = Mapping[str, Any]

ASSUME: Final = "sts:AssumeRoleWithWebIdentity"
ASSUME_DIRECTLY: Final = "sts:AssumeRole"
TAG_SESSION: Final = "sts:TagSession"


class Verdict(Enum):
    """Whether something is allowed."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"

    def both(self, other: "Verdict") -> "Verdict":
        """Return whether both hold."""
        if Verdict.NO in {self, other}:
            return Verdict.NO
        return Verdict.UNKNOWN if Verdict.UNKNOWN in {self, other} else Verdict.YES


def judge_connect(documents: Iterable[Document], *, user_arn: str, cache_arns: Iterable[str], service: str) -> Verdict:
    """Return whether policies of a role let it log in as a user to each of some caches."""
    statements = [statement for document in documents for statement in _statements(document)]
    verdict = Verdict.YES
    for arn in (user_arn, *cache_arns):
        applying = (
            (statement, _condition(statement, {}))
            for statement in statements
            if _names_action(statement, f"{service}:Connect") and _names_resource(statement, arn)
        )
        verdict = verdict.both(_decide(applying))
    return verdict


def judge_trust(
    document: Document, *, provider_arn: str, issuer: str, audience: str, subject: tuple[str, str], exact: bool
) -> Verdict:
    """Return whether a trust policy admits a ServiceAccount's tokens.

    Args:
        document: The role's trust policy.
        provider_arn: The account's IAM OIDC provider.
        issuer: The cluster's issuer URL.
        audience: The audience of the tokens.
        subject: Namespace and name of the ServiceAccount.
        exact: Whether only a statement that names just this subject and audience counts. A pattern may be wider than
            its author thought: it is no consent.
    """
    host = issuer_host(issuer).lower()
    context = {f"{host}:aud": audience, f"{host}:sub": "system:serviceaccount:{}:{}".format(*subject)}
    return _judge(document, ASSUME, ("Federated", provider_arn), context, pinned=context.keys() if exact else ())


def judge_role_chain(document: Document, *, principal_arn: str, external_id: str, exact: bool) -> Verdict:
    """Return whether a trust policy admits the operator's own role (`signing: AssumeRole`).

    Who names the account alone leaves it to the operator's own policy, which isn't read here.

    Args:
        document: The role's trust policy.
        principal_arn: The operator's own role.
        external_id: What the operator says for that user.
        exact: Whether only a statement that names just this role and external id counts.
    """
    context = {"sts:externalid": external_id, "aws:principalarn": principal_arn}
    pinned = ("sts:externalid",) if exact else ()
    found = _judge(document, ASSUME_DIRECTLY, ("AWS", principal_arn), context, pinned=pinned)
    if found is not Verdict.NO or exact:
        return found
    partition, account = principal_arn.split(":")[1], principal_arn.split(":")[4]
    for name in (account, f"arn:{partition}:iam::{account}:root", "*"):
        if _judge(document, ASSUME_DIRECTLY, ("AWS", name), context) is not Verdict.NO:
            return Verdict.UNKNOWN
    return Verdict.NO


def judge_pod_identity(document: Document, *, cluster_arn: str, subject: tuple[str, str], exact: bool) -> Verdict:
    """Return whether a trust policy lets EKS Pod Identity give the role to a ServiceAccount's pods.

    Args:
        document: The role's trust policy.
        cluster_arn: The EKS cluster.
        subject: Namespace and name of the ServiceAccount.
        exact: Whether only a statement that names just this namespace and ServiceAccount counts.
    """
    tag = "aws:requesttag/"
    namespace, account = subject
    context = {
        f"{tag}eks-cluster-arn": cluster_arn,
        f"{tag}eks-cluster-name": cluster_arn.rpartition("/")[2],
        f"{tag}kubernetes-namespace": namespace,
        f"{tag}kubernetes-service-account": account,
    }
    pinned = (f"{tag}kubernetes-namespace", f"{tag}kubernetes-service-account") if exact else ()
    verdict = Verdict.YES
    for action in (ASSUME_DIRECTLY, TAG_SESSION):
        verdict = verdict.both(_judge(document, action, ("Service", POD_IDENTITY), context, pinned=pinned))
    return verdict


def unnamed_actions(documents: Iterable[Document], actions: Iterable[str]) -> tuple[str, ...]:
    """Return the actions that no policy allows, whatever the object and the conditions."""
    allowing = [
        statement for document in documents for statement in _statements(document) if statement.get("Effect") == "Allow"
    ]
    return tuple(action for action in actions if not any(_names_action(each, action) for each in allowing))


def _judge(
    document: Document,
    action: str,
    principal: tuple[str, str],
    context: Mapping[str, str],
    *,
    pinned: Collection[str] = (),
) -> Verdict:
    """Return whether a trust policy allows an action to a principal; `pinned` as in `_condition`."""
    applying = (
        (statement, _condition(statement, context, pinned=pinned if statement.get("Effect") == "Allow" else ()))
        for statement in _statements(document)
        if _names_action(statement, action) and _names_principal(statement, *principal)
    )
    return _decide(applying)


def _decide(applying: Iterable[tuple[Statement, Verdict]]) -> Verdict:
    """Put together the statements that speak of what is asked, each with its condition's verdict."""
    found = {(statement.get("Effect") == "Deny", verdict) for statement, verdict in applying}
    if (True, Verdict.YES) in found:
        return Verdict.NO
    if (False, Verdict.YES) in found:
        return Verdict.UNKNOWN if (True, Verdict.UNKNOWN) in found else Verdict.YES
    return Verdict.UNKNOWN if (False, Verdict.UNKNOWN) in found else Verdict.NO


def _statements(document: Document) -> Iterator[Statement]:
    statements = document.get("Statement", ())
    yield from [statements] if isinstance(statements, Mapping) else statements


def _names_action(statement: Statement, action: str) -> bool:
    if "NotAction" in statement:
        return not any(_matches(pattern.lower(), action.lower()) for pattern in _values(statement["NotAction"]))
    return any(_matches(pattern.lower(), action.lower()) for pattern in _values(statement.get("Action", ())))


def _names_resource(statement: Statement, arn: str) -> bool:
    if "NotResource" in statement:
        return not any(_matches(pattern, arn) for pattern in _values(statement["NotResource"]))
    return any(_matches(pattern, arn) for pattern in _values(statement.get("Resource", ())))


def _names_principal(statement: Statement, kind: str, name: str) -> bool:
    principal = statement.get("Principal", {})
    if isinstance(principal, Mapping):
        return name in _values(principal.get(kind, ()))
    return principal == "*" and (statement.get("Effect") == "Deny" or name == "*")


def _condition(statement: Statement, context: Mapping[str, str], *, pinned: Collection[str] = ()) -> Verdict:
    """Return whether a statement's conditions hold for what is known of the request.

    Args:
        statement: The statement.
        context: Values by lower-case key. A key that isn't in it can't be told.
        pinned: Keys of the context that must be compared with just their value.
    """
    verdict, compared = Verdict.YES, set[str]()
    for operator, keys in statement.get("Condition", {}).items():
        name = operator.lower().removeprefix("foranyvalue:").removeprefix("forallvalues:").removesuffix("ifexists")
        for key, wanted in keys.items():
            held = context.get(key.lower())
            if held is None or name not in _COMPARISONS:
                verdict = verdict.both(Verdict.UNKNOWN)
                continue
            patterns = _values(wanted)
            if name in _EQUALITIES and not any(_has_wildcard(name, pattern) for pattern in patterns):
                compared.add(key.lower())
            verdict = verdict.both(Verdict.YES if _holds(name, patterns, held) else Verdict.NO)
    if not compared.issuperset(pinned):
        return Verdict.NO
    return verdict


_EQUALITIES: Final = frozenset({"stringequals", "stringlike"})
_COMPARISONS: Final = _EQUALITIES | {"stringnotequals", "stringnotlike"}


def _holds(name: str, patterns: Iterable[str], value: str) -> bool:
    found = any(_matches(pattern, value) for pattern in patterns) if name.endswith("like") else value in set(patterns)
    return not found if name.startswith("stringnot") else found


def _has_wildcard(name: str, pattern: str) -> bool:
    return name.endswith("like") and not {"*", "?"}.isdisjoint(pattern)


def _matches(pattern: str, value: str) -> bool:
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return IAM's pattern as a regular expression: `*` is any text, `?` any character."""
    return re.compile("".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in pattern), re.DOTALL)


def _values(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else (str(value),)
