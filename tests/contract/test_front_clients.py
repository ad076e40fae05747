"""The front before a real server, met by stock clients."""

import asyncio
import hashlib
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
import trustme
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from tests.unit.sandbox.front.one_cache import (
    ACCOUNT,
    CACHE,
    DEADLINE_S,
    REGION,
    OneCache,
    cache_view,
    engine_user,
    open_default,
    presign,
    raw,
    serve,
    until,
)

from elasticache_iam_sandbox.front.fronts import CacheFronts
from elasticache_iam_sandbox.front.resp import encode_command
from elasticache_iam_sandbox.front.server import FORBIDDEN_COMMANDS, FrontError

READER = engine_user("reader", access_string="on ~* &* -@all +@read +@connection +acl|whoami")
PASSWORD = engine_user("batch", auth_mode="password", password_sha256=(hashlib.sha256(b"correct horse").hexdigest(),))


@pytest.fixture
async def served(tmp_path):
    async with serve(tmp_path, engine_user(), READER, PASSWORD) as served:
        yield served


async def until_blocked(served):
    """Wait until a client of the cache's server waits in a blocking command."""
    (front,) = served.fronts._fronts.values()
    deadline = time.monotonic() + DEADLINE_S
    while not (await front.servers[0].execute("INFO", "clients"))["blocked_clients"]:
        assert time.monotonic() < deadline, "nobody waits"
        await asyncio.sleep(0.005)


# -- logging in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_asyncio_client_logs_in_with_a_token(served, protocol):
    async with served.client("app", presign(), protocol=protocol) as client:
        assert await client.acl_whoami() == "app"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_blocking_client_logs_in_with_a_token(served, protocol):
    def log_in():
        with redis.Redis(
            host="127.0.0.1",
            port=served.endpoint.port,
            username="app",
            password=presign(),
            ssl=True,
            ssl_ca_certs=str(served.ca_file),
            protocol=protocol,
            decode_responses=True,
        ) as client:
            client.set("k", "v")
            return client.acl_whoami(), client.get("k")

    assert await asyncio.to_thread(log_in) == ("app", "v")


async def test_hello_logs_in_and_names_the_connection(served):
    async with raw(served) as connection:
        await connection.send(
            b"HELLO 3 AUTH app ", presign().encode(), b" SETNAME me\r\nCLIENT GETNAME\r\nACL WHOAMI\r\n"
        )

        reply = await connection.read_until(b"$3\r\napp\r\n")

    assert reply.startswith(b"%7\r\n")
    assert b"$2\r\nme\r\n" in reply


async def test_hello_without_a_login_is_refused_by_the_server(served):
    async with raw(served) as connection:
        await connection.send(b"HELLO 3\r\n")

        assert (await connection.line()).startswith(b"-NOAUTH")


async def test_a_token_for_somebody_else_is_a_wrong_password(served):
    async with served.client("reader", presign("app")) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["WrongUser"]


async def test_a_failed_login_leaves_the_earlier_one(served):
    async with raw(served) as connection:
        await connection.login("app")
        await connection.send(b"AUTH reader ", presign("app").encode(), b"\r\nACL WHOAMI\r\n")

        assert (await connection.line()).startswith(b"-WRONGPASS")
        assert await connection.read_until(b"app\r\n")


