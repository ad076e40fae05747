"""Objects of ours in everybody's namespaces, Secrets and ConfigMaps: written without ever being read.

An admission policy holds these writes to what is ours (docs/adr/0002); the words of its refusals tell it from others.
"""

from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from elasticache_iam.api.keys import FIELD_MANAGER, TOKEN_FIELD_MANAGER
from elasticache_iam.core import commands
from elasticache_iam.core.errors import (
    AccessDeniedError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
)
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.kube.errors import ApiStatus
from elasticache_iam.ports import Document, Fence

_CORE: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class OwnedKind:
    """A kind of object that we make.

    Attributes:
        kind: Its name, for people and for bodies.
        resource: The plural.
        field_manager: Who writes it.
        is_confidential: Whether an error may tell names only.
    """

    kind: str
    resource: str
    field_manager: str
    is_confidential: bool


SECRET: Final = OwnedKind("Secret", "secrets", TOKEN_FIELD_MANAGER, is_confidential=True)
CONFIG_MAP: Final = OwnedKind("ConfigMap", "configmaps", FIELD_MANAGER, is_confidential=False)


async def create_owned(connection: Connection, fence: Fence, what: OwnedKind, namespace: str, body: Document) -> str:
    """Create an object and return its uid. Raises AlreadyExistsError, NotFoundError for a missing namespace."""
    document = await connection.call(
        Request(
            "create",
            _CORE,
            what.resource,
            namespace,
            query={"fieldManager": what.field_manager},
            body={**body, "apiVersion": "v1", "kind": what.kind},
            metadata_only=True,
            confidential=what.is_confidential,
        ),
        fence=fence,
    )
    return str(document["metadata"]["uid"])


async def replace_owned(
    connection: Connection, fence: Fence, what: OwnedKind, namespace: str, name: str, *, uid: str, body: Document
) -> None:
    """Replace exactly that object, whole. An update creates nothing, with or without a uid."""
    label = f"{what.kind} {namespace}/{name}"

    def gone(refusal: ApiStatus) -> OperatorError | None:
        if refusal.is_other_object:
            return NotFoundError(f"{label} isn't the one we made any more", code=refusal.reason)
        if refusal.is_fenced:
            return NotOwnedError(
                f"{label} has lost our label or owner: delete it, and it is made anew", code=refusal.reason
            )
        return _immutable(what, namespace, name, refusal)

    await connection.send(_replacement(what, namespace, name, body, uid=uid), fence=fence, translate=gone)


async def reclaim_owned(
    connection: Connection, fence: Fence, what: OwnedKind, namespace: str, name: str, *, body: Document
) -> str:
    """Replace an object of unknown uid: the one write without a uid, so first comes the proof that it is watched."""
    await _require_policy(connection, fence, what, namespace, name)

    def not_ours(refusal: ApiStatus) -> OperatorError | None:
        # A Secret's type can't be changed, and that is checked before the policy.
        if refusal.is_fenced or any(cause.field == "type" for cause in refusal.causes):
            return NotOwnedError(
                f"{what.kind} {namespace}/{name} exists and isn't this resource's", code=refusal.reason
            )
        return _immutable(what, namespace, name, refusal)

    document = await connection.call(_replacement(what, namespace, name, body), fence=fence, translate=not_ours)
    return str(document["metadata"]["uid"])


async def delete_owned(
    connection: Connection, fence: Fence, what: OwnedKind, namespace: str, name: str, *, uid: str
) -> None:
    """Delete that very object; a missing one, another of its name, or one that lost our marks, is success."""

    def gone(refusal: ApiStatus) -> OperatorError | None:
        if refusal.is_other_object or refusal.is_fenced:
            return NotFoundError(f"{what.kind} {namespace}/{name} isn't the one we made")
        return None

    try:
        await connection.send(
            Request(
                "delete",
                _CORE,
                what.resource,
                namespace,
                name,
                body={"preconditions": {"uid": uid}},
                metadata_only=True,
                confidential=what.is_confidential,
            ),
            fence=fence,
            translate=gone,
        )
    except NotFoundError:
        return


async def _require_policy(connection: Connection, fence: Fence, what: OwnedKind, namespace: str, name: str) -> None:
    """Return if the admission policy holds us off foreign objects, here and now; else raise NotOwnedError.

    The proof is a refusal: of the dry run of an object that isn't ours, in the policy's own words.
    """

    def expected(refusal: ApiStatus) -> OperatorError | None:
        return _PolicyInForceError("the policy is in force") if refusal.is_fenced else None

    probe = {
        "apiVersion": "v1",
        "kind": what.kind,
        "metadata": {"name": f"elasticache-iam-policy-probe-{token_hex(4)}"},
    }
    query = {"dryRun": "All", "fieldManager": what.field_manager}
    try:
        await connection.send(
            Request("create", _CORE, what.resource, namespace, query=query, body=probe, metadata_only=True),
            fence=fence,
            translate=expected,
        )
    except _PolicyInForceError:
        return
    except (AccessDeniedError, InvalidSpecError) as error:
        raise NotOwnedError(_untold(what, namespace, name, error.message), code=error.code) from error
    why = f"the operator's admission policy for {what.kind}s isn't in force"
    raise NotOwnedError(_untold(what, namespace, name, why))


def _replacement(what: OwnedKind, namespace: str, name: str, body: Document, *, uid: str | None = None) -> Request:
    """Return the update of a whole object; with a uid, of no other object than that."""
    precondition = {} if uid is None else {"uid": uid}
    return Request(
        "update",
        _CORE,
        what.resource,
        namespace,
        name,
        query={"fieldManager": what.field_manager},
        body={
            **body,
            "apiVersion": "v1",
            "kind": what.kind,
            "metadata": {**body["metadata"], "name": name, "namespace": namespace, **precondition},
        },
        metadata_only=True,
        confidential=what.is_confidential,
    )


def _immutable(what: OwnedKind, namespace: str, name: str, refusal: ApiStatus) -> OperatorError | None:
    """Return what to do about an object that somebody made immutable: only they know why they did."""
    if not refusal.is_immutable:
        return None
    return InvalidSpecError(
        f"{what.kind} {namespace}/{name} was made immutable by somebody, so it can't be kept up to date: "
        f"{commands.delete(what.kind, namespace, name)}; it is made anew within a minute",
        reason="MadeImmutable",
        code=refusal.reason,
    )


def _untold(what: OwnedKind, namespace: str, name: str, why: str) -> str:
    """Return what to tell people about an object that may be ours or not."""
    return (
        f"{what.kind} {namespace}/{name} exists, and it can't be told safely whether it is ours: {why}; "
        f"delete the {what.kind}, or install the policy"
    )


class _PolicyInForceError(OperatorError):
    """The refusal that `_require_policy` hopes for; it never leaves this module."""
