"""Repairs: at once as a rule, ever slower in a fight."""

import pytest

from elasticache_iam.core.drift import FIGHT_REPAIRS, RepairLog

THING = ("resource", "the trust of role demo-x")


@pytest.fixture
def log():
    return RepairLog(interval_s=300.0)


def fight(log, *, turns, now_s=0.0):
    """Repair as soon as that is allowed; return the pauses."""
    pauses = []
    for _ in range(turns):
        pauses.append(log.wait_s(THING, now_s))
        now_s += pauses[-1]
        log.note(THING, now_s)
    return pauses


def test_the_first_repairs_are_done_at_once(log):
    assert fight(log, turns=FIGHT_REPAIRS) == [0.0] * FIGHT_REPAIRS


def test_a_fight_gets_slower_and_never_ends(log):
    pauses = fight(log, turns=10)[FIGHT_REPAIRS:]

    assert pauses[0] == 600.0
    assert pauses == sorted(pauses)
    assert max(pauses) == 3600.0


def test_after_a_long_peace_a_change_is_repaired_at_once(log):
    fight(log, turns=5)

    assert log.wait_s(THING, 100_000.0) == 0.0


def test_another_thing_is_no_part_of_the_fight(log):
    fight(log, turns=5)

    assert log.wait_s(("resource", "the tags of role demo-x"), 0.0) == 0.0


def test_a_resource_that_is_gone_is_forgotten(log):
    fight(log, turns=5)

    log.forget("resource")

    assert log.count(THING, 0.0) == 0
