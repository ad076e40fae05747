"""What asks for another login: a digest of what logins depend on in AWS."""

from dataclasses import replace
from typing import Any

import pytest

from elasticache_iam.api.user import ChainStatus, UserCacheStatus
from elasticache_iam.core.mint import LoginOutcome, LoginResult, TokenReports, Verified
from elasticache_iam.core.plan.chain import digest_chain, next_chain
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedCache, ObservedGroup, ObservedRole

USER, GROUP = "demo-app", "demo-orders"
REF = CacheRef(CacheKind.REPLICATION_GROUP, "orders")
TARGET = UserCacheStatus(name="main", id="orders", arn="arn:cache", region="r", host="h", port=6379)
CACHE = ObservedCache(
    REF, "arn:cache", "available", "redis", "7.1.0",
    tls=True, auth_token_enabled=False, group_ids=frozenset({GROUP}), pending_group_ids=frozenset(),
    host="h", port=6379,
)  # fmt: skip
LIVE_GROUP = ObservedGroup(GROUP, "arn:group", "redis", "active", frozenset({USER, "other"}))
ROLE = ObservedRole("demo-app", "arn:role", "/", {"v": 1}, 3600, unique_id="AROA1", policies={"connect": {"a": 1}})


def digest(
    *, role: ObservedRole | None = ROLE, cache: ObservedCache | None = CACHE, group: ObservedGroup | None = LIVE_GROUP
) -> str | None:
    inventory = Inventory(
        groups={GROUP: group} if group is not None else {}, caches={REF: cache} if cache is not None else {}
    )
    return digest_chain(user_id=USER, group_id=GROUP, caches=[TARGET], role=role, inventory=inventory)


CHANGES: dict[str, dict[str, Any]] = {
    "boundary": {"role": replace(ROLE, boundary="arn:boundary")},
    "policy": {"role": replace(ROLE, policies={"connect": {"a": 2}})},
    "managed policy": {"role": replace(ROLE, managed_policies=frozenset({"arn:policy"}))},
    "trust": {"role": replace(ROLE, trust={})},
    "role made anew": {"role": replace(ROLE, unique_id="AROA2")},
    "no role": {"role": None},
    "engine": {"cache": replace(CACHE, engine_version="7.2.0")},
    "TLS": {"cache": replace(CACHE, tls=False)},
    "endpoint": {"cache": replace(CACHE, host="elsewhere")},
    "group taken off": {"cache": replace(CACHE, group_ids=frozenset())},
    "no cache": {"cache": None},
    "not a member": {"group": replace(LIVE_GROUP, user_ids=frozenset({"other"}))},
    "leaving": {"group": replace(LIVE_GROUP, pending_remove=frozenset({USER}))},
    "no group": {"group": None},
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_login_depends_on_makes_another_digest(name: str):
    assert digest(**CHANGES[name]) not in {digest(), None}


def test_other_members_and_states_make_none():
    others = replace(LIVE_GROUP, user_ids=frozenset({USER, "new"}), status="modifying")

    assert digest(group=others, cache=replace(CACHE, status="modifying")) == digest()


def test_nothing_is_said_before_the_role_was_read_whole():
    assert digest(role=replace(ROLE, policies=None)) is None


def reports(chain: str, outcome: LoginOutcome = LoginOutcome.LOGGED_IN) -> TokenReports:
    made = TokenReports("uid")
    made.verified["main"] = Verified(("shop", "app"), "uid", "main", 1, LoginResult(outcome), chain=chain)
    return made


def step(held: ChainStatus | None, digest: str | None, known: TokenReports, *, was_repaired: bool = False) -> Any:
    return next_chain(held, digest, was_repaired=was_repaired, caches=[TARGET], reports=known)


def test_a_chain_is_proven_by_the_login_that_was_made_for_it():
    seen = step(None, "a", TokenReports("uid"))

    assert seen == ChainStatus(seen="a.0")
    assert step(seen, "a", reports("b.0")) == seen
    assert step(seen, "a", reports("a.0", LoginOutcome.REFUSED)) == seen
    assert step(seen, "a", reports("a.0")) == ChainStatus(seen="a.0", proven="a.0")


def test_what_is_unchanged_or_not_known_gives_what_was_held():
    held = ChainStatus(seen="a.0", proven="a.0")

    assert step(held, "a", reports("a.0")) == held
    assert step(held, None, TokenReports("uid")) == held
    assert step(None, None, TokenReports("uid")) is None


def test_a_change_is_seen_and_not_proven_yet():
    assert step(ChainStatus(seen="a.3", proven="a.3"), "b", reports("a.3")) == ChainStatus(seen="b.3", proven="a.3")


def test_a_repair_is_another_chain_although_it_looks_the_same():
    held = ChainStatus(seen="a.0", proven="a.0")

    assert step(held, "a", reports("a.0"), was_repaired=True) == ChainStatus(seen="a.1", proven="a.0")
