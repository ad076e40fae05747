"""Conditions: what `kubectl wait`, Flux, Helm and Argo CD read out of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.api.base import Condition, ConditionStatus
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    InvalidSpecError,
    NotOwnedError,
    ThrottledError,
)
from elasticache_iam.core.status import (
    ACCESS_GRANTED,
    GROUP_STAGES,
    MEMBERSHIP_SYNCED,
    MESSAGE_LIMIT,
    READY,
    RECONCILING,
    STALLED,
    TOKEN_DELIVERED,
    USER_STAGES,
    USER_SYNCED,
    VERIFIED,
    Stage,
    next_look_s,
    summarise,
)

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
STAMP = "2026-11-21T09:00:00Z"
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
ALL_OK = tuple(Stage.ok(stage, "Fine", "all is well") for stage in USER_STAGES)


def look(*stages, previous=(), generation=1, now=NOW, order=USER_STAGES):
    return summarise(previous, stages, order=order, generation=generation, now=now, ready_message="can log in")


def by_type(summary):
    return {condition.type: condition for condition in summary.conditions}


def kstatus(conditions, *, generation, observed_generation):
    """Return what kstatus computes for a custom resource.

    Source: sigs.k8s.io/cli-utils, pkg/kstatus/status/core.go: checkGenericProperties, checkReadyCondition.
    """
    if observed_generation != generation:
        return "InProgress"
    found = {condition.type: condition.status.value for condition in conditions}
    if found.get("Reconciling") == "True":
        return "InProgress"
    if found.get("Stalled") == "True":
        return "Failed"
    if found.get("Ready", "True") in {"False", "Unknown"}:
        return "InProgress"
    return "Current"


def with_stages(*changed):
    """Return all stages in order, but for these."""
    replaced = {stage.type: stage for stage in changed}
    return tuple(replaced.get(stage.type, stage) for stage in ALL_OK)


@pytest.mark.parametrize(
    ("stages", "ready", "kstatus_says"),
    [
        pytest.param(ALL_OK, (TRUE, "Ready"), "Current", id="all-in-order-is-ready"),
        pytest.param((), (FALSE, "Pending"), "InProgress", id="nothing-done-yet-is-in-progress"),
        pytest.param(
            with_stages(Stage.waiting(USER_SYNCED, "Creating", "soon", retry_after_s=5.0)),
            (FALSE, "Creating"),
            "InProgress",
            id="waiting-is-in-progress",
        ),
        pytest.param(
            with_stages(Stage.blocked(USER_SYNCED, "NotOwned", "edit")),
            (FALSE, "NotOwned"),
            "Failed",
            id="what-only-an-edit-cures-has-failed",
        ),
        pytest.param(
            with_stages(Stage.unknown(VERIFIED, "Unreachable", "no route")),
            (TRUE, "Ready"),
            "Current",
            id="an-unknown-login-does-not-count",
        ),
        pytest.param(
            with_stages(Stage.waiting(VERIFIED, "LoginRefused", "WRONGPASS", retry_after_s=60.0)),
            (FALSE, "LoginRefused"),
            "InProgress",
            id="a-refused-login-does",
        ),
        pytest.param(ALL_OK[:4], (FALSE, "Pending"), "InProgress", id="a-login-that-wasn't-tried-yet-does"),
    ],
)
def test_ready_sums_up(stages, ready, kstatus_says):
    summary = look(*stages)

    found = by_type(summary)[READY]
    assert (found.status, found.reason) == ready
    assert kstatus(summary.conditions, generation=1, observed_generation=1) == kstatus_says


def test_a_resource_that_was_never_looked_at_is_in_progress():
    assert kstatus((), generation=1, observed_generation=-1) == "InProgress"


def test_a_suspended_resource_neither_stalls_nor_reconciles():
    found = by_type(look(Stage.waiting(MEMBERSHIP_SYNCED, "Suspended", "as asked", retry_after_s=3600.0)))

    assert found[READY].reason == "Suspended"
    assert RECONCILING not in found
    assert STALLED not in found


def test_the_first_stage_that_is_not_in_order_tells_why():
    summary = look(
        *with_stages(
            Stage.waiting(TOKEN_DELIVERED, "Throttled", "later", retry_after_s=5.0),
            Stage.waiting(MEMBERSHIP_SYNCED, "Joining", "soon", retry_after_s=5.0),
        )
    )

    assert by_type(summary)[READY].reason == "Joining"


def test_a_stage_that_was_not_reached_keeps_its_condition():
    before = look(*ALL_OK).conditions

    after = by_type(look(Stage.waiting(USER_SYNCED, "Busy", "wait", retry_after_s=5.0), previous=before))

    assert (after[ACCESS_GRANTED].status, after[ACCESS_GRANTED].reason) == (TRUE, "Fine")


def test_a_stage_that_was_never_reached_is_pending():
    found = by_type(look(Stage.waiting(USER_SYNCED, "Busy", "wait", retry_after_s=5.0)))

    assert (found[VERIFIED].status, found[VERIFIED].reason) == (UNKNOWN, "Pending")


def test_the_same_again_keeps_the_time_and_is_no_transition():
    before = look(*ALL_OK)

    again = look(*ALL_OK, previous=before.conditions, now=NOW + timedelta(hours=1))

    assert again.transitions == ()
    assert again.conditions == before.conditions


def test_a_change_of_status_moves_the_time():
    before = look(*ALL_OK).conditions
    lost = with_stages(Stage.waiting(MEMBERSHIP_SYNCED, "Joining", "soon", retry_after_s=5.0))

    after = look(*lost, previous=before, now=NOW + timedelta(hours=1))

    found = by_type(after)
    assert found[MEMBERSHIP_SYNCED].last_transition_time == "2026-11-21T10:00:00Z"
    assert found[USER_SYNCED].last_transition_time == STAMP
    assert {condition.type for condition in after.transitions} == {READY, MEMBERSHIP_SYNCED, RECONCILING}


def test_a_change_of_reason_alone_is_told_and_keeps_the_time():
    waiting = Stage.waiting(USER_SYNCED, "Creating", "soon", retry_after_s=5.0)
    before = look(waiting).conditions
    busy = Stage.waiting(USER_SYNCED, "Throttled", "later", retry_after_s=5.0)

    after = look(busy, previous=before, now=NOW + timedelta(hours=1))

    assert by_type(after)[USER_SYNCED].last_transition_time == STAMP
    assert USER_SYNCED in {condition.type for condition in after.transitions}


def test_another_request_id_is_no_news():
    def failed(request_id):
        text = f"IAM CreateRole: AccessDenied: no (request id {request_id})"
        return Stage.waiting(ACCESS_GRANTED, "AccessDenied", text, retry_after_s=300.0)

    before = look(failed("one")).conditions

    assert look(failed("two"), previous=before, now=NOW + timedelta(minutes=5)).conditions == before


def test_another_message_is_shown():
    before = look(Stage.waiting(USER_SYNCED, "Busy", "creating", retry_after_s=5.0)).conditions

    after = look(Stage.waiting(USER_SYNCED, "Busy", "modifying", retry_after_s=5.0), previous=before)

    assert by_type(after)[USER_SYNCED].message == "modifying"


def test_a_passing_trouble_leaves_what_was_in_order():
    before = look(*ALL_OK).conditions
    trouble = Stage.failed(USER_SYNCED, ThrottledError("slow down"), is_passing=True)

    after = look(trouble, previous=before)

    assert after.conditions == before


def test_a_passing_trouble_does_not_vouch_for_an_edit():
    before = look(*ALL_OK).conditions
    trouble = Stage.failed(USER_SYNCED, ThrottledError("slow down"), is_passing=True)

    after = by_type(look(trouble, previous=before, generation=2))

    assert (after[READY].status, after[READY].reason) == (FALSE, "Throttled")


def test_a_passing_trouble_is_told_where_nothing_was_in_order_yet():
    trouble = Stage.failed(USER_SYNCED, ThrottledError("slow down"), is_passing=True)

    assert by_type(look(trouble))[READY].reason == "Throttled"


def test_a_long_message_is_cut():
    found = by_type(look(Stage.blocked(USER_SYNCED, "NotOwned", "x" * 10_000)))

    assert len(found[USER_SYNCED].message) == MESSAGE_LIMIT
    assert found[USER_SYNCED].message.endswith("…")


@pytest.mark.parametrize(
    ("error", "stalled", "retry_after_s"),
    [
        (BusyError("wait"), False, 10.0),
        (ThrottledError("slow"), False, 15.0),
        (AccessDeniedError("no"), False, 300.0),
        (InvalidSpecError("edit"), True, 300.0),
        (NotOwnedError("theirs"), True, 300.0),
        (AlreadyExistsError("taken"), False, 300.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_its_stage(error, stalled, retry_after_s):
    stage = Stage.failed(USER_SYNCED, error)

    assert (stage.status, stage.reason, stage.message) == (FALSE, error.reason, error.message)
    assert (stage.stalled, stage.retry_after_s) == (stalled, retry_after_s)


def test_the_next_look_is_the_soonest():
    stages = (
        Stage.ok(USER_SYNCED, "Synced"),
        Stage.waiting(MEMBERSHIP_SYNCED, "Joining", "", retry_after_s=30.0),
        Stage.waiting(ACCESS_GRANTED, "Busy", "", retry_after_s=10.0),
    )

    assert next_look_s(stages) == 10.0
    assert next_look_s(stages[:1]) is None


def stages_of(order):
    def stage(kind):
        return st.one_of(
            st.builds(Stage.ok, st.just(kind), st.just("Fine")),
            st.builds(lambda: Stage.waiting(kind, "Waiting", "w", retry_after_s=1.0)),
            st.builds(lambda: Stage.blocked(kind, "Blocked", "b")),
            st.builds(lambda: Stage.unknown(kind, "CanNotTell", "u")),
            st.just(None),
        )

    return st.tuples(*(stage(kind) for kind in order)).map(lambda found: tuple(each for each in found if each))


@given(order=st.sampled_from([USER_STAGES, GROUP_STAGES]), data=st.data())
def test_any_run_of_passes_reads_rightly(order, data):
    previous: tuple[Condition, ...] = ()
    for number in range(data.draw(st.integers(1, 4))):
        stages = data.draw(stages_of(order))

        summary = look(
            *stages, previous=previous, generation=number + 1, now=NOW + timedelta(hours=number), order=order
        )

        found = by_type(summary)
        before = {condition.type: condition for condition in previous}
        verdict = kstatus(summary.conditions, generation=number + 1, observed_generation=number + 1)
        assert next(iter(found)) == READY
        assert set(order) <= set(found)
        assert not (RECONCILING in found and STALLED in found)
        assert (verdict == "Current") == (found[READY].status is TRUE)
        assert (verdict == "Failed") == any(stage.stalled for stage in stages)
        assert found[READY].observed_generation == number + 1
        for kind, condition in found.items():
            same = kind in before and before[kind].status is condition.status
            expected = before[kind].last_transition_time if same else (NOW + timedelta(hours=number))
            stamp = expected if isinstance(expected, str) else expected.strftime("%Y-%m-%dT%H:%M:%SZ")
            assert condition.last_transition_time == stamp
        previous = summary.conditions
