"""Who may join, who may not any more, and what suspending and pausing do."""

from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.reconcile.queue import GROUPS, USERS, Key

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")


def members(world: Ground) -> list[str]:
    return [user for group in world.in_aws()["groups"].values() for user in group[2] if "checkout" in user]


async def test_a_namespace_without_a_rule_gets_nothing(world: Ground):
    world.add_cache()
    operator = await world.start()

    world.apply(group_manifest(admits=()), user_manifest())
    await world.until_reason("NotAdmitted")
    await world.until_quiet(operator)

    there = world.in_aws()
    assert there["roles"] == {}
    assert not any("checkout" in user for user in there["users"])
    assert world.kube.secret_names() == []
    assert "no admission rule of UserGroup platform/orders" in world.condition(*USER, "Ready")["message"]
    assert world.conditions(*USER)["Stalled"] == ("True", "NotAdmitted")


async def test_a_refusal_is_not_hidden_behind_a_group_that_was_missing(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(user_manifest())
    await world.until_reason("WaitingForGroup")

    world.apply(group_manifest(admits=()))

    await world.until_reason("NotAdmitted")
    assert world.conditions(*USER)["UserSynced"] == ("Unknown", "Pending")


async def test_the_groups_own_namespace_needs_no_rule(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(group_manifest(admits=()), user_manifest("checkout", "platform"))

    await world.until_ready(USERS, "platform", "checkout")


async def test_access_beyond_the_limit_is_refused(world: Ground):
    world.add_cache()
    await world.start()
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadOnly", "keys": ["orders:*"]}}

    world.apply(group_manifest(admits=(), admission=[rule]), user_manifest())

    await world.until_reason("NotAdmitted")
    assert world.in_aws()["roles"] == {}


async def test_a_user_that_was_refused_may_ask_for_less(world: Ground):
    world.add_cache()
    await world.start()
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadOnly", "keys": ["orders:*"]}}
    world.apply(group_manifest(admits=(), admission=[rule]), user_manifest())
    await world.until_reason("NotAdmitted")

    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:eu:*"]}))

    await world.until_ready()


async def test_a_withdrawn_rule_ends_tokens_and_membership_and_comes_back(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    assert members(world)

    world.apply(group_manifest(admits=()))
    await world.until_reason("NotAdmitted")
    await world.until(lambda: not members(world))
    await world.until_quiet(operator)
    assert world.kube.secret_names() == []
    assert len(operator.tokens) == 0
    assert world.conditions(*USER)["TokenDelivered"][0] == "False"

    world.apply(group_manifest())
    await world.until_ready()
    assert world.kube.secret_names() == [("shop", "checkout")]
    assert members(world)


async def test_a_rule_by_label_is_withdrawn_with_the_label(world: Ground):
    world.add_cache()
    world.kube.put_namespace("shop", {"team": "orders"})
    await world.start()
    rule = {"namespaces": {"selector": {"matchLabels": {"team": "orders"}}}, "limit": {"preset": "Admin"}}
    world.apply(group_manifest(admits=(), admission=[rule]), user_manifest())
    await world.until_ready()

    world.kube.put_namespace("shop", {"team": "other"})
    await world.later(lambda: world.conditions(*USER)["Ready"][1] == "NotAdmitted", step_s=100)

    await world.later(lambda: not members(world), step_s=100)
    assert world.kube.secret_names() == []


async def test_a_suspended_user_is_cut_off_and_can_be_resumed(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    users = world.in_aws()["users"]

    world.apply(user_manifest(suspend=True))
    await world.until_reason("Suspended")
    await world.until(lambda: not members(world))
    await world.until_quiet(operator)
    assert world.kube.secret_names() == []
    assert world.in_aws()["users"] == users
    assert "Stalled" not in world.conditions(*USER)
    assert "Reconciling" not in world.conditions(*USER)

    world.apply(user_manifest())
    await world.until_ready()
    assert members(world)
    assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_user_that_was_born_suspended_gets_nothing(world: Ground):
    world.add_cache()
    operator = await world.start()

    world.apply(group_manifest(), user_manifest(suspend=True))
    await world.until_reason("Suspended")
    await world.until_quiet(operator)

    assert world.in_aws()["roles"] == {}
    assert world.kube.secret_names() == []


async def test_a_paused_user_keeps_its_tokens_and_nothing_is_written(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    aws, token = world.in_aws(), _password(world)

    world.apply(_annotated(user_manifest(access={"preset": "ReadOnly", "keys": ["*"]}), "paused", "true"))
    await world.until_quiet(operator)
    world.pass_time(460)
    await world.until(lambda: _password(world) != token)

    assert world.in_aws() == aws


_ENDS: dict[str, dict[str, Any]] = {
    "suspended": {"suspend": True},
    "signing-for-itself": {"delivery": {"mode": "None"}},
    "in-another-secret": {"delivery": {"secret": {"name": "other"}}},
}


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("how", [*_ENDS, "deleted"])
async def test_nothing_that_ends_tokens_is_done_while_a_user_is_paused(world: Ground, how: str, *, restarts: bool):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    aws, secrets = world.in_aws(), world.kube.secret_names()

    world.apply(_annotated(user_manifest(**_ENDS.get(how, {})), "paused", "true"))
    if how == "deleted":
        world.kube.delete(*USER)
    if restarts:
        await operator.kill()
        operator = await world.start()
    for _ in range(3):
        token = _password(world)
        world.pass_time(460)
        await world.until(lambda token=token: _password(world) != token)
        await operator.work(Key(*GROUP))
        await world.until_quiet(operator)

    assert world.in_aws() == aws
    assert world.kube.secret_names() == secrets


async def test_a_paused_user_keeps_its_tokens_as_they_were_asked_for(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    token, secrets = _password(world), world.kube.secret_names()
    edits = user_manifest(serviceAccounts=["worker"], delivery={"secret": {"template": {"other": "x"}}})

    world.apply(_annotated(edits, "paused", "true"))
    await world.until_quiet(operator)
    world.pass_time(460)
    await world.until(lambda: _password(world) != token)
    assert world.kube.secret_names() == secrets

    world.apply(edits)
    await world.until(lambda: (world.kube.secret("shop", "checkout") or {}).get("other") == "x")


@pytest.mark.parametrize("how", ["suspended", "signing-for-itself"])
async def test_what_was_asked_for_while_a_user_was_paused_is_done_afterwards(world: Ground, how: str):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    edits = user_manifest(**_ENDS[how])
    world.apply(_annotated(edits, "paused", "true"))
    await world.until_quiet(operator)
    assert world.kube.secret_names() != []

    world.apply(edits)

    await world.until(lambda: world.kube.secret_names() == [])


async def test_pausing_gives_a_user_that_was_suspended_before_no_token(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    world.apply(user_manifest(suspend=True))
    await world.until_reason("Suspended")
    await world.until_quiet(operator)

    world.apply(_annotated(user_manifest(suspend=True), "paused", "true"))
    await world.until_quiet(operator)
    world.pass_time(460)
    await operator.work(Key(*GROUP))
    await world.until_quiet(operator)

    assert world.kube.secret_names() == []
    assert members(world) == []


async def test_a_paused_user_that_goes_on_is_brought_up_to_date(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    changed = user_manifest(access={"preset": "ReadOnly", "keys": ["*"]})
    world.apply(_annotated(changed, "paused", "true"))
    await world.until_quiet(operator)
    assert not any("~* " in user[3] for name, user in world.in_aws()["users"].items() if "checkout" in name)

    world.apply(changed)

    await world.until(
        lambda: any("~* " in user[3] for name, user in world.in_aws()["users"].items() if "checkout" in name)
    )


@pytest.mark.parametrize("says", ["true", "True"])
async def test_a_paused_group_is_not_touched(world: Ground, says: str):
    world.add_cache()
    operator = await world.start()

    world.apply(_annotated(group_manifest(), "paused", says))
    await world.until_quiet(operator)

    assert world.in_aws()["groups"] == {}


async def test_an_explicit_id_in_another_namespaces_group_needs_its_leave(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(group_manifest(), user_manifest(id="demo-admin"))

    await world.until_reason("NotAdmitted")
    assert "spec.id demo-admin" in world.condition(*USER, "Ready")["message"]
    assert "demo-admin" not in world.in_aws()["users"]


async def test_explicit_ids_are_taken_where_they_are_allowed(world: Ground):
    world.add_cache()
    await world.start()
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["demo-shop-*"]}

    world.apply(group_manifest(id="demo-orders", admits=(), admission=[rule]), user_manifest(id="demo-shop-checkout"))
    await world.until_ready()

    there = world.in_aws()
    assert "demo-shop-checkout" in there["users"]
    assert "demo-orders" in there["groups"]


async def test_two_resources_can_not_share_an_id(world: Ground):
    world.add_cache()
    operator = await world.start()
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["demo-shop-*"]}
    group = group_manifest(admits=(), admission=[rule])
    world.apply(group, user_manifest(id="demo-shop-x"))
    await world.until_ready()

    world.apply(user_manifest("thief", id="demo-shop-x"))
    await world.until_reason("NotOwned", of=(USERS, "shop", "thief"))
    world.kube.delete(USERS, "shop", "thief")
    await world.until(lambda: world.kube.get(USERS, "shop", "thief") is None)
    await world.until_quiet(operator)

    assert "demo-shop-x" in world.in_aws()["users"]
    assert world.is_ready()


def _annotated(manifest: Manifest, key: str, value: str) -> Manifest:
    metadata: dict[str, Any] = {**manifest["metadata"], "annotations": {f"elasticache-iam.dev/{key}": value}}
    return {**manifest, "metadata": metadata}


def _password(world: Ground) -> str:
    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    return secret["password"]
