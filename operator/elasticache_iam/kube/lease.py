"""The Lease that leader election stands on: get, create, replace; each write says which version it has seen."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.times import micro_time
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.ports import Document

LEASE_NAME: Final = "elasticache-iam-operator"
"""The one of every installation, each in its own namespace: the chart gives rights on this Lease alone."""

_API: Final = "/apis/coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """coordination.k8s.io/v1 Lease, the part that election needs.

    The times are the holder's own clock: for people to read, never to compare with ours.
    """

    holder: str
    duration_s: int
    transitions: int = 0
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    resource_version: str = ""

    def is_same_as(self, other: "LeaseRecord") -> bool:
        """Whether the holder has not renewed between the two; somebody's label on the Lease is no renewal."""
        return replace(self, resource_version="") == replace(other, resource_version="")


class ApiLease:
    """One named Lease at a real API server."""

    def __init__(self, connection: Connection, *, namespace: str, name: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._name = name

    async def get(self) -> LeaseRecord | None:
        """Return the Lease, None if there is none."""
        try:
            document = await self._connection.call(self._request("get"))
        except NotFoundError:
            return None
        return parse_lease(document)

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create the Lease. Raises AlreadyExistsError."""
        body = render_lease(record, namespace=self._namespace, name=self._name)
        return parse_lease(await self._connection.call(self._request("create", body)))

    async def replace(self, record: LeaseRecord) -> LeaseRecord:
        """Replace exactly the version that the record has seen. Raises ConflictError, NotFoundError."""
        body = render_lease(record, namespace=self._namespace, name=self._name)
        return parse_lease(await self._connection.call(self._request("update", body)))

    def _request(self, verb: str, body: Document | None = None) -> Request:
        return Request(verb, _API, "leases", self._namespace, "" if verb == "create" else self._name, body=body)


def parse_lease(document: Document) -> LeaseRecord:
    """Return a Lease's record; a Lease that somebody emptied has no holder."""
    spec = document.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_s=spec.get("leaseDurationSeconds") or 0,
        transitions=spec.get("leaseTransitions") or 0,
        acquired_at=_parse_time(spec.get("acquireTime")),
        renewed_at=_parse_time(spec.get("renewTime")),
        resource_version=document["metadata"].get("resourceVersion", ""),
    )


def render_lease(record: LeaseRecord, *, namespace: str, name: str) -> dict[str, Any]:
    """Return the Lease object. The version it replaces goes with it, so that a lost race is a conflict."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": namespace,
            **({"resourceVersion": record.resource_version} if record.resource_version else {}),
        },
        "spec": {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.duration_s,
            "leaseTransitions": record.transitions,
            "acquireTime": _render_time(record.acquired_at),
            "renewTime": _render_time(record.renewed_at),
        },
    }


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _render_time(moment: datetime | None) -> str | None:
    return micro_time(moment) if moment else None
