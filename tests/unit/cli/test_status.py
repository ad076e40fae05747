"""`elasticache-iam status` as people see it: columns, widths, what is wrong."""

from datetime import UTC, datetime, timedelta

import click
import pytest
from tests.builders import group_manifest, user_manifest

from elasticache_iam.cli.status import render_overview
from elasticache_iam.core.overview import look_over

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
GROUP_ID, USER_ID = "demo-orders-1a2b3c4d", "demo-checkout-service-9f8e7d6c"


def body(manifest, user_id, *, ready=True, message="", caches=()):
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "Ready" if ready else "NotAdmitted",
        "message": message,
        "lastTransitionTime": "2026-11-21T11:00:00Z",
    }
    status = {"observedGeneration": 1, "conditions": [condition], "id": user_id, "members": 2, "caches": list(caches)}
    return {**manifest, "metadata": {**manifest["metadata"], "uid": user_id, "generation": 1}, "status": status}


def token_for(name):
    return {
        "name": name,
        "id": f"{name}-prod",
        "arn": "arn:x",
        "region": "eu-central-1",
        "host": "h",
        "port": 6379,
        "secret": {"name": "checkout"},
    }


def shown(*, width=None, notes=(), namespace="shop", left_s=412.0, empty=False):
    lives = {(USER_ID, name): NOW + timedelta(seconds=left_s) for name in ("orders", "sessions")}
    group_caches = [{"name": "main", "id": "orders-prod", "engineVersion": "8.0", "state": "Attached"}]
    group = body(group_manifest(), GROUP_ID, caches=group_caches)
    user = body(user_manifest(), USER_ID, caches=[token_for("orders"), token_for("sessions")])
    greedy = body(user_manifest("greedy"), "", ready=False, message="ask for less")
    overview = look_over(
        [] if empty else [group],
        [] if empty else [user, greedy],
        lives=lives,
        now=NOW,
        operator_namespace="elasticache-iam",
        notes=tuple(notes),
    )
    return [click.unstyle(line) for line in render_overview(overview, namespace=namespace, width=width)]


def test_groups_and_users_stand_in_columns():
    lines = shown()

    assert [line.split() for line in lines[:7]] == [
        ["GROUP", "REASON", "IN", "AWS", "MEMBERS", "CACHES"],
        ["✔", "platform/orders", "Ready", GROUP_ID, "2", "main:", "orders-prod", "redis", "8.0"],
        [],
        ["USER", "REASON", "IN", "AWS", "GROUP", "TOKENS"],
        ["✔", "shop/checkout", "Ready", USER_ID, "platform/orders", "orders:", "412", "s"],
        ["sessions:", "412", "s"],
        ["…", "shop/greedy", "NotAdmitted", "-", "platform/orders", "-"],
    ]


def test_what_is_wrong_stands_below_with_the_next_command():
    assert shown()[-2:] == [
        "ElastiCacheIAMUser shop/greedy: NotAdmitted: ask for less",
        "  $ elasticache-iam verify greedy -n shop",
    ]


def test_a_token_with_little_time_left_is_marked():
    assert any(line.endswith("orders: 299 s !") for line in shown(left_s=299))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_tables_fit_the_terminal(width):
    lines = shown(width=width)

    assert max(map(len, lines[:7])) <= width


def test_a_narrow_terminal_keeps_an_ids_end_or_leaves_ids_out():
    at_92, at_80 = ("\n".join(shown(width=width)) for width in (92, 80))

    assert "…9f8e7d6c" in at_92
    assert "IN AWS" not in at_80.partition("USER")[2].splitlines()[0]
    assert "412 s" in at_80


def test_without_a_terminal_nothing_is_cut():
    assert USER_ID in "\n".join(shown(width=None))


def test_nothing_at_all_is_said_with_where_to_look():
    assert shown(empty=True) == ["no UserGroup and no ElastiCacheIAMUser in shop; all namespaces: -A"]
    assert shown(empty=True, namespace="") == ["no UserGroup and no ElastiCacheIAMUser in any namespace"]


def test_what_could_not_be_looked_at_stands_at_the_end():
    assert shown(notes=["you may not list usergroups"])[-1] == "note: you may not list usergroups"
