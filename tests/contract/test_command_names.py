"""The names that the sandbox knows against those that a real server has."""

import time

import pytest
import redis

from elasticache_iam_sandbox.cache_programs import find_programs
from elasticache_iam_sandbox.processes import Process
from elasticache_iam_sandbox.world.commands import COMMANDS, REDIS, REDIS_CATEGORIES


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    program = find_programs()["redis"]
    arguments = ("--port", "0", "--unixsocket", folder / "s", "--save", "")
    with (
        Process("names", (program, *arguments), log=folder / "log", cwd=folder),
        redis.Redis(unix_socket_path=str(folder / "s"), decode_responses=True) as client,
    ):
        deadline = time.monotonic() + 30.0
        while not (folder / "s").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield client


def test_a_server_has_every_command_that_is_said_to_be_of_redis(server):
    assert REDIS - set(server.command_list()) == set()


def test_every_command_of_redis_7_0_is_known(server):
    """Newer servers have more; what they add is AWS's to take or not."""
    is_newer = not server.info("server")["redis_version"].startswith("7.0.")

    assert is_newer or set(server.command_list()) - COMMANDS == set()


def test_the_categories_are_the_servers(server):
    assert set(server.execute_command("ACL", "CAT")) == REDIS_CATEGORIES


@pytest.mark.parametrize(
    ("rule", "is_taken"),
    [("+config|get", True), ("+select|0", True), ("-select|0", False), ("+config|no", False), ("+nothing", False)],
)
def test_the_server_takes_and_refuses_the_same(server, rule, is_taken):
    try:
        server.execute_command("ACL", "SETUSER", "somebody", rule)
    except redis.ResponseError:
        taken = False
    else:
        taken = True

    assert taken is is_taken
