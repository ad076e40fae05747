"""Probes and metrics over HTTP: /livez, /readyz, /metrics. Runs on the control loop, which nothing else may block."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

Check = Callable[[], str | None]
"""Returns None if all is well, else the reason in one line. It must not block: the answer has to be known already."""

ALL_ADDRESSES: Final = "*"
"""The host that stands for all addresses, IPv4 and IPv6: Pods may have either alone."""
MAX_PORT: Final = 65535
_SHUTDOWN_S: Final = 1.0


def parse_listen(text: str) -> tuple[str, int]:
    """Return the host and port of `host:port`. The host is `*`, or as in a URL: an IPv6 address keeps its brackets.

    Raises:
        ValueError: It is no such thing; the text says what is.
    """
    host, _, port = text.rpartition(":")
    if not _is_host(host) or not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise ValueError("not host:port; write *:8080 for all addresses, or one, as 127.0.0.1:8080 or [::1]:8080")
    return host, int(port)


def _is_host(text: str) -> bool:
    if not text.startswith("["):
        return text != "" and ":" not in text and "]" not in text
    try:
        ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return text.endswith("]")


class HealthServer:
    """Serves the probes. Usable once `start` has returned; `stop` may be called at any time."""

    def __init__(
        self,
        *,
        live: Mapping[str, Check],
        ready: Mapping[str, Check],
        render_metrics: Callable[[], bytes],
        metrics_content_type: str,
    ) -> None:
        """Prepare the server.

        Args:
            live: By name: what a restart would cure, and only that.
            ready: By name: whether this replica can do its work; a standby is ready.
            render_metrics: Returns the metrics' text.
            metrics_content_type: Its type.
        """
        self._live = live
        self._ready = ready
        self._render_metrics = render_metrics
        self._metrics_content_type = metrics_content_type
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port: with 0 a free one is taken. Raises OSError if it is in use.

        Args:
            host: As `parse_listen` returns it.
            port: Its port.
        """
        application = web.Application()
        application.router.add_get("/livez", self._answer_live)
        application.router.add_get("/readyz", self._answer_ready)
        application.router.add_get("/metrics", self._answer_metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            if host == ALL_ADDRESSES:
                await web.SockSite(self._runner, _open_for_all(port)).start()
            else:
                await web.TCPSite(self._runner, host.strip("[]"), port).start()
        except OSError:
            await self.stop()
            raise
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer_live(self, _request: web.Request) -> web.Response:
        return _answer(self._live)

    async def _answer_ready(self, _request: web.Request) -> web.Response:
        return _answer(self._ready)

    async def _answer_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._render_metrics(), headers={"Content-Type": self._metrics_content_type})


def _open_for_all(port: int) -> socket.socket:
    """Return a socket for both families, or for IPv4 where the kernel has no IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def find_faults(checks: Mapping[str, Check]) -> dict[str, str]:
    """Return the reason of each check that fails. A check that raises fails: it must not take the others along."""
    faults = {}
    for name, check in dict(checks).items():  # another thread may add one
        try:
            reason = check()
        except Exception as error:  # noqa: BLE001  # whatever is wrong, the probe has to say so
            reason = f"the check failed: {type(error).__name__}"
        if reason is not None:
            faults[name] = reason
    return faults


def _answer(checks: Mapping[str, Check]) -> web.Response:
    faults = find_faults(checks)
    lines = [f"{name}: {reason}" for name, reason in faults.items()]
    return web.Response(status=503 if faults else 200, text="\n".join(lines or ["ok"]) + "\n")
