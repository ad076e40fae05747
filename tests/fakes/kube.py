"""An API server in memory: TokenKube, Kube and the Lease of one cluster, with the real one's refusals.

It passes the suite that the real API server passes (tests/contract/test_kube_port.py); what is not asked there is not
claimed here: no schema, no CEL, no RBAC, and of admission only whether a Secret may be replaced or deleted.
"""

import asyncio
import base64
import binascii
import copy
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import RSAKey

from elasticache_iam.api.keys import API_VERSION, LABEL_MANAGED_BY, MANAGED_BY, USER_KIND
from elasticache_iam.core.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
)
from elasticache_iam.core.events import LONGEST_NOTE
from elasticache_iam.delivery.secret import SECRET_TYPE
from elasticache_iam.kube.lease import LeaseRecord
from elasticache_iam.ports import Document, Fence, ServiceAccountToken

Body = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""

OnChange = Callable[[str, str, Body], None]
"""Told kind, type (ADDED, MODIFIED, DELETED) and body of each change, as a watch would."""

PLURALS: Final[Mapping[str, str]] = {
    "ElastiCacheIAMUser": "elasticacheiamusers",
    "UserGroup": "usergroups",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "ServiceAccount": "serviceaccounts",
    "Namespace": "namespaces",
    "Lease": "leases",
    "Event": "events",
    "Pod": "pods",
}
_WRITES: Final = frozenset({"create", "update", "patch", "delete"})
_SHORTEST_TOKEN_S: Final = 600


@dataclass(frozen=True, slots=True)
class KubeCall:
    """One request that the fake has answered or refused."""

    verb: str
    resource: str
    namespace: str
    name: str


class JwtSigner:
    """Signs ServiceAccount tokens as a cluster's issuer does, for whoever checks them against `jwks`."""

    def __init__(self, issuer: str = "https://oidc.sandbox.test/id/demo") -> None:
        self.issuer = issuer
        self._key = RSAKey.generate_key(2048, {"kid": "fake-kube", "use": "sig", "alg": "RS256"})

    @property
    def jwks(self) -> Body:
        """The issuer's public keys, as /openid/v1/jwks shows them."""
        return {"keys": [self._key.as_dict(private=False)]}

    def __call__(self, namespace: str, service_account: str, audience: str, now: datetime, expires_s: int) -> str:
        """Return a signed token."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": f"system:serviceaccount:{namespace}:{service_account}",
            "aud": [audience],
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + expires_s,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": service_account}},
        }
        return jwt.encode({"alg": "RS256", "kid": "fake-kube"}, claims, self._key)


Signer = Callable[[str, str, str, datetime, int], str]
"""Makes a ServiceAccount's token: namespace, name, audience, now, life in seconds."""


def unsigned_token(namespace: str, service_account: str, audience: str, now: datetime, expires_s: int) -> str:
    """Return a text that says what was asked: enough where nobody checks it."""
    return f"token-of:{namespace}:{service_account}:{audience}:{int(now.timestamp())}:{expires_s}"


