"""Many more turns of the state machine of Lease, schedule and refresh, others each time it is seeded otherwise."""

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.world.fuzzing import PROFILE
from tests.world.token_machine import TokenMachine


@pytest.mark.parametrize("number", range(2))
def test_whatever_happens_what_must_hold_holds(number: int):
    @seed(number)
    class Seeded(TokenMachine):
        pass

    run_state_machine_as_test(
        Seeded, settings=settings(PROFILE, derandomize=False, max_examples=40, stateful_step_count=40)
    )
