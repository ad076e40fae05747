"""Holds deletions back while too many users are deleted at once, until a person confirms."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.keys import ANNOTATION_CONFIRM_DELETIONS
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import commands
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.guard import GRACE, WINDOW, Deletions, find_mass, is_recent
from elasticache_iam.core.status import USER_SYNCED, Stage
from elasticache_iam.ports import Clock, Kube
from elasticache_iam.reconcile.queue import Key
from elasticache_iam.reconcile.store import Body, Store, is_in_aws

DELETIONS_HELD: Final = "DeletionsHeld"
_LOOK_AGAIN_S: Final = 15.0
_LOOK_FOR_MISSING_S: Final = 60.0
_NAMED: Final = 10
"""So many members without a resource are named in a message."""
_ANSWER_AGE_S: Final = 5.0
"""How long one read of the operator's namespace serves all deletions that are held."""
_DELETION_KNOWN_S: Final = 3600.0
"""How long a deletion that was seen explains that a member has no resource."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Members of a group that stay although they have no resource.

    Attributes:
        user_ids: Who stays.
        message: Who that is, and what to do.
        retry_after_s: When to look again, in seconds.
    """

    user_ids: frozenset[str] = frozenset()
    message: str = ""
    retry_after_s: float = _LOOK_FOR_MISSING_S


