"""The pace finds a limit that nobody publishes, and stays just below it."""

import pytest

from elasticache_iam.core.pace import Allowance, Pace


def play(pace, *, limit_per_s, seconds, start=0.0):
    """Ask a service with a limit whenever there is a permit; return how many calls it took and how many it refused."""
    now, saved, took, refused = start, limit_per_s, 0, 0
    while now < start + seconds:
        wait_s = pace.wait_s(now)
        now += wait_s
        saved = min(max(1.0, limit_per_s), saved + wait_s * limit_per_s)
        pace.take(now)
        if saved >= 1:
            saved -= 1
            took += 1
            pace.succeeded()
        else:
            refused += 1
            pace.throttled(now)
    return took, refused


@pytest.mark.parametrize("limit_per_s", [1.0, 2.0, 5.0, 20.0])
def test_a_limit_is_used_almost_whole_and_rarely_hit(limit_per_s):
    pace = Pace()
    play(pace, limit_per_s=limit_per_s, seconds=120)

    took, refused = play(pace, limit_per_s=limit_per_s, seconds=600, start=120.0)

    assert took >= 0.7 * limit_per_s * 600
    assert refused <= 0.25 * took


def test_a_limit_that_is_raised_is_found_out():
    pace = Pace()
    play(pace, limit_per_s=2.0, seconds=120)

    play(pace, limit_per_s=100.0, seconds=120, start=120.0)

    assert pace.per_s == 50.0


def test_however_much_is_refused_it_goes_on_asking():
    pace = Pace()

    for second in range(100):
        pace.throttled(float(second) * 2)

    assert pace.per_s == 0.5
    assert pace.wait_s(198.0) <= 2.0


def test_calls_that_are_refused_together_count_once():
    pace = Pace()

    for _ in range(8):
        pace.throttled(10.0)

    assert pace.per_s == 8.0


def test_who_asks_rarely_learns_nothing():
    pace = Pace()

    for second in range(100):
        pace.take(float(second))
        pace.succeeded()

    assert pace.per_s == 10.0


def test_the_first_call_after_a_pause_waits_for_nothing():
    pace = Pace()
    pace.take(1.0)

    assert pace.wait_s(1.05) == pytest.approx(0.05)
    assert pace.wait_s(60.0) == 0.0


# -- allowances --------------------------------------------------------------------------------------------------------


def test_an_allowance_gives_some_at_once_and_then_one_each_so_often():
    allowance: Allowance[str] = Allowance(at_once=3, every_s=10.0)
    now, calls = 0.0, []
    while now < 60.0:
        now = allowance.free_at("greedy", now)
        allowance.take("greedy", now)
        calls.append(now)

    assert calls == [0.0, 0.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert allowance.free_at("other", 60.0) == 60.0


def test_who_has_rested_has_the_whole_allowance_again():
    allowance: Allowance[str] = Allowance(at_once=2, every_s=10.0)
    allowance.take("a", 0.0)
    allowance.take("a", 0.0)
    assert allowance.free_at("a", 1.0) == 10.0

    allowance.take("a", 100.0)

    assert allowance.free_at("a", 100.0) == 100.0


def test_a_call_that_is_given_back_was_none():
    allowance: Allowance[str] = Allowance(at_once=1, every_s=10.0)
    allowance.take("a", 0.0)

    allowance.give_back("a")
    allowance.give_back("nobody")

    assert allowance.free_at("a", 0.0) == 0.0


def test_nobody_is_remembered_for_longer_than_it_matters():
    allowance: Allowance[int] = Allowance(at_once=2, every_s=10.0)
    for key in range(10_000):
        allowance.take(key, float(key))

    assert len(allowance._whole_at) < 200
