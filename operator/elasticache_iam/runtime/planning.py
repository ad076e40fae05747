"""The composition root of `elasticache-iam plan`: manifests over a cluster's resources, AWS read, nothing written."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from boto3.session import Session
from botocore.exceptions import BotoCoreError

from elasticache_iam.api.keys import FINALIZER
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.core.errors import ConfigurationError, NotFoundError, NotLeaderError, OperatorError
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.plan.changes import Plan
from elasticache_iam.core.times import rfc3339
from elasticache_iam.kube.connection import Connection, open_connection
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.ports import Clock, Document
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.preview.run import Preview
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key, WorkQueue
from elasticache_iam.reconcile.store import Store
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.installation import Said, find_config, resolve
from elasticache_iam.runtime.manifests import Manifests
from elasticache_iam.runtime.resources import ReadOnly

UNKNOWN_UID: Final = "(known after apply)"
"""Stands in AWS tags for the uid of a resource that isn't in the cluster yet."""
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Question:
    """What to make a plan of.

    Attributes:
        manifests: What would be applied, or deleted.
        said: Which installation.
        is_deletion: Whether the manifests' resources would be deleted.
        uses_cluster: Whether to look what is in the cluster; else there is nothing but the manifests.
        lists_resources: Whether to read all of the cluster's resources of ours, as a plan has to.
        kubeconfig: How to reach it; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.
        way_out: What to do where the cluster can't be read, at the end of the message.
    """

    manifests: Manifests
    said: Said
    is_deletion: bool = False
    uses_cluster: bool = True
    lists_resources: bool = True
    kubeconfig: str | None = None
    context: str | None = None
    way_out: str = "; or plan without it: --no-cluster --issuer URL"


async def make_plan(question: Question) -> Plan:
    """Answer with the caller's own credentials, by read-only calls.

    Raises:
        ConfigurationError: Something is missing; the text says what to do.
        OperatorError: AWS or the cluster doesn't answer.
    """
    async with open_plane(question) as (plane, _):
        return await preview_manifests(plane, question.manifests)


@asynccontextmanager
async def open_plane(question: Question) -> AsyncIterator[tuple[Plane, Connection | None]]:
    """Open a plane that reads with the caller's own credentials and writes nothing, and the connection it reads by.

    Raises:
        ConfigurationError: Something is missing; the text says what to do.
        OperatorError: AWS or the cluster doesn't answer.
    """
    async with AsyncExitStack() as stack:
        bridge = Bridge()
        stack.callback(bridge.close)
        connection: Connection | None = None
        if question.uses_cluster:
            connection = await _connect(question)
            stack.push_async_callback(connection.close)
        session = _open_session()
        config = await find_config(question.said, connection)
        installation = await resolve(config, session, bridge, is_operator=False)
        clock = SystemClock()
        places = AwsPlaces(session, installation=installation, bridge=bridge, fence=ReadOnly(), clock=clock)
        real = ApiKube(connection, ReadOnly(), namespaces=config.namespaces) if connection is not None else None
        plane = await _furnish(question, installation, ManifestKube(real, question.manifests), places, clock)
        yield plane, connection


async def preview_manifests(plane: Plane, manifests: Manifests) -> Plan:
    """Return what a plane would do for the manifests' resources, their groups, and all users of those."""
    store = plane.store
    groups = {key for key in manifests.resources if key.plural == GROUPS}
    for key in manifests.resources:
        groups.update(store.group_keys_of(key))
    users = {user for group in groups for user in store.user_keys_of(group)}
    users |= {key for key in manifests.resources if key.plural == USERS}
    scope = sorted(users | groups)
    preview = Preview(plane, applies=[*manifests.resources, *groups])
    await preview.run(scope)
    return preview.tell(scope, about=sorted({*manifests.resources, *groups}))


def _open_session() -> Session:
    try:
        return Session()
    except BotoCoreError as error:  # AWS_PROFILE names none, or ~/.aws/config can't be read
        raise ConfigurationError(f"your AWS settings can't be used: {error}") from error


async def _connect(question: Question) -> Connection:
    try:
        return await open_connection(question.kubeconfig, context=question.context)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.message}{question.way_out}") from error


async def _furnish(
    question: Question, installation: Installation, kube: "ManifestKube", places: AwsPlaces, clock: Clock
) -> Plane:
    """Return a plane whose store has the cluster's resources with the manifests over them."""
    store = Store()
    for plural in (GROUPS, USERS) if question.lists_resources else ():
        try:
            async for body in kube.list_resources(plural):
                store.observe(Key(plural, body["metadata"]["namespace"], body["metadata"]["name"]), body)
        except NotFoundError:  # the CRDs aren't installed yet
            continue
        except OperatorError as error:
            raise ConfigurationError(
                f"can't read the cluster's resources: {error.message}{question.way_out}"
            ) from error
    now = clock.now()
    for key, manifest in question.manifests.resources.items():
        store.observe(key, merge_manifest(manifest, store.body(key), now=now, is_deletion=question.is_deletion))
    return Plane(
        installation=installation,
        aws=places,
        kube=kube,
        store=store,
        queue=WorkQueue(clock),
        clock=clock,
        stop_minting=_nothing_to_stop,
        allow_minting=lambda _key: None,
        get_ahead=lambda: places.ahead,
        pod_identity=places.pod_identity(),
    )


