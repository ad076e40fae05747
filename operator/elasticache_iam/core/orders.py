"""Orders to the operator by a change of the resource: what to change, and how to see that it was done."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elasticache_iam.api.base import is_asked
from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_REFRESH
from elasticache_iam.core import commands
from elasticache_iam.core.status import READY

Document = Mapping[str, Any]


class Order(StrEnum):
    """What people ask for by a command."""

    SUSPEND = "suspend"
    RESUME = "resume"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order has come.

    Attributes:
        is_done: Whether it is carried out.
        says: Where it stands, in words.
    """

    is_done: bool
    says: str


def patch_of(order: Order, *, stamp: str) -> Document:
    """Return the merge patch of an ElastiCacheIAMUser that gives an order.

    Args:
        order: What to do.
        stamp: What the annotation `refresh` has never had before: the time, say.
    """
    if order is Order.REFRESH:
        return {"metadata": {"annotations": {ANNOTATION_REFRESH: stamp}}}
    return {"spec": {"suspend": order is Order.SUSPEND}}


def refusal_of(order: Order, body: Document) -> str:
    """Return why an order can't be carried out on a resource as it is; "" if it can."""
    spec, metadata = body.get("spec") or {}, body["metadata"]
    if order is Order.SUSPEND and is_asked(metadata.get("annotations"), ANNOTATION_PAUSED):
        unpause = commands.unpause(metadata["namespace"], metadata["name"])
        return f"it is paused, so nothing would be done and it would keep its access; first: {unpause}"
    if order is Order.REFRESH and spec.get("suspend"):
        return "it is suspended: resume it first"
    if order is Order.REFRESH and (spec.get("delivery") or {}).get("mode") == "None":
        return "delivery.mode is None: the workload signs its own tokens, there is none to refresh"
    return ""


def progress_of(order: Order, body: Document, *, stamp: str) -> Progress:
    """Return how far an order has come by the resource's status."""
    status = body.get("status") or {}
    ready: Document = next((entry for entry in status.get("conditions") or () if entry.get("type") == READY), {})
    says = f"{ready.get('reason', 'not looked at yet')}: {ready.get('message', '')}".removesuffix(": ")
    if order is Order.REFRESH:
        return Progress(status.get("refresh") == stamp, says)
    is_seen = status.get("observedGeneration") == (body["metadata"].get("generation") or 0)
    if order is Order.SUSPEND:
        return Progress(is_seen and ready.get("reason") == "Suspended", says)
    return Progress(is_seen and ready.get("status") == "True", says)
