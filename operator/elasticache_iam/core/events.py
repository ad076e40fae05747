"""Events as the API server takes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from elasticache_iam.core.times import micro_time

EVENTS_API: Final = "events.k8s.io/v1"
LONGEST_NOTE: Final = 1024
"""In bytes of UTF-8; the API server refuses more."""


def event_body(
    regarding: Mapping[str, str],
    *,
    name: str,
    at: datetime,
    instance: str,
    action: str,
    reason: str,
    note: str,
    is_warning: bool,
) -> dict[str, Any]:
    """Return an Event.

    Args:
        regarding: apiVersion, kind, namespace, name and uid of what it is about: `kubectl describe` goes by the uid.
        name: Of the Event itself; it is in the namespace of what it is about.
        at: When it happened.
        instance: Which of us reports it.
        action: What we were doing.
        reason: In one word.
        note: In words; what is too long is cut off.
        is_warning: Whether somebody should look.
    """
    return {
        "apiVersion": EVENTS_API,
        "kind": "Event",
        "metadata": {"name": name, "namespace": regarding["namespace"]},
        "eventTime": micro_time(at),
        "reportingController": "elasticache-iam.dev/operator",
        "reportingInstance": instance,
        "action": action,
        "reason": reason,
        "note": _cut(note),
        "type": "Warning" if is_warning else "Normal",
        "regarding": dict(regarding),
    }


def _cut(note: str) -> str:
    """Return as much of a note as an Event takes, and no half characters."""
    return note.encode(errors="replace")[:LONGEST_NOTE].decode(errors="ignore")