class DeletionGuard:
    """Counts deletions of users. It belongs to the loop of the control plane.

    Only users that exist in AWS count, in all and in each UserGroup: nobody holds up others, or makes a crowd look
    small, with resources that no group admits.
    """

    def __init__(self, config: OperatorConfig, *, store: Store, kube: Kube, clock: Clock, namespace: str) -> None:
        self._config = config
        self._store = store
        self._kube = kube
        self._clock = clock
        self._namespace = namespace
        self._gone: deque[tuple[float, str, frozenset[Key]]] = deque()
        self._begun: set[str] = set()
        self._found: set[str] = set()
        self._deleted: dict[Key, float] = {}
        self._missing: dict[Key, dict[str, float]] = {}
        self._answer: tuple[float, str] = (float("-inf"), "")

    @property
    def how_to_confirm(self) -> str:
        """The command that confirms deletions for the next ten minutes."""
        return commands.confirm_deletions(self._namespace)

    # -- users that are being deleted ---------------------------------------------------------------------------------

    async def hold(self, key: Key, user: ElastiCacheIAMUser) -> Stage | None:
        """Return what the deletion of a user that exists in AWS waits for; None: go ahead, also in all later passes."""
        uid = user.metadata.uid
        if uid in self._begun:
            return None
        self._found.add(uid)
        mass = self._find_mass(self._store.group_keys_of(key), {})
        if mass is not None and not await self._is_confirmed():
            whose = f" of UserGroup {mass.whose}" if mass.whose else ""
            return Stage.waiting(
                USER_SYNCED,
                "DeletionsHeld",
                f"{mass.recent} of {mass.total} users{whose} are being deleted at once; nothing is deleted in AWS and "
                f"tokens stay fresh until somebody confirms: {self.how_to_confirm}",
                retry_after_s=_LOOK_AGAIN_S,
            )
        self._begun.add(uid)
        return None

    def note_gone(self, key: Key, user: ElastiCacheIAMUser) -> None:
        """Note that a user's deletion is over."""
        uid = user.metadata.uid
        if uid in self._begun or uid in self._found:
            self._gone.append((self._clock.monotonic(), uid, frozenset(self._store.group_keys_of(key))))
        self._begun.discard(uid)
        self._found.discard(uid)
        self.note_deleted(key)

    def note_deleted(self, key: Key) -> None:
        """Note that a user's resource was seen to be deleted: that it is missing now is somebody's wish."""
        now_s = self._clock.monotonic()
        for old in [old for old, at_s in self._deleted.items() if now_s - at_s > _DELETION_KNOWN_S]:
            del self._deleted[old]
        self._deleted[key] = now_s

    def is_deleted(self, key: Key) -> bool:
        """Whether a user's resource was seen to be deleted."""
        return key in self._deleted

    def _find_mass(self, groups: Collection[Key], missing: Mapping[Key, int]) -> Deletions | None:
        """Return a crowd that goes at once: of all users, or of one of the groups.

        Args:
            groups: Those of the users in question.
            missing: How many members of each group have no resource, where those are in question, too.
        """
        now_s = self._clock.monotonic()
        while self._gone and now_s - self._gone[0][0] > WINDOW.total_seconds():
            self._gone.popleft()
        ending = list(self._find_ending())
        gone = [groups for _, _, groups in self._gone]
        counts = []
        for group in (None, *sorted(groups)):
            lacking = sum(missing.values()) if group is None else missing.get(group, 0)
            went = lacking + sum(1 for each in gone if group is None or group in each)
            recent = went + sum(1 for each in ending if group is None or group in each)
            total = max(recent, went + self._store.count_users_in_aws(group))
            counts.append(Deletions(total, recent, f"{group.namespace}/{group.name}" if group is not None else ""))
        return find_mass(counts, percent=self._config.mass_deletion_percent, minimum=self._config.mass_deletion_minimum)

    def _find_ending(self) -> Iterator[frozenset[Key]]:
        """Yield the groups of each user that is being deleted and counts."""
        gone = {uid for _, uid, _ in self._gone}  # the watch may be late
        for key, body in self._store.ending_users():
            if body["metadata"].get("uid") not in gone and self._counts(body):
                yield frozenset(self._store.group_keys_of(key))

    def _counts(self, body: Body) -> bool:
        """Whether a user that exists in AWS is being deleted since a short time ago, or is held back."""
        uid = body["metadata"].get("uid")
        if uid in self._begun:
            return True
        if not (is_in_aws(body) or uid in self._found):
            return False
        return _is_held(body) or is_recent(str(body["metadata"]["deletionTimestamp"]), self._clock.now())

    # -- members without a resource -----------------------------------------------------------------------------------

    async def keep_missing(self, group: Key, missing: Mapping[str, Key]) -> Kept:
        """Return which members stay in a group although their resources aren't there.

        Nobody deleted them: those hold a finalizer of ours, so they leave the group first. A restored cluster has the
        UserGroup already and its users not yet; or a listing lacks them. So they stay for a while, and for longer if
        they are many.

        Args:
            group: The group.
            missing: The resources of all its members that have none, by user id.
        """
        now_s = self._clock.monotonic()
        before = self._missing.pop(group, {})
        if not missing:
            return Kept()
        since = self._missing[group] = {user_id: before.get(user_id, now_s) for user_id in missing}
        waiting_s = [left for at_s in since.values() if (left := at_s + GRACE.total_seconds() - now_s) > 0]
        named = [f"{key.namespace}/{key.name}" for key in sorted(missing.values())]
        rest = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        who = (
            f"{len(named)} member(s) have no ElastiCacheIAMUser here, and nobody was seen to delete it: "
            f"{', '.join(named[:_NAMED])}{rest}. They stay for now: apply their resources (again)."
        )
        minutes = int(GRACE.total_seconds() // 60)
        if waiting_s:
            message = f"{who} {minutes} minutes after that was noticed they are taken out, unless they are many"
            return Kept(frozenset(missing), message, min(*waiting_s, _LOOK_FOR_MISSING_S))
        mass = self._find_mass([group], {each: len(of_group) for each, of_group in self._missing.items()})
        if mass is not None and not await self._is_confirmed():
            message = f"{who} Or have them taken out, which cuts their connections: {self.how_to_confirm}"
            return Kept(frozenset(missing), message)
        return Kept()

    def forget_group(self, group: Key) -> None:
        """Forget what is known about the members of a group that is gone."""
        self._missing.pop(group, None)

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
