"""Who belongs in a group: by the resources of this cluster, and by the tags in AWS."""

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from elasticache_iam.api.access import Access
from elasticache_iam.api.group import Membership, UserGroup, UserGroupStatus
from elasticache_iam.api.keys import TAG_KIND, TAG_NAME, TAG_NAMESPACE, TAG_OWNER, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import names
from elasticache_iam.core.admission import admit, admit_live, needs_namespace_labels
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.plan.attachment import CONSENTED_STATES, AttachmentState, cache_ref, found_state
from elasticache_iam.core.plan.group import ModifyGroup, is_named_default
from elasticache_iam.core.state import Inventory, ObservedGroup
from elasticache_iam.reconcile.group.missing import Strays, find_strays
from elasticache_iam.reconcile.plane import Plane, is_ours
from elasticache_iam.reconcile.queue import USERS, Key
from elasticache_iam.reconcile.store import group_key


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whom a group should hold.

    Attributes:
        resources: Ids of users that are resources here, and are admitted: the oldest resource first.
        others: Ids that the group's resource lists itself.
        ours: Ids of all users that we made: those we may take out.
        strays: Members without a resource that stay.
    """

    resources: tuple[str, ...]
    others: tuple[str, ...]
    ours: frozenset[str]
    strays: Strays

    @property
    def member_ids(self) -> tuple[str, ...]:
        """All of them, without repetition, in the order in which they get in."""
        return tuple(dict.fromkeys((*self.resources, *self.others, *sorted(self.strays.user_ids))))


async def find_belonging(
    plane: Plane, key: Key, group: UserGroup, live: ObservedGroup | None, inventory: Inventory
) -> Belonging:
    """Return whom a group should hold now.

    A user whose resource can't be read any more (by a stricter version of ours, say) stays as it is. So does one whose
    resource is on hold.
    """
    owner = plane.installation.owner
    has = live.future_user_ids if live is not None else frozenset()
    unreadable = tuple(
        user.status.id or plane.installation.user_id(user)
        for user in plane.store.broken_users_of(key)
        if not user.metadata.is_deleting
    )
    held = await _find_held(plane, key, group, live, inventory)
    strays = await find_strays(plane, key, group, has - set(group.spec.members), inventory)
    admitted = await _find_admitted(plane, key, group, live, inventory)
    return Belonging(
        resources=(*(user_id for user_id in unreadable if user_id in has), *held, *admitted),
        others=tuple(user_id for user_id in group.spec.members if not _is_resource(plane, user_id, inventory)),
        ours=frozenset(
            user_id
            for user_id, user in inventory.users.items()
            if inventory.tags.get(user.arn, {}).get(TAG_OWNER) == owner
        ),
        strays=strays,
    )


async def _find_admitted(
    plane: Plane, key: Key, group: UserGroup, on: ObservedGroup | None, inventory: Inventory
) -> list[str]:
    has = on.future_user_ids if on is not None else frozenset()
    # What an earlier pass of this group has found about its owner's consent is found out anew by this one.
    rules = group.model_copy(update={"status": UserGroupStatus()})
    is_exclusive = group.spec.membership is Membership.AUTHORITATIVE
    labels_of: dict[str, Mapping[str, str]] = {}
    members: list[str] = []
    for user in sorted(plane.store.users_of(key), key=_age):
        meta = user.metadata
        if meta.is_deleting or user.spec.suspend or meta.is_on_hold:
            continue
        if meta.namespace not in labels_of:
            labels_of[meta.namespace] = await _labels(plane, meta.namespace) if needs_namespace_labels(group) else {}
        labels = labels_of[meta.namespace]
        if not admit(rules, user, labels).ok or _lost_all_caches(group, user, on):
            continue
        user_id = plane.installation.user_id(user)
        live = inventory.users.get(user_id)
        if live is None or live.auth_mode != "iam":
            continue
        if not is_its_own(plane, user, inventory):
            # Pages of tags may be old. Who is in is taken out only if its own tags say so, too.
            asks = is_exclusive and user_id in has
            if not asks or not await is_ours(plane, inventory, live.arn, USER_KIND, meta):
                continue
        if admit_live(rules, user, labels, live):
            members.append(user_id)
    return members


def _lost_all_caches(group: UserGroup, user: ElastiCacheIAMUser, live: ObservedGroup | None) -> bool:
    """Whether the owners of all caches that a user asks for have withdrawn their consent.

    Then its connections have to end, which only leaving the group does. With one cache left it stays for that.
    """
    aliases = user.spec.groups[0].caches
    listed = [cache for cache in group.spec.caches if aliases is None or cache.name in aliases]
    states = [found_state(group, cache) for cache in listed]
    on = live.cache_refs if live is not None else frozenset()
    lost = any(
        cache_ref(cache) in on and state == AttachmentState.CONSENT_MISSING.value
        for cache, state in zip(listed, states, strict=True)
    )
    return lost and not any(state in CONSENTED_STATES for state in states)


async def _find_held(
    plane: Plane, key: Key, group: UserGroup, on: ObservedGroup | None, inventory: Inventory
) -> list[str]:
    """Return the members whose resource is on hold: no edit of it is applied, so none takes them out.

    The group's own rules go on: they stay as long as it admits the access that AWS gives them.
    """
    has = on.future_user_ids if on is not None else frozenset()
    rules = group.model_copy(update={"status": UserGroupStatus()})
    held: list[str] = []
    for user_id in sorted(has & inventory.users.keys()):
        live = inventory.users[user_id]
        user_key = _resource_key(plane, inventory.tags.get(live.arn, {}))
        try:
            user = plane.store.user(user_key) if user_key is not None else None
        except InvalidResourceError:
            continue
        if user is None or not await plane.is_held(user.metadata):
            continue
        if group_key(user) == key and _lost_all_caches(group, user, on):
            continue
        labels = await _labels(plane, user.metadata.namespace) if needs_namespace_labels(group) else {}
        sent = user.status.access_string
        is_rewritten = sent is not None and sent.returned == live.access_string
        text = sent.sent if sent is not None and is_rewritten else live.access_string
        access = Access.model_construct(preset=None, access_string=text, keys=(), channels=())
        if admit(rules, user, labels, access=access).ok:
            held.append(user_id)
    return held


def _age(user: ElastiCacheIAMUser) -> tuple[str, str, str]:
    meta = user.metadata
    return str(meta.creation_timestamp), meta.namespace, meta.name


async def _labels(plane: Plane, namespace: str) -> Mapping[str, str]:
    try:
        return await plane.reads.namespace_labels(namespace)
    except NotFoundError:
        return {}


def _is_resource(plane: Plane, user_id: str, inventory: Inventory) -> bool:
    """Whether an AWS user is a resource's here: those come in by admission alone, not by `spec.members`."""
    live = inventory.users.get(user_id)
    tags = inventory.tags.get(live.arn, {}) if live is not None else {}
    return tags.get(TAG_KIND) == USER_KIND and _resource_key(plane, tags) is not None


