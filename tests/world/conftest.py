"""What all tests of the planes on the world share."""

from collections.abc import AsyncIterator

import pytest
from tests.world.harness import Ground, ground


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep botocore's retries, without its pauses of up to seconds."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
async def world() -> AsyncIterator[Ground]:
    async with ground() as made:
        yield made
