"""Resources for what exists in AWS: what `elasticache-iam import` writes. Pure; nothing in AWS is changed by it.

What is written either leaves a group to its owner (`Reference`) or takes it over (`Adopt`), then with the annotation
`plan-only`: the operator shows what it would do and waits. What can't be written is told, with what would help.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from elasticache_iam.api.group import GroupAdoption, Service
from elasticache_iam.api.keys import ANNOTATION_PLAN_ONLY, API_VERSION, GROUP_KIND, TAG_OWNER, USER_KIND
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user
from elasticache_iam.core import commands
from elasticache_iam.core.access import parse_access_string
from elasticache_iam.core.names import consents, with_consent
from elasticache_iam.core.plan.attachment import FIELDS
from elasticache_iam.core.state import CacheRef, Inventory, ObservedGroup, ObservedUser, Place

_DEFAULT: Final = "default"
"""The name of the user that every redis group must hold."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How to write.

    Attributes:
        owner: The installation that the resources are for.
        adoption: Reference or Adopt.
        namespace: Of the UserGroups.
        user_namespace: Of the ElastiCacheIAMUsers.
        group_ids: Only these groups; empty: all.
        region: To put into `spec.region`; None: it is the operator's own.
        account: To put into `spec.account`; None: it is the operator's own.
    """

    owner: str
    adoption: GroupAdoption
    namespace: str
    user_namespace: str
    group_ids: frozenset[str] = frozenset()
    region: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """One resource.

    Attributes:
        body: The manifest.
        comments: What its reader should know, a line each.
    """

    body: Mapping[str, Any]
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """All resources, and what isn't one.

    Attributes:
        written: Groups, each followed by its users.
        skipped: What else there is, and why it isn't written, a line each.
        consents: The commands by which owners of AWS objects have to agree first.
    """

    written: tuple[Written, ...]
    skipped: tuple[str, ...]
    consents: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    written: list[Written] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    consents: list[str] = field(default_factory=list)


def write_resources(inventory: Inventory, place: Place, wish: Wish) -> Import:
    """Return resources for the groups of a place, and with Adopt for their users.

    Args:
        inventory: What is there.
        place: Where.
        wish: How to write.
    """
    draft = _Draft()
    for group_id in sorted(wish.group_ids - inventory.groups.keys()):
        draft.skipped.append(f"group {group_id}: there is none in {place.region} of account {place.account}")
    for group in sorted(inventory.groups.values(), key=lambda group: group.group_id):
        if not wish.group_ids or group.group_id in wish.group_ids:
            _write_group(draft, inventory, place, wish, group)
    if not wish.group_ids and wish.adoption is GroupAdoption.ADOPT:
        for user in sorted(inventory.users.values(), key=lambda user: user.user_id):
            if not user.group_ids and user.user_id != _DEFAULT and not _owner_of(inventory, user.arn):
                draft.skipped.append(f"user {user.user_id}: in no group, and a resource names its UserGroup")
    if not draft.written and not draft.skipped:
        draft.skipped.append(f"no group: there is none in {place.region} of account {place.account}")
    return Import(tuple(draft.written), tuple(draft.skipped), tuple(dict.fromkeys(draft.consents)))


def _owner_of(inventory: Inventory, arn: str) -> str:
    return inventory.tags.get(arn, {}).get(TAG_OWNER, "")


# -- groups -----------------------------------------------------------------------------------------------------------


def _write_group(draft: _Draft, inventory: Inventory, place: Place, wish: Wish, group: ObservedGroup) -> None:
    if owner := _owner_of(inventory, group.arn):
        draft.skipped.append(f"group {group.group_id}: made by the installation {owner}, which has a UserGroup for it")
        return
    adopts = wish.adoption is GroupAdoption.ADOPT
    users, others = _split(draft, inventory, group) if adopts else ((), ())
    comments = tuple(_group_comments(inventory, group, adopts=adopts))
    body = _group_body(inventory, place, wish, group, users=users, others=others)
    try:
        parse_group(body)
    except InvalidResourceError as error:
        draft.skipped.append(f"group {group.group_id}: {error}")
        return
    draft.written.append(Written(body, comments))
    _ask(draft, inventory, group.arn, wish.owner, wish.namespace)
    for cache in sorted(group.cache_refs) if adopts else ():
        known = inventory.caches.get(cache)
        if known is not None:
            _ask(draft, inventory, known.arn, wish.owner, wish.namespace)
    for user in users:
        draft.written.append(Written(_user_body(wish, group, user), _USER_COMMENTS))
        _ask(draft, inventory, user.arn, wish.owner, wish.user_namespace)


def _group_body(
    inventory: Inventory,
    place: Place,
    wish: Wish,
    group: ObservedGroup,
    *,
    users: tuple[ObservedUser, ...],
    others: tuple[str, ...],
) -> Mapping[str, Any]:
    adopts = wish.adoption is GroupAdoption.ADOPT
    keeps_default = adopts and _has_open_default(inventory, group)
    elsewhere = bool(users) and wish.user_namespace != wish.namespace
    admission = {
        "namespaces": {"names": [wish.user_namespace]},
        "limit": {"preset": "Admin"},
        "ids": [user.user_id for user in users],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": GROUP_KIND,
        "metadata": _metadata(group.group_id, wish.namespace, plans=adopts),
        "spec": {
            **({"service": place.service.value} if place.service is not Service.ELASTICACHE else {}),
            "engine": _engine_of(inventory, group),
            "id": group.group_id,
            **({"region": wish.region} if wish.region else {}),
            **({"account": wish.account} if wish.account else {}),
            "adoption": wish.adoption.value,
            "caches": _caches(group),
            **({"defaultUser": "Unmanaged"} if keeps_default else {}),
            **({"members": list(others)} if others else {}),
            **({"admission": [admission]} if elsewhere else {}),
        },
    }


def _metadata(name: str, namespace: str, *, plans: bool) -> Mapping[str, Any]:
    annotations = {"annotations": {ANNOTATION_PLAN_ONLY: "true"}} if plans else {}
    return {"name": name, "namespace": namespace, **annotations}


def _engine_of(inventory: Inventory, group: ObservedGroup) -> str:
    """Return the engine; ACLs of MemoryDB have none, their clusters do."""
    found = [inventory.caches[cache].engine for cache in sorted(group.cache_refs) if cache in inventory.caches]
    return group.engine or (found[0] if found else "valkey")


def _caches(group: ObservedGroup) -> list[Mapping[str, str]]:
    refs = sorted(group.cache_refs)
    if len(refs) == 1:
        return [_cache(refs[0])]
    return [{"name": ref.id, **_cache(ref)} for ref in refs]


def _cache(ref: CacheRef) -> Mapping[str, str]:
    return {FIELDS[ref.kind]: ref.id}


def _group_comments(inventory: Inventory, group: ObservedGroup, *, adopts: bool) -> Iterator[str]:
    if not adopts:
        yield "Stays its owner's: the operator only puts users of resources in and takes them out."
        yield "In Terraform: lifecycle { ignore_changes = [user_ids] } on the group."
    else:
        yield "Becomes the operator's. Take it out of Terraform first (terraform state rm), then take plan-only off."
        if _has_open_default(inventory, group):
            yield "Its user named default can log in today: Unmanaged keeps it. Without that line it is replaced."
        elif group.engine == "redis":
            yield "Its user named default is replaced by a disabled one; defaultUser: Unmanaged keeps it."
    if not group.cache_refs:
        yield "It is on no cache: name them in spec.caches."


def _has_open_default(inventory: Inventory, group: ObservedGroup) -> bool:
    """Whether clients may log in to a redis group's caches without a user of their own."""
    defaults = (inventory.users.get(user_id) for user_id in group.user_ids)
    return group.engine == "redis" and (
        any(
            user is not None and user.user_name == _DEFAULT and parse_access_string(user.access_string).enabled
            for user in defaults
        )
        or _DEFAULT in group.user_ids
    )


