"""A few hundred turns of the state machine; `make soak` takes many more."""

from hypothesis import settings
from tests.world.fuzzing import PROFILE
from tests.world.token_machine import TokenMachine

TestTokenMachine = TokenMachine.TestCase
TestTokenMachine.settings = settings(PROFILE, max_examples=12, stateful_step_count=25)


def test_a_leader_that_is_stopped_in_the_middle_of_a_write_gives_it_up():
    machine = TokenMachine()
    machine.begin()
    machine.a_user_comes(name="a", is_denied=False)
    machine.time_passes(seconds=61.0)

    machine.the_leader_is_paused_in_the_middle_of_a_write()
    machine.time_passes(seconds=61.0)
    machine.all_go_on()
    machine.time_passes(seconds=1.0)

    assert [name for _, name in machine.stage.elections] == ["replica-1", "replica-2"]
    assert machine.stage.troubles == []
    machine.teardown()
