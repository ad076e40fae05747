"""Events about the Pod that this process runs in, for `kubectl describe pod`: what the operator itself lacks."""

import secrets
from dataclasses import dataclass

from elasticache_iam.core.events import event_body
from elasticache_iam.kube.connection import Connection
from elasticache_iam.kube.kube import event_request
from elasticache_iam.ports import Clock


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
        body = event_body(
            {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid},
            name=f"{self.name}.{secrets.token_hex(8)}",
            at=clock.now(),
            instance=self.name,
            action="CheckSurroundings",
            reason=reason,
            note=note,
            is_warning=is_warning,
        )
        await connection.send(event_request(self.namespace, body))