# -- users ------------------------------------------------------------------------------------------------------------

_USER_COMMENTS: Final = (
    "serviceAccounts: who logs in as this user; name the one of its pods. A role of its own is made for it.",
    "deletionPolicy Retain: deleting the resource leaves the user in AWS.",
)


def _split(
    draft: _Draft, inventory: Inventory, group: ObservedGroup
) -> tuple[tuple[ObservedUser, ...], tuple[str, ...]]:
    """Return the members that become resources, and the ids of those that stay what they are."""
    users: list[ObservedUser] = []
    others: list[str] = []
    for user_id in sorted(group.user_ids):
        user = inventory.users.get(user_id)
        if user is None or user.user_name == _DEFAULT:
            continue
        if not _owner_of(inventory, user.arn):
            refusal = _refusal(user)
            if not refusal:
                users.append(user)
                continue
            draft.skipped.append(f"user {user_id}: {refusal}; it stays a member (spec.members)")
        others.append(user_id)
    return tuple(users), tuple(others)


def _refusal(user: ObservedUser) -> str:
    """Return why a user can't be a resource as it is; "" if it can."""
    if user.auth_mode != "iam":
        return f"logs in with {'a password' if user.auth_mode == 'password' else 'no password'}, not by IAM"
    if user.user_name != user.user_id:
        return f"its name, {user.user_name}, isn't its id, which IAM needs"
    if len(user.group_ids) > 1:
        return f"in several groups ({', '.join(sorted(user.group_ids))}), and a resource names one"
    try:
        parse_user(_user_body(_ANY, _SOME_GROUP, user))
    except InvalidResourceError as error:
        return str(error)
    return ""


def _user_body(wish: Wish, group: ObservedGroup, user: ObservedUser) -> Mapping[str, Any]:
    namespace = {"namespace": wish.namespace} if wish.namespace != wish.user_namespace else {}
    return {
        "apiVersion": API_VERSION,
        "kind": USER_KIND,
        "metadata": _metadata(user.user_id, wish.user_namespace, plans=True),
        "spec": {
            "adoption": "Adopt",
            "id": user.user_id,
            "groups": [{"name": group.group_id, **namespace}],
            "access": {"accessString": user.access_string},
            "serviceAccounts": [user.user_id],
            "deletionPolicy": "Retain",
        },
    }


_ANY: Final = Wish("any", GroupAdoption.ADOPT, "any", "any")
_SOME_GROUP: Final = ObservedGroup("any", "", "redis", "active")


# -- consent ----------------------------------------------------------------------------------------------------------


def _ask(draft: _Draft, inventory: Inventory, arn: str, owner: str, namespace: str) -> None:
    tags = inventory.tags.get(arn, {})
    if not consents(tags, owner=owner, namespace=namespace):
        draft.consents.append(commands.consent(arn, with_consent(tags, owner=owner, namespace=namespace)))
