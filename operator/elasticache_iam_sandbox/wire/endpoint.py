"""The HTTPS endpoint: one address for all of AWS's services, on loopback unless told otherwise."""

import asyncio
import ssl
from collections.abc import Callable, Iterable

from aiohttp import web

from elasticache_iam_sandbox.wire.gateway import Gateway
from elasticache_iam_sandbox.wire.signature import HttpRequest
from elasticache_iam_sandbox.world.world import World

HOST = "127.0.0.1"


class AwsEndpoint:
    """An HTTPS server in front of a world, on the running event loop.

    Args:
        world: What the calls act on. Only this event loop's thread may touch it while the endpoint runs.
        ssl_context: With the server's certificate for `host`.
        on_change: Called after each call that may have changed something.
        default_region: Of requests that tell no region.
        admin: Routes served beside AWS's, under /_sandbox/ (see `admin`).
        port: 0 picks a free one.
        host: The address to listen on.
    """

    def __init__(
        self,
        world: World,
        *,
        ssl_context: ssl.SSLContext,
        on_change: Callable[[], None],
        default_region: str = "eu-central-1",
        admin: Iterable[web.RouteDef] = (),
        port: int = 0,
        host: str = HOST,
    ) -> None:
        self._gateway = Gateway(world, default_region=default_region)
        self._ssl_context = ssl_context
        self._on_change = on_change
        self._admin = admin
        self._port = port
        self._host = host
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and return the URL for AWS_ENDPOINT_URL."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.add_routes(self._admin)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl_context)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"https://{self._host}:{port}"

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._runner is None:
            return
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                # A client with a pool never answers TLS's farewell: close() would wait for half a minute.
                if connection.transport is not None:
                    connection.transport.abort()
        await self._runner.cleanup()
        self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        http_request = HttpRequest(
            method=request.method,
            url=f"https://{request.host}{request.raw_path}",
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        if latency_s := self._gateway.latency_s(http_request):
            await asyncio.sleep(latency_s)
        try:
            answer = self._gateway.answer(http_request)
        except ConnectionError:
            # The client sees a connection closed without a byte of answer; what it asked for may have been done.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        finally:
            if self._gateway.changes_something(http_request):
                self._on_change()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
