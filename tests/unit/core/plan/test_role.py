"""The role's plan."""

from dataclasses import replace

import pytest

from elasticache_iam.core.plan.role import CreateRole, DesiredRole, PutRolePolicy, SetTrust, plan_role
from elasticache_iam.core.state import ObservedRole

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "sts:X"}]}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": ["r"]}]}
SAME_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["a:b"], "Resource": "r"}}
OTHER = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "*"}]}
DESIRED = DesiredRole("r", "/p/", TRUST, "connect", POLICY, None, 3600, {}, "text")
LIVE = ObservedRole("r", "arn:r", "/p/", TRUST, 3600, policies={"connect": POLICY}, tags={})
PUT, SET = PutRolePolicy("r", "connect", POLICY), SetTrust("r", TRUST)


@pytest.mark.parametrize(
    ("observed", "actions"),
    [
        pytest.param(None, (CreateRole(DESIRED), PUT), id="a-missing-role-is-created-with-its-policy"),
        pytest.param(LIVE, (), id="in-sync-is-nothing-to-do"),
        pytest.param(
            replace(LIVE, policies={"connect": SAME_POLICY}), (), id="the-same-policy-in-other-words-is-in-sync"
        ),
        pytest.param(replace(LIVE, policies={}), (PUT,), id="a-missing-policy-is-written"),
        pytest.param(replace(LIVE, policies={"connect": OTHER}), (PUT,), id="an-edited-policy-is-put-back"),
        pytest.param(replace(LIVE, trust=OTHER), (SET,), id="an-edited-trust-is-put-back"),
        pytest.param(replace(LIVE, trust=OTHER, policies={}), (PUT, SET), id="the-trust-opens-last"),
        pytest.param(replace(LIVE, policies=None), (), id="unknown-policies-are-left-alone"),
        pytest.param(
            replace(LIVE, policies={"connect": POLICY, "more": OTHER}), (), id="policies-of-others-are-left-alone"
        ),
    ],
)
def test_plan(observed, actions):
    assert plan_role(DESIRED, observed) == actions
