"""Logins through the front to a real server."""

import pytest
from redis.exceptions import AuthenticationError
from tests.unit.sandbox.front.one_cache import engine_user, presign, serve


@pytest.fixture
async def served(tmp_path):
    async with serve(tmp_path, engine_user()) as served:
        yield served


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_token_logs_in(served, protocol):
    async with served.client("app", presign(), protocol=protocol) as client:
        whoami = await client.acl_whoami()

    assert whoami == "app"


async def test_a_wrong_signature_is_a_wrong_password(served):
    async with served.client("app", presign()[:-1] + "x") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["WrongSignature"]
