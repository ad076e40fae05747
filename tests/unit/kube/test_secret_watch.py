"""The watch of Secrets against an API server that a test scripts; tests/contract has a real one."""

import asyncio
import json

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from elasticache_iam.api.keys import TOKEN_FIELD_MANAGER
from elasticache_iam.kube.connection import Connection
from elasticache_iam.kube.secret_watch import SecretWatch

KEY = ("shop", "checkout")
DEADLINE_S = 20.0


def metadata(uid="one", *, version="5", others=None, ours="2026-01-01T00:00:10Z", owner="checkout"):
    managed = [{"manager": TOKEN_FIELD_MANAGER, "operation": "Update", "time": ours}] if ours else []
    if others:
        managed.append({"manager": "kubectl-edit", "operation": "Update", "time": others})
    return {
        "namespace": "shop",
        "name": "checkout",
        "uid": uid,
        "resourceVersion": version,
        "managedFields": managed,
        "ownerReferences": [{"kind": "ElastiCacheIAMUser", "name": owner, "controller": True}],
    }


def event(kind, **changes):
    return {"type": kind, "object": {"kind": "PartialObjectMetadata", "metadata": metadata(**changes)}}


class Server:
    """Answers listings and watches one after the other, and holds the last watch open."""

    def __init__(self):
        self.listings = []
        self.watches = []
        self.seen = []
        self.accepts = set()

    async def handle(self, request):
        self.seen.append(dict(request.query))
        self.accepts.add(request.headers["Accept"])
        if "watch" not in request.query:
            answer = self.listings.pop(0)
            return answer if isinstance(answer, web.Response) else web.json_response(answer)
        response = web.StreamResponse()
        await response.prepare(request)
        for found in self.watches.pop(0) if self.watches else ():
            await response.write(json.dumps(found).encode() + b"\n")
        if not self.watches:
            await asyncio.Event().wait()
        return response


def listing(*items, version="4", more=""):
    return {
        "metadata": {"resourceVersion": version, "continue": more},
        "items": [{"metadata": one} for one in items] or None,
    }


@pytest.fixture
async def server():
    made = Server()
    application = web.Application()
    application.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield made
    await runner.cleanup()


class Watched:
    """A running watch, and what it wants restored."""

    def __init__(self):
        self.restored = []
        self.delivered = {}
        self._changed = asyncio.Event()

    def restore(self, key, uid):
        self.restored.append((key, uid))
        self._changed.set()

    async def until(self, count):
        async with asyncio.timeout(DEADLINE_S):
            while len(self.restored) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.restored


@pytest.fixture
async def watch(server):
    tasks, connections = [], []

    def start(delivered=None):
        watched = Watched()
        connections.append(Connection(Configuration(host=server.url)))
        secrets = SecretWatch(
            connections[-1],
            namespaces=(),
            delivered=lambda: delivered or {},
            restore=watched.restore,
        )
        tasks.append(asyncio.create_task(secrets.run()))
        return watched

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in connections:
        await connection.close()


async def test_a_deleted_secret_is_told(server, watch):
    server.listings = [listing(metadata())]
    server.watches = [[event("DELETED", version="6")]]

    assert await watch().until(1) == [(KEY, "one")]


async def test_one_that_somebody_wrote_to_since_is_told(server, watch):
    server.listings = [listing()]
    server.watches = [
        [
            event("MODIFIED", uid="ours-alone"),
            event("MODIFIED", uid="older", others="2026-01-01T00:00:09Z"),
            event("MODIFIED", uid="newer", others="2026-01-01T00:00:11Z"),
            event("MODIFIED", uid="in-doubt", others="2026-01-01T00:00:10Z"),
            event("ADDED", uid="never-ours", others="2026-01-01T00:00:00Z", ours=""),
        ]
    ]

    assert [uid for _, uid in await watch().until(3)] == ["newer", "in-doubt", "never-ours"]


async def test_what_happened_while_nobody_watched_is_found_by_the_listing(server, watch):
    tampered = metadata("tampered", others="2026-01-01T00:00:11Z")
    server.listings = [listing(metadata("first"), more="next"), listing(tampered)]
    delivered = {"first": KEY, "tampered": KEY, "deleted": ("shop", "billing")}

    assert await watch(delivered).until(2) == [(KEY, "tampered"), (("shop", "billing"), "deleted")]
    assert [query.get("continue") for query in server.seen[:2]] == [None, "next"]


async def test_a_watch_goes_on_where_it_ended(server, watch):
    server.listings = [listing(version="4")]
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "70"}}}
    server.watches = [[event("ADDED", version="60"), bookmark], [event("DELETED", version="71")]]

    await watch().until(1)

    assert [query["resourceVersion"] for query in server.seen if "watch" in query] == ["4", "70"]
    assert len([query for query in server.seen if "watch" not in query]) == 1


async def test_a_version_that_the_server_forgot_means_a_new_listing(server, watch):
    expired = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    server.listings = [listing(), listing(version="99")]
    server.watches = [[expired], [event("DELETED", version="100")]]

    await watch().until(1)

    assert [query["resourceVersion"] for query in server.seen if "watch" in query] == ["4", "99"]


async def test_nothing_but_the_metadata_of_our_secrets_is_asked_for(server, watch):
    server.listings = [listing()]
    server.watches = [[event("DELETED")]]

    await watch().until(1)

    assert {query["labelSelector"] for query in server.seen} == {
        "app.kubernetes.io/managed-by=elasticache-iam-operator"
    }
    assert server.accepts == {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    }


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_is_no_end(server, watch, monkeypatch, status):
    naps = []

    async def nap(seconds):
        naps.append(seconds)

    refusal = web.json_response({"kind": "Status", "message": "no"}, status=status)
    server.listings = [refusal, listing()]
    server.watches = [[event("DELETED")]]
    watched = watch()
    monkeypatch.setattr("elasticache_iam.kube.secret_watch.asyncio.sleep", nap)

    await watched.until(1)

    assert naps == [300.0 if status == 403 else 10.0]