async def test_a_connection_can_become_another_user(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.execute_command("AUTH", "reader", presign("reader"))

        assert await client.acl_whoami() == "reader"
        assert [connection.user for connection in served.fronts.connections(CACHE)] == ["reader"]


async def test_reset_logs_out(served):
    async with raw(served) as connection:
        await connection.send(b"AUTH app ", presign().encode(), b"\r\nRESET\r\nACL WHOAMI\r\n")

        assert await connection.line() == b"+OK\r\n"
        assert await connection.line() == b"+RESET\r\n"
        assert (await connection.line()).startswith(b"-NOAUTH")
    assert served.reasons() == []


async def test_a_password_user_logs_in_by_password_alone(served):
    async with served.client("batch", "correct horse") as client:
        assert await client.acl_whoami() == "batch"
    async with served.client("batch", "wrong horse") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["WrongPassword"]


async def test_an_iam_user_has_no_password(served):
    async with served.client("app", "correct horse") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["Malformed"]


async def test_nobody_knows_the_front_s_own_user(served):
    async with served.client("sandbox-admin", "guess") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


async def test_no_secret_is_in_a_refusal_or_a_log(served, caplog):
    token = presign("app")
    async with served.client("reader", token) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.ping()

    shown = f"{served.fronts.refusals()} {caplog.text} {caught.value}"
    assert "WrongUser" in shown
    assert not any(part in shown for part in (token, "Signature=", "SESSION"))


# -- the default user ---------------------------------------------------------------------------------------------


async def test_a_cache_without_a_group_is_open(tmp_path):
    async with serve(tmp_path, open_default()) as served, served.client() as client:
        assert await client.acl_whoami() == "default"


async def test_hardening_the_default_user_cuts_and_locks_out_anonymous_clients(tmp_path):
    async with serve(tmp_path, open_default()) as served, served.client(single_connection_client=True) as client:
        await client.ping()
        hardened = engine_user(
            "default",
            user_id="demo-default",
            access_string="off ~* -@all",
            auth_mode="password",
            password_sha256=("ab" * 32,),
        )

        await served.put_users(hardened, engine_user())

        with pytest.raises(RedisConnectionError):
            await client.ping()
        async with served.client() as late:
            with pytest.raises(AuthenticationError):
                await late.ping()
        async with served.client("app", presign()) as iam:
            assert await iam.ping()


async def test_an_auth_token_is_the_default_user_s_password(tmp_path):
    default = engine_user("default", auth_mode="password", password_sha256=(hashlib.sha256(b"auth token").hexdigest(),))
    async with serve(tmp_path, default) as served:
        async with served.client(password="auth token") as client:
            assert await client.acl_whoami() == "default"
        async with served.client(password="other") as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


# -- order --------------------------------------------------------------------------------------------------------


async def test_a_pipeline_keeps_its_order_around_failed_logins(served):
    requests, expected = [], []
    for number in range(1000):
        requests.append(b"ECHO %d\r\n" % number)
        expected += [b"$%d" % len(str(number)), b"%d" % number]
        if number % 10 == 5:
            requests.append(b"AUTH reader " + presign("app").encode() + b"\r\n")
            expected.append(b"-WRONGPASS")
        if number % 10 == 6:
            requests.append(encode_command(b"ACL", b"SETUSER", b"me", b"on"))
            expected.append(b"-ERR")

    async with raw(served) as connection:
        await connection.login("app")
        await connection.send(*requests)
        replies = [(await connection.line()).split()[0] for _ in expected]

    assert replies == expected
    assert served.reasons() == ["WrongUser"] * 100


async def test_a_client_s_pipeline_keeps_its_order_around_refused_commands(served):
    async with served.client("app", presign()) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(500):
            pipeline.echo(str(number))
            pipeline.execute_command("CONFIG", "GET", "*")

        replies = await pipeline.execute(raise_on_error=False)

    assert replies[::2] == [str(number) for number in range(500)]
    assert {type(reply) for reply in replies[1::2]} == {ResponseError}


async def test_logins_in_one_pipeline_take_effect_in_order(served):
    async with raw(served) as connection:
        app, reader = presign("app").encode(), presign("reader").encode()
        await connection.send(
            b"ACL WHOAMI\r\nAUTH app ", app, b"\r\nACL WHOAMI\r\nAUTH app x\r\nAUTH reader ", reader, b"\r\nPING\r\n"
        )

        lines = [await connection.line() for _ in range(7)]

    assert [line.split()[0] for line in lines] == [
        b"-NOAUTH",
        b"+OK",
        b"$3",
        b"app",
        b"-WRONGPASS",
        b"+OK",
        b"+PONG",
    ]


# -- what a relay must not disturb ----------------------------------------------------------------------------------


async def test_publish_and_subscribe(served):
    async with served.client("app", presign()) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        await subscription.get_message(timeout=DEADLINE_S)

        await client.publish("news", "hello")

        assert (await subscription.get_message(timeout=DEADLINE_S))["data"] == "hello"


async def test_a_blocking_command_waits_and_wakes(served):
    async with served.client("app", presign()) as client:
        waiting = asyncio.create_task(client.blpop(["queue"], timeout=DEADLINE_S))
        await until_blocked(served)

        await client.rpush("queue", "job")

        assert await waiting in (("queue", "job"), ["queue", "job"])


async def test_monitor_shows_no_password(served):
    async with served.client("app", presign()) as client, client.monitor() as monitor:
        async with served.client("batch", "correct horse") as other:
            await other.get("k")
        seen = [(await monitor.next_command())["command"]]
        while not seen[-1].startswith("GET"):
            seen.append((await monitor.next_command())["command"])

    assert not any("horse" in command for command in seen)


async def test_a_transaction(served):
    async with served.client("app", presign()) as client, client.pipeline(transaction=True) as pipeline:
        pipeline.set("k", "v")
        pipeline.get("k")

        assert await pipeline.execute() == [True, "v"]


async def test_a_login_inside_a_transaction_is_refused(served):
    async with raw(served) as connection:
        await connection.login("app")
        await connection.send(b"MULTI\r\nAUTH reader ", presign("reader").encode(), b"\r\nACL WHOAMI\r\nEXEC\r\n")

        lines = [await connection.line() for _ in range(7)]

    assert lines[:4] == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n", b"*2\r\n"]
    assert lines[4].startswith(b"-WRONGPASS")
    assert lines[6] == b"app\r\n"
    assert served.reasons() == ["InsideTransaction"]


@pytest.mark.parametrize("end", ["EXEC", "DISCARD"])
async def test_a_login_after_a_transaction_is_fine(served, end):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.execute_command("MULTI")
        await client.execute_command(end)

        assert await client.execute_command("AUTH", "reader", presign("reader"))


async def test_a_transaction_that_was_refused_does_not_stop_a_login(served):
    async with served.client("reader", presign("reader"), single_connection_client=True) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command("MULTI")

        assert await client.execute_command("AUTH", "app", presign("app"))


# -- access -------------------------------------------------------------------------------------------------------


async def test_the_server_enforces_the_access_string(served):
    async with served.client("reader", presign("reader")) as client:
        await client.get("k")

        with pytest.raises(NoPermissionError):
            await client.set("k", "v")


async def test_a_changed_access_string_holds_for_open_connections(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.set("k", "v")

        await served.put_users(engine_user(access_string="on ~* -@all +get"))

        assert await client.get("k") == "v"
        with pytest.raises(NoPermissionError):
            await client.set("k", "w")


async def test_a_user_switched_off_keeps_its_connections_but_gets_no_new_one(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()

        await served.put_users(engine_user(access_string="off ~* +@all"))

        assert await client.ping()
        async with served.client("app", presign()) as late:
            with pytest.raises(AuthenticationError):
                await late.ping()
    assert served.reasons() == ["UserOff"]


async def test_a_user_that_leaves_is_cut_at_once_whatever_it_does(served):
    idle = served.client("app", presign(), single_connection_client=True)
    blocked = served.client("app", presign())
    subscriber = served.client("app", presign())
    async with idle, blocked, subscriber, subscriber.pubsub() as subscription:
        await idle.ping()
        await subscription.subscribe("news")
        waiting = asyncio.create_task(blocked.blpop(["queue"], timeout=0))
        await until_blocked(served)
        assert len(served.fronts.connections(CACHE)) == 3

        await served.put_users(READER, PASSWORD)

        for ended in (idle.ping(), waiting):
            with pytest.raises(RedisConnectionError):
                async with asyncio.timeout(DEADLINE_S):
                    await ended
        await until(lambda: not served.fronts.connections(CACHE))


async def test_the_leaving_of_one_user_leaves_others_alone(served):
    async with served.client("reader", presign("reader"), single_connection_client=True) as client:
        await client.ping()

        await served.put_users(READER)

        assert await client.ping()


async def test_a_password_user_that_leaves_is_cut(served):
    async with served.client("batch", "correct horse", single_connection_client=True) as client:
        await client.ping()

        await served.put_users(engine_user())

        with pytest.raises(RedisConnectionError):
            await client.ping()


async def test_another_user_of_the_same_name_is_a_leaver_and_a_newcomer(served):
    async with served.client("batch", "correct horse", single_connection_client=True) as client:
        await client.ping()

        await served.put_users(engine_user("batch", user_id="batch-2", auth_mode="password"))

        with pytest.raises(RedisConnectionError):
            await client.ping()


async def test_a_user_that_comes_back_logs_in_again(served):
    await served.put_users()
    async with served.client("app", presign()) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    await served.put_users(engine_user())

    async with served.client("app", presign()) as client:
        assert await client.ping()


async def test_a_user_that_was_not_synced_yet_is_not_ready(served):
    served.world.view = cache_view(engine_user("late"))

    async with served.client("late", presign("late")) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["UserNotReady"]


async def test_a_cache_that_is_gone_has_no_users(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()
        served.world.view = None

        await served.fronts.sync()

        with pytest.raises(RedisConnectionError):
            await client.ping()


@pytest.mark.parametrize(
    ("access_string", "problem"),
    [
        pytest.param("on ~* +nosuchcommand", "Unknown command", id="unknown-command"),
        pytest.param("on ~* +@all >secret", "sets a password", id="password"),
        pytest.param("on ~* +@all nopass", "sets a password", id="nopass"),
    ],
)
async def test_an_access_string_that_the_server_refuses_is_told_and_harms_nobody_else(served, access_string, problem):
    await served.put_users(engine_user("odd", access_string=access_string), engine_user())

    assert problem in served.fronts.problems(CACHE)["odd"]
    async with served.client("odd", presign("odd")) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
    assert served.fronts.refusals()[-1].detail == served.fronts.problems(CACHE)["odd"]
    async with served.client("app", presign()) as client:
        assert await client.ping()


# -- what AWS refuses to everybody ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", FORBIDDEN_COMMANDS)
async def test_a_restricted_command_is_unknown(served, command):
    async with raw(served) as connection:
        await connection.send(b"AUTH app ", presign().encode(), b"\r\n", command.encode(), b" x\r\nPING\r\n")
        await connection.line()

        assert (await connection.line()).startswith(b"-ERR unknown command")
        assert await connection.line() == b"+PONG\r\n"


@pytest.mark.parametrize(
    "command", ["acl setuser me on", "ACL SetUser me on", '"ACL" "DEL\\x55SER" me', "acl load", "ACL SAVE"]
)
async def test_users_are_not_written_by_users(served, command):
    everything = engine_user(access_string="on ~* &* +@all (~* &* +@all)")
    await served.put_users(everything)

    async with raw(served) as connection:
        await connection.send(b"AUTH app ", presign().encode(), b"\r\n", command.encode(), b"\r\nACL WHOAMI\r\n")
        await connection.line()

        assert (await connection.line()).startswith(b"-ERR unknown command")
        assert await connection.line() == b"$3\r\n"


@pytest.mark.parametrize("call", ["'ACL','SETUSER','me'", "'AUTH','reader','x'", "'CONFIG','GET','*'"])
async def test_scripts_do_no_more_than_their_user(served, call):
    async with served.client("app", presign()) as client:
        with pytest.raises(ResponseError):
            await client.eval(f"return redis.call({call})", 0)


async def test_the_front_outlives_a_user_that_kills_its_connection(served):
    async with served.client("app", presign()) as client:
        await client.execute_command("CLIENT", "KILL", "USER", "sandbox-admin")

    await served.put_users(engine_user("next"))

    async with served.client("next", presign("next")) as client:
        assert await client.ping()


# -- the life of a connection -----------------------------------------------------------------------------------------


async def test_an_iam_connection_ends_without_a_new_login(served):
    served.world.settings.connection_seconds = 0.05
    async with raw(served) as connection:
        await connection.send(f"AUTH app {presign()}\r\n".encode())

        answer = await connection.read_to_the_end()

    assert answer in {b"+OK\r\n", b""}  # the end may overtake the answer
    assert served.reasons() == []


async def test_a_new_login_restarts_the_life_of_a_connection(served):
    async with raw(served) as connection:
        await connection.login("app")
        first = served.only_session()._expiry

        await connection.login("app")

        assert first.cancelled()
        assert served.only_session()._expiry.when() > first.when()


async def test_a_failed_login_does_not_restart_it(served):
    async with raw(served) as connection:
        await connection.login("app")
        first = served.only_session()._expiry

        await connection.send(b"AUTH app nonsense\r\n")
        assert (await connection.line()).startswith(b"-WRONGPASS")

        assert served.only_session()._expiry is first
        assert not first.cancelled()


async def test_a_token_s_end_does_not_touch_the_connection(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()
        served.world.time = datetime.now(UTC) + timedelta(hours=1)

        assert await client.ping()


async def test_a_password_connection_has_no_end(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()
        assert served.only_session()._expiry is not None

        await client.execute_command("AUTH", "batch", "correct horse")

        assert served.only_session()._expiry is None


async def test_connections_say_who_since_when_and_from_where(served):
    before = served.world.now()
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()

        (connection,) = served.fronts.connections(CACHE)

    assert connection.user == "app"
    assert before <= connection.since <= served.world.now()
    assert connection.client_address.startswith("127.0.0.1:")


async def test_a_server_that_died_is_said(served):
    (front,) = served.fronts._fronts.values()
    front.servers[0]._process.stop()

    with pytest.raises(FrontError, match="not running"):
        await served.put_users(engine_user("next"))


# -- starting and stopping ------------------------------------------------------------------------------------------


async def test_a_missing_server_is_said_with_its_cure(tmp_path):
    fronts = CacheFronts(OneCache(cache_view()), authority=trustme.CA(), state_dir=tmp_path, programs={})

    with pytest.raises(FrontError, match="apt-get install redis-server"):
        await fronts.add(ACCOUNT, REGION, CACHE, engine="redis")


async def test_a_cache_is_served_once(served):
    with pytest.raises(FrontError, match="already"):
        await served.fronts.add(ACCOUNT, REGION, CACHE, engine="redis")


async def test_a_removed_cache_is_gone_and_may_come_back(served):
    async with served.client("app", presign(), single_connection_client=True) as client:
        await client.ping()

        await served.fronts.remove(ACCOUNT, REGION, CACHE)

        with pytest.raises(RedisConnectionError):
            await client.ping()
    served.endpoint = await served.fronts.add(ACCOUNT, REGION, CACHE, engine="redis")
    async with served.client("app", presign()) as client:
        assert await client.ping()


async def test_a_long_path_of_the_state_folder_is_no_obstacle(tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()

    async with serve(folder, engine_user()) as served, served.client("app", presign()) as client:
        assert await client.ping()
