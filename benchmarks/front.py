"""What a cache's front costs beside a direct TLS connection to the same server: python benchmarks/front.py.

The front runs in a process of its own, as in the sandbox; the client is one blocking TLS socket without a library, so
that the difference is the front's. Rounds alternate, so that a busy machine slows both.
"""

import asyncio
import hashlib
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import trustme

from elasticache_iam_sandbox.front.fronts import CacheFronts
from elasticache_iam_sandbox.processes import Process
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

ACCOUNT, REGION, CACHE = "111122223333", "eu-central-1", "bench"
ROUNDS = 5
GETS = 2000
PIPELINES = 50
PIPELINED = 500
VALUE_BYTES = 64 * 1024 * 1024
_GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
_REPLY = b"$1\r\nv\r\n"


def serve_front(pipe: Connection, folder: Path, authority_pem: bytes, key_pem: bytes) -> None:
    """Serve one open cache until the pipe closes; runs in a process of its own."""
    world = World(WorldSettings(), now=lambda: datetime.now(UTC), get_jwks=lambda _: {"keys": []})
    world.add_account(ACCOUNT)
    world.add_replication_group(
        ACCOUNT, REGION, CACHE, engine="redis", engine_version="7.1.0", host="127.0.0.1", port=0
    )

    async def serve() -> None:
        authority = trustme.CA.from_pem(authority_pem, key_pem)
        fronts = CacheFronts(world, authority=authority, state_dir=folder, programs={"redis": Path("redis-server")})
        try:
            endpoint = await fronts.add(ACCOUNT, REGION, CACHE, engine="redis")
            pipe.send(endpoint.port)
            await asyncio.to_thread(pipe.recv)
        finally:
            await fronts.close()

    asyncio.run(serve())


@contextmanager
def running_front(folder: Path, authority: trustme.CA) -> Iterator[int]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    keys = (authority.cert_pem.bytes(), authority.private_key_pem.bytes())
    process = context.Process(target=serve_front, args=(theirs, folder, *keys))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


@contextmanager
def running_direct(folder: Path, authority: trustme.CA) -> Iterator[int]:
    """Run a server with a TLS port of its own."""
    folder.mkdir()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    pem = folder / "server.pem"
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": "127.0.0.1",
        "tls-cert-file": str(pem),
        "tls-key-file": str(pem),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "no",
        "save": "",
    }
    argv = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]
    with Process("direct", argv, log=folder / "server.log", cwd=folder):
        yield port


@dataclass
class Client:
    """One blocking TLS connection."""

    port: int
    context: ssl.SSLContext
    latencies_s: list[float] = field(default_factory=list)
    pipelined_per_s: list[float] = field(default_factory=list)
    written_mb_per_s: list[float] = field(default_factory=list)
    read_mb_per_s: list[float] = field(default_factory=list)

    def connect(self) -> None:
        """Connect, waiting for the server to come up."""
        for attempt in range(100):
            try:
                plain = socket.create_connection(("127.0.0.1", self.port))
                break
            except ConnectionRefusedError:
                time.sleep(0.02 * (attempt < 99))  # noqa: PLR2004  # two seconds in all
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.context.wrap_socket(plain, server_hostname="localhost")

    def receive(self, count: int) -> bytes:
        """Receive exactly so many bytes; return the last of them."""
        last = b""
        while count:
            last = self.socket.recv(min(count, 1 << 20))
            if not last:
                raise ConnectionError("the server closed the connection")
            count -= len(last)
        return last

    def set_value(self) -> None:
        """Set the key that is read."""
        self.socket.sendall(b"SET k v\r\n")
        self.receive(len(b"+OK\r\n"))

    def measure_latency(self) -> None:
        """Send one GET after another."""
        for _ in range(GETS):
            started = time.perf_counter()
            self.socket.sendall(_GET)
            self.receive(len(_REPLY))
            self.latencies_s.append(time.perf_counter() - started)

    def measure_pipelines(self) -> None:
        """Send many GETs at a time."""
        started = time.perf_counter()
        for _ in range(PIPELINES):
            self.socket.sendall(_GET * PIPELINED)
            self.receive(len(_REPLY) * PIPELINED)
        self.pipelined_per_s.append(PIPELINES * PIPELINED / (time.perf_counter() - started))

    def measure_values(self) -> None:
        """Write and read a large value."""
        value = hashlib.shake_128(b"value").digest(1 << 20)
        started = time.perf_counter()
        self.socket.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n" % VALUE_BYTES)
        for _ in range(VALUE_BYTES >> 20):
            self.socket.sendall(value)
        self.socket.sendall(b"\r\n")
        self.receive(len(b"+OK\r\n"))
        written = time.perf_counter()
        self.socket.sendall(b"GET big\r\n")
        self.receive(len(b"$%d\r\n" % VALUE_BYTES) + VALUE_BYTES + 2)
        megabytes = VALUE_BYTES / 1e6
        self.written_mb_per_s.append(megabytes / (written - started))
        self.read_mb_per_s.append(megabytes / (time.perf_counter() - written))


def main() -> int:
    authority = trustme.CA()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        direct = Client(stack.enter_context(running_direct(folder / "direct", authority)), context)
        front = Client(stack.enter_context(running_front(folder / "front", authority)), context)
        for client in (direct, front):
            client.connect()
            stack.callback(client.socket.close)
            client.set_value()
        for _ in range(ROUNDS):
            for client in (direct, front):
                client.measure_latency()
                client.measure_pipelines()
                client.measure_values()
    show(direct, front)
    return 0


def show(direct: Client, front: Client) -> None:
    print(f"{'':34}{'direct':>12}{'front':>12}{'added':>12}")
    for percent in (50, 95, 99):
        ours, theirs = (
            statistics.quantiles(client.latencies_s, n=100)[percent - 1] * 1e3 for client in (front, direct)
        )
        print(f"{f'GET, {percent}th percentile, ms':34}{theirs:12.3f}{ours:12.3f}{ours - theirs:12.3f}")
    for what, theirs_all, ours_all in (
        (f"GET in pipelines of {PIPELINED}, 1/s", direct.pipelined_per_s, front.pipelined_per_s),
        (f"SET of {VALUE_BYTES >> 20} MiB, MB/s", direct.written_mb_per_s, front.written_mb_per_s),
        (f"GET of {VALUE_BYTES >> 20} MiB, MB/s", direct.read_mb_per_s, front.read_mb_per_s),
    ):
        print(f"{what:34}{statistics.median(theirs_all):12,.0f}{statistics.median(ours_all):12,.0f}")


if __name__ == "__main__":
    sys.exit(main())
