"""What was agreed can be taken back: by a cache's owner, by an admission rule, by a namespace's labels."""

from typing import Any

from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
USER_ID = names.default_id(OWNER, "shop", "checkout")
ALLOW = "elasticache-iam.dev/allow"
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def arn(cache: str) -> str:
    return f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:{cache}"


def allow(world: Ground, cache: str, value: str) -> None:
    """Set a cache's consent; one to somebody else is none to us."""
    world.elasticache.add_tags_to_resource(ResourceName=arn(cache), Tags=[{"Key": ALLOW, "Value": value}])


def policy(world: Ground) -> str:
    ((_, policies, _),) = world.in_aws()["roles"].values()
    return str(policies)


def members(world: Ground) -> list[str]:
    return list(world.in_aws()["groups"][GROUP_ID][2])


def states(world: Ground) -> dict[str, str]:
    body = world.kube.get(*GROUP) or {}
    return {cache["name"]: cache["state"] for cache in body["status"]["caches"]}


async def test_a_cache_whose_owner_takes_back_the_consent_stays_closed_and_gets_no_more_tokens(world: Ground):
    world.add_cache()
    world.add_cache("stock")
    await world.start(QUICK)
    world.apply(group_manifest(caches=("orders-prod", "stock")), user_manifest())
    await world.until_ready()
    assert world.kube.secret_names() == [("shop", "checkout"), ("shop", "checkout.cache2")]

    allow(world, "stock", "rival")
    await world.until_reason("ConsentMissing", of=GROUP)
    await world.until(lambda: world.kube.secret_names() == [("shop", "checkout")])
    await world.until(lambda: arn("stock") not in policy(world))
    assert world.conditions(*USER)["MembershipSynced"] == ("False", "ConsentMissing")
    assert states(world) == {"main": "Attached", "cache2": "ConsentMissing"}
    assert world.in_aws()["caches"]["stock"][1] == GROUP_ID

    allow(world, "stock", OWNER)
    await world.later(lambda: world.is_ready() and world.is_ready(*GROUP), step_s=1)
    assert world.kube.secret_names() == [("shop", "checkout"), ("shop", "checkout.cache2")]
    assert arn("stock") in policy(world)


async def test_a_withdrawal_ends_tokens_and_connections_in_the_pass_that_finds_it_and_a_return_gives_them_back(
    world: Ground,
):
    world.add_cache()
    operator = await world.start()  # nobody looks again by itself before minutes are over
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)

    allow(world, "orders-prod", "rival")
    world.pass_time(3700)
    await world.until(lambda: USER_ID not in members(world))  # what cuts its connections
    await world.until(lambda: world.kube.secret_names() == [] and arn("orders-prod") not in policy(world))
    await world.until(lambda: world.conditions(*USER)["TokenDelivered"] == ("False", "ConsentMissing"))
    assert world.conditions(*USER)["Verified"] == ("Unknown", "ConsentMissing")
    assert world.in_aws()["caches"]["orders-prod"][1] == GROUP_ID

    allow(world, "orders-prod", OWNER)
    world.pass_time(3700)
    await world.until_ready()
    assert USER_ID in members(world)


