"""What Argo CD shows of our resources, and the actions that it offers, by its own engine."""

import re
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.builders import group_manifest, user_manifest
from tests.gitops.asking import Engine

from elasticache_iam.api.group import UserGroupStatus
from elasticache_iam.api.user import ElastiCacheIAMUserStatus
from elasticache_iam.core.status import GROUP_STAGES, USER_STAGES, Stage, summarise
from elasticache_iam.reconcile.plane import status_document

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(minutes=20)
JUST_NOW = NOW - timedelta(minutes=2)
PAUSED = {"elasticache-iam.dev/paused": "true"}
LOUDLY = {"elasticache-iam.dev/paused": "TRUE"}
PLAN_ONLY = {"elasticache-iam.dev/plan-only": "true"}
KINDS = ["user", "group"]


def stamp(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def resource(kind, *stages, generation=2, seen=2, since=JUST_NOW, made_at=LONG_AGO, annotations=None, **spec):
    """Return a resource whose status is what the operator makes of stages; all that aren't named are in order."""
    order, model, manifest = {
        "user": (USER_STAGES, ElastiCacheIAMUserStatus, user_manifest),
        "group": (GROUP_STAGES, UserGroupStatus, group_manifest),
    }[kind]
    body = manifest(**spec)
    body["metadata"] |= {"uid": "1", "generation": generation, "creationTimestamp": stamp(made_at)}
    if annotations:
        body["metadata"]["annotations"] = annotations
    if seen is None:
        return body | {"status": {"observedGeneration": -1}}
    found = {stage: Stage.ok(stage, "Synced") for stage in order} | {stage.type: stage for stage in stages}
    conditions = summarise((), found.values(), order=order, generation=seen, now=since, ready_message="all is well")
    status = model(conditions=conditions.conditions, observed_generation=seen)
    return body | {"status": status_document(status)}


def first(kind):
    return {"user": USER_STAGES, "group": GROUP_STAGES}[kind][0]


def waiting(kind, reason="Creating", message="AWS is creating it"):
    return Stage.waiting(first(kind), reason, message, retry_after_s=5.0)


def blocked(kind):
    return Stage.blocked(first(kind), "InvalidSpec", "correct spec.id")


def suspended():
    return Stage("MembershipSynced", "False", "Suspended", "suspended on request")


# -- health ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "health", "says"),
    [
        pytest.param(resource, "Healthy", "Ready: all is well", id="ready"),
        pytest.param(
            lambda k: resource(k, waiting(k)), "Progressing", "Creating: AWS is creating it", id="reconciling"
        ),
        pytest.param(
            lambda k: resource(k, waiting(k), since=LONG_AGO), "Degraded", "For more than 15 m", id="for-long"
        ),
        pytest.param(lambda k: resource(k, blocked(k)), "Degraded", "InvalidSpec: correct spec.id", id="stalled"),
        pytest.param(lambda k: resource(k, seen=None, made_at=JUST_NOW), "Progressing", "Waiting for", id="new"),
        pytest.param(lambda k: resource(k, seen=None), "Degraded", "does it run", id="nobody-looks"),
        pytest.param(lambda k: resource(k, seen=1), "Progressing", "this generation", id="edited"),
        pytest.param(lambda k: resource(k, blocked(k), seen=1), "Progressing", "this generation", id="mended"),
        pytest.param(lambda k: resource(k, annotations=PAUSED), "Suspended", "Paused: only", id="paused"),
        pytest.param(lambda k: resource(k, annotations=LOUDLY), "Suspended", "Paused: only", id="paused-in-capitals"),
        pytest.param(lambda k: resource(k, seen=1, annotations=PAUSED), "Suspended", "An edit waits", id="paused-edit"),
        pytest.param(
            lambda k: resource(k, blocked(k), annotations=PAUSED), "Suspended", "InvalidSpec", id="paused-bad"
        ),
        pytest.param(lambda k: resource(k, seen=None, annotations=PAUSED), "Suspended", "nothing", id="paused-new"),
        pytest.param(
            lambda k: resource(k, waiting(k, "PlanOnly", "2 changes"), annotations=PLAN_ONLY),
            "Suspended",
            "PlanOnly: 2 changes",
            id="plan-only",
        ),
        pytest.param(
            lambda k: resource(k, seen=1, annotations=PLAN_ONLY), "Progressing", "plan isn't made", id="plan-to-come"
        ),
    ],
)
def test_argo_cd_shows(engine, kind, make, health, says):
    shown, message = engine.health(make(kind))

    assert shown == health
    assert says in message


