"""What somebody else made is never changed nor deleted; a copied resource is not the one it was copied from."""

import copy
from typing import Any

import pytest
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.api.keys import FINALIZER
from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
GROUP_ID = names.default_id(OWNER, "platform", "orders")
TRUST = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}'
RIVAL = [
    {"Key": "elasticache-iam.dev/owner", "Value": "rival"},
    {"Key": "elasticache-iam.dev/kind", "Value": "ElastiCacheIAMUser"},
    {"Key": "elasticache-iam.dev/namespace", "Value": "shop"},
    {"Key": "elasticache-iam.dev/name", "Value": "checkout"},
]


def make_user(world: Ground, user_id: str, tags: list[dict[str, str]]) -> None:
    world.elasticache.create_user(
        UserId=user_id,
        UserName=user_id,
        Engine="redis",
        AccessString="on ~theirs:* +@read",
        AuthenticationMode={"Type": "iam"},
        Tags=tags,
    )


@pytest.mark.parametrize("tags", [[], RIVAL], ids=["without-tags", "with-another-owners-tags"])
async def test_a_user_of_our_name_is_left_alone(world: Ground, tags: list[dict[str, str]]):
    world.add_cache()
    make_user(world, USER_ID, tags)
    before = world.in_aws()["users"][USER_ID]
    operator = await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_reason("NotOwned")
    await world.until_quiet(operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    there = world.in_aws()
    assert there["users"][USER_ID] == before
    ((_, _, members, _),) = there["groups"].values()
    assert USER_ID not in members
    assert world.kube.secret_names() == []


async def test_a_group_of_our_name_is_left_alone(world: Ground):
    world.add_cache()
    world.elasticache.create_user_group(UserGroupId=GROUP_ID, Engine="redis", UserIds=["default"])
    before = world.in_aws()["groups"]
    operator = await world.start()

    world.apply(group_manifest(deletionPolicy="Delete"))
    await world.until_reason("NotOwned", of=GROUP)
    await world.until_quiet(operator)
    assert world.in_aws()["caches"]["orders-prod"][1] is None
    world.kube.delete(*GROUP)
    await world.until(lambda: world.kube.get(*GROUP) is None)

    assert world.in_aws()["groups"] == before


async def test_a_role_of_our_name_is_left_alone(world: Ground):
    world.add_cache()
    role = {"RoleName": USER_ID, "Path": f"/elasticache-iam/{OWNER}/", "AssumeRolePolicyDocument": TRUST}
    world.iam.create_role(**role)
    before = world.in_aws()["roles"]
    operator = await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted", ("", ""))[1] == "NotOwned")
    await world.until_quiet(operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert world.in_aws()["roles"] == before
    assert world.kube.secret_names() == []


async def test_a_role_of_our_name_under_another_path_is_left_alone(world: Ground):
    world.add_cache()
    world.iam.create_role(RoleName=USER_ID, AssumeRolePolicyDocument=TRUST)
    before = world.in_aws()["roles"]
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted", ("", ""))[1] == "NotOwned")

    assert world.in_aws()["roles"] == before


async def test_everything_else_in_the_account_stays_as_it_is(world: Ground):
    world.add_cache()
    world.add_cache("billing-prod", allow="rival")
    make_user(world, "theirs", [])
    world.elasticache.create_user_group(UserGroupId="theirs", Engine="redis", UserIds=["default", "theirs"])
    world.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=TRUST)
    before = world.in_aws()
    await world.start()

    world.apply(group_manifest(deletionPolicy="Delete"), user_manifest())
    await world.until_ready()
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    world.kube.delete(*GROUP)
    await world.until(lambda: world.kube.get(*GROUP) is None)

    del before["caches"]["orders-prod"]
    assert world.in_aws() == before


async def test_a_secret_of_somebody_else_is_not_overwritten(world: Ground):
    world.add_cache()
    world.kube.put_namespace("shop")
    theirs = {"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}, "data": {"mine": "YQ=="}}
    before = world.kube.put(theirs)
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_reason("SecretConflict")
    assert world.kube.get("secrets", "shop", "checkout") == before
    assert world.conditions(*USER)["Stalled"] == ("True", "SecretConflict")
    world.kube.delete("secrets", "shop", "checkout")
    await world.later(world.is_ready)

    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    assert "mine" not in secret


async def test_a_foreign_secret_survives_the_deletion_of_its_namesake(world: Ground):
    world.add_cache()
    world.kube.put_namespace("shop")
    theirs = {"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}, "data": {"mine": "YQ=="}}
    before = world.kube.put(theirs)
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_reason("SecretConflict")

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert world.kube.get("secrets", "shop", "checkout") == before


async def test_a_secret_that_was_replaced_by_another_is_not_overwritten(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    world.kube.delete("secrets", "shop", "checkout")
    theirs = {"kind": "Secret", "metadata": {"namespace": "shop", "name": "checkout"}, "data": {"mine": "YQ=="}}
    before = world.kube.put(theirs)

    await world.later(lambda: world.conditions(*USER)["Ready"][1] == "SecretConflict", step_s=100)

    assert world.kube.get("secrets", "shop", "checkout") == before


async def test_a_copied_resource_takes_nothing_from_its_original(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    original = world.kube.get(*USER)
    aws, secret = world.in_aws(), world.kube.secret("shop", "checkout")
    assert original is not None

    copied = _copy(original, "copied")
    world.apply(copied)
    await world.until(lambda: _status_id(world, "copied") == names.default_id(OWNER, "shop", "copied"))
    await world.until_ready(USERS, "shop", "copied")
    await world.until(lambda: world.kube.secret("shop", "copied"))
    world.kube.delete(USERS, "shop", "copied")
    await world.until(lambda: world.kube.get(USERS, "shop", "copied") is None)
    await world.until_quiet(operator)

    assert world.in_aws() == aws
    assert world.kube.secret("shop", "checkout") == secret


async def test_a_copied_resource_that_is_deleted_at_once_takes_nothing_along(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    original = world.kube.get(*USER)
    aws, secret = world.in_aws(), world.kube.secret("shop", "checkout")
    assert original is not None

    world.apply(_copy(original, "copied"))
    world.kube.delete(USERS, "shop", "copied")
    await world.until(lambda: world.kube.get(USERS, "shop", "copied") is None)
    await world.until_quiet(operator)

    assert world.in_aws() == aws
    assert world.kube.secret("shop", "checkout") == secret


async def test_a_restored_cluster_still_owns_its_objects(world: Ground):
    world.add_cache()
    first = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await first.kill()
    aws = world.in_aws()
    for kind in (USER, GROUP):
        world.kube._remove(kind)

    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    assert world.in_aws() == aws


def _copy(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what `kubectl get -o yaml` gives, renamed: with status and finalizer."""
    copied = copy.deepcopy(body)
    kept = {"namespace": "shop", "finalizers": [FINALIZER]}
    return {**copied, "metadata": {**kept, "name": name}}


def _status_id(world: Ground, name: str) -> str:
    body = world.kube.get(USERS, "shop", name) or {}
    return str(body.get("status", {}).get("id", ""))
