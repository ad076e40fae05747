"""AWS's quotas that are nearly used up, told before AWS refuses. Counted from what is read anyway.

Only the defaults are known: whether a quota was raised can't be asked without another right. One that is exceeded was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from elasticache_iam.api.group import Service
from elasticache_iam.core.state import Inventory, Place

LEVELS: Final = ((1.0, "all"), (0.95, "at least 95 %"), (0.9, "at least 90 %"))
"""Shares that are told, in words. Few: a message with the very number would change with every user that is made."""

_DEFAULTS: Final = {
    Service.ELASTICACHE: (("users", 1000), ("user groups", 100)),
    Service.MEMORYDB: (("users", 2000), ("ACLs", 200)),
}
"""Per account and region. Source: quotas of ElastiCache and of MemoryDB."""
_ROLES: Final = 1000
"""Per account. Source: IAM and STS quotas, roles in an AWS account."""


@dataclass(frozen=True, slots=True)
class NearEnd:
    """A quota that is nearly used up.

    Attributes:
        of: What is counted, and where: the same as long as it is nearly used up.
        share: How much is used.
    """

    of: str
    share: str

    @override
    def __str__(self) -> str:
        """Return a sentence's part for people."""
        return f"{self.share} {self.of}: have the quota raised before AWS refuses more"


def find_near_end(inventory: Inventory, place: Place) -> Iterator[NearEnd]:
    """Yield the quotas of a place that are nearly used up, by AWS's defaults."""
    counts = (len(inventory.users), len(inventory.groups))
    for (what, limit), used in zip(_DEFAULTS[place.service], counts, strict=True):
        allowed = f"of the {limit} {what} that {place.service.value} allows by default in {place.region}"
        yield from _near_end(f"{allowed} of account {place.account} are taken", used, limit)
    # Of other roles nothing is known: ours alone may be that many.
    ours = f"of the {_ROLES} roles that IAM allows by default in account {place.account} are the operator's"
    yield from _near_end(ours, len(inventory.roles), _ROLES)


def _near_end(of: str, used: int, limit: int) -> Iterator[NearEnd]:
    share = next((words for level, words in LEVELS if used >= level * limit), None)
    if share is not None and used <= limit:
        yield NearEnd(of, share)
