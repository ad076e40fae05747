"""The operator dies at any call of any story; its successor ends where no crash would have.

Every 13th point here, all of them in tests/soak.
"""

import pytest
from tests.world.disturbances import rehearse, troubles_of
from tests.world.scenarios import SCENARIOS, Scenario

EVERY = 13
NUMBERED = list(enumerate(SCENARIOS.values()))


@pytest.mark.parametrize(("number", "scenario"), NUMBERED, ids=SCENARIOS)
def test_a_crash_changes_nothing_in_the_end(number: int, scenario: Scenario):
    rehearsal = rehearse(scenario)

    ends = {
        str(crash): troubles_of(scenario, crash, rehearsal)
        for crash in list(rehearsal.crash_points())[number % EVERY :: EVERY]
    }

    assert ends
    assert {crash: found for crash, found in ends.items() if found} == {}
