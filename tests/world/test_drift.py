"""What is changed in AWS behind our back is put back; what AWS or others may do is left alone."""

import json
from typing import Any

import pytest
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, ground
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def only_user(world: Ground) -> tuple[str, Any]:
    ((user_id, user),) = [entry for entry in world.in_aws()["users"].items() if "checkout" in entry[0]]
    return user_id, user


def only_role(world: Ground) -> tuple[str, Any]:
    (role,) = world.in_aws()["roles"].items()
    return role


async def _ready(world: Ground, config: dict[str, float] | None = None, **spec: Any) -> Any:
    world.add_cache()
    operator = await world.start(config or QUICK)
    world.apply(group_manifest(), user_manifest(**spec))
    await world.until_ready()
    await world.until(lambda: world.is_ready(*GROUP))
    return operator


async def test_an_edited_access_string_is_put_back(world: Ground):
    await _ready(world)
    user_id, before = only_user(world)

    world.elasticache.modify_user(UserId=user_id, AccessString="on ~* +@all")
    assert only_user(world)[1] != before

    await world.until(lambda: only_user(world)[1] == before)


async def test_a_raw_access_string_that_aws_rewrites_is_sent_once(world: Ground):
    await _ready(world, access={"accessString": "on ~orders:* &* resetchannels -@all +@read +GET"})
    user_id, _ = only_user(world)
    inventory_reads = world.calls("DescribeUsers")

    await world.until(lambda: world.calls("DescribeUsers") > inventory_reads + 2)

    assert world.calls("ModifyUser") == 0
    assert user_id


async def test_a_change_of_access_reaches_aws_once(world: Ground):
    operator = await _ready(world, {"driftInterval": 300.0})

    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*", "stock:*"]}))
    await world.until(lambda: "~stock:*" in only_user(world)[1][3])
    await world.until_quiet(operator)

    assert world.calls("ModifyUser") == 1
    assert world.is_ready()
    body = world.kube.get(*USER)
    assert body is not None
    assert body["status"]["accessString"]["returned"] == only_user(world)[1][3]


async def test_an_edited_trust_policy_is_put_back(world: Ground):
    await _ready(world)
    name, before = only_role(world)
    open_trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}],
    }

    world.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(open_trust))

    await world.until(lambda: only_role(world)[1] == before)


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "widened"])
async def test_an_edited_policy_is_put_back(world: Ground, deleted: bool):  # noqa: FBT001
    await _ready(world)
    name, before = only_role(world)
    (policy,) = before[1]
    wide = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}],
    }

    if deleted:
        world.iam.delete_role_policy(RoleName=name, PolicyName=policy)
    else:
        world.iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(wide))

    await world.until(lambda: only_role(world)[1] == before)


async def test_a_deleted_role_is_made_anew(world: Ground):
    await _ready(world)
    name, before = only_role(world)
    (policy,) = before[1]

    world.iam.delete_role_policy(RoleName=name, PolicyName=policy)
    world.iam.delete_role(RoleName=name)

    await world.until(lambda: world.in_aws()["roles"].get(name) == before)


async def test_a_deleted_user_is_made_anew_and_joins_again(world: Ground):
    await _ready(world)
    user_id, before = only_user(world)

    world.elasticache.delete_user(UserId=user_id)

    await world.until(lambda: world.in_aws()["users"].get(user_id) == before)
    await world.until(lambda: any(user_id in group[2] for group in world.in_aws()["groups"].values()))


async def test_a_member_of_ours_that_was_taken_out_is_put_back(world: Ground):
    await _ready(world)
    user_id, _ = only_user(world)
    ((group_id, before),) = world.in_aws()["groups"].items()

    world.elasticache.modify_user_group(UserGroupId=group_id, UserIdsToRemove=[user_id])

    await world.until(lambda: sorted(world.in_aws()["groups"][group_id][2]) == sorted(before[2]))


async def test_a_member_that_somebody_else_added_stays(world: Ground):
    operator = await _ready(world)
    ((group_id, _),) = world.in_aws()["groups"].items()
    world.elasticache.create_user(
        UserId="legacy", UserName="legacy", Engine="redis", AccessString="off", AuthenticationMode={"Type": "iam"}
    )

    world.elasticache.modify_user_group(UserGroupId=group_id, UserIdsToAdd=["legacy"])
    passes = operator.passes
    await world.until(lambda: operator.passes > passes + 6)

    assert "legacy" in world.in_aws()["groups"][group_id][2]


