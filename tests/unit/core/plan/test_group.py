"""The group's plan: default user first, one change at a time, and only our own are removed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.errors import BusyError, InvalidSpecError, OperatorError
from elasticache_iam.core.plan.group import (
    BUILT_IN_DEFAULT,
    MAX_MEMBERS,
    CreateDefaultUser,
    CreateGroup,
    DesiredGroup,
    DisableDefaultUser,
    ModifyGroup,
    SetGroupEngine,
    describe,
    foretell_group,
    is_full,
    plan_group,
    plan_members,
)
from elasticache_iam.core.state import ObservedGroup, ObservedUser


def user(user_id, *, status="active", engine="redis", name=None, mode="iam"):
    return ObservedUser(user_id, name or user_id, f"arn:{user_id}", engine, status, "off", mode)


def users(*found):
    return {each.user_id: each for each in found}


def group(*members, **changes):
    return replace(ObservedGroup("g", "arn:g", "redis", "active", user_ids=frozenset(members)), **changes)


BUILT_IN = user(BUILT_IN_DEFAULT, mode="no-password")
DESIRED = DesiredGroup("g", "redis", {"k": "v"}, "d", {"k": "v"}, ("a",))
WITHOUT_DEFAULT = replace(DESIRED, default_user_id=None)
D, A, B = user("d", name="default"), user("a"), user("b")


def plan(desired, observed, there, ours=frozenset({"a", "b", "d"})):
    return plan_group(desired, observed, users=users(BUILT_IN, *there), ours=ours)


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
            replace(DESIRED, member_ids=("b",)),
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
            replace(DESIRED, member_ids=()),
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


# -- who goes and who comes -------------------------------------------------------------------------------------------


def modify(add=(), remove=()):
    return ModifyGroup("g", frozenset(add), frozenset(remove))


THEIRS = user("theirs")
EXCLUSIVE = replace(DESIRED, is_exclusive=True)


@pytest.mark.parametrize(
    ("observed", "there", "actions"),
    [
        pytest.param(group("d", "a", "theirs"), (D, A, THEIRS), (modify(remove=["theirs"]),), id="others-go"),
        pytest.param(group("d", "a", "gone"), (D, A), (modify(remove=["gone"]),), id="also-those-we-know-nothing-of"),
        pytest.param(group("d", "a"), (D, A), (), id="who-is-asked-for-stays"),
        pytest.param(group("d", "a", "default.redis.x"), (D, A), (), id="what-aws-manages-stays"),
        pytest.param(
            group("d", "a", "theirs", pending_remove=frozenset({"theirs"})), (D, A, THEIRS), (), id="who-leaves-leaves"
        ),
    ],
)
def test_an_exclusive_group_holds_nobody_else(observed, there, actions):
    assert plan(EXCLUSIVE, observed, there) == actions


def test_an_exclusive_valkey_group_keeps_the_default_user_it_was_upgraded_with():
    desired = replace(EXCLUSIVE, engine="valkey")

    assert plan(desired, group("d", "a", engine="valkey"), (D, A)) == ()


@pytest.mark.parametrize(
    "default",
    [None, replace(D, status="modifying"), replace(D, access_string="on ~* +@all")],
    ids=["to-be-made", "busy", "enabled-by-somebody"],
)
def test_who_has_to_go_does_not_wait_for_the_default_user(default):
    there = (A, B, *((default,) if default is not None else ()))

    actions = plan(replace(DESIRED, member_ids=()), group("x", "b"), there)

    assert modify(remove=["b"]) in actions


def test_a_default_user_that_somebody_enabled_is_disabled():
    enabled = replace(D, access_string="on ~* +@all")

    assert plan(DESIRED, group("d", "a"), (enabled, A)) == (DisableDefaultUser("d"),)


@pytest.mark.parametrize(
    ("bad", "engine", "why"),
    [
        pytest.param(None, "redis", "no such user", id="missing"),
        pytest.param(user("x", status="deleting"), "redis", "deleting", id="deleting"),
        pytest.param(user("x", engine="valkey"), "redis", "engine valkey", id="a-valkey-user-in-a-redis-group"),
        pytest.param(user("x", mode="no-password"), "valkey", "no password", id="one-without-password-in-valkey"),
        pytest.param(user("x", name="a"), "redis", "named a", id="of-the-same-name"),
        pytest.param(user("x", name="default"), "redis", "named default", id="another-default-user"),
    ],
)
def test_one_that_aws_refuses_keeps_nobody_out(bad, engine, why):
    desired = replace(DESIRED, engine=engine, member_ids=("a", "x", "b"), default_user_id="d")
    there = users(BUILT_IN, D, A, B, *((bad,) if bad is not None else ()))

    members = plan_members(desired, group("d", engine=engine), users=there, ours=frozenset())

    assert members.add == {"a", "b"}
    assert why in members.refused["x"]


@pytest.mark.parametrize("engine", ["redis", "valkey"])
def test_an_acl_takes_any_member(engine):
    desired = replace(WITHOUT_DEFAULT, engine="", member_ids=("a",))
    there = (user("a", engine=engine),)

    assert plan(desired, group(engine=""), there) == (modify(add=["a"]),)
    assert plan(desired, None, there) == (CreateGroup("g", "", frozenset({"a"}), {"k": "v"}),)


# -- a full group -----------------------------------------------------------------------------------------------------

CROWD = tuple(f"m{number:03}" for number in range(MAX_MEMBERS + 5))


def test_a_full_group_takes_the_first_and_names_the_others():
    desired = replace(DESIRED, member_ids=CROWD)
    there = users(D, *(user(each) for each in CROWD))

    members = plan_members(desired, group("d", *CROWD[:90]), users=there, ours=frozenset(CROWD))

    assert members.add == set(CROWD[90 : MAX_MEMBERS - 1])
    assert members.without_room == CROWD[MAX_MEMBERS - 1 :]


def test_who_is_in_a_full_group_stays_when_an_older_one_comes():
    desired = replace(DESIRED, member_ids=("oldest", *CROWD[: MAX_MEMBERS - 1]))
    there = users(D, user("oldest"), *(user(each) for each in CROWD))
    full = group("d", *CROWD[: MAX_MEMBERS - 1])

    members = plan_members(desired, full, users=there, ours=frozenset(CROWD))

    assert is_full(full)
    assert not members.add
    assert not members.remove
    assert members.without_room == ("oldest",)


def test_a_place_that_is_given_up_is_taken_in_the_same_call():
    desired = replace(DESIRED, member_ids=CROWD[1 : MAX_MEMBERS + 1])
    there = users(D, *(user(each) for each in CROWD))

    members = plan_members(desired, group("d", *CROWD[: MAX_MEMBERS - 1]), users=there, ours=frozenset(CROWD))

    assert (members.add, members.remove) == ({CROWD[MAX_MEMBERS - 1]}, {CROWD[0]})
    assert members.without_room == (CROWD[MAX_MEMBERS],)


def test_a_new_group_begins_with_as_many_as_it_can_hold():
    desired = replace(DESIRED, member_ids=CROWD)

    (action,) = plan_group(desired, None, users=users(D, *(user(each) for each in CROWD)), ours=frozenset())

    assert action.user_ids == {"d", *CROWD[: MAX_MEMBERS - 1]}


# -- redis -> valkey --------------------------------------------------------------------------------------------------

UPGRADE = replace(DESIRED, engine="valkey")


@pytest.mark.parametrize(
    ("observed", "there", "actions"),
    [
        pytest.param(group("d", "a"), (D, A), (SetGroupEngine("g", "valkey"),), id="in-order-it-is-upgraded"),
        pytest.param(
            group(BUILT_IN_DEFAULT, "a"),
            (D, A),
            (modify(add=["d"], remove=[BUILT_IN_DEFAULT]),),
            id="the-built-in-default-goes-first",
        ),
        pytest.param(
            group(BUILT_IN_DEFAULT, "a"), (A,), (CreateDefaultUser("d", "redis", {"k": "v"}),), id="as-a-redis-group"
        ),
        pytest.param(
            group("d"),
            (D, user("a", engine="valkey")),
            (SetGroupEngine("g", "valkey"),),
            id="valkey-users-join-after-it",
        ),
        pytest.param(group("d", "a", engine="valkey"), (D, A), (), id="done-is-done"),
    ],
)
def test_upgrade(observed, there, actions):
    assert plan(UPGRADE, observed, there) == actions


@pytest.mark.parametrize(
    ("observed", "there", "caches", "reason"),
    [
        pytest.param(group("d", "a"), (D, A), {"orders"}, "EngineMismatch", id="on-a-redis-cache"),
        pytest.param(
            group("d", "a", "x"), (D, A, user("x", mode="no-password")), set(), "PasswordlessMember", id="no-password"
        ),
        pytest.param(group("d", "a", status="modifying"), (D, A), set(), "Busy", id="a-busy-group"),
    ],
)
def test_an_upgrade_that_has_to_wait(observed, there, caches, reason):
    with pytest.raises(OperatorError) as caught:
        plan_group(UPGRADE, observed, users=users(BUILT_IN, *there), ours=frozenset(), redis_caches=frozenset(caches))

    assert caught.value.reason == reason


def test_a_blocked_upgrade_names_the_cache_and_lets_go_who_has_to():
    desired = replace(UPGRADE, member_ids=())
    with pytest.raises(InvalidSpecError, match="orders"):
        plan_group(desired, group("d"), users=users(D), ours=frozenset(), redis_caches=frozenset({"orders"}))

    actions = plan_group(
        desired, group("d", "a"), users=users(D, A), ours=frozenset({"a"}), redis_caches=frozenset({"orders"})
    )

    assert actions == (modify(remove=["a"]),)


def test_a_lent_group_keeps_its_engine():
    with pytest.raises(InvalidSpecError) as caught:
        plan(replace(UPGRADE, is_lent=True, default_user_id=None), group("d", "a"), (D, A))

    assert caught.value.reason == "EngineMismatch"


def test_nobody_joins_a_group_of_the_wrong_engine():
    with pytest.raises(InvalidSpecError):
        plan(DESIRED, group("d", engine="valkey"), (D, A))


# -- told beforehand --------------------------------------------------------------------------------------------------


def test_what_an_adoption_brings_is_told_to_the_end():
    desired = replace(EXCLUSIVE, engine="valkey")

    actions = foretell_group(desired, group(BUILT_IN_DEFAULT, "theirs"), users=users(BUILT_IN, A, THEIRS))

    assert "; ".join(describe(action) for action in actions) == (
        "create the disabled default user d; add a, remove theirs; add d, remove default; make it a valkey group"
    )


# -- plan and apply ---------------------------------------------------------------------------------------------------


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
    desired = DesiredGroup("g", engine, {}, default, {}, tuple(sorted(wanted)))
    known = users(user(BUILT_IN_DEFAULT), *(user(each, engine=engine) for each in there))
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
