"""Whether, and why not, a group is attached to a cache."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from elasticache_iam.api.group import AttachmentPolicy
from elasticache_iam.api.keys import TAG_ALLOW
from elasticache_iam.core.state import ObservedCache, ObservedGroup

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


def judge_attachment(  # noqa: C901  # one ordered list of checks reads better than several
    cache_id: str,
    cache: ObservedCache | None,
    group: ObservedGroup,
    *,
    consented: bool,
    consent: str,
    claimed_by: str | None,
    policy: AttachmentPolicy,
    was_attached: bool,
) -> Verdict:
    """Say how it stands between a group and a cache, and whether attaching is allowed.

    Args:
        cache_id: Its id as the resource names it.
        cache: What AWS has; None if there is no such cache.
        group: Our group, active.
        consented: Whether the cache's owner let us in.
        consent: The value of the consent tag that would do, for the message.
        claimed_by: The older UserGroup that holds this cache, as namespace/name.
        policy: What to do with a cache that is open.
        was_attached: Whether our group was on it before: detached behind our back it is open and goes back at once.

    Returns:
        The verdict; READY_TO_ATTACH asks the caller to attach.
    """
    if cache is None:
        return Verdict(AttachmentState.CACHE_NOT_FOUND, f"there is no cache {cache_id}; it is attached once it appears")
    if group.group_id in cache.future_group_ids:
        if group.group_id in cache.group_ids:
            return Verdict(AttachmentState.ATTACHED)
        return Verdict(AttachmentState.ATTACHING, f"AWS is attaching the group to cache {cache_id}")
    if claimed_by is not None:
        return Verdict(AttachmentState.CACHE_CLAIMED, f"cache {cache_id} is held by the older UserGroup {claimed_by}")
    if cache.future_group_ids:
        other = ", ".join(sorted(cache.future_group_ids))
        return Verdict(
            AttachmentState.FOREIGN_GROUP,
            f"cache {cache_id} has the user group {other}, which isn't ours; it is never replaced",
        )
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
            f"cache {cache_id} runs {cache.engine} {cache.engine_version}; IAM needs redis 7.0 or valkey 7.2",
        )
    if not consented:
        return Verdict(
            AttachmentState.CONSENT_MISSING,
            f"the owner of cache {cache_id} hasn't consented: aws elasticache add-tags-to-resource "
            f"--resource-name {cache.arn} --tags Key={TAG_ALLOW},Value={consent}",
        )
    if cache.auth_token_enabled:
        return Verdict(
            AttachmentState.AUTH_TOKEN_ENABLED,
            f"cache {cache_id} has an AUTH token; migrate its clients and remove the token first",
        )
    if policy is AttachmentPolicy.REFUSE and not was_attached:
        return Verdict(
            AttachmentState.ATTACHMENT_REFUSED,
            f"cache {cache_id} is open: attaching the group cuts off clients that use no user; "
            "if that is wanted set spec.attachment.policy: Attach",
        )
    if not cache.is_available:
        return Verdict(AttachmentState.CACHE_BUSY, f"cache {cache_id} is {cache.status}; it is attached after that")
    return Verdict(AttachmentState.READY_TO_ATTACH)


def has_iam(engine: str, version: str) -> bool:
    """Whether an engine version knows IAM users; an unknown version counts as new enough: AWS has the last word."""
    minimum = MIN_VERSIONS.get(engine)
    if minimum is None:
        return False
    parts = version.split(".")
    try:
        found = (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    except ValueError:
        return True
    return found >= minimum
