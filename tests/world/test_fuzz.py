"""Whatever a body holds: no stack trace, nothing foreign touched, and nobody else's tokens suffer."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import Manifest
from tests.world.bodies import bodies
from tests.world.fuzzing import PROFILE, endure


@settings(PROFILE, max_examples=60)
@given(st.lists(bodies(), min_size=1, max_size=5))
def test_any_body_is_endured(thrown: list[Manifest]):
    assert endure(thrown) == []
