"""The operator dies at every call of every story, at writes before and after they took effect."""

import pytest
from tests.world.disturbances import rehearse, troubles_of
from tests.world.scenarios import SCENARIOS, Scenario

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=str)
def test_a_crash_changes_nothing_in_the_end(scenario: Scenario, part: int):
    rehearsal = rehearse(scenario)

    ends = {
        str(crash): troubles_of(scenario, crash, rehearsal) for crash in list(rehearsal.crash_points())[part::PARTS]
    }

    assert {crash: found for crash, found in ends.items() if found} == {}


def test_there_are_a_thousand_points():
    count = sum(len(list(rehearse(scenario).crash_points())) for scenario in SCENARIOS.values())

    assert count >= 1000