def merge_manifest(
    manifest: Mapping[str, Any], known: Mapping[str, Any] | None, *, now: datetime, is_deletion: bool
) -> Mapping[str, Any]:
    """Return a resource as it would stand in the cluster once its manifest is applied, or deleted."""
    stamp = rfc3339(now)
    old = known or {"metadata": {"uid": UNKNOWN_UID, "generation": 0, "creationTimestamp": stamp}, "spec": None}
    metadata = {
        **old["metadata"],
        "name": manifest["metadata"]["name"],
        "namespace": manifest["metadata"]["namespace"],
        "annotations": {
            **(old["metadata"].get("annotations") or {}),
            **(manifest["metadata"].get("annotations") or {}),
        },
    }
    if is_deletion:
        metadata |= {"deletionTimestamp": stamp, "finalizers": [FINALIZER], "annotations": {}}
        return {**manifest, **(known or {}), "metadata": metadata}
    if manifest.get("spec") != old["spec"]:
        metadata["generation"] = int(metadata.get("generation", 0)) + 1
    return {**manifest, "metadata": metadata, "status": old.get("status") or {}}


async def _nothing_to_stop(_key: tuple[str, str]) -> None:
    """No token is made here."""


class ManifestKube:
    """`ports.Kube` to read from: what the manifests bring along is there already. Without a cluster all else is, too.

    Args:
        real: The cluster; None: there is none to look at, so a ServiceAccount that is named counts as there.
        manifests: What would be applied.
    """

    def __init__(self, real: ApiKube | None, manifests: Manifests) -> None:
        self._real = real
        self._manifests = manifests

    async def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """As in the port."""
        if self._real is not None:
            async for body in self._real.list_resources(plural):
                yield body

    async def get_service_account_annotations(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """As in the port."""
        brought = self._manifests.service_accounts.get((namespace, name))
        if self._real is None:
            return brought or {}
        known = await self._real.get_service_account_annotations(namespace, name)
        return known if brought is None else {**(known or {}), **brought}

    async def get_namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        brought = self._manifests.namespaces.get(namespace)
        known: Mapping[str, str] = {NAMESPACE_LABEL: namespace}
        if self._real is not None:
            try:
                known = await self._real.get_namespace_labels(namespace)
            except NotFoundError:
                if brought is None:
                    raise
        return {**known, **(brought or {})}

    async def get_namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """As in the port."""
        return await self._real.get_namespace_annotations(namespace) if self._real is not None else {}

    async def is_namespace_ending(self, namespace: str) -> bool:
        """As in the port; one that isn't there yet isn't ending."""
        if self._real is None or namespace in self._manifests.namespaces:
            return False
        return await self._real.is_namespace_ending(namespace)

    async def patch_status(self, plural: str, namespace: str, name: str, *, uid: str, status: Document) -> str:
        """Refuse, as all that follow."""
        raise _refusal(plural, namespace, name, uid, status)

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, *, resource_version: str, finalizers: tuple[str, ...]
    ) -> Document:
        """Refuse."""
        raise _refusal(plural, namespace, name, resource_version, finalizers)

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """Refuse."""
        raise _refusal(namespace, name, body)

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """Refuse."""
        raise _refusal(namespace, name, uid)

    async def create_config_map(self, namespace: str, body: Document) -> str:
        """Refuse."""
        raise _refusal(namespace, body)

    async def reclaim_config_map(self, namespace: str, name: str, *, body: Document) -> str:
        """Refuse."""
        raise _refusal(namespace, name, body)

    async def replace_config_map(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """Refuse."""
        raise _refusal(namespace, name, uid, body)

    async def delete_config_map(self, namespace: str, name: str, *, uid: str) -> None:
        """Refuse."""
        raise _refusal(namespace, name, uid)

    async def list_pods(self, namespace: str) -> AsyncIterator[Document]:
        """As in the port; without a cluster there are none."""
        if self._real is not None:
            async for body in self._real.list_pods(namespace):
                yield body

    async def annotate_service_account(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Refuse."""
        raise _refusal(namespace, name, annotations)

    async def create_event(self, namespace: str, body: Document) -> None:
        """Refuse."""
        raise _refusal(namespace, body)


def _refusal(*_what: object) -> NotLeaderError:
    return NotLeaderError("a plan writes nothing")
