"""Whether, and why not, a group is attached to a cache."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from elasticache_iam.api.group import AttachmentPolicy, CacheSpec, Service, UserGroup
from elasticache_iam.api.user import SecretRef, UserCacheStatus
from elasticache_iam.core import commands, names
from elasticache_iam.core.state import CacheKind, CacheRef, ObservedCache, ObservedGroup, Place

MIN_VERSIONS: Final = {"redis": (7, 0), "valkey": (7, 2)}
"""Oldest engines that know IAM users. Source: ElastiCache user guide, "Authenticating with IAM"."""


class AttachmentState(StrEnum):
    """How it stands between a group and one cache; the reason of the condition where it isn't attached."""

    ATTACHED = "Attached"
    ATTACHING = "Attaching"
    READY_TO_ATTACH = "ReadyToAttach"
    CACHE_NOT_FOUND = "CacheNotFound"
    CACHE_BUSY = "CacheBusy"
    CACHE_CLAIMED = "CacheClaimed"
    CONSENT_MISSING = "ConsentMissing"
    FOREIGN_GROUP = "ForeignGroup"
    TLS_REQUIRED = "TLSRequired"
    ENGINE_MISMATCH = "EngineMismatch"
    ENGINE_TOO_OLD = "EngineTooOld"
    AUTH_TOKEN_ENABLED = "AuthTokenEnabled"  # noqa: S105  # a condition's reason
    ATTACHMENT_REFUSED = "AttachmentRefused"
    CACHE_OPEN = "CacheOpen"
    GROUP_NOT_READY = "GroupNotReady"
    NOT_ATTACHED = "NotAttached"


HELD_STATES: Final = frozenset({AttachmentState.ATTACHED, AttachmentState.ATTACHING, AttachmentState.CACHE_OPEN})
"""What the status says of a cache that our group was put on: without the group, it was left open by somebody else."""

MOVING_STATES: Final = frozenset(
    {
        AttachmentState.ATTACHING,
        AttachmentState.CACHE_BUSY,
        AttachmentState.CACHE_NOT_FOUND,
        AttachmentState.CACHE_OPEN,
        AttachmentState.GROUP_NOT_READY,
    }
)
"""What passes, mostly soon."""

CONSENTED_STATES: Final = HELD_STATES | {
    AttachmentState.CACHE_BUSY,
    AttachmentState.GROUP_NOT_READY,
    AttachmentState.AUTH_TOKEN_ENABLED,
    AttachmentState.ATTACHMENT_REFUSED,
    AttachmentState.NOT_ATTACHED,
}
"""What is only found of a cache after its owner's consent was; all others say nothing about that."""

STALLED_STATES: Final = frozenset(
    {
        AttachmentState.CACHE_CLAIMED,
        AttachmentState.FOREIGN_GROUP,
        AttachmentState.TLS_REQUIRED,
        AttachmentState.ENGINE_MISMATCH,
        AttachmentState.ENGINE_TOO_OLD,
        AttachmentState.AUTH_TOKEN_ENABLED,
        AttachmentState.ATTACHMENT_REFUSED,
    }
)
"""What only an edit, here or of the cache, can cure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state and one sentence that tells the reader what to do."""

    state: AttachmentState
    message: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """How a UserGroup stands to one of its caches.

    Attributes:
        consented: Whether the cache's owner lets it in.
        consent: The value of the consent tag that would do, for the message.
        claimed_by: The older UserGroup that holds this cache, as namespace/name.
        policy: What to do with a cache that is open.
        was_attached: Whether our group was on it before: detached behind our back it is open and goes back at once.
        is_group_ready: Whether the group has its members: before that, attaching would lock out who is to come in.
        is_referenced: Whether the group is somebody else's, who attaches it.
    """

    consented: bool
    consent: str
    claimed_by: str | None
    policy: AttachmentPolicy
    was_attached: bool
    is_group_ready: bool = True
    is_referenced: bool = False


def judge_attachment(cache: ObservedCache, group: ObservedGroup, claim: Claim) -> Verdict:
    """Say how it stands between a group and a cache that is there, and whether attaching is allowed.

    Args:
        cache: What AWS has.
        group: Our group.
        claim: What else counts.

    Returns:
        The verdict; READY_TO_ATTACH asks the caller to attach.
    """
    cache_id = cache.ref.id
    if group.group_id in cache.future_group_ids:
        if not claim.consented:
            return Verdict(
                AttachmentState.CONSENT_MISSING,
                f"the owner of cache {cache_id} has withdrawn the consent: nobody gets tokens for it. The group stays "
                f"on it, as the cache would be open without one; {commands.consent(cache.arn, claim.consent)}",
            )
        if group.group_id in cache.group_ids:
            return Verdict(AttachmentState.ATTACHED)
        return Verdict(AttachmentState.ATTACHING, f"AWS is attaching the group to cache {cache_id}")
    if claim.is_referenced:
        return Verdict(
            AttachmentState.NOT_ATTACHED,
            f"the group {group.group_id} isn't on cache {cache_id}; its owner attaches it (adoption: Reference)",
        )
    return _judge_claim(cache, claim) or _judge_cache(cache, group) or _judge_consent(cache, claim)


