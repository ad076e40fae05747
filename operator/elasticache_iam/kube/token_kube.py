"""The token plane's writes: Secrets, ServiceAccount tokens and the checkpoint.

Nothing here reads a Secret. Nor does anything patch one: the right to patch is a right to read, because the API server
quotes the whole object when a patch leaves it invalid, before any policy is asked (docs/adr/0002).
"""

import base64
import binascii
from datetime import datetime
from secrets import token_hex
from typing import Final

from elasticache_iam.api.keys import LABEL_MANAGED_BY, MANAGED_BY, TOKEN_FIELD_MANAGER
from elasticache_iam.core.errors import (
    AccessDeniedError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
)
from elasticache_iam.kube.connection import APPLY_PATCH, Connection, Request
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
                body={**body, "apiVersion": "v1", "kind": "Secret"},
                metadata_only=True,
                confidential=True,
            ),
            fence=self._fence,
        )
        return str(document["metadata"]["uid"])

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        return await reclaim_secret(self._connection, self._fence, namespace, name, body=body)

    async def replace_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port. An update creates no Secret, with or without a uid."""

        def gone(refusal: ApiStatus) -> OperatorError | None:
            if refusal.is_other_object:
                return NotFoundError(f"Secret {namespace}/{name} isn't the one we made any more", code=refusal.reason)
            if refusal.is_fenced:
                return NotOwnedError(
                    f"Secret {namespace}/{name} has lost our label or owner: delete it, and it is made anew",
                    code=refusal.reason,
                )
            return None

        await self._connection.send(_replacement(namespace, name, body, uid=uid), fence=self._fence, translate=gone)

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


async def reclaim_secret(connection: Connection, fence: Fence, namespace: str, name: str, *, body: Document) -> str:
    """Replace a Secret of unknown uid: the one write without a uid, so first comes the proof that it is watched."""
    await _require_policy(connection, fence, namespace, name)

    def not_ours(refusal: ApiStatus) -> OperatorError | None:
        # A Secret's type can't be changed, and that is checked before the policy.
        if refusal.is_fenced or any(cause.field == "type" for cause in refusal.causes):
            return NotOwnedError(f"Secret {namespace}/{name} exists and isn't this resource's", code=refusal.reason)
        return None

    document = await connection.call(_replacement(namespace, name, body), fence=fence, translate=not_ours)
    return str(document["metadata"]["uid"])


async def _require_policy(connection: Connection, fence: Fence, namespace: str, name: str) -> None:
    """Return if the admission policy holds us off foreign Secrets, here and now; else raise NotOwnedError.

    The proof is a refusal: of the dry run of a Secret that isn't ours, in the policy's own words.
    """

    def expected(refusal: ApiStatus) -> OperatorError | None:
        return _PolicyInForceError("the policy is in force") if refusal.is_fenced else None

    probe = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"elasticache-iam-policy-probe-{token_hex(4)}"},
    }
    query = {"dryRun": "All", "fieldManager": TOKEN_FIELD_MANAGER}
    try:
        await connection.send(
            Request("create", _CORE, "secrets", namespace, query=query, body=probe, metadata_only=True),
            fence=fence,
            translate=expected,
        )
    except _PolicyInForceError:
        return
    except (AccessDeniedError, InvalidSpecError) as error:
        raise NotOwnedError(_untold(namespace, name, error.message), code=error.code) from error
    raise NotOwnedError(_untold(namespace, name, "the operator's admission policy for Secrets isn't in force"))


async def delete_secret(connection: Connection, fence: Fence, namespace: str, name: str, *, uid: str) -> None:
    """Delete that very Secret; a missing one, another of its name, or one that lost our marks, is success."""

    def gone(refusal: ApiStatus) -> OperatorError | None:
        if refusal.is_other_object or refusal.is_fenced:
            return NotFoundError(f"Secret {namespace}/{name} isn't the one we made")
        return None

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


def _replacement(namespace: str, name: str, body: Document, *, uid: str | None = None) -> Request:
    """Return the update of a whole Secret; with a uid, of no other object than that."""
    precondition = {} if uid is None else {"uid": uid}
    return Request(
        "update",
        _CORE,
        "secrets",
        namespace,
        name,
        query={"fieldManager": TOKEN_FIELD_MANAGER},
        body={
            **body,
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**body["metadata"], "name": name, "namespace": namespace, **precondition},
        },
        metadata_only=True,
        confidential=True,
    )


def _untold(namespace: str, name: str, why: str) -> str:
    """Return what to tell people about a Secret that may be ours or not."""
    return (
        f"Secret {namespace}/{name} exists, and it can't be told safely whether it is ours: {why}; "
        "delete the Secret, or install the policy"
    )


class _PolicyInForceError(OperatorError):
    """The refusal that `_require_policy` hopes for; it never leaves this module."""
