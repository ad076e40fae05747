"""What a resource may ask for by its shape, and this version can't do yet.

The shape is final (no conversion webhook); behaviour grows into it. Until then a resource that asks for more is told so
in its conditions, and nothing is done by halves.
"""

from elasticache_iam.api.group import UserGroupSpec
from elasticache_iam.api.user import ElastiCacheIAMUserSpec, RoleBinding


def unsupported_fields(spec: UserGroupSpec | ElastiCacheIAMUserSpec) -> tuple[str, ...]:
    """Return one line for each field whose behaviour comes later; () means that all of it works."""
    return _of_user(spec) if isinstance(spec, ElastiCacheIAMUserSpec) else ()


def _of_user(spec: ElastiCacheIAMUserSpec) -> tuple[str, ...]:
    lines = []
    if spec.role.binding is RoleBinding.POD_IDENTITY:
        lines.append("spec.role.binding: PodIdentity is not supported yet, use IRSA")
    return tuple(lines)