@pytest.mark.parametrize("time_zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_what_lasts_long_is_told_in_any_time_zone(time_zone):
    with Engine(time_zone) as abroad:
        shown = [abroad.health(resource("user", waiting("user"), since=since))[0] for since in (JUST_NOW, LONG_AGO)]

    assert shown == ["Progressing", "Degraded"]


def test_a_suspended_user_is_suspended(engine):
    shown, message = engine.health(resource("user", suspended(), suspend=True))

    assert (shown, message) == ("Suspended", "Suspended: suspended on request")


def test_an_unknown_login_keeps_nobody_from_being_healthy(engine):
    shown, _ = engine.health(resource("user", Stage.unknown("Verified", "Unreachable", "no route")))

    assert shown == "Healthy"


def test_a_refused_login_that_only_an_edit_cures_is_degraded(engine):
    shown, message = engine.health(resource("user", Stage.blocked("Verified", "EngineTooOld", "upgrade the cache")))

    assert (shown, message) == ("Degraded", "EngineTooOld: upgrade the cache")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", [blocked, waiting], ids=["stalled", "reconciling"])
def test_what_is_being_deleted_progresses_by_argo_cds_word_and_by_ours(engine, kind, stage):
    leaving = resource(kind, stage(kind), since=LONG_AGO)
    leaving["metadata"] |= {"deletionTimestamp": stamp(NOW), "finalizers": ["elasticache-iam.dev/cleanup"]}

    assert engine.health(leaving) == ("Progressing", "Pending deletion")
    ours = engine.ask("script", object=leaving)
    assert ours["status"] == "Progressing"
    assert leaving["status"]["conditions"][0]["reason"] in ours["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_status_that_nobody_has_written_yet_progresses(engine, kind):
    bare = resource(kind, seen=None, made_at=JUST_NOW)
    del bare["status"]

    assert engine.health(bare)[0] == "Progressing"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_condition_of_others_making_is_understood(engine, kind, status):
    strange = resource(kind)
    strange["status"]["conditions"] = [{"type": "Ready", "status": status, "reason": "Odd", "message": ""}]

    assert engine.health(strange) == ({"False": "Degraded", "Unknown": "Progressing"}[status], "Odd")


def test_every_health_is_documented():
    script = (ROOT / "packaging" / "argocd" / "health.lua").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")

    used = set(re.findall(r'status = "(\w+)"', script))

    assert used == {"Healthy", "Progressing", "Degraded", "Suspended"}
    assert used <= set(re.findall(r"^\| (\w+) \|", page, re.MULTILINE))


# -- actions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "usable"),
    [
        pytest.param(lambda: resource("user"), {"refresh", "suspend", "pause"}, id="user"),
        pytest.param(lambda: resource("user", suspended(), suspend=True), {"pause", "resume"}, id="suspended-user"),
        pytest.param(lambda: resource("user", annotations=PAUSED), {"refresh", "resume"}, id="paused-user"),
        pytest.param(
            lambda: resource("user", delivery={"mode": "None"}), {"suspend", "pause"}, id="user-that-signs-for-itself"
        ),
        pytest.param(lambda: resource("group"), {"pause"}, id="group"),
        pytest.param(lambda: resource("group", annotations=PAUSED), {"resume"}, id="paused-group"),
        pytest.param(lambda: resource("group", annotations=LOUDLY), {"resume"}, id="group-paused-in-capitals"),
    ],
)
def test_argo_cd_offers_what_makes_sense_now(engine, make, usable):
    offered = engine.actions(make())

    assert {name for name, is_usable in offered.items() if is_usable} == usable


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_can_be_done_with_what_is_being_deleted(engine, kind):
    leaving = resource(kind)
    leaving["metadata"]["deletionTimestamp"] = stamp(NOW)

    assert not any(engine.actions(leaving).values())


@pytest.mark.parametrize(
    ("action", "make", "patch"),
    [
        ("suspend", lambda: resource("user"), {"spec": {"suspend": True}}),
        ("resume", lambda: resource("user", suspended(), suspend=True), {"spec": {"suspend": False}}),
        ("pause", lambda: resource("user"), {"metadata": {"annotations": PAUSED}}),
        ("pause", lambda: resource("group"), {"metadata": {"annotations": PAUSED}}),
        (
            "resume",
            lambda: resource("user", annotations={**PAUSED, "team": "shop"}, suspend=False),
            {"metadata": {"annotations": {"elasticache-iam.dev/paused": None}}},
        ),
        (
            "resume",
            lambda: resource("group", annotations={**PAUSED, "team": "shop"}),
            {"metadata": {"annotations": {"elasticache-iam.dev/paused": None}}},
        ),
    ],
)
def test_an_action_changes_that_and_nothing_else(engine, action, make, patch):
    assert engine.ask("act", object=make(), action=action) == patch


def test_a_refresh_asks_for_new_tokens_by_a_value_that_was_never_there(engine):
    patch = engine.ask("act", object=resource("user", annotations={"team": "shop"}), action="refresh")

    (asked,) = patch["metadata"]["annotations"].items()
    assert asked[0] == "elasticache-iam.dev/refresh"
    assert datetime.fromisoformat(asked[1]) >= NOW - timedelta(seconds=1)


def test_actions_survive_empty_lists_and_maps(engine):
    body = resource("user", tags={}, delivery={"mode": "Secret", "secret": {"labels": {}, "annotations": {}}})
    body["spec"]["access"]["channels"] = []

    assert engine.ask("act", object=body, action="suspend") == {"spec": {"suspend": True}}


# -- differences -------------------------------------------------------------------------------------------------------


def after(engine, live, action):
    """Return a resource after an action, as the API server makes it."""
    patch = engine.ask("act", object=live, action=action)
    metadata = {**live["metadata"], "annotations": patch.get("metadata", {}).get("annotations", {})}
    return {**live, "metadata": metadata, "spec": {**live["spec"], **patch.get("spec", {})}}


@pytest.mark.parametrize("action", ["refresh", "suspend", "pause"])
def test_what_an_action_did_isnt_out_of_sync(engine, action):
    live = after(engine, resource("user", suspend=False, tags={}), action)

    assert not engine.is_out_of_sync(live, user_manifest())


def test_a_suspension_is_out_of_sync_only_where_git_says_otherwise(engine):
    live = after(engine, resource("user", suspend=False), "suspend")

    assert engine.is_out_of_sync(live, user_manifest(suspend=False))


def test_the_file_is_fresh():
    renderer = runpy.run_path(str(ROOT / "packaging" / "render_argocd.py"))

    assert renderer["TARGET"].read_text(encoding="utf-8") == renderer["rendered"]()  # run `make argocd`
