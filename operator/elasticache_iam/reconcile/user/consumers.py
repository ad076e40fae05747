"""Pods that take a Secret where it never updates: by environment variable, or mounted with subPath.

They run well until they connect anew after the first token has expired; nothing else would tell. One listing of a
namespace's pods serves all its users for an hour; without the right to it nobody is warned, and nothing else changes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core.errors import AccessDeniedError, OperatorError
from elasticache_iam.ports import Clock, Document, Kube

log = structlog.get_logger("reconcile")

LOOK_S: Final = 3600.0
"""How often a namespace's pods are listed at most."""
FAILED_LOOK_S: Final = 300.0
NAMED: Final = 3
"""So many pods are named; who reads of three knows what to look for."""

LASTING_KEYS: Final = frozenset({"type", "provider", "host", "port", "reader-host", "username", "ssl", "ca.crt"})
"""Keys of a Secret that stay as they are, unless a template replaces them: wherever they are read, they are right."""


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One place where a pod takes a Secret's content once and for all.

    Attributes:
        workload: What to change, as `Deployment web`.
        how: Where in it, as `container app: env REDIS_PASSWORD`.
        key: The Secret's key; "" for all of them.
    """

    workload: str
    how: str
    key: str


@dataclass(slots=True)
class _Namespace:
    """What the last listing has shown."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    look_at_s: float = float("-inf")
    uses: Mapping[str, tuple[Use, ...]] = field(default_factory=dict)


class Consumers:
    """Who uses Secrets how, by namespace. It belongs to the loop of the control plane."""

    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._namespaces: defaultdict[str, _Namespace] = defaultdict(_Namespace)
        self._is_told = False

    async def warning(self, user: ElastiCacheIAMUser, secrets: Iterable[str]) -> str:
        """Return what is to be changed in pods that take the user's Secrets so that they never update; "" if nothing.

        Args:
            user: Whose.
            secrets: The Secrets' names.
        """
        found = await self._look(user.metadata.namespace)
        lasting = LASTING_KEYS - set(user.spec.delivery.secret.template)
        parts = []
        for secret in secrets:
            uses = sorted({(use.workload, use.how) for use in found.get(secret, ()) if use.key not in lasting})
            if uses:
                named = ", ".join(f"{workload} ({how})" for workload, how in uses[:NAMED])
                more = f" and {len(uses) - NAMED} more" if len(uses) > NAMED else ""
                parts.append(f"Secret {secret} never updates in {named}{more}")
        return f"{'; '.join(parts)}: mount it as files, without subPath" if parts else ""

    async def _look(self, namespace: str) -> Mapping[str, tuple[Use, ...]]:
        known = self._namespaces[namespace]
        async with known.lock:
            if self._clock.monotonic() >= known.look_at_s:
                known.uses, again_s = await self._list(namespace, known.uses)
                known.look_at_s = self._clock.monotonic() + again_s
        return known.uses

    async def _list(
        self, namespace: str, before: Mapping[str, tuple[Use, ...]]
    ) -> tuple[Mapping[str, tuple[Use, ...]], float]:
        """Return what a namespace's pods use, and after how many seconds to look again."""
        found: defaultdict[str, set[Use]] = defaultdict(set)
        try:
            async for pod in self._kube.list_pods(namespace):
                for secret, use in uses_of(pod):
                    found[secret].add(use)
        except AccessDeniedError as error:
            if not self._is_told:
                self._is_told = True
                log.info("pods aren't looked at: no right to list them", message=error.message)
            return {}, LOOK_S
        except OperatorError as error:
            log.debug("pods weren't listed", namespace=namespace, reason=error.reason)
            return before, FAILED_LOOK_S
        return {secret: tuple(sorted(uses)) for secret, uses in found.items()}, LOOK_S


def uses_of(pod: Document) -> Iterator[tuple[str, Use]]:
    """Yield where a pod takes a Secret once and for all: the Secret's name and the place."""
    workload, spec = _workload(pod["metadata"]), pod.get("spec", {})
    volumes = {volume["name"]: tuple(_secrets_in(volume)) for volume in spec.get("volumes") or ()}
    for containers in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(containers) or ():
            for secret, how, key in _uses_of_container(container, volumes):
                yield secret, Use(workload, f"container {container['name']}: {how}", key)


def _uses_of_container(
    container: Mapping[str, Any], volumes: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str]]:
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            yield str(reference.get("name")), f"env {variable['name']}", str(reference.get("key"))
    for source in container.get("envFrom") or ():
        if source.get("secretRef"):
            yield str(source["secretRef"].get("name")), "envFrom", ""
    for mount in container.get("volumeMounts") or ():
        path = mount.get("subPath") or mount.get("subPathExpr")
        for secret in volumes.get(mount["name"], ()) if path else ():
            yield secret, f"subPath {path}", str(path)


def _secrets_in(volume: Mapping[str, Any]) -> Iterator[str]:
    if volume.get("secret"):
        yield str(volume["secret"].get("secretName"))
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret"):
            yield str(source["secret"].get("name"))


def _workload(metadata: Mapping[str, Any]) -> str:
    """Return what a person would edit: a pod's name is another one after each roll-out."""
    owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
    if owner is None:
        return f"Pod {metadata['name']}"
    kind, name = str(owner["kind"]), str(owner["name"])
    suffix = f"-{(metadata.get('labels') or {}).get('pod-template-hash', '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return f"Deployment {name.removesuffix(suffix)}"
    return f"{kind} {name}"
