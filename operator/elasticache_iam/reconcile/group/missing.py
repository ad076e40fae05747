"""Members that are users of ours, and whose resources aren't there: nobody can tell what they should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from elasticache_iam.api.access import Access
from elasticache_iam.api.base import Metadata
from elasticache_iam.api.group import UserGroup, UserGroupStatus
from elasticache_iam.api.keys import TAG_KIND, TAG_NAME, TAG_NAMESPACE, TAG_OWNER, USER_KIND
from elasticache_iam.api.user import ElastiCacheIAMUser, ElastiCacheIAMUserSpec
from elasticache_iam.core import names
from elasticache_iam.core.admission import admit, needs_namespace_labels
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.state import Inventory, ObservedUser
from elasticache_iam.reconcile.guard import Kept
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import USERS, Key

_NO_ACCESS: Final = Access(access_string="off")
"""Within any limit."""


@dataclass(frozen=True, slots=True)
class Strays:
    """Members without a resource that stay.

    Attributes:
        unwatched: Those of namespaces that we don't watch: whether there is a resource can't be told.
        kept: Those that have lost theirs, or haven't got it back yet.
    """

    unwatched: frozenset[str] = frozenset()
    kept: Kept = field(default_factory=Kept)

    @property
    def user_ids(self) -> frozenset[str]:
        """All of them."""
        return self.unwatched | self.kept.user_ids


async def find_strays(plane: Plane, key: Key, group: UserGroup, has: frozenset[str], inventory: Inventory) -> Strays:
    """Return the members without a resource that stay in a group.

    The group's own rules go on: whose namespace or id isn't admitted any more goes, resource or not.

    Args:
        plane: The control plane's hands.
        key: The group.
        group: Its resource.
        has: Ids of all its members.
        inventory: What AWS has.
    """
    watched = plane.installation.config.namespaces
    unwatched: set[str] = set()
    missing: dict[str, Key] = {}
    for user_id in sorted(has & inventory.users.keys()):
        live = inventory.users[user_id]
        user = _resource_key(inventory.tags.get(live.arn, {}), plane.installation.owner)
        if user is None or user in plane.store or plane.guard.is_deleted(user):
            continue
        if not await _is_admitted(plane, group, user, live):
            continue
        if watched and user.namespace not in watched:
            unwatched.add(user_id)
        else:
            missing[user_id] = user
    return Strays(frozenset(unwatched), await plane.guard.keep_missing(key, missing))


def _resource_key(tags: Mapping[str, str], owner: str) -> Key | None:
    """Return the resource that an AWS user was made for by its tags; None if that wasn't here."""
    if tags.get(TAG_OWNER) != owner or tags.get(TAG_KIND) != USER_KIND:
        return None
    namespace, name = tags.get(TAG_NAMESPACE, ""), tags.get(TAG_NAME, "")
    return Key(USERS, namespace, name) if namespace and name else None


async def _is_admitted(plane: Plane, group: UserGroup, user: Key, live: ObservedUser) -> bool:
    """Whether a group's rules admit a user, as far as that can be told without its resource: not by its access.

    AWS rewrites access strings, and how it has rewritten this one was noted in the resource's status.
    """
    labels: Mapping[str, str] = {}
    if needs_namespace_labels(group):
        try:
            labels = await plane.reads.namespace_labels(user.namespace)
        except NotFoundError:
            return True  # it isn't back yet, either
    is_default = live.user_id == names.default_id(plane.installation.owner, user.namespace, user.name)
    as_it_was = ElastiCacheIAMUser.model_construct(
        metadata=Metadata(name=user.name, namespace=user.namespace),
        spec=ElastiCacheIAMUserSpec.model_construct(
            groups=(), id=None if is_default else live.user_id, access=_NO_ACCESS
        ),
    )
    rules = group.model_copy(update={"status": UserGroupStatus()})
    return admit(rules, as_it_was, labels).ok
