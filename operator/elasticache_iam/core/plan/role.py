"""The managed IAM role of an ElastiCacheIAMUser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from elasticache_iam.core.policy import same_policy
from elasticache_iam.core.state import ObservedRole


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


RoleAction: TypeAlias = CreateRole | SetTrust | PutRolePolicy


def plan_role(desired: DesiredRole, observed: ObservedRole | None) -> tuple[RoleAction, ...]:
    """Return the actions that take `observed` to `desired`, in order; () means in sync.

    The policy is written before the trust is opened wider: on a change of trust the order is trust last. A role whose
    inline policies are unknown (None) is left alone in that respect until they are read.
    """
    put = PutRolePolicy(desired.name, desired.policy_name, desired.policy)
    if observed is None:
        return (CreateRole(desired), put)
    actions: list[RoleAction] = []
    if observed.policies is not None:
        live = observed.policies.get(desired.policy_name)
        if live is None or not same_policy(live, desired.policy):
            actions.append(put)
    if not same_policy(observed.trust, desired.trust):
        actions.append(SetTrust(desired.name, desired.trust))
    return tuple(actions)
