"""What two inventories tell: who gains and loses which access, whose connections end, how roles change."""

from dataclasses import replace

import pytest

from elasticache_iam.core.plan.changes import compare_access, compare_connections, compare_roles, tell_difference
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedRole
from elasticache_iam.core.state import ObservedUser as User

REF = CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod")
READS = "on ~orders:* -@all +@read"
ROLE = ObservedRole("demo-x", "arn:aws:iam::111122223333:role/demo-x", "/", {"Statement": []}, 3600, policies={})


def user(user_id: str = "demo-x", *, name: str | None = None, access: str = READS, mode: str = "iam") -> User:
    return User(user_id, name or user_id, f"arn:{user_id}", "redis", "active", access, mode)


def world(*members: User, attached: bool = True, outside: tuple[User, ...] = ()) -> Inventory:
    group = ObservedGroup("demo-g", "arn:demo-g", "redis", "active", frozenset(member.user_id for member in members))
    cache = ObservedCache(
        REF, "arn:c", "available", "redis", "7.1.0", True, False,  # noqa: FBT003  # tls, no AUTH token
        frozenset({"demo-g"}) if attached else frozenset(), frozenset(), "h", 6379,
    )  # fmt: skip
    return Inventory(
        users={one.user_id: one for one in (*members, *outside)},
        groups={"demo-g": group},
        caches={REF: cache},
        tags={"arn:demo-x": {"elasticache-iam.dev/namespace": "shop", "elasticache-iam.dev/name": "checkout"}},
    )


OFF = user("demo-default", name="default", access="off ~* -@all", mode="password")
OPEN = user("default", name="default", access="on ~* +@all", mode="no-password")


def test_who_joins_a_group_on_a_cache_gains_access():
    (change,) = compare_access(world(OFF, outside=(user(),)), world(OFF, user()))

    assert (change.mark, change.user_id, change.who, change.before, change.after) == (
        "+", "demo-x", "shop/checkout", None, READS,
    )  # fmt: skip


def test_who_leaves_loses_access_and_its_connections():
    before, after = world(OFF, user()), world(OFF, outside=(user(),))

    (change,) = compare_access(before, after)
    (cut,) = compare_connections(before, after)

    assert (change.mark, change.after) == ("-", None)
    assert cut.clients == "user demo-x (shop/checkout)"
    assert "leaves the group" in cut.why


def test_who_is_switched_off_loses_access_and_keeps_its_connections():
    before, after = world(OFF, user()), world(OFF, user(access="off ~orders:* -@all +@read"))

    (change,) = compare_access(before, after)

    assert change.mark == "-"
    assert list(compare_connections(before, after)) == []


def test_the_same_access_in_other_words_is_no_change():
    assert list(compare_access(world(user()), world(user(access="on resetchannels -@all +@read ~orders:*")))) == []


def test_a_group_that_is_on_no_cache_gives_no_access():
    assert list(compare_access(world(attached=False), world(user(), attached=False))) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (world(attached=False), world(OFF), "without a user"),
        (world(OPEN), world(OFF), "as default"),
        (world(attached=False), world(OPEN), ""),
        (world(OFF), world(OFF, user()), ""),
    ],
    ids=[
        "an-open-cache-gets-a-group",
        "the-default-user-is-replaced",
        "an-open-cache-keeps-an-open-default-user",
        "somebody-joins",
    ],
)
def test_clients_without_a_user_are_cut_off_when_their_door_closes(before: Inventory, after: Inventory, said: str):
    cuts = list(compare_connections(before, after))

    assert [said in cut.clients for cut in cuts] == ([True] if said else [])


def test_a_password_in_an_access_string_is_not_told():
    (change,) = compare_access(world(OFF), world(OFF, user(access="on >hunter2 ~* +@all")))

    assert "hunter2" not in str(change)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("on ~a -@all +get", "on ~a ~b -@all +get", ("gains keys ~b",)),
        ("on ~a ~b -@all +get", "on ~a -@all +get", ("loses keys ~b",)),
        ("on ~a &x -@all +get", "on ~a &y -@all +get", ("gains channels y", "loses channels x")),
        ("on ~a -@all +get", "on ~a -@all +get +set", ("gains command SET",)),
        ("on ~a -@all +get", "off ~a -@all +get", ("may not log in any more",)),
        ("on ~a -@all +get", "on ~a -@all +get (~b +set)", ()),
    ],
)
def test_a_difference_of_access_is_told_in_words(before: str, after: str, words: tuple[str, ...]):
    assert tuple(tell_difference(before, after)) == words


def test_many_commands_are_counted():
    (words,) = tell_difference("on ~a -@all", "on ~a +@all")

    assert words.startswith("gains commands ")
    assert words.endswith(" more")


def test_a_new_role_is_all_plus():
    (diff,) = compare_roles({"demo-x": None}, {"demo-x": ROLE})

    assert diff.document == "trust policy"
    assert {line[0] for line in diff.lines} == {"+"}


def test_a_changed_policy_is_a_diff_and_what_is_the_same_is_left_out():
    before = replace(ROLE, policies={"p": {"Action": "a", "Resource": "*"}})
    after = replace(ROLE, policies={"p": {"Action": "b", "Resource": "*"}}, max_session_s=7200)

    policy, session = compare_roles({"demo-x": before}, {"demo-x": after})

    assert [line for line in policy.lines if line[0] in "+-"] == ['-  "Action": "a",', '+  "Action": "b",']
    assert (session.document, session.lines) == ("longest session", ("-3600 s", "+7200 s"))
