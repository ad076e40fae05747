"""IAM policy documents: what a workload may (Connect), who may be it (trust), and what the operator itself may."""

from elasticache_iam.core.policy.compare import same_policy
from elasticache_iam.core.policy.connect import connect_policy, session_policy
from elasticache_iam.core.policy.operator import CALLS, operator_policy
from elasticache_iam.core.policy.size import PolicyTooLargeError, compact_json
from elasticache_iam.core.policy.trust import trust_policy

__all__ = [
    "CALLS",
    "PolicyTooLargeError",
    "compact_json",
    "connect_policy",
    "operator_policy",
    "same_policy",
    "session_policy",
    "trust_policy",
]