async def test_a_withdrawal_ends_the_connections_of_a_paused_user_too(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    paused = user_manifest()
    paused["metadata"]["annotations"] = {"elasticache-iam.dev/paused": "true"}
    world.apply(paused)
    await world.until_quiet(operator)

    allow(world, "orders-prod", "rival")
    world.pass_time(3700)

    await world.until(lambda: USER_ID not in members(world))


async def test_a_cache_that_never_consented_keeps_nobody_in_the_group_of_one_that_did(world: Ground):
    world.add_cache()
    world.add_cache("stock", allow=None)
    await world.start(QUICK)
    world.apply(group_manifest(caches=("orders-prod", "stock")), user_manifest())
    await world.until(lambda: world.kube.secret_names() == [("shop", "checkout")])

    allow(world, "orders-prod", "rival")

    await world.until(lambda: states(world) == {"main": "ConsentMissing", "cache2": "ConsentMissing"})
    await world.until(lambda: world.kube.secret_names() == [] and USER_ID not in members(world))


async def test_no_right_and_no_token_goes_out_before_the_consent_was_seen(world: Ground):
    world.add_cache()
    world.add_cache("stock")
    operator = await world.start()
    both = group_manifest(caches=("orders-prod", "stock"))
    world.apply(both, user_manifest())
    await world.until_ready()
    world.apply(group_manifest())
    await world.until(lambda: world.kube.secret_names() == [("shop", "checkout")])
    world.elasticache.remove_tags_from_resource(ResourceName=arn("stock"), TagKeys=[ALLOW])
    world.pass_time(3700)
    await world.until_quiet(operator)
    first = len(operator.tap.writes)

    world.apply(both)  # listed again, still attached, no consent any more
    await world.until(lambda: states(world).get("cache2") == "ConsentMissing")
    await world.until_quiet(operator)

    written = operator.tap.writes[first:]
    assert "PutRolePolicy" not in written
    assert "create_secret" not in written


async def test_a_second_look_at_a_consent_that_was_taken_back_writes_nothing(world: Ground):
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    allow(world, "orders-prod", "rival")
    await world.until_reason("ConsentMissing", of=GROUP)
    await world.until(lambda: world.kube.secret_names() == [])
    await world.until_quiet(operator)
    before, passes = len(operator.tap.writes), operator.passes
    await world.until(lambda: operator.passes >= passes + 6)

    assert operator.tap.writes[before:] == []


async def test_a_cache_trusted_by_the_configuration_needs_no_tag(world: Ground):
    world.add_cache(allow=None)
    policy = {"trustedCaches": [arn("orders-prod")], **QUICK}
    operator = await world.start(policy)

    world.apply(group_manifest())
    # The operator's own rights name such caches too; here they don't, so AWS has the last word.
    await world.until(lambda: world.conditions(*GROUP).get("CachesAttached", ("", ""))[1] == "AccessDenied")

    assert operator.tap.writes.count("elasticache ModifyReplicationGroup") >= 1


async def test_a_narrowed_limit_takes_the_member_out_and_a_wider_one_lets_it_in_again(world: Ground):
    world.add_cache()
    await world.start(QUICK)
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    world.apply(group_manifest(admits=(), admission=_rule("ReadOnly")))
    await world.until_reason("NotAdmitted")
    await world.until(lambda: USER_ID not in members(world) and not world.kube.secret_names())

    world.apply(group_manifest(admits=(), admission=_rule("ReadWrite")))
    await world.until_ready()
    assert USER_ID in members(world)


async def test_labels_are_looked_at_in_every_pass(world: Ground):
    world.add_cache()
    world.kube.put_namespace("shop", {"team": "orders"})
    await world.start(QUICK)
    rule = {"namespaces": {"selector": {"matchLabels": {"team": "orders"}}}, "limit": {"preset": "Admin"}}
    world.apply(group_manifest(admits=(), admission=[rule]), user_manifest())
    await world.until_ready()

    world.kube.put_namespace("shop", {"team": "other"})
    await world.until(lambda: USER_ID not in members(world))
    await world.until_reason("NotAdmitted")

    world.kube.put_namespace("shop", {"team": "orders"})
    await world.later(world.is_ready, step_s=1)
    assert USER_ID in members(world)


async def test_two_installations_do_not_take_each_others_caches(world: Ground):
    world.add_cache(allow="demo rival")
    world.elasticache.create_user_group(
        UserGroupId="rival-orders",
        Engine="redis",
        UserIds=["default"],
        Tags=[{"Key": "elasticache-iam.dev/owner", "Value": "rival"}],
    )
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToAdd=["rival-orders"], ApplyImmediately=True
    )
    operator = await world.start(QUICK)

    world.apply(group_manifest(), user_manifest())
    await world.until_reason("ForeignGroup", of=GROUP)
    await world.until_quiet(operator)

    assert world.in_aws()["caches"]["orders-prod"][1] == "rival-orders"
    assert world.kube.secret_names() == []


def _rule(preset: str) -> list[dict[str, Any]]:
    return [{"namespaces": {"names": ["shop"]}, "limit": {"preset": preset, "keys": ["orders:*"]}}]
