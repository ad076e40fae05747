"""The plan of tags."""

import pytest

from elasticache_iam.core.plan.tags import TagChange, plan_tags

OWNER, UID, ORPHANED = "elasticache-iam.dev/owner", "elasticache-iam.dev/uid", "elasticache-iam.dev/orphaned"
DESIRED = {OWNER: "demo", UID: "1", "team": "a"}
ALLOWED = ("team", "stage", "elasticache-iam.dev/allow")


@pytest.mark.parametrize(
    ("observed", "change"),
    [
        pytest.param(DESIRED, None, id="in-sync"),
        pytest.param({**DESIRED, "cost": "1"}, None, id="tags-of-others-stay"),
        pytest.param({**DESIRED, "team": "b"}, TagChange({"team": "a"}), id="another-value-is-replaced"),
        pytest.param({**DESIRED, "stage": "x"}, TagChange({}, frozenset({"stage"})), id="what-was-once-asked-goes"),
        pytest.param({**DESIRED, ORPHANED: "t"}, TagChange({}, frozenset({ORPHANED})), id="the-mark-of-an-orphan-goes"),
        pytest.param({**DESIRED, "elasticache-iam.dev/allow": "demo"}, None, id="the-owners-consent-stays"),
        pytest.param({}, TagChange(DESIRED), id="all-are-set"),
    ],
)
def test_plan(observed, change):
    assert plan_tags(DESIRED, observed, allowed=ALLOWED) == change


def test_of_an_adopted_object_no_tag_of_its_maker_is_taken_off():
    observed = {**DESIRED, "stage": "x", ORPHANED: "t"}

    assert plan_tags(DESIRED, observed, allowed=ALLOWED, is_ours_alone=False) == TagChange({}, frozenset({ORPHANED}))


@pytest.mark.parametrize(
    ("change", "is_restored"),
    [
        (TagChange({UID: "2"}), True),
        (TagChange({UID: "2"}, frozenset({ORPHANED})), True),
        (TagChange({UID: "2", "team": "a"}), False),
        (TagChange({}, frozenset({"stage"})), False),
    ],
)
def test_another_uid_alone_is_a_restored_cluster(change, is_restored):
    assert change.is_of_a_restored_cluster is is_restored
