"""What `status` tells of resources: where each stands, what is wrong, what to do next."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.builders import group_manifest, user_manifest

from elasticache_iam.core.overview import State, look_over, overview_document

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"


def condition(kind, status, reason, message="what to do"):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T11:00:00Z",
    }


READY = condition("Ready", "True", "Ready")


def seen(manifest, *conditions, generation=1, observed=1, **status):
    metadata = {**manifest["metadata"], "uid": UID, "generation": generation}
    status = {"observedGeneration": observed, "conditions": list(conditions), "id": "demo-x-1", **status}
    return {**manifest, "metadata": metadata, "status": status}


def cache(name="main", *, delivered=True):
    return {
        "name": name,
        "id": "orders-prod",
        "arn": "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
        "region": "eu-central-1",
        "host": "orders.example",
        "port": 6379,
        **({"secret": {"name": "checkout", "uid": "1"}} if delivered else {}),
    }


def look(*users, groups=(), lives=None):
    return look_over(groups, users, lives=lives, now=NOW, operator_namespace="elasticache-iam")


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        pytest.param((READY,), State.READY, id="ready"),
        pytest.param((condition("Ready", "False", "WaitingForGroup"),), State.WAITING, id="waits"),
        pytest.param(
            (condition("Ready", "False", "NotAdmitted"), condition("Stalled", "True", "NotAdmitted")),
            State.STUCK,
            id="needs-an-edit",
        ),
        pytest.param((condition("Ready", "False", "Suspended"),), State.AT_REST, id="suspended"),
        pytest.param((condition("Ready", "False", "PlanOnly"),), State.AT_REST, id="only-planned"),
        pytest.param((), State.NOT_SEEN, id="never-looked-at"),
    ],
)
def test_conditions_tell_where_a_user_stands(conditions, state):
    (view,) = look(seen(user_manifest(), *conditions)).users

    assert view.state is state


def test_a_newer_version_than_was_looked_at_is_not_ready():
    overview = look(seen(user_manifest(), READY, generation=2))

    assert overview.users[0].state is State.NOT_SEEN
    assert "newest version" in overview.problems[0].message


def test_what_is_ready_is_no_problem():
    overview = look(seen(user_manifest(), READY), groups=[seen(group_manifest(), READY)])

    assert overview.problems == ()


def test_a_user_that_is_not_ready_is_told_with_the_command_that_explains_it():
    refused = condition("Ready", "False", "NotAdmitted", "ask for less")

    (problem,) = look(seen(user_manifest(), refused)).problems

    assert (problem.reason, problem.message) == ("NotAdmitted", "ask for less")
    assert problem.next == "elasticache-iam verify checkout -n shop"


def test_a_group_that_is_not_ready_is_told_before_its_users():
    failing = condition("Ready", "False", "CacheNotFound", "correct the id")

    overview = look(seen(user_manifest(), failing), groups=[seen(group_manifest(), failing)])

    assert [problem.kind for problem in overview.problems] == ["UserGroup", "ElastiCacheIAMUser"]
    assert overview.problems[0].next == "kubectl -n platform describe ecug orders"


def test_a_suspended_user_is_told_how_to_resume_it():
    (problem,) = look(seen(user_manifest(), condition("Ready", "False", "Suspended"))).problems

    assert problem.next == "elasticache-iam resume checkout -n shop"


def test_nobody_looking_is_told_with_where_to_look_for_the_operator():
    (problem,) = look(seen(user_manifest(), observed=-1)).problems

    assert problem.next.startswith("kubectl -n elasticache-iam get pods")


def test_a_paused_user_is_told_although_it_is_ready():
    manifest = user_manifest()
    manifest["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}

    (problem,) = look(seen(manifest, READY)).problems

    assert problem.message.startswith("paused")
    assert problem.next == "kubectl -n shop annotate eciu checkout elasticache-iam.dev/paused-"


def test_a_resource_that_breaks_its_rules_is_shown_all_the_same():
    overview = look(seen(user_manifest(access={"preset": "ReadWrite"}), READY))

    assert overview.users[0].resource.metadata.name == "checkout"
    assert overview.problems[0].reason == "InvalidSpec"


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_has_the_seconds_that_are_left():
    lives = {(UID, "main"): NOW + timedelta(seconds=412, milliseconds=900)}

    (view,) = look(seen(user_manifest(), READY, caches=[cache()]), lives=lives).users

    assert [token.left_s(NOW) for token in view.tokens] == [412]


def test_a_token_whose_life_is_not_noted_is_unknown():
    (view,) = look(seen(user_manifest(), READY, caches=[cache()]), lives={}).users

    assert [token.left_s(NOW) for token in view.tokens] == [None]


def test_a_token_that_has_ended_is_a_problem():
    lives = {(UID, "main"): NOW - timedelta(seconds=1)}

    (problem,) = look(seen(user_manifest(), READY, caches=[cache()]), lives=lives).problems

    assert "the token for main has ended" in problem.message


def test_a_workload_that_signs_for_itself_has_no_token_here():
    user = seen(user_manifest(delivery={"mode": "None"}), READY, caches=[cache(delivered=False)])

    (view,) = look(user, lives={(UID, "main"): NOW}).users

    assert [(token.secret, token.expires_at) for token in view.tokens] == [("", None)]


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_holds_what_the_table_shows():
    lives = {(UID, "main"): NOW + timedelta(seconds=412)}
    group = seen(
        group_manifest(),
        READY,
        members=1,
        caches=[{"name": "main", "id": "orders-prod", "engineVersion": "7.1", "state": "Attached", "port": 6379}],
    )

    document = overview_document(look(seen(user_manifest(), READY, caches=[cache()]), groups=[group], lives=lives))

    (shown_group,), (shown_user,) = document["groups"], document["users"]
    assert shown_group["caches"] == [
        {
            "name": "main",
            "id": "orders-prod",
            "state": "Attached",
            "engineVersion": "7.1",
            "host": None,
            "port": 6379,
        }
    ]
    assert (shown_group["ready"], shown_group["members"], shown_group["engine"]) == (True, 1, "redis")
    assert (shown_user["namespace"], shown_user["name"], shown_user["group"]) == ("shop", "checkout", "platform/orders")
    assert shown_user["tokens"] == [
        {"cache": "main", "cacheId": "orders-prod", "secret": "checkout", "secondsLeft": 412}
    ]
    assert (document["problems"], document["notes"]) == ([], [])
