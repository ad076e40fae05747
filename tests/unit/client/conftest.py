"""A server for redis-py to connect to."""

import pytest
from tests.unit.client.stub import serve_stub


@pytest.fixture
async def stub():
    async with serve_stub() as stub:
        yield stub
