"""What the operator's ServiceAccount must and must not be allowed to do, and whether it is: the API server knows.

The chart gives these rights (templates/rbac.yaml); a test compares.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from elasticache_iam.api.config import OperatorConfig, Signing
from elasticache_iam.api.keys import GROUP
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.kube.lease import LEASE_NAME
from elasticache_iam.kube.token_kube import CHECKPOINT_NAME

_REVIEWS: Final = "/apis/authorization.k8s.io/v1"
_KINDS: Final = ("usergroups", "elasticacheiamusers")


@dataclass(frozen=True, slots=True)
class Right:
    """One thing to be allowed.

    Attributes:
        verb: RBAC's word.
        resource: The plural, with its subresource: `usergroups/status`.
        group: The API group; "" for the core's.
        namespace: "" for all namespaces, or for what has none.
        name: "" for all.
        is_vital: Whether no token can be made or delivered without it.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    is_vital: bool = False


def needed_rights(config: OperatorConfig, *, namespace: str) -> tuple[Right, ...]:
    """Return the rights that the operator's work takes, those marked without which there are no tokens.

    Without one of the others a part of the work stands still, and says so where it does. More rights add to it, and
    the operator says itself what it does without them: to watch Secrets, to list Pods, to write ConfigMaps, to
    annotate ServiceAccounts.

    Args:
        config: Where it watches, and how it signs.
        namespace: Its own.
    """
    found: list[Right] = []
    for place in config.namespaces or ("",):
        for kind in _KINDS:
            found += [Right(verb, kind, GROUP, place, is_vital=True) for verb in ("list", "watch")]
            found.append(Right("patch", kind, GROUP, place))
            found.append(Right("patch", f"{kind}/status", GROUP, place, is_vital=True))
        found += [Right(verb, "secrets", "", place, is_vital=True) for verb in ("create", "update")]
        found.append(Right("delete", "secrets", "", place))
        found.append(Right("get", "serviceaccounts", "", place))
        if config.signing is Signing.WEB_IDENTITY:
            found.append(Right("create", "serviceaccounts/token", "", place, is_vital=True))
        found.append(Right("create", "events", "events.k8s.io", place))
        found.append(Right("get", "namespaces", name=place))
    found.append(Right("create", "leases", "coordination.k8s.io", namespace, is_vital=True))
    for verb in ("get", "update"):
        found.append(Right(verb, "leases", "coordination.k8s.io", namespace, LEASE_NAME, is_vital=True))
    found += [Right(verb, "configmaps", "", namespace, CHECKPOINT_NAME) for verb in ("get", "create", "patch")]
    return tuple(found)


def surplus_rights(config: OperatorConfig) -> tuple[Right, ...]:
    """Return the rights to read Secrets that the operator must not have: a patch is answered with the whole Secret.

    Args:
        config: Where it watches, and whether it repairs Secrets, for which it lists and watches them.
    """
    verbs = ("get", "patch") if config.secret_repair else ("get", "list", "watch", "patch")
    return tuple(Right(verb, "secrets", "", place) for place in config.namespaces or ("",) for verb in verbs)


async def list_missing(
    connection: Connection, rights: Iterable[Right], *, subject: tuple[str, str] | None = None
) -> tuple[Right, ...]:
    """Return those of the rights that a ServiceAccount doesn't have. Raises core.errors.

    Args:
        connection: Where to ask.
        rights: What to ask for.
        subject: Namespace and name of the ServiceAccount; None: whose connection it is.
    """
    asked = tuple(rights)
    answers = await asyncio.gather(*(_has(connection, right, subject) for right in asked))
    return tuple(right for right, is_given in zip(asked, answers, strict=True) if not is_given)


async def _has(connection: Connection, right: Right, subject: tuple[str, str] | None) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    kind, who = "SelfSubjectAccessReview", {}
    if subject is not None:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{subject[0]}", "system:authenticated"]
        kind, who = "SubjectAccessReview", {"user": "system:serviceaccount:{}:{}".format(*subject), "groups": groups}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": kind,
        "spec": {**who, "resourceAttributes": attributes},
    }
    answer = await connection.call(Request("create", _REVIEWS, f"{kind.lower()}s", body=review))
    return bool(answer["status"]["allowed"])


def in_words(rights: Iterable[Right]) -> str:
    """Return rights for people: `create, update secrets; list usergroups in shop`."""
    verbs: dict[tuple[str, str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.resource, right.namespace, right.name), []).append(right.verb)
    return "; ".join(
        f"{', '.join(found)} {resource}{f' {name}' if name else ''}{f' in {namespace}' if namespace else ''}"
        for (resource, namespace, name), found in verbs.items()
    )
