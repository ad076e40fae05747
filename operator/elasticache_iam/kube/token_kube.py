"""The token plane's writes: Secrets, ServiceAccount tokens and the checkpoint. Nothing here reads a Secret."""

import base64
import binascii
from datetime import datetime
from typing import Final

from elasticache_iam.api.keys import LABEL_MANAGED_BY, MANAGED_BY, TOKEN_FIELD_MANAGER
from elasticache_iam.core.errors import NotFoundError, NotOwnedError, OperatorError
from elasticache_iam.kube.connection import APPLY_PATCH, JSON_PATCH, Connection, Request
from elasticache_iam.kube.errors import ApiStatus
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
        document = await self._connection.call(
            Request(
                "create",
                _CORE,
                "secrets",
                namespace,
                query={"fieldManager": TOKEN_FIELD_MANAGER},
                body={"apiVersion": "v1", "kind": "Secret", **body},
                metadata_only=True,
                confidential=True,
            ),
            fence=self._fence,
        )
        return str(document["metadata"]["uid"])

    async def reclaim_secret(self, namespace: str, name: str, *, owner_uid: str, body: Document) -> str:
        """As in the port. Data, labels and annotations are replaced whole: what the body doesn't have is gone."""
        metadata = body.get("metadata", {})
        patch: list[Document] = [
            {"op": "test", "path": "/metadata/ownerReferences/0/uid", "value": owner_uid},
            {"op": "test", "path": f"/metadata/labels/{_escape_pointer(LABEL_MANAGED_BY)}", "value": MANAGED_BY},
            {"op": "test", "path": "/type", "value": body["type"]},
            {"op": "add", "path": "/metadata/labels", "value": dict(metadata.get("labels", {}))},
            {"op": "add", "path": "/metadata/annotations", "value": dict(metadata.get("annotations", {}))},
            {"op": "add", "path": "/data", "value": dict(body["data"])},
        ]

        def not_ours(refusal: ApiStatus) -> OperatorError | None:
            if refusal.is_failed_test:
                return NotOwnedError(f"Secret {namespace}/{name} exists and isn't this resource's", code=refusal.reason)
            return None

        document = await self._connection.call(
            Request(
                "patch",
                _CORE,
                "secrets",
                namespace,
                name,
                query={"fieldManager": TOKEN_FIELD_MANAGER},
                body=patch,
                content_type=JSON_PATCH,
                metadata_only=True,
                confidential=True,
            ),
            fence=self._fence,
            translate=not_ours,
        )
        return str(document["metadata"]["uid"])

    async def apply_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port.

        A key that the body no longer has stays in the Secret while its creation (another field manager to the server)
        still owns it: when the set of keys changes, `reclaim_secret` is the call.
        """

        def gone(refusal: ApiStatus) -> OperatorError | None:
            if refusal.is_other_object:
                return NotFoundError(f"Secret {namespace}/{name} isn't the one we made any more", code=refusal.reason)
            return None

        await self._connection.send(
            Request(
                "patch",
                _CORE,
                "secrets",
                namespace,
                name,
                query={"fieldManager": TOKEN_FIELD_MANAGER, "force": "true"},
                body={
                    **body,
                    "apiVersion": "v1",
                    "kind": "Secret",
                    # The uid keeps apply from creating: for a missing object the server says 409.
                    "metadata": {**body.get("metadata", {}), "name": name, "namespace": namespace, "uid": uid},
                },
                content_type=APPLY_PATCH,
                metadata_only=True,
                confidential=True,
            ),
            fence=self._fence,
            translate=gone,
        )

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await delete_secret(self._connection, self._fence, namespace, name, uid=uid)

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


async def delete_secret(connection: Connection, fence: Fence, namespace: str, name: str, *, uid: str) -> None:
    """Delete that very Secret; a missing one, or another of its name, is success."""

    def gone(refusal: ApiStatus) -> OperatorError | None:
        return NotFoundError(f"Secret {namespace}/{name} isn't the one we made") if refusal.is_other_object else None

    try:
        await connection.send(
            Request(
                "delete",
                _CORE,
                "secrets",
                namespace,
                name,
                body={"preconditions": {"uid": uid}},
                metadata_only=True,
                confidential=True,
            ),
            fence=fence,
            translate=gone,
        )
    except NotFoundError:
        return


def _escape_pointer(key: str) -> str:
    """Return a key as it stands in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
