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
from elasticache_iam.core.plan.attachment import ref_of_status
from elasticache_iam.core.policy import normal_form
from elasticache_iam.core.state import Inventory, ObservedCache, ObservedRole

_DIGITS: Final = 16

_ROUND_DIGITS: Final = 9
"""No more repairs than that are counted: the status takes 64 characters."""


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
        "caches": {cache.name: _cache(inventory.caches.get(ref_of_status(cache)), group_id) for cache in caches},
        "role": _role(role),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _cache(cache: ObservedCache | None, group_id: str) -> list[Any] | None:
    if cache is None:
        return None
    attached = group_id in cache.group_ids
    return [cache.arn, cache.engine, cache.engine_version, cache.tls, attached, cache.host, cache.port]


def _role(role: ObservedRole | None) -> list[Any] | None:
    if role is None:
        return None
    managed = sorted(role.managed_policies) if role.managed_policies is not None else None
    # IAM hands lists back in any order: what a policy says counts, and not how it is spelled.
    policies = {name: normal_form(document) for name, document in (role.policies or {}).items()}
    return [role.arn, role.unique_id, normal_form(role.trust), policies, role.boundary, managed]


def next_chain(
    held: ChainStatus | None,
    digest: str | None,
    *,
    was_repaired: bool,
    is_verified: bool,
    caches: Iterable[UserCacheStatus],
    reports: TokenReports,
) -> ChainStatus | None:
    """Return the chain as it goes into the status; what is unchanged gives what was held.

    Args:
        held: What the status has.
        digest: Of what AWS shows; None: not known.
        was_repaired: Whether something of it was changed and put back since: it looks the same, and logins may have
            failed or may fail.
        is_verified: Whether the status says that logins work. If nothing is held, they were seen to work before
            anything was known of the chain: that proves what is found first, so that a change of it isn't proven.
        caches: Those that the user gets tokens for.
        reports: What the token plane has said.
    """
    verified = [reports.verified.get(cache.name) for cache in caches]
    logged_in_for = {
        report.chain if report is not None and report.result.outcome is LoginOutcome.LOGGED_IN else None
        for report in verified
    }
    if held is None or not held.seen:
        if digest is None:
            return held
        first = f"{digest}.0"  # a repair before that is told by the next pass: only what follows on something is tried
        return ChainStatus(seen=first, proven=first if is_verified or logged_in_for <= {"", first} else "")
    known, _, round_ = held.seen.partition(".")
    seen = held.seen
    if digest is not None and (digest != known or was_repaired):
        seen = f"{digest}.{_count(round_) + was_repaired}"
    return ChainStatus(seen=seen, proven=seen if logged_in_for <= {seen} else held.proven)


def shows_repair(held: ChainStatus | None, chain: ChainStatus | None) -> bool:
    """Whether a repair has its login once this chain follows on what was held: then it needn't be told again."""
    return held is not None and chain is not None and bool(held.seen) and chain.seen != held.seen


def _count(round_: str) -> int:
    """Return how many repairs a status has counted; none if somebody else wrote it."""
    is_ours = round_.isascii() and round_.isdecimal() and len(round_) <= _ROUND_DIGITS
    return int(round_) if is_ours else 0
