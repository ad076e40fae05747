"""The front under hostile RESP for minutes.

tests/contract/test_front_fuzz.py is the short form, and says what holds.
"""

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.contract.hostile import (
    BAD_PASSWORDS,
    CUTS,
    GOOD_PASSWORDS,
    PROFILE,
    USERS,
    besieged,
    check_nobody_gets_further,
    check_nobody_gets_in,
    streams,
)
from tests.unit.sandbox.front.one_cache import open_default

ROUNDS, EXAMPLES = 2, 250
LONGEST = 25
ANY_PASSWORD = st.one_of(GOOD_PASSWORDS, BAD_PASSWORDS)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_nobody_gets_in_without_a_good_token(tmp_path, number):
    with besieged(tmp_path) as target:

        @seed(number)
        @settings(PROFILE, derandomize=False, max_examples=EXAMPLES)
        @given(streams(BAD_PASSWORDS, longest=LONGEST), CUTS)
        def attack(stream, cuts):
            check_nobody_gets_in(target, stream, cuts)

        attack()
        assert target.answers_others()


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("users", [USERS, (*USERS, open_default())], ids=["closed", "open"])
def test_nobody_gets_further_than_their_token(tmp_path, number, users):
    with besieged(tmp_path, *users) as target:

        @seed(number)
        @settings(PROFILE, derandomize=False, max_examples=EXAMPLES)
        @given(streams(ANY_PASSWORD, longest=LONGEST), CUTS)
        def attack(stream, cuts):
            check_nobody_gets_further(target, stream, cuts)

        attack()
        assert target.answers_others()


def test_a_flood_of_strangers_is_answered_and_forgotten(tmp_path):
    """So many hostile connections one after the other leave nothing behind that grows."""
    with besieged(tmp_path) as target:

        @settings(PROFILE, max_examples=300)
        @given(streams(BAD_PASSWORDS, longest=3))
        def attack(stream):
            target.attack(stream, "whole")

        attack()
        assert not target.front.sessions
        assert len(target.served.fronts.refusals()) <= 1000
        assert target.answers_others()
