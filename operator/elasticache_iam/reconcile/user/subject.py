"""Whom a pass of a user is about, and what it has found so far: what its parts share."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from elasticache_iam.api.group import CacheSpec, UserGroup
from elasticache_iam.api.keys import USER_KIND
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.plan.attachment import CONSENTED_STATES, AttachmentState, cache_ref, found_state
from elasticache_iam.core.state import Inventory, ObservedRole, Place, SimulatedConnect
from elasticache_iam.core.status import Stage
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import Key


class RefusedError(Exception):
    """The user must not have tokens now: minting ends, and the Secrets go. A turn of the pass, not a failure."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.reason)
        self.stage = stage


@dataclass(slots=True)
class Memory:
    """What passes remember of earlier ones, in memory only: forgetting costs reads, or an Event about a repair."""

    _in_sync: dict[Key, dict[str, int]] = field(default_factory=dict)
    _repaired: dict[Key, int] = field(default_factory=dict)
    _foreign_roles: dict[tuple[Place, str], tuple[ObservedRole | None, float]] = field(default_factory=dict)
    _simulated: dict[tuple[str, ...], tuple[Mapping[str, SimulatedConnect], float]] = field(default_factory=dict)

    def note_in_sync(self, key: Key, what: str, asked: Hashable) -> None:
        """Remember that AWS had what was asked."""
        self._in_sync.setdefault(key, {})[what] = hash(asked)

    def was_in_sync(self, key: Key, what: str, asked: Hashable) -> bool:
        """Whether AWS had just that before: then a difference is somebody else's doing, and no edit's."""
        return self._in_sync.get(key, {}).get(what) == hash(asked)

    def note_role(self, place: Place, name: str, role: ObservedRole | None, now_s: float) -> None:
        """Remember a role of somebody else's as it was read."""
        self._foreign_roles[place, name] = (role, now_s)

    def role(self, place: Place, name: str, *, not_before_s: float) -> ObservedRole | None:
        """Return such a role if it was there and isn't older than asked."""
        role, at_s = self._foreign_roles.get((place, name), (None, float("-inf")))
        return role if at_s >= not_before_s else None

    def doubt_role(self, place: Place, name: str) -> None:
        """Have such a role read anew: it was written to."""
        self._foreign_roles.pop((place, name), None)

    def note_simulated(self, asked: tuple[str, ...], told: Mapping[str, SimulatedConnect], now_s: float) -> None:
        """Remember what AWS said of a role's right to connect."""
        self._simulated[asked] = (told, now_s)

    def simulated(self, asked: tuple[str, ...], *, not_before_s: float) -> Mapping[str, SimulatedConnect] | None:
        """Return that if it isn't older than asked; what is goes."""
        self._simulated = {key: found for key, found in self._simulated.items() if found[1] >= not_before_s}
        found = self._simulated.get(asked)
        return found[0] if found is not None else None

    def was_repaired(self, key: Key, count: int) -> bool:
        """Whether something of a user was put back that no kept status tells of."""
        return count > self._repaired.get(key, 0)

    def note_repairs(self, key: Key, count: int) -> None:
        """Remember how many repairs of a user its status tells of."""
        self._repaired[key] = count

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a user that is gone."""
        self._repaired.pop(key, None)
        self._in_sync.pop(key, None)


@dataclass(slots=True)
class Findings:
    """What a pass has found: it goes into the status also when a later step fails."""

    stages: list[Stage] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)
    polling: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A user in its group."""

    plane: Plane
    key: Key
    user: ElastiCacheIAMUser
    group: UserGroup
    memory: Memory

    @property
    def place(self) -> Place:
        """Where the group is, and so the user and its role."""
        return self.plane.installation.place_of(self.group)

    @property
    def user_id(self) -> str:
        """The user's id in AWS."""
        return self.plane.installation.user_id(self.user)

    @property
    def user_arn(self) -> str:
        """The user's ARN."""
        return names.user_arn(self.place, self.user_id)

    @property
    def group_id(self) -> str:
        """The group's id in AWS."""
        return self.plane.installation.group_id(self.group)

    @property
    def connect_service(self) -> str:
        """What tokens are signed for, and whose Connect a policy allows."""
        return names.service_word(self.place.service)

    @property
    def listed(self) -> tuple[CacheSpec, ...]:
        """The group's caches that the user wants tokens for."""
        aliases = self.user.spec.groups[0].caches
        return tuple(cache for cache in self.group.spec.caches if aliases is None or cache.name in aliases)

    @property
    def withheld(self) -> frozenset[str]:
        """The names of caches whose owner doesn't consent (any more), as the group's pass has found."""
        missing = AttachmentState.CONSENT_MISSING.value
        return frozenset(cache.name for cache in self.listed if found_state(self.group, cache) == missing)

    @property
    def granted(self) -> tuple[CacheSpec, ...]:
        """The caches that the user gets rights and new tokens for: none before the group's pass has seen the consent.

        What it has already it keeps through troubles that say nothing about that.
        """
        has = {(cache.name, cache.id) for cache in self.user.status.caches}
        consented = {state.value for state in CONSENTED_STATES}
        return tuple(
            cache
            for cache in self.listed
            if found_state(self.group, cache) in consented
            or ((cache.name, cache_ref(cache).id) in has and cache.name not in self.withheld)
        )

    @property
    def selected(self) -> frozenset[str]:
        """The names of caches whose tokens stay: one that moves keeps the old cache's until the new one is ready."""
        withheld = {(cache.name, cache_ref(cache).id) for cache in self.listed if cache.name in self.withheld}
        has = {cache.name for cache in self.user.status.caches if (cache.name, cache.id) not in withheld}
        return frozenset(cache.name for cache in self.listed if cache.name in has) | {
            cache.name for cache in self.granted
        }

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The names of caches of which neither consent nor its lack has been found yet."""
        known = {cache.name for cache in self.granted} | self.withheld
        return tuple(cache.name for cache in self.listed if cache.name not in known)

    @property
    def tags(self) -> Mapping[str, str]:
        """The AWS tags of what is the user's: ours, and those that it asks for."""
        meta = self.user.metadata
        ownership = names.ownership_tags(self.plane.installation.owner, USER_KIND, meta.namespace, meta.name, meta.uid)
        return {**self.user.spec.tags, **ownership}

    def is_owned(self, tags: Mapping[str, str]) -> bool:
        """Whether an AWS object with these tags is the user's."""
        meta, owner = self.user.metadata, self.plane.installation.owner
        return names.is_owned(tags, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name)

    def cache_arns(self, inventory: Inventory) -> tuple[str, ...]:
        """Return the caches that the user may connect to.

        Those that it wants, and the one that an alias meant before as long as tokens are still for that: an alias that
        is moved to another cache keeps its old right until the new cache takes the user.
        """
        arns = {names.cache_arn(self.place, cache_ref(cache)) for cache in self.granted}
        held = {cache.arn for cache in self.user.status.caches if cache.name in self.selected}
        arns |= {
            cache.arn for cache in inventory.caches.values() if cache.arn in held and self.group_id in cache.group_ids
        }
        return tuple(sorted(arns))
