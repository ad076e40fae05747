"""The ConfigMap with a user's settings: made, kept and taken away without ever being read.

What was last written is told by a digest in the status. An edit of somebody else's can't be seen, so the ConfigMap is
written anew on the slow clock: where nothing differs the API server changes nothing.
"""

from collections.abc import Sequence
from typing import Final

from elasticache_iam.api.user import ConfigMapRef, ElastiCacheIAMUser, UserCacheStatus
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    NotFoundError,
    NotOwnedError,
    OperatorError,
)
from elasticache_iam.core.refresh import spread_of
from elasticache_iam.core.status import TOKEN_DELIVERED, Stage
from elasticache_iam.delivery import DeliveryTemplateError, digest_of, render_config_map, render_emptied_config_map
from elasticache_iam.delivery.template import TemplateCache
from elasticache_iam.ports import Document
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import Key
from elasticache_iam.reconcile.store import user_key
from elasticache_iam.reconcile.user.rivals import rivals_of
from elasticache_iam.reconcile.user.subject import Findings

_LOOK_AGAIN_S: Final = 60.0
"""How often to look whether somebody else's ConfigMap has made room."""
_FORBIDDEN_S: Final = 300.0


class ConfigMaps:
    """The ConfigMaps of all users. It remembers when each was last written and its templates, in memory only."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._due: dict[Key, float] = {}
        self._templates = TemplateCache()

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a user that is gone; its ConfigMap goes with it, by its owner reference."""
        self._due.pop(key, None)
        self._templates.forget((key.namespace, key.name))

    async def sync(
        self, user: ElastiCacheIAMUser, caches: Sequence[UserCacheStatus], findings: Findings, *, user_id: str
    ) -> None:
        """Take the ConfigMap to what the user asks for.

        Args:
            user: The resource.
            caches: The caches that it may use; while there are none, nothing is made.
            findings: Take what is to stand in the status, and a failure: as TokenDelivered, unless tokens fail, too.
            user_id: Its name in Redis.
        """
        try:
            await self._sync(user, caches, findings, user_id)
        except OperatorError as error:
            tokens = next((stage for stage in findings.stages if stage.type == TOKEN_DELIVERED), None)
            if tokens is None or tokens.status.value == "True":
                findings.stages.append(self._failed(user, error))

    async def _sync(
        self, user: ElastiCacheIAMUser, caches: Sequence[UserCacheStatus], findings: Findings, user_id: str
    ) -> None:
        wanted, held = user.spec.delivery.config_map, user.status.config_map
        if held is not None and (wanted is None or held.name != wanted.name):
            await self._remove(user, held)
            findings.fields["config_map"] = held = None
        if wanted is None:
            self._templates.forget((user.metadata.namespace, user.metadata.name))
            return
        if held is None:
            # Noted before it is made: after a crash in between it is known by its name.
            findings.fields["config_map"] = ConfigMapRef(name=wanted.name)
            findings.polling = findings.polling or bool(caches)
            return
        if not caches:
            return
        plane = self._plane
        body = render_config_map(
            user,
            caches,
            user_id=user_id,
            owner=plane.installation.owner,
            ca_pem=plane.installation.config.cache_ca,
            templates=self._templates,
        )
        digest = digest_of(body)
        if held.uid and held.digest == digest and not self._is_due(user):
            return
        uid = await self._write(user, held, body)
        self._put_off(user)
        findings.fields["config_map"] = ConfigMapRef(name=wanted.name, uid=uid, digest=digest)

    def _is_due(self, user: ElastiCacheIAMUser) -> bool:
        """Whether the slow clock asks for another write; after a restart all are spread over its interval."""
        key, now_s = user_key(user), self._plane.clock.monotonic()
        if key not in self._due:
            interval_s = self._plane.installation.config.slow_drift_interval
            spread = spread_of((key.namespace, key.name, "ConfigMap"))
            self._due[key] = now_s + interval_s * (1.0 + spread) / 2
        return self._due[key] <= now_s

    def _put_off(self, user: ElastiCacheIAMUser) -> None:
        interval_s = self._plane.installation.config.slow_drift_interval
        self._due[user_key(user)] = self._plane.clock.monotonic() + interval_s

    async def _write(self, user: ElastiCacheIAMUser, held: ConfigMapRef, body: Document) -> str:
        """Write the ConfigMap and return its uid: one request where we know it."""
        kube, namespace = self._plane.kube, user.metadata.namespace
        if held.uid:
            try:
                await kube.replace_config_map(namespace, held.name, uid=held.uid, body=body)
            except NotFoundError:
                pass  # deleted, or another one has its name
            else:
                return held.uid
        try:
            return await kube.create_config_map(namespace, body)
        except AlreadyExistsError:
            # Ours from before a crash, or somebody else's: the admission policy decides by our ownerReference.
            return await kube.reclaim_config_map(namespace, held.name, body=body)

    async def _remove(self, user: ElastiCacheIAMUser, held: ConfigMapRef) -> None:
        kube, namespace, uid = self._plane.kube, user.metadata.namespace, held.uid
        if not uid:  # perhaps made, and not noted
            body = render_emptied_config_map(user, held.name, owner=self._plane.installation.owner)
            try:
                uid = await kube.reclaim_config_map(namespace, held.name, body=body)
            except (NotFoundError, NotOwnedError):
                return
        await kube.delete_config_map(namespace, held.name, uid=uid)

    def _failed(self, user: ElastiCacheIAMUser, error: OperatorError) -> Stage:
        key = user_key(user)
        if isinstance(error, DeliveryTemplateError):
            message = f"spec.delivery.configMap: {error.message}"
            return Stage.blocked(TOKEN_DELIVERED, error.reason, message)
        if isinstance(error, NotOwnedError):
            name = user.spec.delivery.config_map.name if user.spec.delivery.config_map is not None else ""
            rivals = rivals_of(self._plane.store, key, lambda other: _config_map_names(other) & {name})
            message = f"{error.message}{rivals}; delete it, or choose another spec.delivery.configMap.name"
            return Stage.blocked(TOKEN_DELIVERED, "ConfigMapConflict", message, retry_after_s=_LOOK_AGAIN_S)
        if isinstance(error, AccessDeniedError):
            message = (
                "the operator may not write ConfigMaps: install it with rbac.configMaps=true and its fence, or leave "
                f"spec.delivery.configMap out ({error.message})"
            )
            return Stage.waiting(TOKEN_DELIVERED, "ConfigMapForbidden", message, retry_after_s=_FORBIDDEN_S)
        return self._plane.failed_stage(key, TOKEN_DELIVERED, error)


def _config_map_names(user: ElastiCacheIAMUser) -> frozenset[str]:
    """Return the names of ConfigMaps that a user has, or wants."""
    wanted, held = user.spec.delivery.config_map, user.status.config_map
    return frozenset(found.name for found in (wanted, held) if found is not None)
