import aiohttp
import pytest

from elasticache_iam.runtime.health import HealthServer, find_faults


@pytest.fixture
async def get():
    state = {"live": None, "ready": None}
    server = HealthServer(
        live={"scheduler": lambda: state["live"]},
        ready={"crds": lambda: state["ready"], "config": lambda: None},
        render_metrics=lambda: b"up 1\n",
        metrics_content_type="text/plain; version=1.0.0",
    )
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:

        async def get(path, **reasons):
            state.update(reasons)
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text(), answer.headers["Content-Type"]

        yield get
    await server.stop()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_healthy_process_says_ok(get, path):
    assert (await get(path))[:2] == (200, "ok\n")


async def test_a_failed_check_is_told_with_its_reason(get):
    assert (await get("/livez", live="due since 61 s"))[:2] == (503, "scheduler: due since 61 s\n")


async def test_what_is_not_ready_need_not_be_restarted(get):
    assert (await get("/readyz", ready="usergroups is missing"))[0] == 503
    assert (await get("/livez"))[0] == 200


async def test_metrics_have_their_own_content_type(get):
    assert await get("/metrics") == (200, "up 1\n", "text/plain; version=1.0.0")


async def test_a_port_in_use_is_an_error_of_the_start():
    settings = {"live": {}, "ready": {}, "render_metrics": bytes, "metrics_content_type": "text/plain"}
    first, second = HealthServer(**settings), HealthServer(**settings)
    port = await first.start("127.0.0.1", 0)

    with pytest.raises(OSError, match="in use"):
        await second.start("127.0.0.1", port)

    await first.stop()


def test_a_check_that_raises_fails_and_the_others_are_still_told():
    checks = {"broken": lambda: 1 / 0, "full": lambda: "no room"}

    assert find_faults(checks) == {"broken": "the check failed: ZeroDivisionError", "full": "no room"}