def _resource_key(plane: Plane, tags: Mapping[str, str]) -> Key | None:
    """Return the resource that an AWS user belongs to by its tags, if it is there."""
    key = Key(USERS, tags.get(TAG_NAMESPACE, ""), tags.get(TAG_NAME, ""))
    is_here = tags.get(TAG_OWNER) == plane.installation.owner and key in plane.store
    return key if is_here else None


def is_its_own(plane: Plane, user: ElastiCacheIAMUser, inventory: Inventory) -> bool:
    """Whether the AWS user that a resource names is that resource's: an id of its author's choice may be another's."""
    live = inventory.users.get(plane.installation.user_id(user))
    meta, owner = user.metadata, plane.installation.owner
    return live is not None and names.is_owned(
        inventory.tags.get(live.arn, {}), owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name
    )


def find_leaving(belonging: Belonging, live: ObservedGroup, inventory: Inventory) -> frozenset[str]:
    """Return the members that must go, and that we made."""
    leaving = (live.future_user_ids & belonging.ours) - set(belonging.member_ids)
    return frozenset(user_id for user_id in leaving if not is_named_default(user_id, inventory.users))


def find_members_left(plane: Plane, key: Key, live: ObservedGroup, inventory: Inventory) -> list[str]:
    """Return our users that are still in the group. Who only names it, or another's id, holds up nothing."""
    return [
        f"{user.metadata.namespace}/{user.metadata.name}"
        for user in plane.store.users_of(key)
        if plane.installation.user_id(user) in live.user_ids and is_its_own(plane, user, inventory)
    ]


# -- what somebody else did -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberDrift:
    """The part of a change of members that only undoes what somebody else did."""

    taken_out: frozenset[str] = frozenset()
    put_in: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.taken_out or self.put_in)

    @override
    def __str__(self) -> str:
        changes = (("was taken out", self.taken_out), ("was put in", self.put_in))
        return ", ".join(f"{', '.join(sorted(user_ids))} {what}" for what, user_ids in changes if user_ids)


def find_drift(action: ModifyGroup, seen: frozenset[str] | None) -> MemberDrift:
    """Return what of a change of members only undoes what somebody else did.

    A group has one writer here, so whatever is otherwise than the last pass left it is somebody else's doing.

    Args:
        action: What is about to be changed.
        seen: The members as the last pass left them; None: that isn't known.
    """
    if seen is None:
        return MemberDrift()
    return MemberDrift(taken_out=action.add & seen, put_in=action.remove - seen)
