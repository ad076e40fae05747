import socket

import aiohttp
import pytest

from elasticache_iam.runtime.health import HealthServer, find_faults, parse_listen

NOTHING = {"live": {}, "ready": {}, "render_metrics": bytes, "metrics_content_type": "text/plain"}


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


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
    first, second = HealthServer(**NOTHING), HealthServer(**NOTHING)
    port = await first.start("127.0.0.1", 0)

    for host in ("127.0.0.1", "*"):
        with pytest.raises(OSError, match="in use"):
            await second.start(host, port)

    await first.stop()


async def answers(host, port):
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://{host}:{port}/livez") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorError:
            return False


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("*", (True, True), marks=needs_ipv6),
        ("127.0.0.1", (True, False)),
        pytest.param("[::1]", (False, True), marks=needs_ipv6),
        pytest.param("[::]", (False, True), marks=needs_ipv6),
    ],
    ids=["all", "ipv4", "ipv6", "all-of-ipv6"],
)
async def test_it_listens_where_it_is_told(host, expected):
    server = HealthServer(**NOTHING)
    port = await server.start(host, 0)

    answered = await answers("127.0.0.1", port), await answers("[::1]", port)

    await server.stop()
    assert answered == expected


async def test_without_ipv6_in_the_kernel_it_listens_on_ipv4(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    server = HealthServer(**NOTHING)
    port = await server.start("*", 0)

    assert await answers("127.0.0.1", port)

    await server.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*:8080", ("*", 8080)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),  # noqa: S104  # parsed, not bound
        ("localhost:65535", ("localhost", 65535)),
        ("[::]:8080", ("[::]", 8080)),
        ("[fd00::1]:8080", ("[fd00::1]", 8080)),
    ],
)
def test_an_address_to_listen_at_is_host_and_port(text, expected):
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "8080",
        ":8080",
        "*",
        "*:",
        "*:http",
        "*:65536",
        "*:-1",
        "*:²",
        "::8080",
        "::1:8080",
        "[::1]",
        "[]:80",
        "[::1:80",
        "::1]:80",
        "[127.0.0.1]:80",
        "[[::1]]:80",
    ],
)
def test_what_is_no_address_to_listen_at_is_told_with_what_is(text):
    with pytest.raises(ValueError, match=r"not host:port; write \*:8080 for all addresses, or one, as 127"):
        parse_listen(text)


def test_a_check_that_raises_fails_and_the_others_are_still_told():
    checks = {"broken": lambda: 1 / 0, "full": lambda: "no room"}

    assert find_faults(checks) == {"broken": "the check failed: ZeroDivisionError", "full": "no room"}
