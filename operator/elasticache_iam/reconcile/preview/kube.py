"""The cluster as it would be: reads come from the real one, writes go to the preview's own store or are noted."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from elasticache_iam.api.keys import FINALIZER
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.ports import Document, Kube
from elasticache_iam.reconcile.queue import Key
from elasticache_iam.reconcile.store import Store

_REMARKS: Final = frozenset({"DriftRepaired", "CacheOpen", "MembersRemoved", "Orphaned"})
"""Events that say why something is written; all others tell transitions of a status that isn't."""

_NOBODY: Final[tuple[Document, ...]] = ()
PLANNED: Final = "planned"
"""The uid of what a preview has made."""

NoteChange = Callable[[str, str, str, str], None]
"""Told mark, kind, namespace/name and detail of an object that would change."""


class PreviewKube:
    """`ports.Kube` for one preview.

    Args:
        real: What is read.
        store: The preview's own, whose resources take statuses and finalizers.
        note: Told each change of another object.
        remark: Told why something would be written.
    """

    def __init__(self, real: Kube, store: Store, *, note: NoteChange, remark: Callable[[str], None]) -> None:
        self._real = real
        self._store = store
        self._note = note
        self._remark = remark
        self._annotations: dict[tuple[str, str], Mapping[str, str]] = {}
        self._deleted: set[tuple[str, str]] = set()
        self.writes = 0
        """How many writes there were, those of statuses included: none in a round means that nothing is left."""

    def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port."""
        return self._real.list_resources(plural)

    async def patch_status(self, plural: str, namespace: str, name: str, *, uid: str, status: Document) -> str:
        """As in the port; the caller puts the status into the store."""
        del uid, status
        self.writes += 1
        return self._version(self._body(plural, namespace, name))

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, *, resource_version: str, finalizers: tuple[str, ...]
    ) -> Document:
        """As in the port; a resource that is being deleted goes with our finalizer."""
        del resource_version
        self.writes += 1
        body = self._body(plural, namespace, name)
        metadata = {**body["metadata"], "finalizers": list(finalizers)}
        if metadata.get("deletionTimestamp") and FINALIZER not in finalizers:
            self._store.forget(Key(plural, namespace, name))
        return {**body, "metadata": metadata}

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port; whether there is one can't be told without writing."""
        del body
        raise NotFoundError(f"nobody knows of a Secret {namespace}/{name}")

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        del uid
        if (namespace, name) not in self._deleted:
            self._deleted.add((namespace, name))
            self.writes += 1
            self._note("-", "Secret", f"{namespace}/{name}", "its token and all later ones")

    async def create_config_map(self, namespace: str, body: Document) -> str:
        """As in the port."""
        self.writes += 1
        keys = ", ".join(sorted(body.get("data", {})))
        self._note("+", "ConfigMap", f"{namespace}/{body['metadata']['name']}", f"keys: {keys}")
        return PLANNED

    async def reclaim_config_map(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port; whether there is one can't be told without writing."""
        del body
        raise NotFoundError(f"nobody knows of a ConfigMap {namespace}/{name}")

    async def replace_config_map(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        self.writes += 1
        if uid != PLANNED:
            keys = ", ".join(sorted(body.get("data", {})))
            self._note("~", "ConfigMap", f"{namespace}/{name}", f"keys: {keys}")

    async def delete_config_map(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        self.writes += 1
        if uid != PLANNED:
            self._note("-", "ConfigMap", f"{namespace}/{name}", "settings")

    async def list_pods(self, namespace: str) -> AsyncIterator[Document]:
        """As in the port: a plan warns of nobody."""
        for pod in _NOBODY:
            yield {**pod, "namespace": namespace}

    async def get_service_account_annotations(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """As in the port."""
        if (namespace, name) in self._annotations:
            return self._annotations[namespace, name]
        return await self._real.get_service_account_annotations(namespace, name)

    async def annotate_service_account(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """As in the port."""
        known = await self.get_service_account_annotations(namespace, name)
        if known is None:
            raise NotFoundError(f"there is no ServiceAccount {namespace}/{name}")
        self.writes += 1
        said = ", ".join(
            f"{key}={value}" if value is not None else f"without {key}" for key, value in annotations.items()
        )
        self._note("~", "ServiceAccount", f"{namespace}/{name}", f"annotations: {said}")
        merged = {**known, **annotations}
        self._annotations[namespace, name] = {key: value for key, value in merged.items() if value is not None}

    async def get_namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        return await self._real.get_namespace_labels(namespace)

    async def get_namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        return await self._real.get_namespace_annotations(namespace)

    async def is_namespace_ending(self, namespace: str) -> bool:
        """As in the port."""
        return await self._real.is_namespace_ending(namespace)

    async def create_event(self, namespace: str, body: Document) -> None:
        """As in the port."""
        del namespace
        if body.get("reason") in _REMARKS:
            self._remark(str(body.get("note", "")))

    def _body(self, plural: str, namespace: str, name: str) -> Mapping[str, Any]:
        body = self._store.body(Key(plural, namespace, name))
        if body is None:
            raise NotFoundError(f"{plural} {namespace}/{name} would be gone")
        return body

    def _version(self, body: Mapping[str, Any]) -> str:
        return str(body["metadata"].get("resourceVersion", ""))
