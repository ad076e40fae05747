"""Names shared with the outside: API group, labels, annotations, AWS tags. Stdlib only."""

from typing import Final

GROUP: Final = "elasticache-iam.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
USER_KIND: Final = "ElastiCacheIAMUser"
GROUP_KIND: Final = "UserGroup"

FINALIZER: Final = f"{GROUP}/cleanup"
FIELD_MANAGER: Final = "elasticache-iam-operator"
TOKEN_FIELD_MANAGER: Final = "elasticache-iam-tokens"  # noqa: S105

ANNOTATION_PAUSED: Final = f"{GROUP}/paused"
ANNOTATION_PLAN_ONLY: Final = f"{GROUP}/plan-only"
ANNOTATION_REFRESH: Final = f"{GROUP}/refresh"
ANNOTATION_CONFIRM_DELETIONS: Final = f"{GROUP}/confirm-deletions"
ANNOTATION_EXPIRES_AT: Final = f"{GROUP}/expires-at"
ANNOTATION_ISSUED_AT: Final = f"{GROUP}/issued-at"

ANNOTATION_ROLE_ARN: Final = "eks.amazonaws.com/role-arn"
ANNOTATION_ANNOTATED_FOR: Final = f"{GROUP}/annotated-for"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_OWNER: Final = f"{GROUP}/owner"
LABEL_USER: Final = f"{GROUP}/user"
MANAGED_BY: Final = "elasticache-iam-operator"

TAG_OWNER: Final = f"{GROUP}/owner"
TAG_KIND: Final = f"{GROUP}/kind"
TAG_NAMESPACE: Final = f"{GROUP}/namespace"
TAG_NAME: Final = f"{GROUP}/name"
TAG_UID: Final = f"{GROUP}/uid"
TAG_ALLOW: Final = f"{GROUP}/allow"
TAG_ORPHANED: Final = f"{GROUP}/orphaned"

DEFAULT_AUDIENCE: Final = f"{GROUP}/sign"
STS_AUDIENCE: Final = "sts.amazonaws.com"
"""What EKS puts into pods' own tokens (IRSA)."""
ROLE_POLICY_NAME: Final = "elasticache-iam-connect"
OPERATOR_POLICY_NAME: Final = "operator"
"""The inline policy of the operator's own role, in every way that makes one."""

OPERATOR_NAMESPACE: Final = "elasticache-iam"
"""Where the pages of the documentation install the operator."""
