"""Every way to fail, at the client: always WRONGPASS, the reason for the test ground alone."""

from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.unit.sandbox.front.forged import FORGED, TOKEN
from tests.unit.sandbox.front.one_cache import (
    NOW,
    cache_view,
    engine_user,
    presign,
    raw,
    serve,
    signing_identity,
)

from elasticache_iam_sandbox.world.call import ConnectDecision

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS = (
    engine_user(),
    engine_user("off", access_string="off ~* +@all"),
    engine_user("reader", auth_mode="password", password_sha256=("ab" * 32,)),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory):
    """Serve one cache for the whole file: refused logins leave nothing behind."""
    async with serve(tmp_path_factory.mktemp("front"), *USERS) as served:
        yield served


@pytest.fixture
def served(front):
    """Hold the clock at NOW and forget what the last test changed."""
    world = front.world
    world.time, world.view, world.identity = NOW, cache_view(*USERS), signing_identity()
    world.decision = ConnectDecision(allowed=True, reason="Allowed")
    return front


def auth(user: str, password: str) -> bytes:
    return b"AUTH %s %s\r\n" % (user.encode(), password.encode() or b'""')


def hello(user: str, password: str) -> bytes:
    return b"HELLO 3 AUTH %s %s\r\n" % (user.encode(), password.encode() or b'""')


async def assert_refused(served, user: str, password: str, reason: str, *, command=auth):
    async with raw(served) as connection:
        await connection.send(command(user, password), b"PING\r\n")

        assert (await connection.line()).startswith(b"-WRONGPASS invalid username-password pair")
        assert (await connection.line()).startswith(b"-NOAUTH")
    refusal = served.fronts.refusals()[-1]
    assert (refusal.user, refusal.reason, refusal.cache_id, refusal.at) == (user, reason, "orders-cache", NOW)


@pytest.mark.parametrize(("token", "reason"), FORGED)
async def test_the_client_reads_wrongpass_whatever_is_wrong(served, token, reason):
    await assert_refused(served, "app", token, reason)


@pytest.mark.parametrize(("token", "reason"), FORGED[-12:])
async def test_hello_is_checked_as_auth_is(served, token, reason):
    await assert_refused(served, "app", token, reason, command=hello)


@pytest.mark.parametrize(
    ("user", "reason"), [("stranger", "UserNotInGroup"), ("reader", "UserNotIam"), ("off", "UserOff")]
)
async def test_a_good_token_of_a_user_that_may_not(served, user, reason):
    await assert_refused(served, user, presign(user, at=NOW), reason)


async def test_connect_is_denied(served):
    served.world.decision = ConnectDecision(allowed=False, reason="no statement allows elasticache:Connect")

    await assert_refused(served, "app", TOKEN, "ConnectDenied")
    assert served.fronts.refusals()[-1].detail == "no statement allows elasticache:Connect"


async def test_the_session_has_ended(served):
    served.world.identity = signing_identity(expires_at=NOW)

    await assert_refused(served, "app", TOKEN, "SessionExpired")


async def test_the_token_runs_out_between_two_logins(served):
    async with raw(served) as connection:
        await connection.send(auth("app", TOKEN))
        assert await connection.line() == b"+OK\r\n"
        served.world.time = NOW + timedelta(seconds=900)

        await connection.send(auth("app", TOKEN), b"PING\r\n")

        assert (await connection.line()).startswith(b"-WRONGPASS")
        assert await connection.line() == b"+PONG\r\n"


async def test_a_serverless_cache_wants_its_own_token(served):
    served.world.view = replace(cache_view(*USERS), serverless=True)

    await assert_refused(served, "app", TOKEN, "WrongResourceType")
