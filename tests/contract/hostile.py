"""Hostile RESP for the front: what to send, and what must hold whatever was sent. For short and for long runs."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.unit.sandbox.front.one_cache import DEADLINE_S, engine_user, presign, raw, serve

from elasticache_iam_sandbox.front.resp import MAX_BULK_BYTES, MAX_INSPECTED_BYTES, MAX_LINE_BYTES, encode_command

PROFILE = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], derandomize=True
)
USERS = (engine_user("app"), engine_user("reader", access_string="on ~* -@all +@read"))
OPEN_TO_ALL = {"auth", "hello", "quit", "reset"}
"""What a server carries out for anybody (redis' command flag no_auth)."""
OURS = {"info", "acl|list", "client|list", "get"}
"""What the tests ask the server as its administrator."""
FORBIDDEN = ("acl|setuser", "acl|deluser", "acl|load", "acl|save", "config|set", "shutdown", "debug", "module|load")


@dataclass(frozen=True)
class GoodToken:
    """Stands for a token of a user that works now: a real one isn't the same in two runs."""

    user: str


@dataclass(frozen=True)
class BadToken:
    """Stands for a token that has expired."""

    user: str


def _text(word):
    match word:
        case GoodToken(user):
            return presign(user).encode()
        case BadToken(user):
            return presign(user, at=datetime.now(UTC) - timedelta(hours=1)).encode()
        case _:
            return word


@dataclass(frozen=True)
class Command:
    """A command, in either form; a good token in the place of a password is proof of what the server may do for it."""

    words: tuple
    inline: bool = False

    def render(self):
        words = [_text(word) for word in self.words]
        if not self.inline:
            return encode_command(*words)
        return b" ".join(b'"%b"' % word if not word or b" " in word else word for word in words) + b"\r\n"


def render(stream):
    return b"".join(part.render() if isinstance(part, Command) else part for part in stream)


# -- what to send -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from([b"app", b"reader", b"default", b"sandbox-admin", b"", b"app\0", b"APP", b"nobody"])
BAD_PASSWORDS = st.one_of(
    st.sampled_from([b"", b"x", b"default", BadToken("app"), b"orders-cache/?X-Amz-Signature=", b"\xff" * 64]),
    st.integers(MAX_INSPECTED_BYTES - 1, MAX_INSPECTED_BYTES + 1).map(lambda size: b"x" * size),
)
GOOD_PASSWORDS = st.sampled_from([GoodToken("app"), GoodToken("reader")])
INTRUSIONS = st.sampled_from(
    [
        (b"SET", b"canary", b"dead"),
        (b"GET", b"canary"),
        (b"FLUSHALL",),
        (b"EVAL", b"return redis.call('set', 'canary', 'dead')", b"0"),
        (b"CLIENT", b"KILL", b"TYPE", b"normal"),
        (b"ACL", b"SETUSER", b"default", b"on", b"nopass", b"+@all", b"~*"),
        (b"acl", b"setuser", b"app", b"nopass"),
        (b"ACL", b"DELUSER", b"app"),
        (b"ACL", b"LOAD"),
        (b"CONFIG", b"SET", b"requirepass", b""),
        (b"DEBUG", b"SLEEP", b"60"),
        (b"SHUTDOWN", b"NOSAVE"),
        (b"MONITOR",),
        (b"PING",),
    ]
)
ODD_STEPS = st.sampled_from(
    [
        (b"MULTI",),
        (b"EXEC",),
        (b"DISCARD",),
        (b"RESET",),
        (b"MULTI", b"x"),
        (b"AUTH",),
        (b"AUTH", b"a", b"b", b"c"),
        (b"HELLO",),
        (b"HELLO", b"3"),
        (b"HELLO", b"4"),
        (b"HELLO", b"x"),
        (b"HELLO", b"3", b"SETNAME"),
        (b"HELLO", b"3", b"AUTH", b"app"),
        (b"SUBSCRIBE", b"c"),
        (b"",),
    ]
)
BROKEN = st.one_of(
    st.sampled_from(
        [
            b"*-1\r\n",
            b"*0\r\n",
            b"\r\n",
            b"*1\r\n*1\r\n$4\r\nPING\r\n",  # nested
            b"*1000000000\r\n",
            b"*2147483648\r\n",
            b"*2\r\n$4\r\nAUTH\r\n$-1\r\n",
            b"*2\r\n$4\r\nAUTH\r\n$99999999999999999999\r\n",
            f"*2\r\n$4\r\nECHO\r\n${MAX_BULK_BYTES + 1}\r\n".encode(),
            b"*3\r\n$3\r\nSET\r\n$6\r\ncanary\r\n$1000\r\n*3\r\n$3\r\nSET\r\n",  # a command inside a value
            b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n",  # and nothing more
            b"*2\r\n$4\r\nAUTH\r\n$3\r\nabcdef\r\n",  # longer than it says
            b"*2\n$4\nAUTH\n$1\nx\n",
            b"%1\r\n$4\r\nAUTH\r\n$1\r\nx\r\n",  # types that only answers have
            b"_\r\n#t\r\n,1.5\r\n>1\r\n$4\r\nPING\r\n",
            b"AUTH app 'x\r\n",
            b'AUTH app "x"y\r\n',
            b"AUTH app \0\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"*" + b"1" * (MAX_LINE_BYTES + 2),
            b"A" * (MAX_LINE_BYTES + 1),
        ]
    ),
    st.binary(max_size=60),
    st.text(alphabet="*$-0123456789\r\nAUTHELO \"'", max_size=40).map(str.encode),
)


def logins(passwords):
    """AUTH and HELLO in all forms."""
    return st.one_of(
        st.tuples(st.just(b"AUTH"), passwords),
        st.tuples(st.sampled_from([b"AUTH", b"auth", b"aUtH"]), NAMES, passwords),
        st.tuples(st.just(b"HELLO"), st.sampled_from([b"2", b"3", b"03"]), st.just(b"AUTH"), NAMES, passwords),
        st.tuples(
            *(st.just(b"hello"), st.just(b"3"), st.just(b"SETNAME"), st.just(b"n"), st.just(b"auth"), NAMES, passwords)
        ),
        st.tuples(
            *(st.just(b"HELLO"), st.just(b"3"), st.just(b"AUTH"), NAMES, passwords, st.just(b"AUTH"), NAMES, passwords)
        ),
    )


def commands(passwords):
    return st.builds(Command, st.one_of(logins(passwords), logins(passwords), INTRUSIONS, ODD_STEPS), st.booleans())


def streams(passwords, *, longest=10):
    """Commands and rubbish, in one go or cut anywhere."""
    return st.lists(st.one_of(commands(passwords), commands(passwords), BROKEN), min_size=1, max_size=longest)


CUTS = st.one_of(st.just("whole"), st.just("bytes"), st.lists(st.integers(0, 4000), max_size=8))


def cut(sent, cuts):
    """Return the parts in which to send something; byte by byte only what isn't endless."""
    if cuts == "whole":
        return [sent]
    edges = range(min(len(sent), 400)) if cuts == "bytes" else sorted({each for each in cuts if each < len(sent)})
    return [sent[start:end] for start, end in pairwise([0, *edges, len(sent)])]


# -- what must hold ---------------------------------------------------------------------------------------------------


class Besieged:
    """A front with its server under attack, on a loop of its own: hypothesis calls plain functions."""

    def __init__(self, runner, served):
        self._runner = runner
        self.served = served
        (front,) = served.fronts._fronts.values()
        self.front = front
        self.server = front.servers[0]
        self._runner.run(self.server.execute("SET", "canary", "alive"))

    def run(self, work):
        return self._runner.run(work)

    def attack(self, stream, cuts):
        """Send a stream, and return what it did: see `_attack`."""
        return self.run(self._attack(stream, cuts))

    async def _attack(self, stream, cuts):
        """Return the commands carried out, and who the server then takes the connection for: None if it is gone."""
        before = await self._carried_out()
        async with raw(self.served) as connection:
            for part in cut(render(stream), cuts):
                if connection.writer.transport.is_closing():
                    break
                connection.writer.write(part)
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionError):
                await connection.writer.drain()
            await self._until_quiet(connection)
            user = await self._user_of_the_client()
        await self._until_gone()
        after = await self._carried_out()
        counts = {name: count - before.get(name, 0) for name, count in after.items()}
        return {name for name, count in counts.items() if count}, user

    async def _until_quiet(self, connection):
        """Return when the server has answered all that it will answer, or has closed the connection."""
        idle = 0
        while idle < 3 and not connection.reader.at_eof() and self.front.sessions:
            try:
                async with asyncio.timeout(0.002):
                    await connection.reader.read(65536)
                idle = 0
            except TimeoutError:
                # Each round trip is one more turn of the server's loop, so what it has read it has answered.
                await self.server.execute("PING")
                idle += 1

    async def _user_of_the_client(self):
        clients = (line.split() for line in (await self.server.execute("CLIENT", "LIST")).splitlines())
        users = [dict(word.partition("=")[::2] for word in client)["user"] for client in clients]
        others = [user for user in users if user != "sandbox-admin"]
        assert len(others) <= 1
        return others[0] if others else None

    async def _until_gone(self):
        async with asyncio.timeout(DEADLINE_S):
            while await self._user_of_the_client():  # each answer is a turn of the loop, for the front as well
                pass
            while self.front.sessions:
                await self.server.execute("PING")

    async def _carried_out(self):
        """Return how often each command was carried out; those refused don't count."""
        stats = await self.server.execute("INFO", "commandstats")
        return {
            name.removeprefix("cmdstat_"): told["calls"]
            for name, told in stats.items()
            if name.removeprefix("cmdstat_") not in OURS | {"ping"}
        }

    def canary(self):
        return self.run(self.server.execute("GET", "canary"))

    def users(self):
        return sorted(self.run(self.server.execute("ACL", "LIST")))

    def answers_others(self):
        """Log in as somebody else and use the cache."""

        async def use():
            async with raw(self.served) as connection:
                await connection.login("app")
                await connection.send(b"ECHO hello\r\n")
                return await connection.read_until(b"hello\r\n")

        return b"hello" in self.run(use())


@contextlib.contextmanager
def besieged(folder, *users):
    with asyncio.Runner() as runner:
        context = serve(folder, *(users or USERS))
        served = runner.run(context.__aenter__())
        try:
            yield Besieged(runner, served)
        finally:
            runner.run(context.__aexit__(None, None, None))


def check_nobody_gets_in(target, stream, cuts):
    """Without a good token nothing is carried out but what anybody may."""
    users = target.users()

    carried_out, user = target.attack(stream, cuts)

    assert carried_out <= OPEN_TO_ALL
    assert user in {None, "default"}  # the server's word for nobody
    assert target.canary() == "alive"
    assert target.users() == users


def check_nobody_gets_further(target, stream, cuts):
    """With good tokens one is who they are for, and nobody makes users or reconfigures the server."""
    users = target.users()
    entitled = {word.user for part in stream if isinstance(part, Command) for word in part.words if _is_good(word)}

    carried_out, user = target.attack(stream, cuts)

    assert carried_out.isdisjoint(FORBIDDEN)
    assert user in {None, "default", *entitled}
    assert target.users() == users
    target.run(target.server.execute("SET", "canary", "alive"))


def _is_good(word):
    return isinstance(word, GoodToken)
