"""The token plane's writes: Secrets, ServiceAccount tokens and the checkpoint.

Nothing here reads a Secret. Nor does anything patch one: the right to patch is a right to read, because the API server
quotes the whole object when a patch leaves it invalid, before any policy is asked (docs/adr/0002).
"""

import base64
import binascii
from datetime import datetime
from typing import Final

from elasticache_iam.api.keys import LABEL_MANAGED_BY, MANAGED_BY, TOKEN_FIELD_MANAGER
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.kube.connection import APPLY_PATCH, Connection, Request
from elasticache_iam.kube.owned import SECRET, create_owned, delete_owned, reclaim_owned, replace_owned
from elasticache_iam.ports import Document, Fence, ServiceAccountToken

CHECKPOINT_NAME: Final = "elasticache-iam-operator-checkpoint"
CHECKPOINT_KEY: Final = "checkpoint"

_CORE: Final = "/api/v1"


class ApiTokenKube:
    """`ports.TokenKube` at a real API server."""

    def __init__(self, connection: Connection, fence: Fence, *, namespace: str) -> None:
        """Prepare the calls.

        Args:
            connection: Of the event loop that the calls are made on.
            fence: Asked before every write.
            namespace: The operator's own, where the checkpoint lives.
        """
        self._connection = connection
        self._fence = fence
        self._namespace = namespace

    async def create_secret(self, namespace: str, body: Document) -> str:
        """As in the port."""
        return await create_owned(self._connection, self._fence, SECRET, namespace, body)

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        return await reclaim_owned(self._connection, self._fence, SECRET, namespace, name, body=body)

    async def replace_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        await replace_owned(self._connection, self._fence, SECRET, namespace, name, uid=uid, body=body)

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await delete_owned(self._connection, self._fence, SECRET, namespace, name, uid=uid)

    async def request_token(
        self, namespace: str, service_account: str, *, audience: str, expires_s: int
    ) -> ServiceAccountToken:
        """As in the port."""
        document = await self._connection.call(
            Request(
                "create",
                _CORE,
                "serviceaccounts",
                namespace,
                service_account,
                "token",
                body={
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"audiences": [audience], "expirationSeconds": expires_s},
                },
                confidential=True,
            ),
            fence=self._fence,
        )
        status = document["status"]
        return ServiceAccountToken(status["token"], datetime.fromisoformat(status["expirationTimestamp"]))

    async def load_checkpoint(self) -> bytes | None:
        """As in the port. A checkpoint that isn't base64 counts as none: it only saves work."""
        try:
            document = await self._connection.call(
                Request("get", _CORE, "configmaps", self._namespace, CHECKPOINT_NAME)
            )
        except NotFoundError:
            return None
        content = (document.get("binaryData") or {}).get(CHECKPOINT_KEY)
        if content is None:
            return None
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error:
            return None

    async def save_checkpoint(self, content: bytes) -> None:
        """As in the port: one forced apply, which creates it the first time."""
        await self._connection.send(
            Request(
                "patch",
                _CORE,
                "configmaps",
                self._namespace,
                CHECKPOINT_NAME,
                query={"fieldManager": TOKEN_FIELD_MANAGER, "force": "true"},
                body={
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": CHECKPOINT_NAME, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
                    "binaryData": {CHECKPOINT_KEY: base64.b64encode(content).decode()},
                },
                content_type=APPLY_PATCH,
                metadata_only=True,
            ),
            fence=self._fence,
        )
