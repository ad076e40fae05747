"""The control plane's calls: resources, their status and finalizers, Events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from elasticache_iam.api.keys import FIELD_MANAGER, GROUP, VERSION
from elasticache_iam.core.errors import ConflictError, NotFoundError, OperatorError
from elasticache_iam.core.events import EVENTS_API
from elasticache_iam.kube.connection import JSON_PATCH, MERGE_PATCH, Connection, ErrorTranslator, Request
from elasticache_iam.kube.errors import ApiStatus
from elasticache_iam.kube.owned import CONFIG_MAP, SECRET, create_owned, delete_owned, reclaim_owned, replace_owned
from elasticache_iam.ports import Document, Fence

PAGE_SIZE: Final = 500
POD_PAGE_SIZE: Final = 100
"""Pods are long: some 10 KB each, with their managed fields."""

_RUNNING: Final = "status.phase!=Succeeded,status.phase!=Failed"

_CORE: Final = "/api/v1"
_RESOURCES: Final = f"/apis/{GROUP}/{VERSION}"


class ApiKube:
    """`ports.Kube` at a real API server."""

    def __init__(
        self, connection: Connection, fence: Fence, *, namespaces: tuple[str, ...] = (), page_size: int = PAGE_SIZE
    ) -> None:
        """Prepare the calls.

        Args:
            connection: Of the event loop that the calls are made on.
            fence: Asked before every write.
            namespaces: The only ones to list; empty: the whole cluster.
            page_size: Objects in one answer; parsing 500 holds the loop for some 10 ms.
        """
        self._connection = connection
        self._fence = fence
        self._namespaces = namespaces
        self._page_size = page_size

    async def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port. Raises ConflictError when a listing took so long that the server forgot its start."""
        for namespace in self._namespaces or ("",):
            more = ""
            while True:
                query = {"limit": str(self._page_size), **({"continue": more} if more else {})}
                page = await self._connection.call(Request("list", _RESOURCES, plural, namespace, query=query))
                for item in page["items"]:
                    yield item
                more = page["metadata"].get("continue") or ""
                if not more:
                    break
                await asyncio.sleep(0)

    async def patch_status(self, plural: str, namespace: str, name: str, *, uid: str, status: Document) -> str:
        """As in the port: a JSON patch, because a merge patch would keep the keys that the new status lacks."""
        document = await self._connection.call(
            Request(
                "patch",
                _RESOURCES,
                plural,
                namespace,
                name,
                "status",
                query={"fieldManager": FIELD_MANAGER},
                body=[
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "add", "path": "/status", "value": dict(status)},
                ],
                content_type=JSON_PATCH,
                metadata_only=True,
            ),
            fence=self._fence,
            translate=_conflict(f"{plural} {namespace}/{name} is another object now"),
        )
        return str(document["metadata"]["resourceVersion"])

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, *, resource_version: str, finalizers: tuple[str, ...]
    ) -> Document:
        """As in the port."""
        return await self._connection.call(
            Request(
                "patch",
                _RESOURCES,
                plural,
                namespace,
                name,
                query={"fieldManager": FIELD_MANAGER},
                body=[
                    {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
                    {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)},
                ],
                content_type=JSON_PATCH,
            ),
            fence=self._fence,
            translate=_conflict(f"{plural} {namespace}/{name} has changed meanwhile"),
        )

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        return await reclaim_owned(self._connection, self._fence, SECRET, namespace, name, body=body)

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await delete_owned(self._connection, self._fence, SECRET, namespace, name, uid=uid)

    async def create_config_map(self, namespace: str, body: Document) -> str:
        """As in the port."""
        return await create_owned(self._connection, self._fence, CONFIG_MAP, namespace, body)

    async def reclaim_config_map(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        return await reclaim_owned(self._connection, self._fence, CONFIG_MAP, namespace, name, body=body)

    async def replace_config_map(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        await replace_owned(self._connection, self._fence, CONFIG_MAP, namespace, name, uid=uid, body=body)

    async def delete_config_map(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await delete_owned(self._connection, self._fence, CONFIG_MAP, namespace, name, uid=uid)

    async def list_pods(self, namespace: str) -> AsyncIterator[Document]:
        """As in the port."""
        more = ""
        while True:
            query = {"limit": str(POD_PAGE_SIZE), "fieldSelector": _RUNNING, **({"continue": more} if more else {})}
            page = await self._connection.call(Request("list", _CORE, "pods", namespace, query=query))
            for item in page["items"]:
                yield item
            more = page["metadata"].get("continue") or ""
            if not more:
                break
            await asyncio.sleep(0)

    async def get_service_account_annotations(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """As in the port."""
        try:
            document = await self._connection.call(
                Request("get", _CORE, "serviceaccounts", namespace, name, metadata_only=True)
            )
        except NotFoundError:
            return None
        annotations: dict[str, str] = document["metadata"].get("annotations") or {}
        return annotations

    async def annotate_service_account(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """As in the port."""
        await self._connection.send(
            Request(
                "patch",
                _CORE,
                "serviceaccounts",
                namespace,
                name,
                query={"fieldManager": FIELD_MANAGER},
                body={"metadata": {"annotations": dict(annotations)}},
                content_type=MERGE_PATCH,
                metadata_only=True,
            ),
            fence=self._fence,
        )

    async def get_namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        document = await self._connection.call(Request("get", _CORE, "namespaces", name=namespace, metadata_only=True))
        labels: dict[str, str] = document["metadata"].get("labels") or {}
        return labels

    async def get_namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        document = await self._connection.call(Request("get", _CORE, "namespaces", name=namespace, metadata_only=True))
        annotations: dict[str, str] = document["metadata"].get("annotations") or {}
        return annotations

    async def is_namespace_ending(self, namespace: str) -> bool:
        """As in the port."""
        request = Request("get", _CORE, "namespaces", name=namespace, metadata_only=True)
        try:
            document = await self._connection.call(request)
        except NotFoundError:
            return True
        return "deletionTimestamp" in document["metadata"]

    async def create_event(self, namespace: str, body: Document) -> None:
        """As in the port. The body says by its apiVersion which Event it is: core's (`v1`, the default) or the newer.

        A body without a name gets one from the server.
        """
        await self._connection.send(event_request(namespace, body), fence=self._fence)


def event_request(namespace: str, body: Document) -> Request:
    """Return the request that makes an Event; its fence is the caller's to say."""
    metadata: dict[str, Any] = {"namespace": namespace, **body.get("metadata", {})}
    if "name" not in metadata:
        metadata.setdefault("generateName", "elasticache-iam-")
    version = body.get("apiVersion", "v1")
    return Request(
        "create",
        f"/apis/{EVENTS_API}" if version == EVENTS_API else _CORE,
        "events",
        namespace,
        query={"fieldManager": FIELD_MANAGER},
        body={**body, "apiVersion": version, "kind": "Event", "metadata": metadata},
        metadata_only=True,
    )


def _conflict(message: str) -> ErrorTranslator:
    """Return a reading of refusals in which a failed `test` is a conflict."""

    def translate(refusal: ApiStatus) -> OperatorError | None:
        return ConflictError(message, code=refusal.reason) if refusal.is_failed_test else None

    return translate
