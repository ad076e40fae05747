"""Probes and metrics over HTTP: /livez, /readyz, /metrics. Runs on the control loop, which nothing else may block."""

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

Check = Callable[[], str | None]
"""Returns None if all is well, else the reason in one line. It must not block: the answer has to be known already."""

_SHUTDOWN_S: Final = 1.0


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
        """Listen, and return the port: with 0 a free one is taken. Raises OSError if it is in use."""
        application = web.Application()
        application.router.add_get("/livez", self._answer_live)
        application.router.add_get("/readyz", self._answer_ready)
        application.router.add_get("/metrics", self._answer_metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
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
