"""Holds deletions back while too many users are deleted at once, until a person confirms."""

from collections import deque
from typing import Final

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.keys import ANNOTATION_CONFIRM_DELETIONS
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.guard import WINDOW, Deletions, is_mass, is_recent
from elasticache_iam.core.status import USER_SYNCED, Stage
from elasticache_iam.ports import Clock, Kube
from elasticache_iam.reconcile.store import Body, Store

DELETIONS_HELD: Final = "DeletionsHeld"
_LOOK_AGAIN_S: Final = 15.0
_ANSWER_AGE_S: Final = 5.0
"""How long one read of the operator's namespace serves all deletions that are held."""


class DeletionGuard:
    """Counts deletions of users. It belongs to the loop of the control plane."""

    def __init__(self, config: OperatorConfig, *, store: Store, kube: Kube, clock: Clock, namespace: str) -> None:
        self._config = config
        self._store = store
        self._kube = kube
        self._clock = clock
        self._namespace = namespace
        self._gone: deque[float] = deque()
        self._begun: set[str] = set()
        self._answer: tuple[float, str] = (float("-inf"), "")

    async def hold(self, user: ElastiCacheIAMUser) -> Stage | None:
        """Return what the deletion of a user waits for; None: go ahead, also in all later passes."""
        uid = user.metadata.uid
        if uid in self._begun:
            return None
        deletions = self._count()
        percent, minimum = self._config.mass_deletion_percent, self._config.mass_deletion_minimum
        if is_mass(deletions, percent=percent, minimum=minimum) and not await self._is_confirmed():
            return Stage.waiting(
                USER_SYNCED,
                "DeletionsHeld",
                f"{deletions.recent} of {deletions.total} users are being deleted at once; nothing is deleted in AWS "
                "and tokens stay fresh until somebody confirms: kubectl annotate --overwrite namespace "
                f'{self._namespace} {ANNOTATION_CONFIRM_DELETIONS}="$(date -u +%FT%TZ)"',
                retry_after_s=_LOOK_AGAIN_S,
            )
        self._begun.add(uid)
        return None

    def note_gone(self, user: ElastiCacheIAMUser) -> None:
        """Note that a user's deletion is over."""
        self._begun.discard(user.metadata.uid)
        self._gone.append(self._clock.monotonic())

    def _count(self) -> Deletions:
        now_s = self._clock.monotonic()
        while self._gone and now_s - self._gone[0] > WINDOW.total_seconds():
            self._gone.popleft()
        recent = sum(1 for body in self._store.ending_users() if self._counts(body))
        return Deletions(total=self._store.count_users() + len(self._gone), recent=recent + len(self._gone))

    def _counts(self, body: Body) -> bool:
        """Whether a user is being deleted since a short time ago, or is held back."""
        if body["metadata"].get("uid") in self._begun or _is_held(body):
            return True
        return is_recent(str(body["metadata"]["deletionTimestamp"]), self._clock.now())

    async def _is_confirmed(self) -> bool:
        asked_at, annotation = self._answer
        if self._clock.monotonic() - asked_at > _ANSWER_AGE_S:
            try:
                annotations = await self._kube.get_namespace_annotations(self._namespace)
                annotation = annotations.get(ANNOTATION_CONFIRM_DELETIONS, "")
            except NotFoundError:
                annotation = ""
            self._answer = (self._clock.monotonic(), annotation)
        return is_recent(annotation, self._clock.now())


def _is_held(body: Body) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(condition.get("reason") == DELETIONS_HELD for condition in conditions)