def _judge_claim(cache: ObservedCache, claim: Claim) -> Verdict | None:
    """Say who else holds the cache; None if nobody does."""
    if claim.claimed_by is not None:
        return Verdict(
            AttachmentState.CACHE_CLAIMED, f"cache {cache.ref.id} is held by the older UserGroup {claim.claimed_by}"
        )
    if cache.future_group_ids:
        other = ", ".join(sorted(cache.future_group_ids))
        return Verdict(
            AttachmentState.FOREIGN_GROUP,
            f"cache {cache.ref.id} has the user group {other}, which isn't ours; it is never replaced",
        )
    return None


def _judge_cache(cache: ObservedCache, group: ObservedGroup) -> Verdict | None:
    """Say why AWS would refuse the group on the cache; None if it wouldn't."""
    cache_id, version = cache.ref.id, f"{cache.engine} {cache.engine_version}"
    if not cache.tls:
        return Verdict(
            AttachmentState.TLS_REQUIRED, f"cache {cache_id} has no encryption in transit; user groups need it"
        )
    if group.engine == "valkey" and cache.engine != "valkey":
        return Verdict(
            AttachmentState.ENGINE_MISMATCH, f"a valkey group can't be attached to the {cache.engine} cache {cache_id}"
        )
    if not has_iam(cache.engine, cache.engine_version):
        return Verdict(
            AttachmentState.ENGINE_TOO_OLD,
            f"cache {cache_id} runs {version}; IAM needs redis 7.0 or valkey 7.2",
        )
    # Redis and Valkey count their versions differently: a redis group on a valkey cache is left to AWS.
    is_comparable = group.engine in {cache.engine, ""}
    if is_comparable and _is_older(cache.engine_version, group.minimum_engine_version):
        return Verdict(
            AttachmentState.ENGINE_TOO_OLD,
            f"cache {cache_id} runs {version}, and the access strings in the group need "
            f"{group.minimum_engine_version}: upgrade the cache, or ask for less",
        )
    return None


def _judge_consent(cache: ObservedCache, claim: Claim) -> Verdict:
    """Say whether attaching is wanted, by the cache's owner and by the resource, and possible now."""
    cache_id = cache.ref.id
    if not claim.consented:
        return Verdict(
            AttachmentState.CONSENT_MISSING,
            f"the owner of cache {cache_id} hasn't consented: {commands.consent(cache.arn, claim.consent)}",
        )
    if cache.auth_token_enabled:
        return Verdict(
            AttachmentState.AUTH_TOKEN_ENABLED,
            f"cache {cache_id} has an AUTH token; migrate its clients and remove the token first",
        )
    if claim.policy is AttachmentPolicy.REFUSE and not claim.was_attached:
        return Verdict(
            AttachmentState.ATTACHMENT_REFUSED,
            f"cache {cache_id} is open: attaching the group cuts off clients that use no user; "
            "if that is wanted set spec.attachment.policy: Attach",
        )
    if not cache.is_available:
        if claim.was_attached:
            return Verdict(
                AttachmentState.CACHE_OPEN,
                f"cache {cache_id} was left open behind our back and is {cache.status}; the group goes back after that",
            )
        return Verdict(AttachmentState.CACHE_BUSY, f"cache {cache_id} is {cache.status}; it is attached after that")
    if not claim.is_group_ready and not claim.was_attached:
        return Verdict(
            AttachmentState.GROUP_NOT_READY,
            f"the group goes onto cache {cache_id} once it is in order: attached now, it would lock out its members",
        )
    return Verdict(AttachmentState.READY_TO_ATTACH)


