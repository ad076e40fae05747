"""Attaching: in whatever order things appear, only with consent, and never over somebody else's group."""

from typing import Any

import pytest
from tests.builders import REGION, group_manifest, user_manifest
from tests.world.harness import Ground, ground

from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
ALLOW = "elasticache-iam.dev/allow"


async def test_resources_may_be_applied_in_the_wrong_order(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(user_manifest())
    await world.until_reason("WaitingForGroup")
    assert world.in_aws()["roles"] == {}
    assert world.in_aws()["users"].keys() == {"default"}

    world.apply(group_manifest())
    await world.until_ready()

    await world.until_quiet(operator)
    assert world.is_ready(*GROUP)


@pytest.mark.parametrize("transition_s", [0.0, 0.2], ids=["at-once", "with-delays"])
async def test_a_cache_that_appears_later_is_attached_then(transition_s: float):
    async with ground(transition_s=transition_s) as world:
        await world.start()
        world.apply(group_manifest(), user_manifest())
        await world.until_reason("CacheNotFound", of=GROUP)
        await world.until_reason("WaitingForCache")
        assert world.kube.secret_names() == []

        world.add_cache()

        await world.until_ready(*GROUP)
        await world.until_ready()
        assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_group_is_attached_before_a_crowd_joins_it():
    async with ground(transition_s=0.3) as world:
        world.add_cache()
        await world.start()
        names = [f"app-{number}" for number in range(20)]
        world.apply(group_manifest())

        for name in names:  # one after the other: there is always somebody who wants in
            world.apply(user_manifest(name=name))
            await world.until(lambda name=name: any(name in user_id for user_id in world.in_aws()["users"]))

        await world.until(lambda: world.in_aws()["caches"]["orders-prod"][1] is not None)
        ((_, _, members, _),) = world.in_aws()["groups"].values()
        assert len(members) < len(names)


async def test_no_token_is_minted_before_its_login_can_work():
    async with ground(transition_s=0.2) as world:
        world.add_cache()
        await world.start()
        world.apply(group_manifest(), user_manifest())

        await world.until(world.kube.secret_names)

        there = world.in_aws()
        ((_, _, members, _),) = there["groups"].values()
        assert there["caches"]["orders-prod"][1] is not None
        assert any("checkout" in member for member in members)


async def test_the_older_of_two_groups_holds_a_cache(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest())
    await world.until_ready(*GROUP)
    world.apply(group_manifest("rival"))

    await world.until_reason("CacheClaimed", of=(GROUPS, "platform", "rival"))

    assert "platform/orders" in world.condition(GROUPS, "platform", "rival", "Ready")["message"]
    assert world.is_ready(*GROUP)


async def test_two_groups_that_claim_one_cache_at_once_do_not_fight():
    async with ground() as world:
        world.add_cache()
        operator = await world.start()

        world.apply(group_manifest(), group_manifest("rival"))
        await world.until_ready(*GROUP)
        await world.until_reason("CacheClaimed", of=(GROUPS, "platform", "rival"))
        await world.until_quiet(operator)

        assert world.calls("ModifyReplicationGroup") == 1


async def test_a_cache_that_is_taken_off_the_list_stays_attached(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(caches=("orders-prod",)), group_manifest("rival"))
    await world.until_ready(*GROUP)
    await world.until_reason("CacheClaimed", of=(GROUPS, "platform", "rival"))
    before = world.in_aws()["caches"]["orders-prod"][1]

    world.apply(group_manifest(caches=()))
    await world.later(lambda: world.conditions(GROUPS, "platform", "rival")["Ready"][1] == "ForeignGroup")

    assert world.in_aws()["caches"]["orders-prod"][1] == before


async def test_a_group_of_somebody_else_on_the_cache_is_never_replaced(world: Ground):
    world.add_cache()
    _foreign_group(world, "terraform-made", attach_to="orders-prod")
    before = world.in_aws()
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_reason("ForeignGroup", of=GROUP)

    after = world.in_aws()
    assert after["caches"] == before["caches"]
    assert after["groups"]["terraform-made"] == before["groups"]["terraform-made"]
    assert "terraform-made" in world.condition(*GROUP, "Ready")["message"]
    assert world.kube.secret_names() == []


async def test_a_cache_is_attached_once_its_owner_consents(world: Ground):
    world.add_cache(allow=None)
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_reason("ConsentMissing", of=GROUP)
    message = world.condition(*GROUP, "Ready")["message"]
    assert f"Key={ALLOW},Value=demo/platform" in message
    assert world.in_aws()["caches"]["orders-prod"][1] is None

    _tag_cache(world, "demo/platform")
    await world.later(world.is_ready)

    assert world.in_aws()["caches"]["orders-prod"][1] is not None


@pytest.mark.parametrize("allow", ["demo/shop", "other", "demo/platform-2", "demo2"])
async def test_a_consent_to_somebody_else_is_none(world: Ground, allow: str):
    world.add_cache(allow=allow)
    await world.start()

    world.apply(group_manifest())

    await world.until_reason("ConsentMissing", of=GROUP)
    assert world.calls("ModifyReplicationGroup") == 0


async def test_an_open_cache_is_not_attached_unless_that_is_asked_for(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(attach=False), user_manifest())
    await world.until_reason("AttachmentRefused", of=GROUP)
    assert world.conditions(*GROUP)["Stalled"] == ("True", "AttachmentRefused")
    assert world.calls("ModifyReplicationGroup") == 0

    world.apply(group_manifest(attach=True))

    await world.until_ready(*GROUP)
    await world.until_ready()


@pytest.mark.parametrize("attach", [True, False], ids=["policy-attach", "policy-refuse"])
async def test_a_cache_left_open_behind_our_back_is_attached_again_at_once(world: Ground, attach: bool):  # noqa: FBT001
    world.add_cache()
    operator = await world.start({"driftInterval": 0.3})
    world.apply(group_manifest())
    await world.until_ready(*GROUP)
    world.apply(group_manifest(attach=attach))
    await world.until_quiet(operator)
    (group_id,) = world.in_aws()["groups"]

    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToRemove=[group_id], ApplyImmediately=True
    )
    assert world.in_aws()["caches"]["orders-prod"][1] is None

    await world.until(lambda: world.in_aws()["caches"]["orders-prod"][1] == group_id)
    await world.until(lambda: any(event["reason"] == "CacheOpen" for event in world.kube.events))
    (event,) = [event for event in world.kube.events if event["reason"] == "CacheOpen"]
    assert event["type"] == "Warning"


