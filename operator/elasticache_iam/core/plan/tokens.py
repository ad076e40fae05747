"""Which caches a user gets tokens for, and what the token plane's reports say about that."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.user import BindingStatus, ElastiCacheIAMUser, SecretRef, UserCacheStatus
from elasticache_iam.core.diagnosis import Cause, Diagnosis
from elasticache_iam.core.mint import LoginOutcome, LoginResult, TokenReports
from elasticache_iam.core.names import secret_name
from elasticache_iam.core.status import TOKEN_DELIVERED, VERIFIED, Stage

Caches = tuple[UserCacheStatus, ...]

LOGIN_REASONS: Final = frozenset({"LoggedIn", "Unreachable", *(cause.value for cause in Cause)})
"""Reasons of `Verified` that a login has found."""
EXPLAINED_LOOK_S: Final = 15.0
"""What the diagnosis has read anew is put right by the next pass, where that is the operator's to do."""


def choose_caches(known: Caches, ready: Caches | None, *, selected: frozenset[str], is_granted: bool) -> Caches:
    """Return the caches to mint for.

    A cache gets in once a login can be expected to work. After that it stays in through troubles of the control plane
    (a failed Describe, a group detached for a while): an application that is connected must not lose its tokens.

    Args:
        known: Those in the status.
        ready: Those that a token opens now, None if that isn't known or the user isn't in its group.
        selected: Aliases that the resource asks for.
        is_granted: Whether the role stands.
    """
    fresh = {cache.name: cache for cache in ready or ()}
    held = {cache.name: cache for cache in known if cache.name in selected}
    names = (*fresh, *(name for name in held if name not in fresh)) if is_granted else tuple(held)
    return tuple(fresh.get(name) or held[name] for name in names)


def with_secret(user: ElastiCacheIAMUser, cache: UserCacheStatus, reports: TokenReports) -> UserCacheStatus:
    """Return the cache with the Secret that the token plane has delivered to, if it has."""
    delivered = reports.delivered.get(cache.name)
    if delivered is None:
        return cache
    base = user.spec.delivery.secret.name or user.metadata.name
    secret = SecretRef(name=secret_name(base, cache.name), uid=delivered.secret_uid)
    return cache.model_copy(update={"secret": secret})


def binding_of(caches: Caches) -> BindingStatus | None:
    """Return the Service Binding: the Secret of `main`, else of the first cache that has one."""
    delivered = [cache for cache in caches if cache.secret is not None]
    chosen = next((cache for cache in delivered if cache.name == "main"), delivered[0] if delivered else None)
    return BindingStatus(name=chosen.secret.name) if chosen is not None and chosen.secret is not None else None


def token_stage(caches: Caches, reports: TokenReports) -> Stage:
    """Say whether each cache's Secret has a token."""
    failures = [reports.failed[cache.name] for cache in caches if cache.name in reports.failed]
    if failures:
        make = Stage.blocked if failures[0].permanent else Stage.waiting
        return make(TOKEN_DELIVERED, failures[0].reason, failures[0].message, retry_after_s=300.0)
    missing = [cache.name for cache in caches if cache.secret is None]
    if missing:
        message = f"the first token for cache {', '.join(missing)} is being signed"
        return Stage.waiting(TOKEN_DELIVERED, "Signing", message, retry_after_s=30.0)
    secrets = ", ".join(cache.secret.name for cache in caches if cache.secret is not None)
    return Stage.ok(TOKEN_DELIVERED, "Delivered", f"a token is in Secret {secrets}")


def no_token_stages(why: Stage) -> tuple[Stage, Stage]:
    """Say that there are no tokens, because of another stage."""
    return (
        Stage(TOKEN_DELIVERED, ConditionStatus.FALSE, why.reason, f"no tokens: {why.message}"),
        Stage.unknown(VERIFIED, why.reason, "there is no token to log in with"),
    )


def self_signed_stages() -> tuple[Stage, Stage]:
    """Say that there is nothing to deliver nor to try: the workload signs for itself."""
    return (
        Stage.ok(TOKEN_DELIVERED, "SelfSigned", "delivery.mode is None: the workload signs its own tokens"),
        Stage.unknown(VERIFIED, "SelfSigned", "delivery.mode is None: there is no token to log in with"),
    )


def login_stage(
    user: ElastiCacheIAMUser,
    caches: Caches,
    reports: TokenReports,
    *,
    user_id: str,
    is_enabled: bool,
    diagnoses: Mapping[str, Diagnosis] = MappingProxyType({}),
) -> Stage | None:
    """Say what logging in has shown; None: nothing new, what an earlier login showed holds.

    Only logins for this generation count: an edit may have changed what a login depends on.

    Args:
        user: The resource.
        caches: Those it gets tokens for.
        reports: What the token plane has said.
        user_id: The user's id in AWS.
        is_enabled: Whether logins are tried at all.
        diagnoses: What is wrong with logins that failed, by the cache's alias; one that isn't there wasn't looked into.
    """
    if not is_enabled:
        return Stage.unknown(VERIFIED, "Disabled", "logins aren't tried: verifyLogins is false")
    results = {
        cache.name: reports.verified[cache.name].result
        for cache in caches
        if cache.name in reports.verified and reports.verified[cache.name].generation == user.metadata.generation
    }
    if explained := _explained(results, diagnoses):
        return explained
    for outcome, cause in ((LoginOutcome.REFUSED, Cause.LOGIN_REFUSED), (LoginOutcome.TLS_FAILED, Cause.TLS_FAILED)):
        if details := _details(results, outcome, diagnoses):
            return Stage.waiting(VERIFIED, cause.value, details, retry_after_s=60.0)
    if details := _details(results, LoginOutcome.UNREACHABLE):
        return Stage.unknown(VERIFIED, "Unreachable", details)
    if _all_in(results, caches):
        return Stage.ok(VERIFIED, "LoggedIn", f"logged in as {user_id}")
    known = {condition.reason for condition in user.status.conditions if condition.type == VERIFIED}
    if known & LOGIN_REASONS:
        return None
    return Stage.unknown(VERIFIED, "Pending", "the first login is yet to come")


def _explained(results: Mapping[str, LoginResult], diagnoses: Mapping[str, Diagnosis]) -> Stage | None:
    """Return the stage for failed logins whose cause was found: the first one is the reason, all are told."""
    found = {
        alias: broken
        for alias, result in results.items()
        if result.outcome is not LoginOutcome.LOGGED_IN
        and alias in diagnoses
        and (broken := diagnoses[alias].cause) is not None
    }
    if not found:
        return None
    message = "; ".join(f"{alias}: {diagnoses[alias].summary(results[alias].detail)}" for alias in found)
    first = next(iter(found.values()))
    return Stage.waiting(VERIFIED, first.value, message, retry_after_s=EXPLAINED_LOOK_S)


def _details(
    results: Mapping[str, LoginResult], outcome: LoginOutcome, diagnoses: Mapping[str, Diagnosis] = MappingProxyType({})
) -> str:
    return "; ".join(
        f"{alias}: {diagnoses[alias].summary(result.detail) if alias in diagnoses else result.detail}"
        for alias, result in results.items()
        if result.outcome is outcome
    )


def _all_in(results: Mapping[str, LoginResult], caches: Iterable[UserCacheStatus]) -> bool:
    return all(cache.name in results for cache in caches)
