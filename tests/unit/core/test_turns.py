"""Newcomers at once, the others by need, neither starving the other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.turns import Turns


def taken(turns, now=100.0):
    keys = (turns.take(now) for _ in itertools.count())
    return [key for key, _ in itertools.takewhile(lambda found: found is not None, keys)]


def test_of_what_is_due_the_lowest_rank_goes_first_however_long_others_wait():
    turns = Turns()
    turns.put("long-due", due=1.0, rank=900.0)
    turns.put("ends-soon", due=50.0, rank=200.0)

    assert taken(turns) == ["ends-soon", "long-due"]


def test_what_is_not_due_waits_whatever_its_rank():
    turns = Turns()
    turns.put("later", due=101.0, rank=0.0)

    assert turns.take(100.0) is None
    assert turns.next_due() == 101.0
    assert turns.take(101.0) == ("later", 101.0)


def test_a_newcomer_waits_for_one_of_a_backlog_at_most():
    turns = Turns()
    for number in range(5):
        turns.put(f"old{number}", due=1.0, rank=float(number))
    turns.put("new1", due=99.0, rank=None)
    turns.put("new2", due=99.5, rank=None)

    assert taken(turns) == ["new1", "old0", "new2", "old1", "old2", "old3", "old4"]


def test_a_crowd_of_newcomers_leaves_the_backlog_every_other_turn():
    turns = Turns()
    for number in range(4):
        turns.put(f"new{number}", due=1.0, rank=None)
    turns.put("old0", due=99.0, rank=1.0)
    turns.put("old1", due=99.0, rank=2.0)

    assert taken(turns) == ["new0", "old0", "new1", "old1", "new2", "new3"]


def test_a_key_that_moves_is_due_once():
    turns = Turns()
    turns.put("a", due=1.0, rank=None)
    turns.put("a", due=2.0, rank=7.0)

    assert taken(turns) == ["a"]
    assert len(turns) == 0


def test_what_is_removed_never_comes_up():
    turns = Turns()
    turns.put("a", due=1.0, rank=None)
    turns.put("b", due=1.0, rank=1.0)
    assert turns.take(100.0) == ("a", 1.0)

    turns.remove("b")
    turns.remove("nobody")

    assert turns.take(100.0) is None


def test_the_lateness_is_that_of_what_is_longest_due():
    turns = Turns()
    for key, due, rank in (("a", 90.0, 1.0), ("b", 40.0, 2.0), ("c", 60.0, None), ("d", 95.0, 0.0)):
        turns.put(key, due=due, rank=rank)
    turns.take(100.0)

    assert turns.lateness(100.0) == 60.0


def test_what_cannot_be_helped_is_never_late():
    turns = Turns()
    turns.put("refused", due=10.0, rank=1.0, is_last=True)
    turns.put("others", due=90.0, rank=2.0)

    assert turns.lateness(100.0) == 10.0
    assert turns.take(100.0) == ("others", 90.0)
    assert turns.lateness(100.0) == 0.0


def test_a_rank_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        Turns().put("a", due=1.0, rank=float("nan"))


PUT = st.tuples(st.integers(0, 20), st.floats(0, 200), st.none() | st.floats(0, 1000), st.booleans())


@given(st.lists(PUT, max_size=40), st.integers(2, 5))
def test_all_that_is_due_is_taken_once_and_in_order(puts, newcomers_every):
    turns, kept = Turns(newcomers_every=newcomers_every), {}
    for key, due, rank, is_last in puts:
        turns.put(key, due=due, rank=rank, is_last=is_last, lane=str(key % 3))
        kept[key] = (due, rank, is_last)

    order = taken(turns)

    assert sorted(order) == sorted(key for key, (due, *_) in kept.items() if due <= 100.0)
    ranks = [kept[key][1] for key in order if kept[key][1] is not None and not kept[key][2]]
    assert ranks == sorted(ranks)
    assert turns.take(100.0) is None
    assert len(turns) == sum(due > 100.0 for due, *_ in kept.values())


def test_newcomers_of_different_lanes_take_turns_whoever_came_first():
    turns = Turns()
    for number in range(4):
        turns.put(f"crowd{number}", due=1.0 + number, rank=None, lane="busy")
    turns.put("alone", due=50.0, rank=None, lane="quiet")

    assert taken(turns) == ["crowd0", "alone", "crowd1", "crowd2", "crowd3"]


def test_a_newcomer_that_keeps_coming_back_gets_no_more_turns_than_its_lane():
    turns = Turns()
    turns.put("quiet0", due=1.0, rank=None, lane="quiet")
    turns.put("quiet1", due=1.0, rank=None, lane="quiet")
    served = []
    for _ in range(4):
        turns.put("noisy", due=1.0, rank=None, lane="noisy")
        served += [turns.take(100.0)[0]]

    assert served == ["quiet0", "noisy", "quiet1", "noisy"]


def test_a_lane_whose_only_key_moves_keeps_its_turn():
    turns = Turns()
    for lane in ("a", "b"):
        turns.put(f"{lane}0", due=1.0, rank=None, lane=lane)
        turns.put(f"{lane}1", due=2.0, rank=None, lane=lane)
    turns.put("alone", due=1.0, rank=None, lane="c")
    assert turns.take(100.0) == ("a0", 1.0)

    turns.put("alone", due=3.0, rank=None, lane="c")

    assert taken(turns) == ["b0", "alone", "a1", "b1"]


def test_what_cannot_be_helped_gets_what_others_leave_and_one_turn_in_eight():
    turns = Turns()
    for number in range(16):
        turns.put(f"old{number:02}", due=90.0, rank=float(number))
    for number in range(3):
        turns.put(f"bad{number}", due=1.0, rank=None, is_last=True)

    order = taken(turns)

    assert [order.index(f"bad{number}") for number in range(3)] == [7, 15, 18]


def test_what_cannot_be_helped_takes_turns_by_lane_too():
    turns = Turns()
    for number in range(5):
        turns.put(f"crowd{number}", due=1.0, rank=None, is_last=True, lane="busy")
    turns.put("alone", due=50.0, rank=None, is_last=True, lane="quiet")

    assert taken(turns)[:2] == ["crowd0", "alone"]


def test_of_what_cannot_be_helped_every_other_turn_goes_by_rank():
    turns = Turns()
    for lane in "abc":
        for number in range(3):
            turns.put(f"{lane}{number}", due=float(number), rank=None, is_last=True, lane=lane)
    turns.put("ends-second", due=90.0, rank=20.0, is_last=True, lane="a")
    turns.put("ends-first", due=95.0, rank=10.0, is_last=True, lane="a")

    assert taken(turns)[:5] == ["ends-first", "a0", "ends-second", "b0", "c0"]


def test_newcomers_can_be_given_fewer_turns():
    turns = Turns(newcomers_every=4)
    for number in range(8):
        turns.put(f"new{number}", due=1.0, rank=None)
        turns.put(f"old{number}", due=1.0, rank=float(number))

    order = taken(turns)

    assert [order.index(f"new{number}") for number in range(3)] == [0, 4, 8]
    assert order.index("old7") < 12
