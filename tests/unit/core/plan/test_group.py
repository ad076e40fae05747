"""The group's plan: default user first, one change at a time, and only our own are removed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.errors import BusyError, InvalidSpecError
from elasticache_iam.core.plan.group import (
    BUILT_IN_DEFAULT,
    CreateDefaultUser,
    CreateGroup,
    DesiredGroup,
    ModifyGroup,
    plan_group,
)
from elasticache_iam.core.state import ObservedGroup, ObservedUser


def user(user_id, *, status="active", engine="redis", name=None):
    return ObservedUser(user_id, name or user_id, f"arn:{user_id}", engine, status, "off", "iam")


def users(*found):
    return {each.user_id: each for each in found}


def group(*members, **changes):
    return replace(ObservedGroup("g", "arn:g", "redis", "active", user_ids=frozenset(members)), **changes)


DESIRED = DesiredGroup("g", "redis", {"k": "v"}, "d", {"k": "v"}, frozenset({"a"}))
WITHOUT_DEFAULT = replace(DESIRED, default_user_id=None)
D, A, B = user("d", name="default"), user("a"), user("b")


def plan(desired, observed, there, ours=frozenset({"a", "b", "d"})):
    return plan_group(desired, observed, users=users(user(BUILT_IN_DEFAULT), *there), ours=ours)


@pytest.mark.parametrize(
    ("desired", "observed", "there", "actions"),
    [
        pytest.param(DESIRED, None, (), (CreateDefaultUser("d", "redis", {"k": "v"}),), id="the-default-user-is-first"),
        pytest.param(
            DESIRED,
            None,
            (D, A),
            (CreateGroup("g", "redis", frozenset({"d", "a"}), {"k": "v"}),),
            id="the-group-begins-with-who-is-active",
        ),
        pytest.param(
            DESIRED,
            None,
            (D, replace(A, status="creating")),
            (CreateGroup("g", "redis", frozenset({"d"}), {"k": "v"}),),
            id="and-does-not-wait-for-the-others",
        ),
        pytest.param(
            WITHOUT_DEFAULT,
            None,
            (),
            (CreateGroup("g", "redis", frozenset({BUILT_IN_DEFAULT}), {"k": "v"}),),
            id="an-unmanaged-redis-group-keeps-the-built-in-default",
        ),
        pytest.param(
            replace(WITHOUT_DEFAULT, engine="valkey"),
            None,
            (),
            (CreateGroup("g", "valkey", frozenset(), {"k": "v"}),),
            id="a-valkey-group-needs-no-default",
        ),
        pytest.param(DESIRED, group("d", "a"), (D, A), (), id="in-sync-is-nothing-to-do"),
        pytest.param(
            DESIRED,
            group("d"),
            (D, A),
            (ModifyGroup("g", frozenset({"a"}), frozenset()),),
            id="a-new-user-joins",
        ),
        pytest.param(
            replace(DESIRED, member_ids=frozenset({"b"})),
            group("d", "a"),
            (D, A, B),
            (ModifyGroup("g", frozenset({"b"}), frozenset({"a"})),),
            id="joining-and-leaving-are-one-call",
        ),
        pytest.param(
            DESIRED,
            group(BUILT_IN_DEFAULT, "a"),
            (D, A),
            (ModifyGroup("g", frozenset({"d"}), frozenset({BUILT_IN_DEFAULT})),),
            id="the-default-user-is-swapped-in-one-call",
        ),
        pytest.param(DESIRED, group("d", "a", "theirs"), (D, A), (), id="members-of-others-stay"),
        pytest.param(DESIRED, group("d", "a"), (D, replace(A, status="modifying")), (), id="a-busy-member-stays"),
        pytest.param(
            DESIRED, group("d", pending_add=frozenset({"a"})), (D, A), (), id="who-is-joining-is-not-added-twice"
        ),
        pytest.param(
            replace(DESIRED, member_ids=frozenset()),
            group("d", "a", pending_remove=frozenset({"a"})),
            (D, A),
            (),
            id="who-is-leaving-is-not-removed-twice",
        ),
        pytest.param(
            DESIRED, group("d", "a", status="modifying"), (D, A), (), id="a-busy-group-that-is-in-sync-is-fine"
        ),
        pytest.param(
            DESIRED,
            group("d"),
            (D, replace(A, status="creating")),
            (),
            id="who-is-being-created-joins-later",
        ),
    ],
)
def test_plan(desired, observed, there, actions):
    assert plan(desired, observed, there) == actions


@pytest.mark.parametrize(
    ("observed", "there", "error"),
    [
        pytest.param(
            None, (replace(D, status="creating"),), BusyError, id="a-default-user-in-the-making-is-waited-for"
        ),
        pytest.param(group("d", status="modifying"), (D, A), BusyError, id="a-busy-group-is-not-modified"),
        pytest.param(group("d", status="deleting"), (D, A), BusyError, id="a-group-being-deleted-is-waited-for"),
        pytest.param(group("d", engine="valkey"), (D, A), InvalidSpecError, id="an-engine-is-not-changed"),
    ],
)
def test_what_can_not_be_planned_now(observed, there, error):
    with pytest.raises(error):
        plan(DESIRED, observed, there)


def apply(action, observed, there):
    """Carry out one action on the model, as AWS does when it takes no time."""
    match action:
        case CreateDefaultUser(user_id, engine, _):
            return observed, {**there, user_id: user(user_id, engine=engine, name="default")}
        case CreateGroup(group_id, engine, user_ids, _):
            return ObservedGroup(group_id, "arn", engine, "active", user_ids=user_ids), there
        case ModifyGroup(_, add, remove):
            assert add.isdisjoint(observed.user_ids)
            assert remove <= observed.user_ids
            return replace(observed, user_ids=(observed.user_ids | add) - remove), there
    raise AssertionError(action)


IDS = st.frozensets(st.sampled_from("abcdef"), max_size=6)


@given(
    wanted=IDS,
    there=IDS,
    members=st.none() | IDS,
    ours=IDS,
    engine=st.sampled_from(["redis", "valkey"]),
    hardened=st.booleans(),
)
def test_applying_plans_ends_in_nothing_to_do(*, wanted, there, members, ours, engine, hardened):
    default = "x" if hardened and engine == "redis" else None
    desired = DesiredGroup("g", engine, {}, default, {}, wanted)
    known = users(user(BUILT_IN_DEFAULT, name="default"), *(user(each, engine=engine) for each in there))
    first = frozenset() if members is None else (members & there) | {BUILT_IN_DEFAULT}
    observed = None if members is None else ObservedGroup("g", "arn", engine, "active", user_ids=first)
    foreign = first - ours - {BUILT_IN_DEFAULT}

    for _ in range(4):
        actions = plan_group(desired, observed, users=known, ours=ours)
        if not actions:
            break
        for action in actions:
            observed, known = apply(action, observed, known)
            if observed is not None and engine == "redis":
                assert "default" in {known[each].user_name for each in observed.user_ids}

    assert plan_group(desired, observed, users=known, ours=ours) == ()
    assert observed.user_ids & wanted == wanted & there
    assert foreign <= observed.user_ids
