"""What a login depends on in AWS, as a digest: when it changes, a login has to be seen to work anew.

Only what the inventory shows anyway, of one user: others that come and go in its group change nothing. What a
boundary's or a managed policy's document allows isn't read; for that each user's login is proven once a day, too.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from elasticache_iam.api.user import ChainStatus, UserCacheStatus
from elasticache_iam.core.mint import LoginOutcome, TokenReports
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedRole

_DIGITS: Final = 16


def digest_chain(
    *,
    user_id: str,
    group_id: str,
    caches: Iterable[UserCacheStatus],
    role: ObservedRole | None,
    inventory: Inventory,
) -> str | None:
    """Return the digest; None while not all of it has been read.

    Args:
        user_id: The user's id in AWS.
        group_id: The group's.
        caches: Those that it gets tokens for.
        role: The role that signs; None: there is none.
        inventory: What AWS shows.
    """
    if role is not None and role.policies is None:
        return None
    group = inventory.groups.get(group_id)
    document = {
        "member": group is not None and user_id in group.user_ids - group.pending_remove,
        "caches": {cache.name: _cache(inventory.caches.get(_ref(cache)), group_id) for cache in caches},
        "role": _role(role),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _ref(cache: UserCacheStatus) -> CacheRef:
    if cache.service == "memorydb":
        return CacheRef(CacheKind.MEMORYDB_CLUSTER, cache.id)
    kind = CacheKind.SERVERLESS_CACHE if cache.serverless else CacheKind.REPLICATION_GROUP
    return CacheRef(kind, cache.id)


def _cache(cache: ObservedCache | None, group_id: str) -> list[Any] | None:
    if cache is None:
        return None
    attached = group_id in cache.group_ids
    return [cache.arn, cache.engine, cache.engine_version, cache.tls, attached, cache.host, cache.port]


def _role(role: ObservedRole | None) -> list[Any] | None:
    if role is None:
        return None
    managed = sorted(role.managed_policies) if role.managed_policies is not None else None
    return [role.arn, role.unique_id, role.trust, role.policies, role.boundary, managed]


def next_chain(
    held: ChainStatus | None,
    digest: str | None,
    *,
    was_repaired: bool,
    caches: Iterable[UserCacheStatus],
    reports: TokenReports,
) -> ChainStatus | None:
    """Return the chain as it goes into the status; what is unchanged gives what was held.

    Args:
        held: What the status has.
        digest: Of what AWS shows; None: not known.
        was_repaired: Whether something of it was changed and put back since: it looks the same, and logins may have
            failed or may fail.
        caches: Those that the user gets tokens for.
        reports: What the token plane has said.
    """
    before = held or ChainStatus()
    known, _, round_ = before.seen.partition(".")
    seen = before.seen
    if digest is not None and (digest != known or was_repaired):
        seen = f"{digest}.{int(round_ or 0) + 1 if was_repaired else round_ or 0}"
    if not seen:
        return held
    verified = [reports.verified.get(cache.name) for cache in caches]
    is_proven = all(
        report is not None and report.chain == seen and report.result.outcome is LoginOutcome.LOGGED_IN
        for report in verified
    )
    return ChainStatus(seen=seen, proven=seen if is_proven else before.proven)
