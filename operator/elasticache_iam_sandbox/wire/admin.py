"""The test ground's own API, under /_sandbox/ beside AWS's: settings, faults, counters, caches, refusals.

JSON in and out, no authentication: the endpoint listens on loopback only. Documented in docs/sandbox.md.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from aiohttp import web

from elasticache_iam_sandbox.world.settings import Fault, WorldSettings
from elasticache_iam_sandbox.world.world import World

_SECONDS = ("transition_s", "iam_propagation_s", "connection_seconds", "web_identity_calls_per_s")
_COUNTS = (
    "token_seconds",
    "min_session_seconds",
    "users_per_group",
    "users",
    "groups",
    "memorydb_users_per_acl",
    "memorydb_users",
    "memorydb_acls",
    "roles",
    "oidc_providers",
    "tags_per_resource",
)


class Ground(Protocol):
    """What the admin API needs of whoever runs the caches."""

    async def add_cache(self, cache_id: str, **options: Any) -> Mapping[str, Any]:
        """Create a replication group with a live front, and describe it. Raises ValueError."""
        ...

    def caches(self) -> Sequence[Mapping[str, Any]]:
        """Describe all caches that have a front."""
        ...

    def refusals(self) -> Sequence[Mapping[str, Any]]:
        """Return the true reason of each refused login, newest last."""
        ...


class AdminApi:
    """Handlers and their routes.

    Args:
        world: For the counters.
        settings: The world's own, changed in place.
        ground: For the caches.
        on_change: Called after a change of settings: what is due when may have changed.
    """

    def __init__(self, world: World, *, settings: WorldSettings, ground: Ground, on_change: Callable[[], None]) -> None:
        self._world = world
        self._settings = settings
        self._ground = ground
        self._on_change = on_change

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, to be added before the one that takes everything else."""
        return [
            web.get("/_sandbox/health", _json(self.health)),
            web.get("/_sandbox/settings", _json(self.show_settings)),
            web.patch("/_sandbox/settings", _json(self.change_settings)),
            web.get("/_sandbox/faults", _json(self.list_faults)),
            web.post("/_sandbox/faults", _json(self.add_fault)),
            web.delete("/_sandbox/faults", _json(self.remove_faults)),
            web.get("/_sandbox/calls", _json(self.call_counts)),
            web.delete("/_sandbox/calls", _json(self.reset_call_counts)),
            web.get("/_sandbox/caches", _json(self.list_caches)),
            web.post("/_sandbox/caches", _json(self.add_cache)),
            web.get("/_sandbox/refusals", _json(self.list_refusals)),
        ]

    async def health(self, _: web.Request) -> Any:
        """Answer at all."""
        return {"status": "ok", "now": self._world.now().isoformat()}

    async def show_settings(self, _: web.Request) -> Any:
        """Show all durations and limits."""
        shown: dict[str, Any] = {name: getattr(self._settings, name) for name in (*_SECONDS, *_COUNTS)}
        return {
            **shown,
            "calls_per_s": dict(self._settings.calls_per_s),
            "clock_offset_s": self._settings.clock_offset.total_seconds(),
            "managed_iam_user": self._settings.managed_iam_user,
        }

    async def change_settings(self, request: web.Request) -> Any:
        """Change those given; all or none."""
        changes: dict[str, Any] = {}
        for name, value in (await _body(request)).items():
            if name in _COUNTS and _is_number(value) and value == int(value) and value >= 0:
                changes[name] = int(value)
            elif name in _SECONDS and _is_number(value) and value >= 0:
                changes[name] = float(value)
            elif name == "clock_offset_s" and _is_number(value):
                changes["clock_offset"] = timedelta(seconds=value)
            elif _takes(name, value):
                changes[name] = value
            else:
                raise ValueError(f"no such setting, or not a value it can take: {name}")
        for name, value in changes.items():
            setattr(self._settings, name, value)
        self._on_change()
        return await self.show_settings(request)

    async def list_faults(self, _: web.Request) -> Any:
        """List the faults in the order in which they are tried."""
        return [dataclasses.asdict(fault) for fault in self._settings.faults]

    async def add_fault(self, request: web.Request) -> Any:
        """Add one."""
        body = await _body(request)
        known = {field.name for field in dataclasses.fields(Fault)}
        if unknown := set(body) - known:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        if missing := {"service", "operation"} - set(body):
            raise ValueError(f"a fault needs {', '.join(sorted(missing))}")
        fault = Fault(**body)
        self._settings.faults.append(fault)
        return dataclasses.asdict(fault)

    async def remove_faults(self, request: web.Request) -> Any:
        """Remove those of ?service= and ?operation=; without either, all."""
        wanted = {name: request.query[name] for name in ("service", "operation") if name in request.query}
        removed = [f for f in self._settings.faults if all(getattr(f, name) == wanted[name] for name in wanted)]
        self._settings.faults[:] = [fault for fault in self._settings.faults if fault not in removed]
        return {"removed": len(removed)}

    async def call_counts(self, _: web.Request) -> Any:
        """Show the number of calls by service and operation."""
        counts: dict[str, dict[str, int]] = {}
        for (service, operation), count in sorted(self._world.call_counts().items()):
            counts.setdefault(service, {})[operation] = count
        return counts

    async def reset_call_counts(self, _: web.Request) -> Any:
        """Count anew."""
        self._world.reset_call_counts()
        return {}

    async def list_caches(self, _: web.Request) -> Any:
        """List the caches with address, port and CA file."""
        return list(self._ground.caches())

    async def add_cache(self, request: web.Request) -> Any:
        """Create a replication group and start its front."""
        body = await _body(request)
        cache_id = body.pop("id", None)
        if not isinstance(cache_id, str):
            raise ValueError("a cache needs an id")  # noqa: TRY004  # what the client reads is one kind of error
        return await self._ground.add_cache(cache_id, **body)

    async def list_refusals(self, _: web.Request) -> Any:
        """List why logins were refused, newest last."""
        return list(self._ground.refusals())


def _json(handler: Callable[[web.Request], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that answers with JSON, and with 400 to a ValueError or an option of the wrong name."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except (ValueError, TypeError, LookupError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004  # as above
    return body


def _takes(name: str, value: Any) -> bool:
    """Whether a setting that is no number takes a value: throttles are rates by "service" or "service:Operation"."""
    if name == "managed_iam_user":
        return isinstance(value, bool)
    return (
        name == "calls_per_s"
        and isinstance(value, dict)
        and all(_is_number(rate) and rate >= 0 for rate in value.values())
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
