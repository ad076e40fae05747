"""What the token benchmarks stand on: users as the API server shows them, STS and an API server that cost nothing.

Nothing of the sandbox or of the tests' servers is imported: a benchmark of memory loads this.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.builders import ACCOUNT, OWNER, REGION, user_manifest
from typing_extensions import override

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.keys import ANNOTATION_EXPIRES_AT, API_VERSION, FINALIZER
from elasticache_iam.api.parse import parse_user
from elasticache_iam.core.installation import Installation as OwnInstallation
from elasticache_iam.core.mint import LoginResult, MintOrder, Report, mint_order
from elasticache_iam.core.token import Credentials
from elasticache_iam.ports import Document, ServiceAccountToken
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import USERS, WorkQueue
from elasticache_iam.reconcile.store import Store
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.edge import Edge
from elasticache_iam.tokens.plane import PARALLEL_REFRESHES, Counting, TokenPlane, TokenSettings

NAMESPACE: Final = "shop"
SERVICE_ACCOUNT: Final = "app"
CACHE: Final = "orders-prod"
ALL_DUE_S: Final = 451.0
"""Half a token's life and a second: after so long every token is due."""
SESSION_TOKEN: Final = "IQoJb3JpZ2luX2VjE/+=" * 45  # an invented one, as long as STS's: 900 characters
PAGE: Final = 500
"""Objects in a page of a list; the operator's own."""
CONDITIONS: Final = ("Ready", "UserSynced", "MembershipSynced", "AccessGranted", "TokenDelivered", "Verified")


class MovedClock(SystemClock):
    """The real clock, set ahead so that tokens fall due."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    @override
    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)


class LoopClock:
    """The time of the running event loop, which may be virtual."""

    def now(self) -> datetime:
        """Return the wall clock."""
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()


class OpenFence:
    """The leader for ever."""

    def check(self) -> None:
        """As in the port."""

    def left_s(self) -> float:
        """As in the port."""
        return 15.0


class NoProbe:
    """Logins are switched off."""

    async def login(self, **_: Any) -> LoginResult:
        """Not used here."""
        raise NotImplementedError


class GivenSts:
    """Grants every session at once, as large as AWS's."""

    def __init__(self, clock: SystemClock | LoopClock, *, latency_s: float = 0.1) -> None:
        self._clock = clock
        self._latency_s = latency_s
        self.calls = 0

    async def assume_role_with_web_identity(self, *, duration_s: int, **_: Any) -> Credentials:
        """As in the port."""
        await asyncio.sleep(self._latency_s)
        self.calls += 1
        end = self._clock.now() + timedelta(seconds=duration_s)
        return Credentials(f"ASIA{self.calls:016}", f"{self.calls:040}", f"{self.calls:010}{SESSION_TOKEN}", end)

    async def assume_role(self, **_: Any) -> Credentials:
        """Not used here."""
        raise NotImplementedError


class Sink:
    """An API server that keeps of each Secret only when its token ends; no real one's memory is the operator's."""

    def __init__(self, clock: SystemClock | LoopClock) -> None:
        self._clock = clock
        self.ends: dict[str, float] = {}
        self.writes = 0
        self.on_write: Callable[[str], None] = lambda _: None

    async def _write(self, name: str, body: Document) -> None:
        await asyncio.sleep(0)
        self.writes += 1
        ends_at = datetime.fromisoformat(body["metadata"]["annotations"][ANNOTATION_EXPIRES_AT])
        self.ends[name] = ends_at.timestamp()
        self.on_write(name)

    async def create_secret(self, namespace: str, body: Document) -> str:
        """As in the port."""
        name = str(body["metadata"]["name"])
        await self._write(name, body)
        return f"{namespace}-{name}"

    async def replace_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        _ = namespace, uid
        await self._write(name, body)

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """Not used here."""
        raise NotImplementedError

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """Not used here."""
        raise NotImplementedError

    async def request_token(self, *_: Any, **__: Any) -> ServiceAccountToken:
        """As in the port."""
        return ServiceAccountToken("token", self._clock.now() + timedelta(seconds=600))

    async def load_checkpoint(self) -> bytes | None:
        """As in the port."""
        return None

    async def save_checkpoint(self, content: bytes) -> None:
        """As in the port."""

    def left_s(self) -> float:
        """Return what the token that ends first has left."""
        return min(self.ends.values()) - self._clock.now().timestamp()


