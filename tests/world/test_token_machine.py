"""A few hundred turns of the state machine; `make soak` takes many more."""

from hypothesis import settings
from tests.world.fuzzing import PROFILE
from tests.world.token_machine import TokenMachine

TestTokenMachine = TokenMachine.TestCase
TestTokenMachine.settings = settings(PROFILE, max_examples=12, stateful_step_count=25)
