"""Many more bodies than the other tests throw, and more of them at once."""

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.world.bodies import bodies
from tests.world.fuzzing import PROFILE, endure


@pytest.mark.parametrize("number", range(4))
def test_any_body_is_endured(number: int):
    @seed(number)
    @settings(PROFILE, derandomize=False, max_examples=150)
    @given(st.lists(bodies(), min_size=1, max_size=8))
    def throw(thrown):
        assert endure(thrown) == []

    throw()
