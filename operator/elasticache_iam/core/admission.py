"""Who may join a UserGroup: rules are the group's, the decision is pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from elasticache_iam.api.access import Access
from elasticache_iam.api.group import (
    AdmissionRule,
    GroupAdoption,
    LabelSelector,
    LabelSelectorRequirement,
    UserGroup,
)
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.access import is_within, render_access_string
from elasticache_iam.core.plan.user import is_access_in_sync
from elasticache_iam.core.state import ObservedUser
from elasticache_iam.core.status import GROUP_SYNCED

CONSENT_MISSING: Final = "ConsentMissing"


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision, with what to do if it is a refusal."""

    ok: bool
    message: str = ""


def needs_namespace_labels(group: UserGroup) -> bool:
    """Whether a decision can depend on a namespace's labels."""
    return any(rule.namespaces.selector is not None for rule in group.spec.admission)


def admit(
    group: UserGroup,
    user: ElastiCacheIAMUser,
    namespace_labels: Mapping[str, str],
    *,
    access: Access | None = None,
) -> Admission:
    """Decide whether a user may join a group, with the access that it asks for or, if given, another.

    A rule that names the namespace is more specific than a selector, and among equals the first one holds: a names rule
    that refuses doesn't fall through. The group's own namespace is admitted without limit unless a rule names it.
    """
    home = user.metadata.namespace == group.metadata.namespace
    where = f"UserGroup {group.metadata.namespace}/{group.metadata.name}"
    if is_withdrawn(group):
        return Admission(
            ok=False, message=f"the AWS group of {where} is somebody else's, who hasn't consented; see its conditions"
        )
    if names.is_reserved_id(user.spec.id or names.default_id("x", user.metadata.namespace, user.metadata.name)):
        return Admission(
            ok=False,
            message="ids like <owner>-default-<8 hex digits> are kept for disabled default users; set another spec.id, "
            "or make a resource of another name",
        )
    rule = _find_rule(group.spec.admission, user.metadata.namespace, namespace_labels, names_only=home)
    if rule is None:
        if home:
            return Admission(ok=True)
        return Admission(
            ok=False,
            message=f"no admission rule of {where} matches namespace {user.metadata.namespace}; its owner may add one",
        )
    if user.spec.id is not None and not home and not any(fnmatchcase(user.spec.id, pattern) for pattern in rule.ids):
        return Admission(
            ok=False,
            message=f"spec.id {user.spec.id} matches none of the ids that {where} allows to this namespace; "
            "leave spec.id out or ask the group's owner",
        )
    within = is_within(access or user.spec.access, rule.limit)
    if not within.ok:
        return Admission(ok=False, message=f"spec.access is beyond what {where} allows here: {within.why}")
    return Admission(ok=True)


def is_withdrawn(group: UserGroup) -> bool:
    """Whether a group of somebody else's (adoption: Reference) lacks its owner's consent, as its own pass has found."""
    return group.spec.adoption is GroupAdoption.REFERENCE and any(
        condition.type == GROUP_SYNCED and condition.reason == CONSENT_MISSING for condition in group.status.conditions
    )


def admit_live(
    group: UserGroup, user: ElastiCacheIAMUser, namespace_labels: Mapping[str, str], live: ObservedUser
) -> bool:
    """Whether a user may be a member with the access that AWS gives it now.

    What it asks for may be within the limit while AWS still holds, or has refused to give up, something wider: from an
    earlier edit, from another group, from before a crash. Only what is there counts.
    """
    desired = render_access_string(user.spec.access)
    recorded = user.status.access_string if user.status.id == live.user_id else None
    if not live.is_active:
        return recorded is not None and recorded.sent == desired
    if is_access_in_sync(desired, live.access_string, recorded):
        return True
    held = Access.model_construct(preset=None, access_string=live.access_string, keys=(), channels=())
    return admit(group, user, namespace_labels, access=held).ok


def _find_rule(
    rules: tuple[AdmissionRule, ...], namespace: str, labels: Mapping[str, str], *, names_only: bool
) -> AdmissionRule | None:
    for rule in rules:
        if namespace in rule.namespaces.names:
            return rule
    if names_only:
        return None
    for rule in rules:
        if rule.namespaces.selector is not None and selects(rule.namespaces.selector, labels):
            return rule
    return None


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector matches; an empty one matches everything, as in Kubernetes."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _matches(requirement, labels) for requirement in selector.match_expressions
    )


def _matches(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
