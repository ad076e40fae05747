"""`elasticache-iam status` as people see it: columns, widths, what is wrong."""

import json
from datetime import UTC, datetime, timedelta

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.builders import group_manifest, user_manifest

from elasticache_iam.cli.main import cli
from elasticache_iam.cli.status import render_overview
from elasticache_iam.cli.terminal import render
from elasticache_iam.core.overview import look_over
from elasticache_iam.runtime import overview

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
    return [click.unstyle(render(line)) for line in render_overview(overview, namespace=namespace, width=width)]


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


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch):
    """The scopes that were looked at; there is nothing in any."""
    seen = []

    async def look(scope, connection, _clock):
        seen.append(scope)
        assert connection.is_open
        return look_over([], [], lives=None, now=NOW, operator_namespace=scope.operator_namespace)

    monkeypatch.setattr(overview, "look", look)
    return seen


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """All connections that were made."""
    made = []

    class Line:
        is_open = True

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            self.is_open = False

    async def connect(_kubeconfig, *, context):
        del context
        made.append(Line())
        return made[-1]

    monkeypatch.setattr(overview, "open_connection", connect)
    return made


def run(*arguments, environment=None):
    return CliRunner(env={"KUBECONFIG": "/nowhere", **(environment or {})}).invoke(cli, ["status", *arguments])


def test_a_namespace_is_looked_at_or_all(looks):
    run("-n", "shop")
    run("-A")
    run()

    assert [scope.namespace for scope in looks] == ["shop", "", "default"]


def test_the_namespace_of_the_context_is_meant(looks, tmp_path):
    def context(name, namespace):
        return {"name": name, "context": {"cluster": "a", "user": "a", "namespace": namespace}}

    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [context("one", "shop"), context("two", "web")],
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig), encoding="utf-8")

    run(environment={"KUBECONFIG": str(path)})
    run("--context", "two", environment={"KUBECONFIG": str(path)})

    assert [scope.namespace for scope in looks] == ["shop", "web"]


def test_watch_looks_again_by_one_connection_until_it_is_interrupted(looks, connections, monkeypatch):
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(overview.asyncio, "sleep", pause)

    result = run("-n", "shop", "--watch", "--interval", "0.5")

    assert (len(looks), pauses) == (3, [0.5, 0.5, 0.5])
    assert result.output.count("no UserGroup and no ElastiCacheIAMUser in shop") == 3
    assert [line.is_open for line in connections] == [False]


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_a_document(looks, output, read):
    assert read(run("-o", output).stdout) == {"groups": [], "users": [], "problems": [], "notes": []}


def test_what_others_wrote_gives_no_orders_to_a_terminal():
    group = body(group_manifest(), "demo\x1b[2J", ready=False, message="no\r\x1b]0;owned\x07\n::error::x")
    looked = look_over([group], [], lives={}, now=NOW, operator_namespace="elasticache-iam", notes=("a\u202eb",))

    lines = [click.unstyle(render(line)) for line in render_overview(looked, namespace="platform", width=None)]

    assert all(line.isprintable() for line in lines)
    assert any("no\\x0d\\x1b]0;owned\\x07\\x0a::error::x" in line for line in lines)
    assert lines[-1] == "note: a\\x202eb"
