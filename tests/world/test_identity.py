"""Who and where an AWS object is doesn't change under the operator: sessions, owners, regions, groups left behind."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

USER = (USERS, "shop", "checkout")
GROUP = (GROUPS, "platform", "orders")
USER_ID = names.default_id(OWNER, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")


def opens(world: Ground) -> bool:
    """Whether AWS lets the token in the Secret in."""
    token = urlsplit("https://" + world.kube.secret("shop", "checkout")["password"])
    query = {key: values[0] for key, values in parse_qs(token.query).items()}
    key_id = query["X-Amz-Credential"].split("/")[0]
    cache = world.world.cache_view(ACCOUNT, REGION, str(token.hostname))
    identity = world.world.signing_identity(key_id)
    return bool(world.world.decide_connect(identity, cache, query["User"], source_ip="10.0.0.1").allowed)


def groups_of(world: Ground) -> set[str]:
    return {group_id for group_id, group in world.in_aws()["groups"].items() if USER_ID in group[2]}


async def settle(world: Ground, *manifests: Any) -> Any:
    world.add_cache()
    operator = await world.start()
    world.apply(*(manifests or (group_manifest(), user_manifest())))
    await world.until_ready()
    return operator


async def test_a_role_that_was_made_anew_gets_new_sessions(world: Ground):
    operator = await settle(world)
    assert opens(world)

    for policy in world.iam.list_role_policies(RoleName=USER_ID)["PolicyNames"]:
        world.iam.delete_role_policy(RoleName=USER_ID, PolicyName=policy)
    world.iam.delete_role(RoleName=USER_ID)
    world.pass_time(301)
    await world.until(lambda: world.in_aws()["roles"])
    await world.until_quiet(operator)

    await world.until(lambda: opens(world))
    await world.until_ready()


@pytest.mark.parametrize("change", [{"owner": "other"}, {"region": "us-east-1"}], ids=["owner", "region"])
async def test_another_owner_or_region_in_the_configuration_leaves_everything_as_it_is(world: Ground, change: Any):
    operator = await settle(world)
    await operator.kill()
    before = world.in_aws()

    await world.start(change)

    await world.until_reason("IdentityChanged", of=GROUP)
    await world.until_reason("IdentityChanged")
    assert world.in_aws() == before
    assert opens(world)
    assert world.kube.get(*USER)["status"]["id"] == USER_ID


async def test_such_a_resource_is_not_let_go_with_its_aws_user_left_behind(world: Ground):
    operator = await settle(world)
    await operator.kill()
    await world.start({"owner": "other"})

    world.kube.delete(*USER)

    await world.until_reason("IdentityChanged")
    assert USER_ID in world.in_aws()["users"]


async def test_wide_rights_wait_until_a_lent_group_was_left(world: Ground):
    world.add_cache()
    world.add_cache("dev")
    world.elasticache.create_user_group(
        UserGroupId="lent",
        Engine="redis",
        UserIds=["default"],
        Tags=[{"Key": "elasticache-iam.dev/allow", "Value": OWNER}],
    )
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToAdd=["lent"], ApplyImmediately=True
    )
    limit = [{"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadOnly", "keys": ["orders:*"]}}]
    lent = group_manifest("lent", id="lent", adoption="Reference", attach=False, admission=limit)
    read = {"preset": "ReadOnly", "keys": ["orders:*"]}
    await world.start()
    world.apply(lent, group_manifest("dev", caches=("dev",)), user_manifest(group="lent", access=read))
    await world.until_ready()
    paused = world.kube.get(GROUPS, "platform", "lent")
    paused = {**paused, "metadata": {**paused["metadata"], "annotations": {"elasticache-iam.dev/paused": "true"}}}
    world.kube.put(paused)

    world.apply(user_manifest(group="dev", access={"preset": "Admin"}))

    await world.until_reason("Busy")
    assert "lent" in groups_of(world)
    assert "+@all" not in str(world.in_aws()["users"][USER_ID])


async def test_a_user_leaves_a_group_whose_resource_is_gone(world: Ground):
    world.add_cache("dev")
    await settle(world)
    world.kube.put_namespace("team")
    world.kube.terminate_namespace("platform")
    await world.until(lambda: world.kube.get(*GROUP) is None)
    assert groups_of(world) == {GROUP_ID}
    own = group_manifest("dev", namespace="shop", caches=("dev",))

    world.apply(own, user_manifest(groups=[{"name": "dev"}]))

    await world.until(lambda: groups_of(world) == {names.default_id(OWNER, "shop", "dev")})
    await world.until_ready()


@pytest.mark.parametrize("mode", ["Existing", "External"])
async def test_the_role_that_we_made_is_not_deleted_as_the_one_given_up(world: Ground, mode: str):
    await settle(world)
    arn = world.kube.get(*USER)["status"]["role"]["arn"]

    world.apply(user_manifest(role={"mode": mode, "arn": arn}))

    await world.until_reason("InvalidSpec")
    assert list(world.in_aws()["roles"]) == [USER_ID]
    assert opens(world)
