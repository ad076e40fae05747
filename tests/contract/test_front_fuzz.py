"""The front under hostile RESP: nobody gets in without a good token, nobody further than it goes, others don't notice.

tests/soak/test_front_fuzz.py does the same for longer.
"""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.hostile import (
    BAD_PASSWORDS,
    CUTS,
    GOOD_PASSWORDS,
    PROFILE,
    Command,
    GoodToken,
    besieged,
    check_nobody_gets_further,
    check_nobody_gets_in,
    render,
    streams,
)
from tests.unit.sandbox.front.one_cache import DEADLINE_S, presign, raw, until

from elasticache_iam_sandbox.front.resp import MAX_INSPECTED_BYTES, encode_command

EXAMPLES = 40
PER_CONNECTION = 600 * 1024
"""HELLO with 16 arguments of 16 KiB is the most that is held, beside a read and TLS' own buffers."""


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with besieged(tmp_path_factory.mktemp("front")) as made:
        yield made


def test_nobody_gets_in_without_a_good_token(target):
    @settings(PROFILE, max_examples=EXAMPLES)
    @given(streams(BAD_PASSWORDS), CUTS)
    def attack(stream, cuts):
        check_nobody_gets_in(target, stream, cuts)

    attack()
    assert target.answers_others()


def test_nobody_gets_further_than_their_token(target):
    @settings(PROFILE, max_examples=EXAMPLES)
    @given(streams(st.one_of(GOOD_PASSWORDS, BAD_PASSWORDS)), CUTS)
    def attack(stream, cuts):
        check_nobody_gets_further(target, stream, cuts)

    attack()
    assert target.answers_others()


LOGIN_THEN_WORK = (Command((b"HELLO", b"3", b"AUTH", b"app", GoodToken("app"))), Command((b"ECHO", b"x" * 40)))
REFUSED_THEN_WORK = (Command((b"AUTH", b"app", b"x")), Command((b"SET", b"canary", b"dead")))


@pytest.mark.parametrize("inline", [False, True], ids=["array", "inline"])
def test_a_refused_login_is_refused_wherever_the_stream_is_cut(target, inline):
    stream = [Command(part.words, inline) for part in REFUSED_THEN_WORK]

    for at in range(1, len(render(stream)), 2 if inline else 3):
        check_nobody_gets_in(target, stream, [at])


def test_a_login_works_wherever_the_stream_is_cut(target):
    stream = render(LOGIN_THEN_WORK)
    places = [*range(1, 40), *range(40, len(stream) - 20, 97), *range(len(stream) - 20, len(stream))]

    async def log_in(at):
        async with raw(target.served) as connection:
            await connection.send(stream[:at])
            await connection.send(stream[at:])
            return await connection.read_until(b"x" * 40)

    assert all(target.run(log_in(at)) for at in places)


@pytest.mark.parametrize("login", [(b"AUTH", b"reader"), (b"HELLO", b"3", b"AUTH", b"reader")], ids=["auth", "hello"])
def test_a_login_in_a_transaction_changes_nobody(target, login):
    stream = [
        Command((b"AUTH", b"app", GoodToken("app"))),
        *(Command(words) for words in ((b"MULTI",), (*login, GoodToken("reader")), (b"EXEC",))),
    ]
    _, user = target.attack(stream, "whole")

    assert user == "app"


def held(target):
    return sum(session._framer.held_bytes for session in target.front.sessions)


def test_what_crowds_make_the_front_hold_is_bounded_and_given_back(target):
    crowd = 30
    half_done = [
        b"*4\r\n$4\r\nAUTH\r\n" + b"$16384\r\n" + b"x" * MAX_INSPECTED_BYTES + b"\r\n$16384\r\n" + b"y" * 16000,
        b"HELLO " + b"x" * 60_000,
        b"*16\r\n$5\r\nHELLO\r\n" + b"".join(b"$16000\r\n" + b"z" * 16_000 + b"\r\n" for _ in range(14)),
        b"*1000000000\r\n$3\r\nSET\r\n$536870912\r\n" + b"v" * 100_000,
    ]

    async def crowd_in():
        opened = []
        for number in range(crowd):
            context = raw(target.served)
            connection = await context.__aenter__()
            opened.append(context)
            await connection.send(half_done[number % len(half_done)])
        await until(lambda: len(target.front.sessions) <= crowd)
        most = held(target)
        for context in opened:
            await context.__aexit__(None, None, None)
        await until(lambda: not target.front.sessions)
        return most

    assert target.run(crowd_in()) < crowd * PER_CONNECTION
    assert held(target) == 0
    assert target.answers_others()


def test_many_who_trickle_bytes_hold_nobody_up(target):
    """Each is slow; what they make the front do must be little, so that others are served all the while."""
    slow, rounds = 25, 80

    async def serve_one():
        async with raw(target.served) as connection:
            await connection.login("app")
            await connection.send(b"ECHO hello\r\n")
            await connection.read_until(b"hello\r\n")

    async def trickle():
        command = encode_command(b"AUTH", b"app", presign("app").encode())
        contexts = [raw(target.served) for _ in range(slow)]
        connections = [await context.__aenter__() for context in contexts]
        silent = [await asyncio.open_connection("localhost", target.served.endpoint.port) for _ in range(slow)]
        slowest_s = 0.0
        for at in range(rounds):
            for connection in connections:
                await connection.send(command[at : at + 1])
            if at % 10 == 0:
                began = time.monotonic()
                await serve_one()
                slowest_s = max(slowest_s, time.monotonic() - began)
        for connection in connections:
            await connection.send(command[rounds:])
        answers = [await connection.line() for connection in connections]
        for _, writer in silent:
            writer.transport.abort()
        for context in contexts:
            await context.__aexit__(None, None, None)
        return slowest_s, answers

    slowest_s, answers = target.run(trickle())

    assert set(answers) == {b"+OK\r\n"}  # patience is rewarded
    assert slowest_s < DEADLINE_S


def test_who_leaves_the_cache_is_cut_whatever_they_did_to_hide(tmp_path):
    """SUBSCRIBE, RESET and refused logins must not make the front lose sight of who a connection belongs to."""
    disguises = [
        (),
        (Command((b"SUBSCRIBE", b"c")), Command((b"AUTH", b"reader", GoodToken("reader")))),
        (Command((b"MULTI",)), Command((b"AUTH", b"reader", GoodToken("reader")))),
        (Command((b"AUTH", b"reader", b"x")),),
        (Command((b"HELLO", b"9", b"AUTH", b"reader", GoodToken("reader"))),),
    ]
    with besieged(tmp_path) as target:

        async def hide(disguise):
            async with raw(target.served) as connection:
                await connection.login("app")
                await connection.send(render(disguise) + b"PING\r\n")
                await connection.line()
                (reader,) = [user for user in target.served.world.view.users.values() if user.user_name == "reader"]
                everybody = tuple(target.served.world.view.users.values())
                await target.served.put_users(reader)
                rest = await connection.read_to_the_end()
                await target.served.put_users(*everybody)
                return rest is not None

        assert all(target.run(hide(disguise)) for disguise in disguises)