class Pages:
    """Lists users as the API server does, in pages of JSON that are parsed as they come."""

    def __init__(self, bodies: Sequence[Document]) -> None:
        self.pages = [json.dumps({"items": bodies[at : at + PAGE]}) for at in range(0, len(bodies), PAGE)]

    async def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port."""
        for page in self.pages if plural == USERS else ():
            for body in json.loads(page)["items"]:
                yield body
            await asyncio.sleep(0)


def user_body(name: str, *, namespace: str = NAMESPACE, uid: str = "", version: int = 1) -> dict[str, Any]:
    """Return a user as the API server shows it once it is Ready."""
    since = "2026-01-02T03:04:05Z"
    user_id = f"{OWNER}-{name}"
    body = user_manifest(name, namespace, service_account=SERVICE_ACCOUNT)
    body["metadata"] |= {
        "uid": uid or f"00000000-0000-4000-8000-{int(re.sub(r'[^0-9]', '', name) or 0):012}",
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": since,
        "finalizers": [FINALIZER],
        "managedFields": [
            {
                "manager": manager,
                "operation": "Update",
                "apiVersion": API_VERSION,
                "time": since,
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {f"f:{field}": {} for field in (*body["spec"], *CONDITIONS)}},
            }
            for manager in ("kubectl", "elasticache-iam")
        ],
    }
    body["status"] = {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "Succeeded",
                "message": f"the user {user_id} is as asked for",
                "lastTransitionTime": since,
                "observedGeneration": 1,
            }
            for kind in CONDITIONS
        ],
        "id": user_id,
        "arn": f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:{user_id}",
        "role": {
            "arn": f"arn:aws:iam::{ACCOUNT}:role/elasticache-iam/{user_id}",
            "uniqueId": f"AROA{name.upper()}",
            "maxSessionSeconds": 43200,
        },
        "accessString": {"sent": "on ~orders:* +@read +@write", "returned": "on ~orders:* -@all +@read +@write"},
        "caches": [
            {
                "name": "main",
                "id": CACHE,
                "arn": f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:{CACHE}",
                "region": REGION,
                "host": f"master.{CACHE}.abcdef.euc1.cache.amazonaws.com",
                "port": 6379,
            }
        ],
        "binding": {"name": name},
    }
    return body


def order_of(body: Document) -> MintOrder:
    """Return what a user asks to mint."""
    order = mint_order(parse_user(body))
    if order is None:
        raise SystemExit(f"{body['metadata']['name']} asks to mint nothing")
    return order


def token_plane(
    kube: Any,
    sts: GivenSts,
    clock: SystemClock | LoopClock,
    *,
    report: Callable[[Report], None] = lambda _: None,
    counting: Counting = Counting(),  # noqa: B008  # frozen
) -> TokenPlane:
    """Return the real token plane."""
    settings = TokenSettings(
        owner=OWNER, audience="elasticache-iam.dev/sign", token_s=900, ca_pem=None, verify_logins=False
    )
    return TokenPlane(
        settings,
        kube=kube,
        sts=sts,
        probe=NoProbe(),
        clock=clock,
        fence=OpenFence(),
        report=report,
        counting=counting,
    )


async def give_sessions(tokens: TokenPlane, orders: Iterable[MintOrder]) -> None:
    """Warm the sessions up, without the pace that STS would set."""
    sessions = tokens._sessions  # noqa: SLF001  # the plane has no way around STS's pace, and must not have one
    waiting = list(orders)
    while waiting:
        batch, waiting = waiting[:PARALLEL_REFRESHES], waiting[PARALLEL_REFRESHES:]
        await asyncio.gather(*(sessions.renew(order) for order in batch))


def control_plane_of(kube: Any, clock: SystemClock | LoopClock, mint: Callable[[Any, MintOrder | None], None]) -> Edge:
    """Return the real edge with the real store and queue; nobody works the queue off."""

    async def stop_minting(_: tuple[str, str]) -> None:
        pass

    config = OperatorConfig(owner=OWNER, region=REGION, account=ACCOUNT, oidc_issuer="https://oidc.example")
    plane = Plane(
        installation=OwnInstallation(config, REGION, ACCOUNT, "https://oidc.example"),
        aws=lambda _: None,  # type: ignore[arg-type,return-value]  # no reconcile runs here
        kube=kube,
        store=Store(),
        queue=WorkQueue(clock),
        clock=clock,
        stop_minting=stop_minting,
        allow_minting=lambda _: None,
    )
    return Edge(plane, mint)


def memory_mib(name: str, pid: str = "self") -> float:
    """Return VmRSS or VmHWM of a process; getrusage's peak would be that of the process that started it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def with_refresh(order: MintOrder, value: str) -> MintOrder:
    """Return an order that asks for a new token at once."""
    return replace(order, refresh=value)
