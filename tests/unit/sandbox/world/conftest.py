"""Fixtures of the world's tests."""

import pytest
from tests.unit.sandbox.world.ground import Ground


@pytest.fixture
def aws() -> Ground:
    """A world where changes finish at once and IAM propagates at once."""
    return Ground()


@pytest.fixture
def slow_aws() -> Ground:
    """A world where ElastiCache takes 10 seconds for each change."""
    return Ground(transition_s=10.0)
