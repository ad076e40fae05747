"""Follows our Secrets, by their metadata alone: who deletes or changes one has it back at once (`secretRepair`).

A watch, because the alternative, a listing every few seconds, costs the API server and us megabytes each time at
thousands of Secrets, and finds a change only seconds later. Nothing is asked for but metadata, and an answer with more
is refused; still, the right to it is the right to read every Secret. So all of this is off by default.

Whether somebody changed a Secret is told by its managed fields: each writer is named there, with the time of its last
change, and our writes replace the whole object.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from elasticache_iam.api.keys import LABEL_MANAGED_BY, MANAGED_BY, TOKEN_FIELD_MANAGER, USER_KIND
from elasticache_iam.core.errors import AccessDeniedError, ConflictError, OperatorError, RetryableError
from elasticache_iam.kube.connection import Connection, Request

log = structlog.get_logger("tokens")

PAGE_SIZE: Final = 500
WATCH_S: Final = 300
"""After so long the server ends a watch, and it is begun anew where it ended."""
SILENCE_S: Final = 150.0
"""A bookmark comes once a minute: without a byte for so long the connection is dead."""
_GONE: Final = 410

UserKey = tuple[str, str]
"""Namespace, and name of the ElastiCacheIAMUser."""
Restore = Callable[[UserKey, str], None]
"""Told whose Secret must be made anew, and its uid."""


@dataclass(frozen=True, slots=True)
class _Listed:
    version: str
    uids: frozenset[str]


class SecretWatch:
    """The watch of one operator. It belongs to the loop that it runs on."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespaces: tuple[str, ...],
        delivered: Callable[[], Mapping[str, UserKey]],
        restore: Restore,
    ) -> None:
        """Prepare.

        Args:
            connection: One of its own: a watch holds its place for ever.
            namespaces: The only ones to look at; empty: the whole cluster.
            delivered: Returns whose all Secrets are that are known to have been written, by uid.
            restore: Called for each that is gone or was changed by somebody else, again and again if they fight for it.
        """
        self._connection = connection
        self._namespaces = namespaces
        self._delivered = delivered
        self._restore = restore
        self._trouble = ""

    async def run(self) -> None:
        """Watch until cancelled; a failure is logged once, and tried again."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._namespaces or ("",):
                tasks.create_task(self._keep_watching(namespace))

    async def _keep_watching(self, namespace: str) -> None:
        while True:
            try:
                await self._watch(namespace)
            except ConflictError:  # too far behind: list anew
                pause_s = 1.0
            except OperatorError as error:
                pause_s = error.retry_after_s if isinstance(error, RetryableError) else 60.0
                if self._trouble != error.reason:
                    self._trouble = error.reason
                    remedy = "; the chart gives the right with config.secretRepair"
                    note = remedy if isinstance(error, AccessDeniedError) else ""
                    log.warning("Secrets aren't watched", reason=error.reason, message=f"{error.message}{note}")
            except Exception as error:  # noqa: BLE001
                # What repairs Secrets sooner must not end what keeps them fresh.
                pause_s = 60.0
                log.error("the watch of Secrets failed unexpectedly", error=type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(pause_s)

    async def _watch(self, namespace: str) -> None:
        before = self._delivered()
        listed = await self._list(namespace)
        for uid, key in before.items():
            if key[0] == (namespace or key[0]) and uid not in listed.uids:
                self._restore(key, uid)
        version = listed.version
        self._trouble = ""
        while True:
            version = await self._follow(namespace, version)

    async def _list(self, namespace: str) -> _Listed:
        uids: set[str] = set()
        more = ""
        while True:
            query = {"limit": str(PAGE_SIZE), **({"continue": more} if more else {})}
            page = await self._connection.call(self._request("list", namespace, query))
            for item in page["items"] or ():  # null where there are none
                uids.add(str(item["metadata"]["uid"]))
                self._judge(item["metadata"])
            more = page["metadata"].get("continue") or ""
            if not more:
                return _Listed(str(page["metadata"]["resourceVersion"]), frozenset(uids))
            await asyncio.sleep(0)

    async def _follow(self, namespace: str, version: str) -> str:
        """Take events from a version on until the server ends the watch; return the last version seen.

        Raises ConflictError when the server has forgotten that version.
        """
        query = {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
            "allowWatchBookmarks": "true",
        }
        request = self._request("watch", namespace, query)
        async for event in self._connection.watch(request, silence_s=SILENCE_S):
            kind, found = event["type"], event["object"]
            if kind == "ERROR":
                if found.get("code") == _GONE:
                    raise ConflictError("the API server has forgotten where the watch ended")
                raise RetryableError(f"watch secrets: {found.get('reason', 'an error')}")
            metadata = found["metadata"]
            version = str(metadata["resourceVersion"])
            if kind == "DELETED":
                self._wake_owner(metadata)
            elif kind != "BOOKMARK":
                self._judge(metadata)
        return version

    def _request(self, verb: str, namespace: str, query: Mapping[str, str]) -> Request:
        selected = {**query, "labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
        return Request(verb, "/api/v1", "secrets", namespace, query=selected, metadata_only=True, confidential=True)

    def _judge(self, metadata: Mapping[str, Any]) -> None:
        """Have a Secret made anew that somebody else has written to since we did."""
        ours, others = "", ""
        for entry in metadata.get("managedFields") or ():
            at = str(entry.get("time", ""))
            if entry.get("manager") == TOKEN_FIELD_MANAGER:
                ours = max(ours, at)
            else:
                others = max(others, at)
        if others and others >= ours:  # whole seconds: in doubt, once more
            self._wake_owner(metadata)

    def _wake_owner(self, metadata: Mapping[str, Any]) -> None:
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("controller") and owner["kind"] == USER_KIND:
                self._restore((metadata["namespace"], owner["name"]), str(metadata["uid"]))
