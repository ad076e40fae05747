"""AWS and the API server fail at every call of every story, with every code that the operation may answer."""

import pytest
from tests.world.disturbances import first_calls, rehearse, troubles_of
from tests.world.scenarios import SCENARIOS, Scenario

PARTS = 6
EVERY_SLOW = 11
"""Where AWS takes its time the same calls fail in the same ways, only more often: a sample does."""


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=str)
def test_a_failure_changes_nothing_in_the_end(scenario: Scenario, part: int):
    rehearsal = rehearse(scenario)
    failures = list(rehearsal.failures(thorough=first_calls()[scenario.name]))[:: EVERY_SLOW if scenario.is_slow else 1]

    found = {str(failure): troubles_of(scenario, failure, rehearsal) for failure in failures[part::PARTS]}

    assert {failure: troubles for failure, troubles in found.items() if troubles} == {}
