"""When tokens and sessions are replaced."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.refresh import next_refresh, proof_day, retry_delay_s, session_renew_at, spread_of

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPREADS = st.floats(0, 1, exclude_max=True)
HOUR = 3600.0


def renewed_after_s(life_s: float, *, spread: float = 0.5, token_s: float = 900.0) -> float:
    renew_at = session_renew_at(START, START + timedelta(seconds=life_s), spread=spread, token_s=token_s)
    return (renew_at - START).total_seconds()


@given(key=st.lists(st.text(), max_size=3).map(tuple))
def test_a_spread_is_in_its_window(key: tuple[str, ...]):
    assert 0 <= spread_of(key) < 1


def test_a_spread_is_the_same_after_a_restart():
    assert spread_of(("shop", "checkout", "main")) == 0.4067842983879352


def test_spreads_of_many_keys_are_even():
    spreads = [spread_of(("shop", f"user-{number}")) for number in range(10_000)]

    counts = [sum(1 for spread in spreads if int(spread * 10) == tenth) for tenth in range(10)]
    assert min(counts) > 900
    assert max(counts) < 1100


def test_parts_of_a_key_are_told_apart():
    assert spread_of(("ab", "c")) != spread_of(("a", "bc"))


@given(life_s=st.floats(1, 900), spread=SPREADS)
def test_a_token_is_replaced_between_40_and_50_percent_of_its_life(life_s: float, spread: float):
    due = next_refresh(START, START + timedelta(seconds=life_s), spread=spread)

    share = (due - START).total_seconds() / life_s
    assert 0.4 - 1e-5 <= share <= 0.5 + 1e-5


def test_a_full_token_keeps_at_least_450_seconds():
    due = next_refresh(START, START + timedelta(seconds=900), spread=0.999999)

    assert START + timedelta(seconds=900) - due >= timedelta(seconds=450)


def test_a_token_that_ended_before_it_began_is_due_at_once():
    assert next_refresh(START, START - timedelta(seconds=5), spread=0.3) == START


@pytest.mark.parametrize("spread", [-0.1, 1.0, float("nan")])
def test_a_spread_out_of_range_is_refused(spread: float):
    with pytest.raises(ValueError, match="spread"):
        next_refresh(START, START + timedelta(seconds=900), spread=spread)
    with pytest.raises(ValueError, match="spread"):
        retry_delay_s(1, spread=spread, remaining_s=900)
    with pytest.raises(ValueError, match="spread"):
        session_renew_at(START, START + timedelta(hours=1), spread=spread, token_s=900)


def test_the_first_retry_comes_after_a_second():
    assert retry_delay_s(1, spread=0.0, remaining_s=500) == 1.0


def test_retries_double():
    delays = [retry_delay_s(attempt, spread=0.0, remaining_s=900) for attempt in range(1, 8)]

    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_keys_that_failed_together_come_back_apart():
    assert retry_delay_s(5, spread=0.9, remaining_s=900) - retry_delay_s(5, spread=0.1, remaining_s=900) > 5


@given(attempt=st.integers(0, 10_000), spread=SPREADS, remaining_s=st.floats(-1000, 900))
def test_a_retry_is_never_later_than_a_tenth_of_what_remains(attempt: int, spread: float, remaining_s: float):
    delay_s = retry_delay_s(attempt, spread=spread, remaining_s=remaining_s)

    assert 1.0 <= delay_s <= 30.0
    assert remaining_s <= 0 or delay_s <= max(1.0, remaining_s / 10)


@given(life_s=st.floats(2 * HOUR, 12 * HOUR), spread=SPREADS, token_s=st.floats(10, 900))
def test_a_long_session_is_renewed_while_it_still_outlives_a_token(life_s: float, spread: float, token_s: float):
    renewed_s = renewed_after_s(life_s, spread=spread, token_s=token_s)

    assert life_s - renewed_s >= token_s + 300 - 1e-3
    assert renewed_s >= life_s / 2


def test_a_twelve_hour_session_is_renewed_at_68_to_90_percent():
    assert renewed_after_s(12 * HOUR, spread=0.0) == pytest.approx(0.675 * 12 * HOUR)
    assert renewed_after_s(12 * HOUR, spread=0.999999) == pytest.approx(0.9 * 12 * HOUR, rel=1e-4)


def test_an_hours_session_still_gives_full_tokens():
    assert renewed_after_s(HOUR, spread=0.999999) <= HOUR - 900 - 300


@given(spread=SPREADS, token_s=st.floats(900, 1200))
def test_a_session_as_short_as_its_token_is_renewed_with_it(spread: float, token_s: float):
    session_end = START + timedelta(seconds=900)

    renew_at = session_renew_at(START, session_end, spread=spread, token_s=token_s)

    assert renew_at <= next_refresh(START, session_end, spread=spread)


@given(life_s=st.floats(0, 12 * HOUR), spread=SPREADS, token_s=st.floats(1, 900))
def test_a_session_is_never_renewed_before_40_nor_after_90_percent(life_s: float, spread: float, token_s: float):
    renewed_s = renewed_after_s(life_s, spread=spread, token_s=token_s)

    assert 0.4 * life_s - 1e-3 <= renewed_s <= 0.9 * life_s + 1e-3


def test_each_keys_day_begins_at_its_own_time_and_once_in_24_hours():
    midnight = datetime(2026, 1, 2, tzinfo=UTC)

    for spread in (0.0, 0.25, 0.75):
        begins = midnight + timedelta(days=spread)
        before, after = (proof_day(begins + timedelta(seconds=s), spread=spread) for s in (-1, 1))
        assert after == before + 1
        assert proof_day(begins + timedelta(hours=23, minutes=59), spread=spread) == after
