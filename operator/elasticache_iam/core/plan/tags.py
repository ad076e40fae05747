"""The AWS tags of what we made or adopted: ours, and those that the resource asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from elasticache_iam.api.keys import GROUP, TAG_ORPHANED, TAG_UID


@dataclass(frozen=True, slots=True)
class TagChange:
    """What to write, and what to take off."""

    put: Mapping[str, str]
    remove: frozenset[str] = frozenset()

    @property
    def is_of_a_restored_cluster(self) -> bool:
        """Whether only the uid differs, or a mark of a life that ended: the resource is another one of its name."""
        return self.put.keys() <= {TAG_UID} and self.remove <= {TAG_ORPHANED}

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that change, sorted."""
        return tuple(sorted({*self.put, *self.remove}))


def plan_tags(
    desired: Mapping[str, str], observed: Mapping[str, str], *, allowed: Iterable[str], is_ours_alone: bool = True
) -> TagChange | None:
    """Return the change that takes an object's tags to what is asked; None: in sync.

    Tags of others stay. Of those with a key that authors of resources may set, none that isn't asked for: they are
    what a resource once asked for.

    Args:
        desired: Ours and the resource's.
        observed: What the object has.
        allowed: Keys that the operator's configuration lets authors of resources set.
        is_ours_alone: False for an adopted object: its tags may be its maker's, so none but our own is taken off.
    """
    once_asked = {key for key in allowed if not key.startswith(f"{GROUP}/")} if is_ours_alone else set()
    put = {key: value for key, value in desired.items() if observed.get(key) != value}
    remove = frozenset((observed.keys() & {*once_asked, TAG_ORPHANED}) - desired.keys())
    return TagChange(put, remove) if put or remove else None
