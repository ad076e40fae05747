"""Orders by a change of the resource: what is changed, when it is done, when it can't be."""

import pytest
from tests.builders import user_manifest

from elasticache_iam.core.orders import Order, patch_of, progress_of, refusal_of

STAMP = "2026-11-21T12:00:00.000001Z"


def user(*, reason="Ready", status="True", generation=3, observed=3, refresh="", **spec):
    body = user_manifest(**spec)
    body["metadata"]["generation"] = generation
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "why"}
    return {**body, "status": {"observedGeneration": observed, "conditions": [ready], "refresh": refresh}}


def paused(**spec):
    body = user(**spec)
    body["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}
    return body


@pytest.mark.parametrize(
    ("order", "patch"),
    [
        (Order.SUSPEND, {"spec": {"suspend": True}}),
        (Order.RESUME, {"spec": {"suspend": False}}),
        (Order.REFRESH, {"metadata": {"annotations": {"elasticache-iam.dev/refresh": STAMP}}}),
    ],
)
def test_an_order_is_one_small_change(order, patch):
    assert patch_of(order, stamp=STAMP) == patch


@pytest.mark.parametrize(
    ("order", "body", "is_done"),
    [
        pytest.param(Order.REFRESH, user(refresh=STAMP), True, id="refreshed"),
        pytest.param(Order.REFRESH, user(refresh="an earlier one"), False, id="not-refreshed-yet"),
        pytest.param(Order.SUSPEND, user(reason="Suspended", status="False"), True, id="suspended"),
        pytest.param(Order.SUSPEND, user(), False, id="not-suspended-yet"),
        pytest.param(
            Order.SUSPEND, user(reason="Suspended", status="False", observed=2), False, id="suspended-by-an-older-spec"
        ),
        pytest.param(Order.RESUME, user(), True, id="resumed"),
        pytest.param(Order.RESUME, user(observed=2), False, id="ready-by-an-older-spec"),
        pytest.param(Order.RESUME, user(reason="Suspended", status="False"), False, id="not-resumed-yet"),
    ],
)
def test_an_order_is_done_when_the_status_says_so(order, body, is_done):
    assert progress_of(order, body, stamp=STAMP).is_done is is_done


def test_how_far_it_has_come_is_the_condition():
    assert progress_of(Order.RESUME, user(reason="Throttled", status="False"), stamp=STAMP).says == "Throttled: why"


def test_a_user_that_nobody_has_looked_at_has_not_come_far():
    body = {**user(), "status": {"observedGeneration": -1}}

    assert progress_of(Order.RESUME, body, stamp=STAMP).says == "not looked at yet"


@pytest.mark.parametrize(
    ("order", "body", "refusal"),
    [
        (Order.REFRESH, user(suspend=True), "it is suspended: resume it first"),
        (Order.REFRESH, user(delivery={"mode": "None"}), "delivery.mode is None"),
        (Order.REFRESH, user(), ""),
        (Order.SUSPEND, user(suspend=True), ""),
        (Order.SUSPEND, paused(), "it is paused, so nothing would be done"),
        (Order.RESUME, paused(suspend=True), ""),
        (Order.REFRESH, paused(), ""),
        (Order.RESUME, user(), ""),
    ],
    ids=[
        "refresh-suspended",
        "refresh-self-signing",
        "refresh",
        "suspend-twice",
        "suspend-paused",
        "resume-paused",
        "refresh-paused",
        "resume-twice",
    ],
)
def test_what_can_not_be_done_is_refused_before(order, body, refusal):
    assert refusal_of(order, body).startswith(refusal)
    assert bool(refusal_of(order, body)) is bool(refusal)


def test_who_may_not_suspend_a_paused_user_is_told_how_to_let_it_go_on():
    assert refusal_of(Order.SUSPEND, paused()).endswith(
        "kubectl -n shop annotate eciu checkout elasticache-iam.dev/paused-"
    )
