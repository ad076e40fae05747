"""The least world that a front can stand before: one cache, one key pair, an answer to Connect."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis.asyncio
import trustme
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from elasticache_iam_sandbox.cache_programs import find_programs
from elasticache_iam_sandbox.front.front import ClientSession
from elasticache_iam_sandbox.front.fronts import CacheFronts, Endpoint
from elasticache_iam_sandbox.world.call import CacheKind, CacheView, ConnectDecision, EngineUser, SigningIdentity
from elasticache_iam_sandbox.world.settings import WorldSettings

ACCOUNT, REGION, CACHE = "111122223333", "eu-central-1", "orders-cache"
ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:{CACHE}"
PROGRAMS = find_programs()
DEADLINE_S = 20
"""For what comes at once on an idle machine."""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def engine_user(name: str = "app", **changes: object) -> EngineUser:
    """Return an IAM user that may do everything, or what `changes` say."""
    user = EngineUser(user_id=name, user_name=name, access_string="on ~* &* +@all", auth_mode="iam")
    return replace(user, **changes)


def open_default() -> EngineUser:
    """Return the user of a cache without a group."""
    return engine_user("default", user_id="default-open", auth_mode="no-password")


def cache_view(*users: EngineUser, **changes: object) -> CacheView:
    """Return a node-based ElastiCache cache with these users."""
    view = CacheView(
        account_id=ACCOUNT,
        region=REGION,
        service="elasticache",
        cache_id=CACHE,
        arn=ARN,
        serverless=False,
        status="available",
        users={user.user_name: user for user in users},
    )
    return replace(view, **changes)


def signing_identity(**changes: object) -> SigningIdentity:
    """Return a role session that lives for another hour."""
    identity = SigningIdentity(
        access_key_id="ASIDEXAMPLE",
        secret_access_key="SECRETEXAMPLE",
        session_token="SESSION/TOKEN+EXAMPLE==",
        expires_at=NOW + timedelta(days=36500),
        account_id=ACCOUNT,
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/session",
    )
    return replace(identity, **changes)


@dataclass
class OneCache:
    """A world of one cache. Tests assign to its attributes."""

    view: CacheView | None
    identity: SigningIdentity = field(default_factory=signing_identity)
    decision: ConnectDecision = field(default_factory=lambda: ConnectDecision(allowed=True, reason="Allowed"))
    settings: WorldSettings = field(default_factory=WorldSettings)
    time: datetime | None = None
    """None: the real one."""

    def cache_view(
        self, account_id: str, region: str, cache_id: str, *, kind: CacheKind | None = None
    ) -> CacheView | None:
        return self.view if (account_id, region, cache_id) == (ACCOUNT, REGION, CACHE) else None

    def signing_identity(self, access_key_id: str) -> SigningIdentity | None:
        return self.identity if access_key_id == self.identity.access_key_id else None

    def decide_connect(
        self, identity: SigningIdentity, view: CacheView, user_id: str, *, source_ip: str
    ) -> ConnectDecision:
        return self.decision

    def now(self) -> datetime:
        return self.time if self.time is not None else datetime.now(UTC)


def presign(
    user: str = "app",
    *,
    at: datetime | None = None,
    identity: SigningIdentity | None = None,
    host: str = CACHE,
    region: str = REGION,
    service: str = "elasticache",
    expires_s: int = 900,
    action: str = "connect",
    extra: Mapping[str, str] | None = None,
) -> str:
    """Return a token signed with botocore for exactly these values."""
    signer = identity or signing_identity()
    stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    auth = SigV4QueryAuth(Credentials(signer.access_key_id, signer.secret_access_key), service, region)
    parameters = {
        "Action": action,
        "User": user,
        **(extra or {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{signer.access_key_id}/{stamp[:8]}/{region}/{service}/aws4_request",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": signer.session_token} if signer.session_token else {}),
    }
    query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in parameters.items())
    request = AWSRequest("GET", f"https://{host}/?{query}")
    request.context["timestamp"] = stamp
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return f"{host}/?{query}&X-Amz-Signature={signature}"


@dataclass
class Served:
    """A front with its real server, and ways in."""

    world: Any
    fronts: CacheFronts
    endpoint: Endpoint
    ca_file: Path

    def client(
        self, username: str | None = None, password: str | None = None, **options: object
    ) -> redis.asyncio.Redis:
        """Return a stock asyncio client; it does not retry, so that a test sees every failure."""
        return redis.asyncio.Redis(
            host="localhost",
            port=self.endpoint.port,
            username=username,
            password=password,
            ssl=True,
            ssl_ca_certs=str(self.ca_file),
            retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            **{"decode_responses": True, **options},
        )

    def tls(self) -> ssl.SSLContext:
        """Return a client's TLS settings with verification on."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    async def put_users(self, *users: EngineUser) -> None:
        """Make these the cache's users."""
        self.world.view = cache_view(*users)
        await self.fronts.sync()

    def only_session(self) -> ClientSession:
        """Return the front's side of the one connection there is."""
        (front,) = self.fronts._fronts.values()
        (session,) = front.sessions
        return session

    def reasons(self) -> list[str]:
        """Return why logins were refused, in order."""
        return [refusal.reason.value for refusal in self.fronts.refusals()]


@asynccontextmanager
async def serve(folder: Path, *users: EngineUser) -> AsyncIterator[Served]:
    """Serve a cache with these users."""
    async with serve_world(folder, OneCache(cache_view(*users))) as served:
        yield served


@asynccontextmanager
async def serve_world(
    folder: Path,
    world: Any,
    *,
    engine: str = "redis",
    kind: CacheKind = "replicationgroup",
    shards: int | None = None,
) -> AsyncIterator[Served]:
    """Serve the cache of that name in any world."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    fronts = CacheFronts(world, authority=authority, state_dir=folder / "caches", programs=PROGRAMS)
    try:
        endpoint = await fronts.add(ACCOUNT, REGION, CACHE, engine=engine, kind=kind, shards=shards)
        yield Served(world, fronts, endpoint, ca_file)
    finally:
        await fronts.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)


@dataclass
class RawConnection:
    """A connection that sends and reads bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def login(self, user: str) -> None:
        """Log in with a good token."""
        await self.send(f"AUTH {user} {presign(user)}\r\n".encode())
        assert await self.line() == b"+OK\r\n"

    async def line(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readline()

    async def read_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(end)

    async def read_to_the_end(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()


@asynccontextmanager
async def raw(served: Served) -> AsyncIterator[RawConnection]:
    """Open a TLS connection to the front."""
    reader, writer = await asyncio.open_connection("localhost", served.endpoint.port, ssl=served.tls())
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
