"""Events about the Pod that this process runs in, for `kubectl describe pod`: what the operator itself lacks."""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.api.keys import FIELD_MANAGER
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.ports import Clock

_EVENTS: Final = "events.k8s.io/v1"
LONGEST_NOTE: Final = 1024
"""The API server refuses more."""


@dataclass(frozen=True, slots=True)
class OwnPod:
    """Which Pod this is; the chart tells it by the downward API.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its uid: `kubectl describe` shows the Events that have it.
    """

    namespace: str
    name: str
    uid: str

    async def post_event(
        self, connection: Connection, clock: Clock, *, reason: str, note: str, is_warning: bool
    ) -> None:
        """Post an Event about it. No leader is needed: each replica speaks for itself. Raises core.errors."""
        body: dict[str, Any] = {
            "apiVersion": _EVENTS,
            "kind": "Event",
            "metadata": {"name": f"{self.name}.{secrets.token_hex(8)}", "namespace": self.namespace},
            "eventTime": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "elasticache-iam.dev/operator",
            "reportingInstance": self.name,
            "action": "CheckSurroundings",
            "reason": reason,
            "note": note[:LONGEST_NOTE],
            "type": "Warning" if is_warning else "Normal",
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
            },
        }
        await connection.send(
            Request(
                "create",
                f"/apis/{_EVENTS}",
                "events",
                self.namespace,
                query={"fieldManager": FIELD_MANAGER},
                body=body,
                metadata_only=True,
            )
        )