@pytest.mark.parametrize(
    ("cache", "reason"),
    [
        ({"tls": False}, "TLSRequired"),
        ({"engine_version": "6.2.6"}, "EngineTooOld"),
        ({"auth_token": "a-token-of-sixteen-and-more"}, "AuthTokenEnabled"),
    ],
    ids=["without-tls", "with-an-old-engine", "with-an-auth-token"],
)
async def test_a_cache_that_can_not_be_attached_says_why(world: Ground, cache: dict[str, Any], reason: str):
    world.add_cache(**cache)
    await world.start()

    world.apply(group_manifest(), user_manifest())

    await world.until_reason(reason, of=GROUP)
    assert world.conditions(*GROUP)["Stalled"][0] == "True"
    assert world.calls("ModifyReplicationGroup") == 0
    assert world.kube.secret_names() == []


async def test_a_valkey_group_is_not_attached_to_a_redis_cache(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(group_manifest(engine="valkey"))

    await world.until_reason("EngineMismatch", of=GROUP)


async def test_one_bad_cache_does_not_hold_up_the_others(world: Ground):
    world.add_cache()
    world.add_cache("sessions-prod", tls=False)
    await world.start()

    world.apply(group_manifest(caches=("orders-prod", "sessions-prod")), user_manifest())

    await world.until_reason("TLSRequired", of=GROUP)
    await world.until(lambda: world.kube.secret_names() == [("shop", "checkout")])


async def test_an_unknown_alias_is_told(world: Ground):
    world.add_cache()
    await world.start()
    named = {"name": "orders", "namespace": "platform", "caches": ["reports"]}

    world.apply(group_manifest(), user_manifest(groups=[named]))

    await world.until_reason("WaitingForCache")
    assert "reports" in world.condition(*USER, "Ready")["message"]


async def test_a_missing_audience_is_told_with_the_command(world: Ground):
    world.add_cache()
    provider = world.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"]
    world.iam.remove_client_id_from_open_id_connect_provider(
        OpenIDConnectProviderArn=provider, ClientID="elasticache-iam.dev/sign"
    )
    await world.start()

    world.apply(group_manifest(), user_manifest())

    await world.until(lambda: world.conditions(*USER).get("AccessGranted", ("", ""))[1] == "AudienceMissing")
    message = world.condition(*USER, "AccessGranted")["message"]
    assert "add-client-id-to-open-id-connect-provider" in message
    assert world.in_aws()["roles"] == {}


async def test_a_missing_service_account_is_told_and_heals(world: Ground):
    world.add_cache()
    await world.start()
    world.kube.put(group_manifest())
    world.kube.put(user_manifest())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted", ("", ""))[1] == "ServiceAccountNotFound")

    world.kube.put_service_account("shop", "checkout")

    await world.later(world.is_ready)


def _tag_cache(world: Ground, allow: str) -> None:
    (cache,) = world.elasticache.describe_replication_groups()["ReplicationGroups"]
    world.elasticache.add_tags_to_resource(ResourceName=cache["ARN"], Tags=[{"Key": ALLOW, "Value": allow}])


def _foreign_group(world: Ground, group_id: str, *, attach_to: str) -> None:
    assert world.admin.region_name == REGION
    world.elasticache.create_user_group(UserGroupId=group_id, Engine="redis", UserIds=["default"])
    world.elasticache.modify_replication_group(
        ReplicationGroupId=attach_to, UserGroupIdsToAdd=[group_id], ApplyImmediately=True
    )
