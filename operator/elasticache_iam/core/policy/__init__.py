"""IAM policy documents: what a workload may (Connect), who may be it (trust), and what the operator itself may."""

from elasticache_iam.core.policy.compare import normal_form, same_policy
from elasticache_iam.core.policy.connect import connect_policy, is_exact_arn, session_policy
from elasticache_iam.core.policy.evaluate import (
    Verdict,
    judge_connect,
    judge_pod_identity,
    judge_role_chain,
    judge_trust,
    unnamed_actions,
)
from elasticache_iam.core.policy.hcl import render_hcl
from elasticache_iam.core.policy.operator import (
    CALLS,
    OperatorOptions,
    is_operator_policy,
    operator_policy,
    options_of,
)
from elasticache_iam.core.policy.size import (
    INLINE_POLICIES_LIMIT,
    MANAGED_POLICY_LIMIT,
    PolicyTooLargeError,
    check_size,
    compact_json,
)
from elasticache_iam.core.policy.trust import admitted_accounts, pod_identity_trust, role_chain_trust, trust_policy

__all__ = [
    "CALLS",
    "INLINE_POLICIES_LIMIT",
    "MANAGED_POLICY_LIMIT",
    "OperatorOptions",
    "PolicyTooLargeError",
    "Verdict",
    "admitted_accounts",
    "check_size",
    "compact_json",
    "connect_policy",
    "is_exact_arn",
    "is_operator_policy",
    "judge_connect",
    "judge_pod_identity",
    "judge_role_chain",
    "judge_trust",
    "normal_form",
    "operator_policy",
    "options_of",
    "pod_identity_trust",
    "render_hcl",
    "role_chain_trust",
    "same_policy",
    "session_policy",
    "trust_policy",
    "unnamed_actions",
]
