"""The IAM role of an ElastiCacheIAMUser: ours, or somebody else's that we may put one policy into, or only look at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from elasticache_iam.core.plan.tags import TagChange, plan_tags
from elasticache_iam.core.policy import compact_json, same_policy
from elasticache_iam.core.state import ObservedRole

_SHOWN_LENGTH = 200
"""Characters of a policy that an Event shows."""


@dataclass(frozen=True, slots=True)
class DesiredRole:
    """What the resource asks for."""

    name: str
    path: str
    trust: Mapping[str, Any]
    policy_name: str
    policy: Mapping[str, Any]
    boundary: str | None
    max_session_s: int
    tags: Mapping[str, str]
    description: str

    @property
    def fingerprint(self) -> str:
        """What is asked of the role in AWS, as text: if it is the same as before, a difference is somebody's doing."""
        tags = dict(sorted(self.tags.items()))
        return compact_json(
            {
                "trust": self.trust,
                "policy": self.policy,
                "boundary": self.boundary,
                "session": self.max_session_s,
                "tags": tags,
            }
        )


@dataclass(frozen=True, slots=True)
class CreateRole:
    """Create the role, without a policy yet."""

    desired: DesiredRole


@dataclass(frozen=True, slots=True)
class SetTrust:
    """Replace the trust policy."""

    role_name: str
    trust: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PutRolePolicy:
    """Write the inline Connect policy."""

    role_name: str
    policy_name: str
    policy: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteRolePolicy:
    """Take an inline policy off that isn't ours: it would widen the role."""

    role_name: str
    policy_name: str


@dataclass(frozen=True, slots=True)
class SetBoundary:
    """Put the permissions boundary on."""

    role_name: str
    boundary: str


@dataclass(frozen=True, slots=True)
class SetMaxSession:
    """Set how long sessions may last."""

    role_name: str
    max_session_s: int


@dataclass(frozen=True, slots=True)
class ChangeRoleTags:
    """Set tags and take some off."""

    role_name: str
    change: TagChange


RoleAction: TypeAlias = (
    CreateRole | SetTrust | PutRolePolicy | DeleteRolePolicy | SetBoundary | SetMaxSession | ChangeRoleTags
)


def plan_role(
    desired: DesiredRole, observed: ObservedRole | None, *, allowed_tags: Iterable[str] = ()
) -> tuple[RoleAction, ...]:
    """Return the actions that take `observed` to `desired`, in order; () means in sync.

    What narrows the role comes before what opens it: the trust is last. A boundary that is configured is put on; one
    that isn't stays, as it only narrows. A role whose details are unknown (None) is left alone in that respect until
    they are read.

    Args:
        desired: What is asked.
        observed: What AWS has; the caller has made sure that it is ours.
        allowed_tags: Keys that the operator's configuration lets authors of resources set.
    """
    put = PutRolePolicy(desired.name, desired.policy_name, desired.policy)
    if observed is None:
        return (CreateRole(desired), put)
    actions: list[RoleAction] = []
    if observed.policies is not None:
        if desired.boundary is not None and observed.boundary != desired.boundary:
            actions.append(SetBoundary(desired.name, desired.boundary))
        others = sorted(observed.policies.keys() - {desired.policy_name})
        actions += [DeleteRolePolicy(desired.name, other) for other in others]
        live = observed.policies.get(desired.policy_name)
        if live is None or not same_policy(live, desired.policy):
            actions.append(put)
    if observed.max_session_s != desired.max_session_s:
        actions.append(SetMaxSession(desired.name, desired.max_session_s))
    if observed.tags is not None and (change := plan_tags(desired.tags, observed.tags, allowed=allowed_tags)):
        actions.append(ChangeRoleTags(desired.name, change))
    if not same_policy(observed.trust, desired.trust):
        actions.append(SetTrust(desired.name, desired.trust))
    return tuple(actions)


def explain_repair(action: RoleAction, observed: ObservedRole | None) -> tuple[str, str]:
    """Return what an action puts back, and what it had been changed to."""
    match action:
        case CreateRole(desired):
            return f"the role {desired.name}", "deleted"
        case SetTrust():
            return f"the trust policy of role {action.role_name}", _shown(observed.trust if observed else None)
        case PutRolePolicy():
            live = (observed.policies or {}).get(action.policy_name) if observed else None
            return f"the policy {action.policy_name} of role {action.role_name}", _shown(live)
        case DeleteRolePolicy():
            return f"the policies of role {action.role_name}", f"{action.policy_name} was added"
        case SetBoundary():
            was = observed.boundary if observed else None
            return f"the permissions boundary of role {action.role_name}", was or "none"
        case SetMaxSession():
            seconds = observed.max_session_s if observed else 0
            return f"the session length of role {action.role_name}", f"{seconds} s"
        case ChangeRoleTags():
            return f"the tags of role {action.role_name}", ", ".join(action.change.keys)
        case _:
            assert_never(action)


def _shown(document: Mapping[str, Any] | None) -> str:
    if document is None:
        return "deleted"
    text = compact_json(document)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"