async def test_a_deleted_secret_comes_back_at_its_next_refresh(world: Ground):
    await _ready(world, {"driftInterval": 300.0})

    world.kube.delete("secrets", "shop", "checkout")
    await world.later(lambda: world.kube.secret("shop", "checkout"), step_s=60)

    body = world.kube.get(USERS, "shop", "checkout")
    secret = world.kube.get("secrets", "shop", "checkout")
    assert body is not None
    assert secret is not None
    await world.until(lambda: _secret_uid(world) == secret["metadata"]["uid"])


def test_one_change_of_a_group_is_in_flight_and_twenty_users_join_in_few():
    async def story() -> VirtualGround:
        async with virtual_ground(transition_s=4.0) as world:
            world.add_cache()
            await world.start()
            world.apply(group_manifest())
            await world.until_ready(*GROUP)
            world.world.reset_call_counts()
            world.apply(*(user_manifest(f"user{number}") for number in range(20)))
            for number in range(20):
                await world.until_ready(USERS, "shop", f"user{number}")
            return world

    world = play(story())

    assert world.calls("ModifyUserGroup") <= 3
    assert world.calls("CreateUser") == 20


async def test_a_redis_group_is_never_without_its_default_user():
    async with ground(transition_s=0.1) as world:
        world.add_cache()
        seen: list[set[str]] = []

        def look() -> bool:
            for group in world.world._state.accounts["111122223333"].region("eu-central-1").groups.values():
                users = world.world._state.accounts["111122223333"].region("eu-central-1").users
                seen.append({users[user_id].user_name for user_id in group.user_ids})
            return world.is_ready()

        await world.start()
        world.apply(group_manifest(defaultUser="Unmanaged"), user_manifest())
        await world.until(look)
        world.apply(group_manifest(defaultUser="Disabled"))
        await world.until(lambda: look() and "default" not in _members(world))

        assert seen
        assert all("default" in names for names in seen)
        hardened = world.conditions(*GROUP)["DefaultUserHardened"]
        assert hardened in {("True", "Disabled"), ("False", "Replacing")}
        await world.until(lambda: world.conditions(*GROUP)["DefaultUserHardened"] == ("True", "Disabled"))


async def test_deleting_with_delays_ends_in_nothing():
    async with ground(transition_s=0.15) as world:
        world.add_cache()
        await world.start()
        world.apply(group_manifest(deletionPolicy="Delete"), user_manifest())
        await world.until_ready()

        world.kube.delete(*USER)
        await world.until(lambda: world.kube.get(*USER) is None)
        world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
        world.kube.delete(*GROUP)
        await world.later(lambda: world.kube.get(*GROUP) is None, step_s=5)

        there = world.in_aws()
        assert list(there["users"]) == ["default"]
        assert there["groups"] == there["roles"] == {}


async def test_a_user_deleted_while_it_is_being_created_leaves_nothing():
    async with ground(transition_s=0.3) as world:
        world.add_cache()
        await world.start()
        world.apply(group_manifest(), user_manifest())
        await world.until(lambda: any("checkout" in user for user in world.in_aws()["users"]))

        world.kube.delete(*USER)
        await world.until(lambda: world.kube.get(*USER) is None)

        there = world.in_aws()
        assert not any("checkout" in user for user in there["users"])
        assert there["roles"] == {}
        assert world.kube.secret_names() == []


async def test_news_of_iam_that_travel_slowly_are_waited_for():
    async with ground(iam_propagation_s=1.5) as world:
        world.add_cache()
        await world.start()

        world.apply(group_manifest(), user_manifest())
        await world.later(world.is_ready, step_s=1)

        assert not any(event["reason"] == "AccessDenied" for event in world.kube.events)


def _members(world: Ground) -> list[str]:
    return [user for group in world.in_aws()["groups"].values() for user in group[2]]


def _secret_uid(world: Ground) -> str:
    body = world.kube.get(*USER) or {}
    return str(body["status"]["caches"][0]["secret"]["uid"])
