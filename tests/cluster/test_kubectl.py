"""What people and tools see through kubectl: columns, conditions, Events, `kubectl wait`, and kstatus's verdict."""

import json

import pytest
from tests.builders import user_manifest
from tests.cluster.ground import GROUPS, USERS
from tests.waiting import wait_for

from elasticache_iam.core import names

pytestmark = pytest.mark.cluster

WAITING, GREEDY = "early-bird", "greedy"


@pytest.fixture(scope="module")
def ground(shared_orders):
    """The quickstart, Ready; beside it a user whose group is missing, and one that asks for more than it may."""
    shared_orders.apply(user_manifest(WAITING, group="missing"))
    shared_orders.apply(user_manifest(GREEDY, access={"preset": "ReadWrite", "keys": ["*"]}))
    shared_orders.wait_for_condition(USERS, WAITING, "Ready", reason="WaitingForGroup")
    shared_orders.wait_for_condition(USERS, GREEDY, "Ready", reason="NotAdmitted")
    shared_orders.wait_until_ready("orders", plural=GROUPS, namespace="platform")
    return shared_orders


def kubectl(ground, *arguments, namespace="shop", check=True):
    done = ground.control_plane.kubectl("-n", ground.namespaces[namespace], *arguments, check=check)
    return done.stdout if check else done


def table(text):
    """Return kubectl's table as a list of rows by column, without ages."""
    header, *lines = text.splitlines()
    starts = [header.index(name) for name in header.split()]
    ends = [*starts[1:], None]
    rows = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    named = [dict(zip(header.split(), row, strict=True)) for row in rows]
    return [{name: value for name, value in row.items() if name != "AGE"} for row in named]


def kstatus(body):
    """Return what kstatus (Flux, Helm, kpt) makes of a resource of a kind that it doesn't know.

    Source: cli-utils, pkg/kstatus/status: checkGenericProperties, then the Ready condition.
    """
    status = body["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if status["observedGeneration"] != body["metadata"]["generation"]:
        return "InProgress"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


def id_of(ground, name, namespace="shop"):
    return names.default_id(ground.owner, ground.namespaces[namespace], name)


# -- get ---------------------------------------------------------------------------------------------------------------


def test_get_tells_whether_and_why_not(ground):
    users = {row["NAME"]: row for row in table(kubectl(ground, "get", "eciu"))}

    assert users["checkout"] == {
        "NAME": "checkout",
        "READY": "True",
        "REASON": "Ready",
        "USER": id_of(ground, "checkout"),
        "GROUP": "orders",
    }
    assert users[WAITING] == {
        "NAME": WAITING,
        "READY": "False",
        "REASON": "WaitingForGroup",
        "USER": "",
        "GROUP": "missing",
    }
    assert users[GREEDY] == {
        "NAME": GREEDY,
        "READY": "False",
        "REASON": "NotAdmitted",
        "USER": "",
        "GROUP": "orders",
    }


def test_get_wide_adds_role_and_cache(ground):
    (row,) = table(kubectl(ground, "get", "eciu", "checkout", "-o", "wide"))

    assert row["ROLE"].startswith(f"arn:aws:iam::{ground.account.account_id}:role/elasticache-iam/{ground.owner}/")
    assert row["CACHE"] == "orders-prod"


def test_get_of_a_group_counts_its_members(ground):
    (row,) = table(kubectl(ground, "get", "ecug", "orders", namespace="platform"))

    assert (row["READY"], row["REASON"]) == ("True", "Ready")
    assert row["GROUP"] == id_of(ground, "orders", "platform")
    assert int(row["MEMBERS"]) >= 1


def test_the_category_lists_both_kinds(ground):
    listed = json.loads(kubectl(ground, "get", "elasticache-iam", "-A", "-o", "json"))

    ours = set(ground.namespaces.values())
    kinds = {item["kind"] for item in listed["items"] if item["metadata"]["namespace"] in ours}
    assert kinds == {"ElastiCacheIAMUser", "UserGroup"}


# -- wait, and kstatus -------------------------------------------------------------------------------------------------


def test_wait_for_ready_returns(ground):
    done = kubectl(ground, "wait", "eciu/checkout", "--for=condition=Ready", "--timeout=10s")

    assert "condition met" in done


def test_wait_for_ready_runs_out_on_what_is_not(ground):
    done = kubectl(ground, "wait", f"eciu/{WAITING}", "--for=condition=Ready", "--timeout=0s", check=False)

    assert done.returncode == 1


def test_wait_for_stalled_returns_where_only_an_edit_helps(ground):
    done = kubectl(ground, "wait", f"eciu/{GREEDY}", "--for=condition=Stalled", "--timeout=10s")

    assert "condition met" in done


@pytest.mark.parametrize(
    ("plural", "name", "namespace", "verdict"),
    [
        pytest.param(USERS, "checkout", "shop", "Current", id="a-ready-user"),
        pytest.param(GROUPS, "orders", "platform", "Current", id="a-ready-group"),
        pytest.param(USERS, WAITING, "shop", "InProgress", id="a-user-that-waits"),
        pytest.param(USERS, GREEDY, "shop", "Failed", id="a-user-that-needs-an-edit"),
    ],
)
def test_kstatus_agrees(ground, plural, name, namespace, verdict):
    assert kstatus(ground.get(plural, name, namespace)) == verdict


def test_a_new_generation_is_in_progress_until_it_was_looked_at(ground):
    name = ground.add_user()
    seen = ground.get(USERS, name)

    ahead = {**seen, "metadata": {**seen["metadata"], "generation": seen["metadata"]["generation"] + 1}}
    untouched = {**seen, "status": {"observedGeneration": -1, "conditions": []}}

    assert (kstatus(seen), kstatus(ahead), kstatus(untouched)) == ("Current", "InProgress", "InProgress")


# -- describe ----------------------------------------------------------------------------------------------------------


def test_describe_says_what_to_do(ground):
    text = kubectl(ground, "describe", "eciu", GREEDY)

    assert "NotAdmitted" in text
    assert f"spec.access is beyond what UserGroup {ground.namespaces['platform']}/orders allows here" in text


def test_describe_shows_the_events_of_the_way_to_ready(ground):
    def events():
        text = kubectl(ground, "describe", "eciu", "checkout")
        return "Events:" in text and "elasticache-iam" in text.partition("Events:")[2]

    assert wait_for(events, what="Events")