def judge_missing(
    ref: CacheRef, place: Place, others: Iterable[CacheRef], *, elsewhere: Mapping[Place, Iterable[CacheRef]]
) -> Verdict:
    """Say that there is no such cache where the group is, and what may be wrong.

    Args:
        ref: The cache that the resource names.
        place: Where it was looked for.
        others: The caches that are there.
        elsewhere: The caches of other places, as far as they are known and the resource may be there.
    """
    namesake = next((other for other in sorted(others) if other.id == ref.id), None)
    found = [(its, other) for its in sorted(elsewhere) for other in sorted(elsewhere[its]) if other.id == ref.id]
    if namesake is not None:
        hint = f"there is a {FIELDS[namesake.kind]} of that name, though"
    elif found:
        its, other = next((one for one in found if one[1] == ref), found[0])
        fields = [
            f"spec.{name}: {json.dumps(value)}"
            for name, value, here in (
                ("service", its.service.value, place.service.value),
                ("region", its.region, place.region),
                ("account", its.account, place.account),
            )
            if value != here
        ]
        hint = (
            f"there is a {FIELDS[other.kind]} of that name in {its.region} of account {its.account}: if that is meant "
            f"make a new UserGroup with {', '.join(fields)}"
        )
    else:
        hint = "if it is elsewhere make a new UserGroup with its spec.region or spec.account"
    return Verdict(
        AttachmentState.CACHE_NOT_FOUND,
        f"there is no {FIELDS[ref.kind]} {ref.id} in {place.region} of account {place.account}; it is attached once "
        f"it appears ({hint})",
    )


FIELDS: Final = {
    CacheKind.REPLICATION_GROUP: "replicationGroup",
    CacheKind.SERVERLESS_CACHE: "serverlessCache",
    CacheKind.MEMORYDB_CLUSTER: "memoryDBCluster",
}


def encryption_notes(cache: ObservedCache) -> Iterator[str]:
    """Yield what a cache doesn't encrypt although the group can be on it; AWS itself asks for TLS alone."""
    if cache.transit_mode == "preferred":
        yield f"cache {cache.ref.id} also takes clients without TLS (transit encryption mode preferred)"
    if cache.at_rest_encryption is False:
        yield f"cache {cache.ref.id} isn't encrypted at rest, which IAM logins don't need and a new cache alone can be"


def cache_ref(cache: CacheSpec) -> CacheRef:
    """Return which cache a spec names."""
    if cache.replication_group is not None:
        return CacheRef(CacheKind.REPLICATION_GROUP, cache.replication_group)
    if cache.serverless_cache is not None:
        return CacheRef(CacheKind.SERVERLESS_CACHE, cache.serverless_cache)
    return CacheRef(CacheKind.MEMORYDB_CLUSTER, cache.memory_db_cluster or "")


def cache_status(
    wanted: CacheSpec, place: Place, there: ObservedCache | None, *, secret: SecretRef | None = None
) -> UserCacheStatus:
    """Return what a user's status tells of a cache.

    Args:
        wanted: As the group names it.
        place: Where the group is.
        there: The cache as AWS has it; None if it isn't there yet.
        secret: The Secret that holds the token for it.
    """
    ref = cache_ref(wanted)
    return UserCacheStatus(
        name=wanted.name,
        id=ref.id,
        arn=there.arn if there is not None else names.cache_arn(place, ref),
        service=names.service_word(place.service),
        serverless=ref.kind is CacheKind.SERVERLESS_CACHE,
        region=place.region,
        host=there.host if there is not None else "",
        port=there.port if there is not None else 0,
        reader_host=there.reader_host if there is not None else "",
        secret=secret,
    )


def ref_of_status(cache: UserCacheStatus) -> CacheRef:
    """Return which cache a user's status names."""
    if cache.service == names.service_word(Service.MEMORYDB):
        return CacheRef(CacheKind.MEMORYDB_CLUSTER, cache.id)
    kind = CacheKind.SERVERLESS_CACHE if cache.serverless else CacheKind.REPLICATION_GROUP
    return CacheRef(kind, cache.id)


def found_state(group: UserGroup, cache: CacheSpec) -> str:
    """Return the state of one of a group's caches as the group's pass has found it; "" if it hasn't looked yet.

    By id, too: under the same name another cache may be listed now.
    """
    wanted = (cache.name, cache_ref(cache).id)
    return next((known.state for known in group.status.caches if (known.name, known.id) == wanted), "")


def has_iam(engine: str, version: str) -> bool:
    """Whether an engine version knows IAM users; an unknown version counts as new enough: AWS has the last word."""
    minimum = MIN_VERSIONS.get(engine)
    if minimum is None:
        return False
    found = _parsed(version)
    return found is None or found >= minimum


def _is_older(version: str, minimum: str) -> bool:
    """Whether a version is older than another: numbers, not text (7.10 is newer than 7.2). Unknown ones aren't."""
    found, needed = _parsed(version), _parsed(minimum)
    return found is not None and needed is not None and found < needed


def _parsed(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    try:
        return (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    except ValueError:
        return None
