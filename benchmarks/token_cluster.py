"""The real token plane at a real API server: etcd, kube-apiserver, the operator's own rights and admission policies."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from benchmarks.token_fakes import (
    ALL_DUE_S,
    SERVICE_ACCOUNT,
    SESSION_TOKEN,
    GivenSts,
    MovedClock,
    OpenFence,
    give_sessions,
    order_of,
    token_plane,
    user_body,
)
from tests.builders import OWNER, user_manifest
from tests.cluster.ground import Installation

from elasticache_iam.api.keys import API_VERSION
from elasticache_iam.core.mint import Delivered, MintOrder, Report
from elasticache_iam.core.token import Credentials, sign_token
from elasticache_iam.delivery.secret import render_secret
from elasticache_iam.delivery.template import TemplateCache
from elasticache_iam.kube.connection import Connection, Request, load_configuration
from elasticache_iam.kube.token_kube import ApiTokenKube
from elasticache_iam.ports import Document
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.tokens.plane import PARALLEL_REFRESHES, Counting


class Minting:
    """The real token plane at a real API server, with users whose sessions are warm and whose Secrets are there."""

    def __init__(
        self, installation: Installation, connection: Connection, namespace: str, requests: Counter[tuple[str, str]]
    ) -> None:
        self._installation = installation
        self.namespace = namespace
        self.clock = MovedClock()
        self.requests = requests
        self.orders: list[MintOrder] = []
        self.newcomers: list[MintOrder] = []
        self.done = 0
        self.kube = ApiTokenKube(connection, OpenFence(), namespace=installation.namespace)
        self.tokens = token_plane(
            self.kube,
            GivenSts(self.clock),
            self.clock,
            report=self._receive,
            counting=Counting(refresh=self._count),
        )
        self._uids: dict[tuple[str, str], str] = {}
        self._first: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._wanted = 0
        self._begun = asyncio.Event()
        self._all_done = asyncio.Event()

    def _receive(self, report: Report) -> None:
        if not isinstance(report, Delivered):
            return
        self._uids[report.key] = report.secret_uid
        if (waiter := self._first.pop(report.key, None)) is not None:
            waiter.set_result(None)

    def _count(self, result: str) -> None:
        if result != "ok":
            raise SystemExit(f"a refresh failed: {result}")
        self.done += 1
        self._begun.set()
        if self.done == self._wanted:
            self._all_done.set()

    async def deliver_first(self, orders: list[MintOrder]) -> None:
        """Give users sessions and first Secrets."""
        self.orders = orders
        await give_sessions(self.tokens, orders)
        for order in orders:
            self.tokens.observe(order.key, order)
        await self._until_done(len(orders))

    async def refresh_all(self) -> None:
        """Let all be due, and refresh all."""
        self.clock.ahead_s += ALL_DUE_S
        await self._until_done(len(self.orders))

    async def refresh_with_newcomer(self, newcomer: MintOrder) -> tuple[float, int]:
        """Bring a new order while all others are overdue; return how long its Secret took, and how many had waited."""
        self.clock.ahead_s += ALL_DUE_S
        self._first[newcomer.key] = asyncio.get_running_loop().create_future()
        self._begun.clear()
        refreshing = asyncio.create_task(self._until_done(len(self.orders) + 1))
        await self._begun.wait()
        overdue = len(self.orders) - self.done
        started = self.clock.monotonic()
        delivered = self._first[newcomer.key]
        self.tokens.observe(newcomer.key, newcomer)
        await delivered
        took_s = self.clock.monotonic() - started
        await refreshing
        self.tokens.observe(newcomer.key, None)
        return took_s, overdue

    async def _until_done(self, count: int) -> None:
        self.done, self._wanted = 0, count
        self._all_done.clear()
        running = asyncio.create_task(self.tokens.run())
        try:
            await asyncio.wait_for(self._all_done.wait(), timeout=300.0)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def bare_writes(self) -> list[tuple[str, str, Document]]:
        """Return the same writes as a refresh of all makes, ready to send: name, uid and body."""
        at = self.clock.now() + timedelta(seconds=1)  # another token than the one there: else nothing is written
        credentials = Credentials("ASIAEXAMPLE", "SECRETEXAMPLE", SESSION_TOKEN, at + timedelta(hours=12))
        writes: list[tuple[str, str, Document]] = []
        for order in self.orders:
            (target,) = order.caches
            token = sign_token(
                credentials,
                service=target.service,
                region=target.region,
                cache_id=target.cache_id,
                user_id=order.user_id,
                now=at,
                expires_s=900,
            )
            body = render_secret(order, target, token=token, owner=OWNER, ca_pem=None, templates=TemplateCache())
            writes.append((target.secret_name, self._uids[order.key], body))
        return writes

    async def send(self, writes: list[tuple[str, str, Document]]) -> None:
        """Send writes with the same client and as many at a time, and do nothing else."""
        waiting = iter(writes)

        async def work() -> None:
            for name, uid, body in waiting:
                await self.kube.replace_secret(self.namespace, name, uid=uid, body=body)

        await asyncio.gather(*(work() for _ in range(PARALLEL_REFRESHES)))

    def audited(self) -> Counter[tuple[str, str]]:
        """Return the operator's requests so far in its users' namespace, as the API server counts them."""
        found: Counter[tuple[str, str]] = Counter()
        for event in self._installation.control_plane.audit_events():
            what = event.get("objectRef", {})
            if event["user"].get("username") == self._installation.username and what.get("namespace") == self.namespace:
                found[event["verb"], what["resource"]] += 1
        return found


@asynccontextmanager
async def minting(installation: Installation, namespace: str, users: int, newcomers: int) -> AsyncIterator[Minting]:
    """Yield a token plane with so many users delivered; `newcomers` more are in the cluster, and not told of yet."""
    requests: Counter[tuple[str, str]] = Counter()

    def count(verb: str, resource: str, _: str) -> None:
        requests[verb, resource] += 1

    configuration = await load_configuration(str(installation.kubeconfig))
    async with Connection(configuration, on_request=count) as connection:
        made = Minting(installation, connection, namespace, requests)
        orders = await create_users(installation.control_plane, namespace, users + newcomers)
        made.newcomers = orders[users:]
        await made.deliver_first(orders[:users])
        yield made


async def create_users(control_plane: Any, namespace: str, count: int) -> list[MintOrder]:
    """Create users as kubectl would and return their orders: the garbage collector takes Secrets without owners."""
    control_plane.request("POST", "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": namespace}})
    account = {"kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}}
    control_plane.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    names = iter([f"user-{number}" for number in range(count)])
    orders: list[MintOrder] = []
    async with Connection(await load_configuration(str(control_plane.kubeconfig))) as connection:

        async def work() -> None:
            for name in names:
                manifest = user_manifest(name, namespace, service_account=SERVICE_ACCOUNT)
                made = await connection.call(Request("create", f"/apis/{API_VERSION}", USERS, namespace, body=manifest))
                orders.append(order_of(user_body(name, namespace=namespace, uid=made["metadata"]["uid"])))

        await asyncio.gather(*(work() for _ in range(PARALLEL_REFRESHES)))
    return orders
