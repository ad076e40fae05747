"""What asks for another login: a digest of what logins depend on in AWS."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from elasticache_iam.api.user import ChainStatus, UserCacheStatus
from elasticache_iam.core.mint import LoginOutcome, LoginResult, TokenReports, Verified
from elasticache_iam.core.plan.chain import digest_chain, next_chain, shows_repair
from elasticache_iam.core.policy import same_policy
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


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


TRUST = {"Effect": "Allow", "Principal": {"AWS": ["arn:a", "arn:b"]}, "Action": "sts:AssumeRole"}
CONNECT = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": ["arn:cache", "arn:user"]}
ROLE = ObservedRole(
    "demo-app", "arn:role", "/", policy(TRUST), 3600, unique_id="AROA1", policies={"connect": policy(CONNECT)}
)


def digest(
    *, role: ObservedRole | None = ROLE, cache: ObservedCache | None = CACHE, group: ObservedGroup | None = LIVE_GROUP
) -> str | None:
    inventory = Inventory(
        groups={GROUP: group} if group is not None else {}, caches={REF: cache} if cache is not None else {}
    )
    return digest_chain(user_id=USER, group_id=GROUP, caches=[TARGET], role=role, inventory=inventory)


CHANGES: dict[str, dict[str, Any]] = {
    "boundary": {"role": replace(ROLE, boundary="arn:boundary")},
    "policy": {"role": replace(ROLE, policies={"connect": policy(CONNECT | {"Resource": "*"})})},
    "another name of a policy": {"role": replace(ROLE, policies={"other": policy(CONNECT)})},
    "no policy": {"role": replace(ROLE, policies={})},
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


MORE = CONNECT | {"Sid": "More", "Resource": ["arn:x", "arn:y", "arn:z"]}
SPELLINGS = [
    policy(*({**one, "Resource": list(names)} if one is MORE else one for one in statements))
    for statements in itertools.permutations([CONNECT, MORE, TRUST])
    for names in itertools.permutations(MORE["Resource"])
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_policies_that_say_the_same_make_the_same_digest(spelling: dict[str, Any]):
    spellings = {"trust": spelling, "policies": {"connect": spelling}}
    first = {"trust": SPELLINGS[0], "policies": {"connect": SPELLINGS[0]}}

    assert same_policy(spelling, SPELLINGS[0])
    assert digest(role=replace(ROLE, **spellings)) == digest(role=replace(ROLE, **first))


def test_the_order_of_principals_and_a_listed_action_make_no_other_digest():
    turned = TRUST | {"Principal": {"AWS": ["arn:b", "arn:a"]}, "Action": ["sts:AssumeRole"]}

    assert digest(role=replace(ROLE, trust=policy(turned))) == digest()


def test_nothing_is_said_before_the_role_was_read_whole():
    assert digest(role=replace(ROLE, policies=None)) is None


def reports(chain: str, outcome: LoginOutcome = LoginOutcome.LOGGED_IN) -> TokenReports:
    made = TokenReports("uid")
    made.verified["main"] = Verified(("shop", "app"), "uid", "main", 1, LoginResult(outcome), chain=chain)
    return made


def step(
    held: ChainStatus | None,
    digest: str | None,
    known: TokenReports,
    *,
    was_repaired: bool = False,
    is_verified: bool = False,
) -> Any:
    return next_chain(held, digest, was_repaired=was_repaired, is_verified=is_verified, caches=[TARGET], reports=known)


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


def test_logins_that_worked_before_anything_was_known_prove_what_is_found_first_and_no_change_of_it():
    first = step(None, "a", TokenReports("uid"), is_verified=True)

    assert first == ChainStatus(seen="a.0", proven="a.0")
    assert step(first, "a", TokenReports("uid"), is_verified=True) == first
    assert step(first, "b", TokenReports("uid"), is_verified=True) == ChainStatus(seen="b.0", proven="a.0")


def test_a_login_reported_before_the_status_tells_it_proves_what_is_found_first():
    assert step(None, "a", reports("")) == ChainStatus(seen="a.0", proven="a.0")
    assert step(None, "a", reports("", LoginOutcome.REFUSED)) == ChainStatus(seen="a.0")


def test_a_change_before_the_first_login_is_not_proven_by_a_status_that_praises_the_login_before():
    assert step(ChainStatus(seen="a.0"), "b", reports("a.0"), is_verified=True) == ChainStatus(seen="b.0")


@pytest.mark.parametrize("round_", ["x", "", "-1", "\u00b2", "1_0", "1.1", "9" * 60])
def test_a_status_that_somebody_else_wrote_fails_nothing(round_: str):
    held = ChainStatus(seen=f"a.{round_}", proven="b.7")

    assert step(held, "a", TokenReports("uid")) == held
    assert step(held, "a", TokenReports("uid"), was_repaired=True) == ChainStatus(seen="a.1", proven="b.7")
    assert step(held, "b", TokenReports("uid")) == ChainStatus(seen="b.0", proven="b.7")


@pytest.mark.parametrize("digest", ["a", None])
def test_a_repair_is_told_as_long_as_no_chain_follows_on_what_was_held(digest: str | None):
    first = step(None, digest, TokenReports("uid"), was_repaired=True, is_verified=True)

    assert first in {None, ChainStatus(seen="a.0", proven="a.0")}
    assert not shows_repair(None, first)
    second = step(first, "a", TokenReports("uid"), was_repaired=True, is_verified=True)
    assert shows_repair(first, second) is (first is not None)


def test_a_repair_is_told_until_what_it_was_of_is_known():
    held = ChainStatus(seen="a.0", proven="a.0")

    unknown = step(held, None, TokenReports("uid"), was_repaired=True)

    assert not shows_repair(held, unknown)
    assert shows_repair(held, step(unknown, "a", TokenReports("uid"), was_repaired=True))
