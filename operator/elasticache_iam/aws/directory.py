"""What ElastiCache and MemoryDB have in common: users, groups (ACLs) and the caches that use them, in one region."""

from collections.abc import Mapping
from typing import Protocol

from elasticache_iam.core.errors import ConflictError
from elasticache_iam.core.state import CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedUser


class Directory(Protocol):
    """One service in one account and region. The writes and tag calls are those of `ports.Aws`."""

    async def refresh(self, *, max_age_s: float, slow_max_age_s: float) -> None:
        """Read what is older than asked; the slow age is for tags, and what else hardly ever changes."""
        ...

    def latest(self) -> Inventory:
        """Return all but the roles, as last read; without users and groups of AWS's own that nobody may touch."""
        ...

    async def list_tags(self, arn: str) -> Mapping[str, str]:
        """As ports.Aws's."""
        ...

    async def set_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """As ports.Aws's."""
        ...

    async def remove_tags(self, arn: str, keys: frozenset[str]) -> None:
        """As ports.Aws's."""
        ...

    async def create_user(
        self, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]
    ) -> ObservedUser:
        """As ports.Aws's."""
        ...

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:
        """As ports.Aws's."""
        ...

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """As ports.Aws's."""
        ...

    async def set_iam_mode(self, user_id: str) -> ObservedUser:
        """As ports.Aws's."""
        ...

    async def delete_user(self, user_id: str) -> None:
        """As ports.Aws's."""
        ...

    async def create_group(
        self, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
    ) -> ObservedGroup:
        """As ports.Aws's."""
        ...

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """As ports.Aws's."""
        ...

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """As ports.Aws's."""
        ...

    async def delete_group(self, group_id: str) -> None:
        """As ports.Aws's."""
        ...

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """As ports.Aws's."""
        ...


def listed(parameter: str, ids: frozenset[str]) -> dict[str, list[str]]:
    """Return a parameter with ids, or nothing: AWS refuses empty lists."""
    return {parameter: sorted(ids)} if ids else {}


def check_attachable(cache: ObservedCache, group_id: str) -> None:
    """Raise ConflictError if a cache, as it is now, has another group: AWS would replace that without a word."""
    others = cache.future_group_ids - {group_id}
    if others:
        raise ConflictError(f"{cache.ref.kind} {cache.ref.id} has got another group meanwhile: {', '.join(others)}")