class FakeKube:
    """One cluster. Hand it to the operator as TokenKube and Kube, and to the test as the cluster to look at."""

    def __init__(
        self,
        *,
        fence: Fence | None = None,
        signer: Signer = unsigned_token,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.calls: list[KubeCall] = []
        self.events: list[Body] = []
        self.on_change: list[OnChange] = []
        self.latency_s = 0.0
        self.down: OperatorError | None = None
        """Raised by every call while set: an outage."""
        self.has_policy = True
        """Whether the admission policy for Secrets is in force."""
        self._fence = fence
        self._signer = signer
        self._now = now
        self._objects: dict[Key, Body] = {}
        self._faults: dict[str, list[OperatorError]] = defaultdict(list)
        self._version = 0
        self._checkpoint: bytes | None = None

    # The test's side.

    @property
    def writes(self) -> list[KubeCall]:
        """The calls that change something."""
        return [call for call in self.calls if call.verb in _WRITES]

    def fail_next(self, method: str, error: OperatorError, *, times: int = 1) -> None:
        """Let the next calls of a method (`replace_secret`, `lease.replace`) raise this before they do anything."""
        self._faults[method] += [error] * times

    def put(self, body: Document) -> Body:
        """Create an object, or edit it as a person would: the status stays, a new spec is a new generation.

        Its namespace comes into being if need be. A new resource may bring a status, to begin a test in the middle.
        """
        kind = str(body["kind"])
        metadata: Body = copy.deepcopy(dict(body["metadata"]))
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if namespace:
            self.put_namespace(namespace)
        key = (PLURALS[kind], namespace, name)
        old = self._objects.get(key)
        new: Body = {**copy.deepcopy(dict(body)), "metadata": metadata}
        if old is None:
            new.pop("status", None)
            if body.get("apiVersion") == API_VERSION or kind == "Pod":
                new["status"] = copy.deepcopy(dict(body.get("status", {"observedGeneration": -1})))
            return self._add(key, new)
        kept = ("uid", "generation", "creationTimestamp", "finalizers", "deletionTimestamp")
        metadata.update({what: old["metadata"][what] for what in kept if what in old["metadata"]})
        if "status" in old:
            new["status"] = old["status"]
        if new.get("spec") != old.get("spec"):
            metadata["generation"] = old["metadata"]["generation"] + 1
        return self._store(key, new)

    def get(self, plural: str, namespace: str, name: str) -> Body | None:
        """Return a copy of an object."""
        return copy.deepcopy(self._objects.get((plural, namespace, name)))

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object as kubectl would: while it has finalizers it only gets a deletion timestamp."""
        key = (plural, namespace, name)
        body = self._objects[key]
        if not body["metadata"].get("finalizers"):
            self._remove(key)
        elif "deletionTimestamp" not in body["metadata"]:
            body = copy.deepcopy(body)
            body["metadata"]["deletionTimestamp"] = _timestamp(self._now())
            body["metadata"]["generation"] += 1
            self._store(key, body)

    def put_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace, or give it these labels."""
        key = ("namespaces", "", name)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        if key not in self._objects:
            self._add(key, body)
        elif labels is not None:
            metadata = {**self._objects[key]["metadata"], "labels": dict(labels)}
            self._store(key, {**self._objects[key], "metadata": metadata})

    def annotate_namespace(self, name: str, annotations: Mapping[str, str]) -> None:
        """Give a namespace these annotations."""
        key = ("namespaces", "", name)
        metadata = {**self._objects[key]["metadata"], "annotations": dict(annotations)}
        self._store(key, {**self._objects[key], "metadata": metadata})

    def terminate_namespace(self, name: str) -> None:
        """Begin a namespace's deletion: nothing new in it, and all in it is deleted (finalizers hold)."""
        namespace = copy.deepcopy(self._objects["namespaces", "", name])
        namespace["metadata"]["deletionTimestamp"] = _timestamp(self._now())
        self._store(("namespaces", "", name), namespace)
        for plural, where, what in list(self._objects):
            if where == name and (plural, where, what) in self._objects:
                self.delete(plural, where, what)

    def put_service_account(self, namespace: str, name: str) -> None:
        """Create a ServiceAccount."""
        self.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}})

    def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return a Secret's data, decoded; None if there is no such Secret."""
        body = self._objects.get(("secrets", namespace, name))
        if body is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in body.get("data", {}).items()}

    def secret_names(self) -> list[tuple[str, str]]:
        """Return namespace and name of every Secret."""
        return sorted((namespace, name) for plural, namespace, name in self._objects if plural == "secrets")

    def lease(self, name: str, *, namespace: str = "elasticache-iam-system") -> "FakeLease":
        """Return the way to one Lease."""
        return FakeLease(self, namespace, name)

    # TokenKube.

    async def create_secret(self, namespace: str, body: Document) -> str:
        """As in the port."""
        name = str(body["metadata"]["name"])
        await self._enter("create_secret", "create", "secrets", namespace, name)
        self._check_namespace(namespace)
        _check_data(body)
        if ("secrets", namespace, name) in self._objects:
            raise AlreadyExistsError(f'secrets "{name}" already exists', code="AlreadyExists")
        metadata = {**copy.deepcopy(dict(body["metadata"])), "namespace": namespace}
        new = self._add(
            ("secrets", namespace, name),
            {**copy.deepcopy(dict(body)), "apiVersion": "v1", "kind": "Secret", "metadata": metadata},
        )
        return str(new["metadata"]["uid"])

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        await self._enter("reclaim_secret", "create", "secrets", namespace, "")
        if not self.has_policy:
            raise NotOwnedError(f"Secret {namespace}/{name} exists, and it can't be told safely whether it is ours")
        self.calls.append(KubeCall("update", "secrets", namespace, name))
        old = self._find(("secrets", namespace, name))
        if not _is_ours(old) or _controller(old) != _controller(body):
            raise NotOwnedError(f"Secret {namespace}/{name} exists and isn't this resource's", code="Forbidden")
        return self._replace(old, body)

    async def replace_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        await self._enter("replace_secret", "update", "secrets", namespace, name)
        old = self._find(("secrets", namespace, name))
        if old["metadata"]["uid"] != uid:
            raise NotFoundError(f"Secret {namespace}/{name} isn't the one we made any more", code="Conflict")
        if self.has_policy and (not _is_ours(old) or _controller(old) != _controller(body)):
            raise NotOwnedError(f"Secret {namespace}/{name} has lost our label or owner", code="Forbidden")
        self._replace(old, body)

    def _replace(self, old: Body, body: Document) -> str:
        kind = old["kind"]
        if kind == "Secret":
            _check_data(body)
        if old.get("immutable"):
            raise InvalidSpecError(
                f"{kind} {old['metadata']['name']} was made immutable", reason="MadeImmutable", code="Invalid"
            )
        new: Body = {**copy.deepcopy(dict(body)), "apiVersion": "v1", "kind": kind}
        kept = ("namespace", "name", "uid", "generation", "creationTimestamp", "resourceVersion", "deletionTimestamp")
        new["metadata"].update({what: old["metadata"][what] for what in kept if what in old["metadata"]})
        namespace, name = new["metadata"]["namespace"], new["metadata"]["name"]
        self._store((PLURALS[kind], namespace, name), new)
        return str(new["metadata"]["uid"])

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await self._enter("delete_secret", "delete", "secrets", namespace, name)
        body = self._objects.get(("secrets", namespace, name))
        if body is not None and body["metadata"]["uid"] == uid and (_is_ours(body) or not self.has_policy):
            self.delete("secrets", namespace, name)

    async def create_config_map(self, namespace: str, body: Document) -> str:
        """As in the port."""
        name = str(body["metadata"]["name"])
        await self._enter("create_config_map", "create", "configmaps", namespace, name)
        self._check_namespace(namespace)
        if ("configmaps", namespace, name) in self._objects:
            raise AlreadyExistsError(f'configmaps "{name}" already exists', code="AlreadyExists")
        metadata = {**copy.deepcopy(dict(body["metadata"])), "namespace": namespace}
        new = {**copy.deepcopy(dict(body)), "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return str(self._add(("configmaps", namespace, name), new)["metadata"]["uid"])

    async def reclaim_config_map(self, namespace: str, name: str, *, body: Document) -> str:
        """As in the port."""
        await self._enter("reclaim_config_map", "create", "configmaps", namespace, "")
        if not self.has_policy:
            raise NotOwnedError(f"ConfigMap {namespace}/{name} exists, and it can't be told safely whether it is ours")
        self.calls.append(KubeCall("update", "configmaps", namespace, name))
        old = self._find(("configmaps", namespace, name))
        if not _is_ours(old) or _controller(old) != _controller(body):
            raise NotOwnedError(f"ConfigMap {namespace}/{name} exists and isn't this resource's", code="Forbidden")
        return self._replace(old, body)

    async def replace_config_map(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As in the port."""
        await self._enter("replace_config_map", "update", "configmaps", namespace, name)
        old = self._find(("configmaps", namespace, name))
        if old["metadata"]["uid"] != uid:
            raise NotFoundError(f"ConfigMap {namespace}/{name} isn't the one we made any more", code="Conflict")
        if self.has_policy and (not _is_ours(old) or _controller(old) != _controller(body)):
            raise NotOwnedError(f"ConfigMap {namespace}/{name} has lost our label or owner", code="Forbidden")
        self._replace(old, body)

    async def delete_config_map(self, namespace: str, name: str, *, uid: str) -> None:
        """As in the port."""
        await self._enter("delete_config_map", "delete", "configmaps", namespace, name)
        body = self._objects.get(("configmaps", namespace, name))
        if body is not None and body["metadata"]["uid"] == uid and (_is_ours(body) or not self.has_policy):
            self.delete("configmaps", namespace, name)

    async def list_pods(self, namespace: str) -> AsyncIterator[Document]:
        """As in the port: the state at the call."""
        await self._enter("list_pods", "list", "pods", namespace, "")
        for key, body in sorted(self._objects.items()):
            if key[:2] == ("pods", namespace) and body.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
                yield copy.deepcopy(body)

    async def request_token(
        self, namespace: str, service_account: str, *, audience: str, expires_s: int
    ) -> ServiceAccountToken:
        """As in the port."""
        await self._enter("request_token", "create", "serviceaccounts/token", namespace, service_account)
        self._find(("serviceaccounts", namespace, service_account))
        if expires_s < _SHORTEST_TOKEN_S:
            raise InvalidSpecError("spec.expirationSeconds: may not be less than 10 minutes", code="Invalid")
        now = self._now().replace(microsecond=0)
        return ServiceAccountToken(
            self._signer(namespace, service_account, audience, now, expires_s), now + timedelta(seconds=expires_s)
        )

    async def load_checkpoint(self) -> bytes | None:
        """As in the port."""
        await self._enter("load_checkpoint", "get", "configmaps", "", "checkpoint")
        return self._checkpoint

    async def save_checkpoint(self, content: bytes) -> None:
        """As in the port."""
        await self._enter("save_checkpoint", "patch", "configmaps", "", "checkpoint")
        self._checkpoint = content

    # Kube.

    async def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port: the state at the call."""
        await self._enter("list_resources", "list", plural, "", "")
        for body in [copy.deepcopy(body) for key, body in sorted(self._objects.items()) if key[0] == plural]:
            yield body

    async def patch_status(self, plural: str, namespace: str, name: str, *, uid: str, status: Document) -> str:
        """As in the port."""
        await self._enter("patch_status", "patch", f"{plural}/status", namespace, name)
        body = copy.deepcopy(self._find((plural, namespace, name)))
        if body["metadata"]["uid"] != uid:
            raise ConflictError(f"{plural} {namespace}/{name} is another object now", code="Invalid")
        body["status"] = copy.deepcopy(dict(status))
        return str(self._store((plural, namespace, name), body)["metadata"]["resourceVersion"])

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, *, resource_version: str, finalizers: tuple[str, ...]
    ) -> Document:
        """As in the port."""
        await self._enter("set_finalizers", "patch", plural, namespace, name)
        body = copy.deepcopy(self._find((plural, namespace, name)))
        if body["metadata"]["resourceVersion"] != resource_version:
            raise ConflictError(f"{plural} {namespace}/{name} has changed meanwhile", code="Invalid")
        body["metadata"].pop("finalizers", None)
        if finalizers:
            body["metadata"]["finalizers"] = list(finalizers)
        if not finalizers and "deletionTimestamp" in body["metadata"]:
            self._remove((plural, namespace, name))
            return body
        return self._store((plural, namespace, name), body)

    async def get_service_account_annotations(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """As in the port."""
        await self._enter("get_service_account_annotations", "get", "serviceaccounts", namespace, name)
        body = self._objects.get(("serviceaccounts", namespace, name))
        return None if body is None else dict(body["metadata"].get("annotations") or {})

    async def annotate_service_account(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """As in the port."""
        await self._enter("annotate_service_account", "patch", "serviceaccounts", namespace, name)
        body = copy.deepcopy(self._find(("serviceaccounts", namespace, name)))
        merged = {**(body["metadata"].get("annotations") or {}), **annotations}
        body["metadata"]["annotations"] = {key: value for key, value in merged.items() if value is not None}
        self._store(("serviceaccounts", namespace, name), body)

    async def get_namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        await self._enter("get_namespace_labels", "get", "namespaces", "", namespace)
        labels: dict[str, str] = self._find(("namespaces", "", namespace))["metadata"].get("labels", {})
        return dict(labels)

    async def get_namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        await self._enter("get_namespace_annotations", "get", "namespaces", "", namespace)
        annotations: dict[str, str] = self._find(("namespaces", "", namespace))["metadata"].get("annotations", {})
        return dict(annotations)

    async def is_namespace_ending(self, namespace: str) -> bool:
        """As in the port."""
        await self._enter("is_namespace_ending", "get", "namespaces", "", namespace)
        body = self._objects.get(("namespaces", "", namespace))
        return body is None or "deletionTimestamp" in body["metadata"]

    async def create_event(self, namespace: str, body: Document) -> None:
        """As in the port; `events` has them."""
        await self._enter("create_event", "create", "events", namespace, "")
        self._check_namespace(namespace)
        if len(str(body.get("note", "")).encode()) > LONGEST_NOTE:
            raise InvalidSpecError("note: can have at most 1024 bytes", code="Invalid")
        self.events.append(copy.deepcopy(dict(body)))

    # Inside.

    async def _enter(self, method: str, verb: str, resource: str, namespace: str, name: str) -> None:
        """Do what comes before every answer: the fence, the record, the way there, the faults."""
        if verb in _WRITES and self._fence is not None:
            self._fence.check()
        self.calls.append(KubeCall(verb, resource, namespace, name))
        await asyncio.sleep(self.latency_s)
        if self.down is not None:
            raise self.down
        if self._faults[method]:
            raise self._faults[method].pop(0)

    def _find(self, key: Key) -> Body:
        if key not in self._objects:
            raise NotFoundError(f'{key[0]} "{key[2]}" not found', code="NotFound")
        return self._objects[key]

    def _check_namespace(self, name: str) -> None:
        if "deletionTimestamp" in self._find(("namespaces", "", name))["metadata"]:
            raise NotFoundError(f"namespace {name} is being terminated", code="Forbidden")

    def _add(self, key: Key, body: Body) -> Body:
        body["metadata"] = {
            **body["metadata"],
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": _timestamp(self._now()),
        }
        return self._store(key, body, "ADDED")

    def _store(self, key: Key, body: Body, change: str = "MODIFIED") -> Body:
        """Keep a body as a new version; writing what is there already changes nothing, as at the real server."""
        if body == self._objects.get(key):
            return copy.deepcopy(body)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = body
        self._tell(change, body)
        return copy.deepcopy(body)

    def _remove(self, key: Key) -> None:
        """Take an object away, and what it owns: the garbage collector's work."""
        body = self._objects.pop(key)
        self._tell("DELETED", body)
        for other, candidate in list(self._objects.items()):
            owners = candidate["metadata"].get("ownerReferences", [])
            if any(owner.get("uid") == body["metadata"]["uid"] for owner in owners):
                self._remove(other)

    def _tell(self, change: str, body: Body) -> None:
        for callback in self.on_change:
            callback(str(body["kind"]), change, copy.deepcopy(body))


class FakeLease:
    """One Lease of a fake cluster: what ApiLease is at a real one."""

    def __init__(self, kube: FakeKube, namespace: str, name: str) -> None:
        self._kube = kube
        self._key: Key = ("leases", namespace, name)

    async def get(self) -> LeaseRecord | None:
        """Return the Lease, None if there is none."""
        await self._kube._enter("lease.get", "get", *self._key)
        body = self._kube.get(*self._key)
        return None if body is None else replace(body["spec"], resource_version=body["metadata"]["resourceVersion"])

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create the Lease."""
        await self._kube._enter("lease.create", "create", *self._key)
        if self._kube.get(*self._key) is not None:
            raise AlreadyExistsError(f'leases "{self._key[2]}" already exists', code="AlreadyExists")
        return self._put(record)

    async def replace(self, record: LeaseRecord) -> LeaseRecord:
        """Replace exactly the version that the record has seen."""
        await self._kube._enter("lease.replace", "update", *self._key)
        body = self._kube.get(*self._key)
        if body is None:
            raise NotFoundError(f'leases "{self._key[2]}" not found', code="NotFound")
        if body["metadata"]["resourceVersion"] != record.resource_version:
            raise ConflictError("the object has been modified", code="Conflict")
        return self._put(record)

    def _put(self, record: LeaseRecord) -> LeaseRecord:
        _, namespace, name = self._key
        body = self._kube.put(
            {
                "kind": "Lease",
                "metadata": {"namespace": namespace, "name": name},
                "spec": replace(record, resource_version=""),
            }
        )
        return replace(record, resource_version=body["metadata"]["resourceVersion"])


def _is_ours(secret: Document) -> bool:
    """Whether a Secret or ConfigMap has the marks that the admission policies look for."""
    labels = secret["metadata"].get("labels", {})
    has_type = secret["kind"] == "ConfigMap" or secret.get("type") == SECRET_TYPE
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and has_type and bool(_controller(secret))


def _controller(secret: Document) -> str | None:
    """Return the uid of the ElastiCacheIAMUser that controls a Secret."""
    for owner in secret["metadata"].get("ownerReferences", []):
        if owner.get("controller") and owner["kind"] == USER_KIND and owner["apiVersion"] == API_VERSION:
            return str(owner["uid"])
    return None


def _check_data(body: Document) -> None:
    """Refuse data that isn't base64."""
    for value in body.get("data", {}).values():
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise InvalidSpecError("data: illegal base64", code="BadRequest") from error


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
