"""How a plan reads."""

import json
from typing import Any

import pytest

from elasticache_iam.api.group import Service
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.plan.changes import AccessChange, Cut, Held, KubeChange, Note, Plan, Resource, RoleDiff, Step
from elasticache_iam.core.plan.describe import (
    NOTHING,
    STATUS_LINE_LENGTH,
    STATUS_LINES,
    plan_document,
    render_plan,
    status_lines,
    summarise_plan,
)
from elasticache_iam.core.state import CacheKind, CacheRef, Place

GROUP = Resource("UserGroup", "platform", "orders")
USER = Resource("ElastiCacheIAMUser", "shop", "checkout")
PLACE = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
CACHE = CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod")
CREATE = Call(
    "elasticache",
    "CreateUser",
    {
        "UserId": "demo-x",
        "UserName": "demo-x",
        "AccessString": "on ~* +@all",
        "AuthenticationMode": {"Type": "iam"},
        "Tags": [
            {"Key": "elasticache-iam.dev/kind", "Value": "ElastiCacheIAMUser"},
            {"Key": "elasticache-iam.dev/owner", "Value": "demo"},
            {"Key": "team", "Value": "orders"},
        ],
    },
)
PUT = Call("iam", "PutRolePolicy", {"RoleName": "demo-x", "PolicyName": "connect", "PolicyDocument": "{}"})
DELETE = Call("elasticache", "DeleteUser", {"UserId": "demo-y"})
WHOLE = Plan(
    resources=(GROUP, USER),
    steps=(Step(USER, PLACE, CREATE), Step(GROUP, PLACE, DELETE), Step(USER, PLACE, PUT)),
    kube=(KubeChange(USER, "+", "Secret", "shop/checkout", "a token"),),
    roles=(RoleDiff("demo-x", "trust policy", (" {", '-  "a": 1', '+  "a": 2', " }")),),
    access=(AccessChange("demo-x", "shop/checkout", CACHE, "on ~a -@all +get", "on ~a ~b -@all +get"),),
    cuts=(Cut(CACHE, "user demo-y", "it is deleted"),),
    held=(Held(GROUP, "CachesAttached", "ConsentMissing", "ask"),),
    notes=(Note(GROUP, "somebody changed it"),),
)


def lines_of(plan: Plan) -> list[str]:
    return [line.plain for line in render_plan(plan)]


def test_a_plan_reads_like_this():
    assert lines_of(WHOLE) == [
        "Plan: 3 calls to AWS, 1 change in Kubernetes, 1 user gets other access, live clients of 1 cache cut off.",
        "",
        "UserGroup platform/orders",
        "  - elasticache DeleteUser demo-y  (2)",
        "  ! somebody changed it",
        "",
        "ElastiCacheIAMUser shop/checkout",
        "  + elasticache CreateUser demo-x  (1)",
        "      AccessString        on ~* +@all",
        "      AuthenticationMode  Type iam",
        "      Tags                elasticache-iam.dev/{kind=ElastiCacheIAMUser, owner=demo}, team=orders",
        "  ~ iam PutRolePolicy demo-x  (3)",
        "      PolicyName  connect",
        "  + Secret shop/checkout: a token",
        "",
        "IAM",
        "  role demo-x",
        "    trust policy",
        "        {",
        '      -   "a": 1',
        '      +   "a": 2',
        "        }",
        "",
        "Access",
        "  ~ demo-x (shop/checkout) gets other access to cache orders-prod",
        "      gains keys ~b",
        "",
        "Live clients that are cut off",
        "  ! cache orders-prod: user demo-y: it is deleted",
        "",
        "What would still be missing",
        "  ! UserGroup platform/orders: ConsentMissing: ask",
    ]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(), NOTHING),
        (Plan(held=WHOLE.held), "Nothing can be done: ask"),
        (Plan(steps=WHOLE.steps[:1]), "Plan: 1 call to AWS."),
        (
            Plan(
                kube=WHOLE.kube,
                access=(AccessChange("a", "", CACHE, "on", None), AccessChange("b", "", CACHE, "on", None)),
            ),
            "Plan: 1 change in Kubernetes, 2 users lose access.",
        ),
    ],
)
def test_a_plan_is_summed_up_in_a_sentence(plan: Plan, said: str):
    assert summarise_plan(plan) == said


def test_a_status_holds_so_many_lines_and_counts_the_others():
    many = Plan(steps=tuple(Step(USER, PLACE, DELETE) for _ in range(1000)))

    lines = status_lines(many)

    assert len(lines) == STATUS_LINES
    assert lines[-1] == f"… {len(render_plan(many)) - STATUS_LINES + 1} more lines: run elasticache-iam plan"


def test_a_line_in_a_status_is_cut_to_its_limit():
    lines = status_lines(Plan(kube=(KubeChange(USER, "~", "ServiceAccount", "shop/x", "y" * 5000),)))

    assert max(map(len, lines)) == STATUS_LINE_LENGTH


def test_a_plan_is_a_json_document():
    document: dict[str, Any] = json.loads(json.dumps(plan_document(WHOLE)))

    assert document["calls"][0]["parameters"] == CREATE.parameters
    assert [change["action"] for change in document["kubernetes"]] == ["create"]
    assert document["roles"][0]["diff"][1] == '-  "a": 1'
    assert document["access"][0]["words"] == ["gains keys ~b"]
    assert document["missing"][0]["reason"] == "ConsentMissing"
