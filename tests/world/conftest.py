"""What the tests of the planes on the world share."""

from collections.abc import AsyncIterator

import pytest
from tests.world.harness import Ground, ground


@pytest.fixture
async def world() -> AsyncIterator[Ground]:
    async with ground() as made:
        yield made
