"""The role's plan."""

from dataclasses import replace

import pytest

from elasticache_iam.core.plan.role import (
    ChangeRoleTags,
    CreateRole,
    DeleteRolePolicy,
    DesiredRole,
    PutRolePolicy,
    SetBoundary,
    SetMaxSession,
    SetTrust,
    explain_repair,
    plan_role,
)
from elasticache_iam.core.plan.tags import TagChange
from elasticache_iam.core.state import ObservedRole

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "sts:X"}]}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": ["r"]}]}
SAME_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["a:b"], "Resource": "r"}}
OTHER = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "*"}]}
DESIRED = DesiredRole("r", "/p/", TRUST, "connect", POLICY, None, 3600, {"team": "a"}, "text")
LIVE = ObservedRole("r", "arn:r", "/p/", TRUST, 3600, policies={"connect": POLICY}, tags={"team": "a", "cost": "1"})
PUT, SET = PutRolePolicy("r", "connect", POLICY), SetTrust("r", TRUST)
ALLOWED = ("team", "stage")


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
        pytest.param(replace(LIVE, policies=None, tags=None), (), id="unknown-details-are-left-alone"),
        pytest.param(
            replace(LIVE, policies={"connect": POLICY, "more": OTHER}),
            (DeleteRolePolicy("r", "more"),),
            id="a-policy-that-widens-our-role-goes",
        ),
        pytest.param(replace(LIVE, max_session_s=7200), (SetMaxSession("r", 3600),), id="the-session-length-is-set"),
        pytest.param(replace(LIVE, boundary="b"), (), id="a-boundary-of-somebody-else-only-narrows-and-stays"),
        pytest.param(
            replace(LIVE, tags={"cost": "1"}),
            (ChangeRoleTags("r", TagChange({"team": "a"})),),
            id="a-missing-tag-is-set",
        ),
        pytest.param(
            replace(LIVE, tags={"team": "a", "stage": "x", "cost": "1"}),
            (ChangeRoleTags("r", TagChange({}, frozenset({"stage"}))),),
            id="a-tag-that-is-asked-no-more-goes-and-those-of-others-stay",
        ),
    ],
)
def test_plan(observed, actions):
    assert plan_role(DESIRED, observed, allowed_tags=ALLOWED) == actions


@pytest.mark.parametrize("boundary", [None, "other"])
def test_the_configured_boundary_is_put_on_before_all_else(boundary):
    desired = replace(DESIRED, boundary="b")

    assert plan_role(desired, replace(LIVE, boundary=boundary, policies={})) == (SetBoundary("r", "b"), PUT)


@pytest.mark.parametrize(
    "desired",
    [
        replace(DESIRED, trust=OTHER),
        replace(DESIRED, policy=OTHER),
        replace(DESIRED, boundary="b"),
        replace(DESIRED, max_session_s=7200),
        replace(DESIRED, tags={}),
    ],
    ids=["trust", "policy", "boundary", "session", "tags"],
)
def test_another_wish_has_another_fingerprint(desired):
    assert desired.fingerprint != DESIRED.fingerprint


def test_the_same_wish_has_the_same_fingerprint():
    assert replace(DESIRED, tags=dict(DESIRED.tags)).fingerprint == DESIRED.fingerprint


@pytest.mark.parametrize(
    ("action", "observed", "explained"),
    [
        (CreateRole(DESIRED), None, ("the role r", "deleted")),
        (PUT, replace(LIVE, policies={}), ("the policy connect of role r", "deleted")),
        (DeleteRolePolicy("r", "more"), LIVE, ("the policies of role r", "more was added")),
        (SetBoundary("r", "b"), LIVE, ("the permissions boundary of role r", "none")),
        (SetMaxSession("r", 3600), replace(LIVE, max_session_s=7200), ("the session length of role r", "7200 s")),
        (ChangeRoleTags("r", TagChange({"b": "1"}, frozenset("a"))), LIVE, ("the tags of role r", "a, b")),
    ],
)
def test_a_repair_says_what_it_puts_back(action, observed, explained):
    assert explain_repair(action, observed) == explained


def test_a_repaired_trust_shows_whom_it_let_in():
    _, was = explain_repair(SET, replace(LIVE, trust=OTHER))

    assert '"Resource":"*"' in was
