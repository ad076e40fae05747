"""From two resources to a Secret and back to nothing."""

from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.reconcile.queue import GROUPS, USERS

LIMIT = {"preset": "Admin"}
SHAPES: dict[str, tuple[Manifest, ...]] = {
    "a-redis-group": (group_manifest(), user_manifest()),
    "a-valkey-group": (group_manifest(engine="valkey", caches=("valkey-prod",)), user_manifest()),
    "a-default-user-left-alone": (group_manifest(defaultUser="Unmanaged"), user_manifest()),
    "two-caches": (group_manifest(caches=("orders-prod", "valkey-prod")), user_manifest()),
    "no-cache": (group_manifest(caches=()),),
    "a-raw-access-string": (group_manifest(), user_manifest(access={"accessString": "on ~orders:* +@read +@write"})),
    "several-service-accounts": (group_manifest(), user_manifest(serviceAccounts=["checkout", "worker"])),
    "explicit-ids": (
        group_manifest(id="demo-orders", admits=(), admission=[
            {"namespaces": {"names": ["shop"]}, "limit": LIMIT, "ids": ["demo-shop-*"]}
        ]),
        user_manifest(id="demo-shop-checkout"),
    ),
    "admission-by-label": (
        group_manifest(admits=(), admission=[
            {"namespaces": {"selector": {"matchLabels": {"team": "orders"}}}, "limit": LIMIT}
        ]),
        user_manifest(),
    ),
    "three-users": (group_manifest(), user_manifest(), user_manifest("billing"), user_manifest("search", "platform")),
    "members-of-others": (group_manifest(members=["legacy"]), user_manifest()),
    "templates-and-labels": (
        group_manifest(),
        user_manifest(delivery={"secret": {"labels": {"app": "x"}, "template": {"URL": "{{ host }}:{{ port }}"}}}),
    ),
}  # fmt: skip


async def test_two_resources_become_a_secret(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    assert set(secret) == {"type", "provider", "host", "port", "username", "password", "ssl", "uri", "expires-at"}
    await world.until_ready(GROUPS, "platform", "orders")


async def test_a_token_in_the_secret_is_for_its_user_and_cache(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    secret = world.kube.secret("shop", "checkout")
    user = world.kube.get(USERS, "shop", "checkout")

    assert secret is not None
    assert user is not None
    assert secret["username"] == user["status"]["id"]
    assert secret["password"].startswith(f"orders-prod/?Action=connect&User={user['status']['id']}&")
    assert (secret["host"], secret["port"]) == ("127.0.0.1", "6379")


async def test_each_cache_has_a_secret_of_its_own(world: Ground):
    world.add_cache()
    world.add_cache("sessions-prod")
    await world.start()

    world.apply(group_manifest(caches=("orders-prod", "sessions-prod")), user_manifest())
    await world.until_ready()

    assert world.kube.secret_names() == [("shop", "checkout"), ("shop", "checkout.cache2")]
    second = world.kube.secret("shop", "checkout.cache2")
    assert second is not None
    assert second["password"].startswith("sessions-prod/")


async def test_a_user_may_pick_some_of_its_groups_caches(world: Ground):
    world.add_cache()
    world.add_cache("sessions-prod")
    await world.start()
    picked = {"name": "orders", "namespace": "platform", "caches": ["cache2"]}

    world.apply(group_manifest(caches=("orders-prod", "sessions-prod")), user_manifest(groups=[picked]))
    await world.until_ready()

    assert world.kube.secret_names() == [("shop", "checkout.cache2")]


async def test_all_users_of_a_group_share_its_membership_and_have_their_own_roles(world: Ground):
    world.add_cache()
    await world.start()

    world.apply(*SHAPES["three-users"])
    for namespace, name in (("shop", "checkout"), ("shop", "billing"), ("platform", "search")):
        await world.until_ready(USERS, namespace, name)

    there = world.in_aws()
    (group,) = there["groups"].values()
    assert len(group[2]) == 4
    assert len(there["roles"]) == 3


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_second_pass_over_an_unchanged_world_writes_nothing(world: Ground, shape: str):
    operator = await _settled(world, SHAPES[shape])
    kube_writes, calls = len(world.kube.writes), sum(world.world.call_counts().values())

    for key in operator.plane.store.all_keys():
        await operator.work(key)

    assert len(world.kube.writes) == kube_writes
    assert sum(world.world.call_counts().values()) == calls


def _changes(world: Ground) -> list[Any]:
    """Return the writes but for requests of tokens: sessions live in memory only."""
    return [call for call in world.kube.writes if call.resource != "serviceaccounts/token"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_restart_makes_no_call_but_inventory_pages_and_sessions(world: Ground, shape: str):
    first = await _settled(world, SHAPES[shape])
    await first.tokens.save_checkpoint()
    await first.kill()
    kube_writes = len(_changes(world))
    world.world.reset_call_counts()

    second = await world.start()
    await world.until_quiet(second)

    assert len(_changes(world)) == kube_writes
    assert {operation for _, operation in world.world.call_counts()} <= {
        "AssumeRoleWithWebIdentity",
        "DescribeUsers",
        "DescribeUserGroups",
        "DescribeReplicationGroups",
        "DescribeCacheClusters",
        "DescribeServerlessCaches",
        "ListRoles",
        "GetAccountAuthorizationDetails",
        "GetResources",
    }


async def test_deleting_leaves_nothing_in_aws(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(deletionPolicy="Delete"), user_manifest())
    await world.until_ready()

    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)
    world.kube.delete(GROUPS, "platform", "orders")
    await world.until(lambda: world.conditions(GROUPS, "platform", "orders")["Ready"][1] == "StillAttached")
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)

    there = world.in_aws()
    assert list(there["users"]) == ["default"]
    assert there["groups"] == there["roles"] == {}
    assert world.kube.secret_names() == []


async def test_a_group_waits_for_its_users_to_be_deleted_first(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    world.kube.delete(GROUPS, "platform", "orders")
    await world.until_reason("MembersRemain", of=(GROUPS, "platform", "orders"))
    assert "shop/checkout" in world.condition(GROUPS, "platform", "orders", "Ready")["message"]
    world.kube.delete(USERS, "shop", "checkout")

    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)


async def test_a_retained_group_stays_in_aws_and_on_its_cache(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest())
    await world.until_ready(GROUPS, "platform", "orders")
    before = world.in_aws()

    world.kube.delete(GROUPS, "platform", "orders")
    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)

    assert world.in_aws() == before


async def test_a_retained_user_stays_in_aws_without_tokens(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest(deletionPolicy="Retain"))
    await world.until_ready()
    user_id = _id(world)

    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)

    assert user_id in world.in_aws()["users"]
    assert world.kube.secret_names() == []


async def test_a_user_is_taken_out_of_its_group_before_it_is_deleted(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    operator.tap.arm(0, carried_out=True)

    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)

    order = [name for name in operator.tap.writes if name != "kubernetes patch_status"]
    steps = ["kubernetes delete_secret", "elasticache ModifyUserGroup", "iam DeleteRole", "elasticache DeleteUser"]
    places = [order.index(step) for step in [*steps, "kubernetes set_finalizers"]]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "kind", [(USERS, "shop", "checkout"), (GROUPS, "platform", "orders")], ids=["a-user", "a-group"]
)
async def test_a_resource_that_breaks_its_rules_says_so_once(world: Ground, kind: tuple[str, str, str]):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    before = world.kube.get(*kind)

    _break(world, kind)
    await world.until_reason("InvalidSpec", of=kind)
    await world.until_quiet(operator)
    passes = operator.passes
    writes = len(world.kube.writes)
    world.pass_time(301)
    await world.until(lambda: operator.passes > passes)
    await world.until_quiet(operator)

    assert ("Stalled", ("True", "InvalidSpec")) in world.conditions(*kind).items()
    after = world.kube.get(*kind)
    assert before is not None
    assert after is not None
    assert after["status"]["id"] == before["status"]["id"]
    assert [c for c in world.kube.writes[writes:] if c.name == kind[2] and "status" in c.resource] == []


async def test_resources_that_break_their_rules_can_be_deleted(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(deletionPolicy="Delete"), user_manifest())
    await world.until_ready()
    _break(world, (USERS, "shop", "checkout"))
    _break(world, (GROUPS, "platform", "orders"))
    await world.until_reason("InvalidSpec")
    await world.until_reason("InvalidSpec", of=(GROUPS, "platform", "orders"))

    world.kube.delete(USERS, "shop", "checkout")
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    world.kube.delete(GROUPS, "platform", "orders")
    await world.until(lambda: world.kube.get(GROUPS, "platform", "orders") is None)

    there = world.in_aws()
    assert list(there["users"]) == ["default"]
    assert there["groups"] == there["roles"] == {}
    assert world.kube.secret_names() == []


def _break(world: Ground, kind: tuple[str, str, str]) -> None:
    """Edit a resource so that it can't be parsed, as one stored under an older CRD."""
    body: dict[str, Any] = world.kube.get(*kind) or {}
    broken = {"engine": "memcached"} if kind[0] == GROUPS else {"access": {"preset": "Everything"}}
    world.kube.put({**body, "spec": {**body["spec"], **broken}})


def _id(world: Ground) -> str:
    body = world.kube.get(USERS, "shop", "checkout")
    assert body is not None
    return str(body["status"]["id"])


async def _settled(world: Ground, manifests: tuple[Manifest, ...]) -> Any:
    world.add_cache()
    world.add_cache("valkey-prod", engine="valkey", engine_version="8.0")
    world.kube.put_namespace("shop", {"team": "orders"})
    world.elasticache.create_user(
        UserId="legacy", UserName="legacy", Engine="redis", AccessString="off", AuthenticationMode={"Type": "iam"}
    )
    operator = await world.start()
    world.apply(*manifests)
    plurals = {"UserGroup": GROUPS, "ElastiCacheIAMUser": USERS}
    for manifest in manifests:
        meta = manifest["metadata"]
        await world.until_ready(plurals[manifest["kind"]], meta["namespace"], meta["name"])
    await world.until_quiet(operator)
    return operator


async def test_who_asks_for_a_plan_does_not_get_the_deed(world: Ground):
    world.add_cache()
    operator = await world.start()
    manifest = group_manifest()
    manifest["metadata"]["annotations"] = {"elasticache-iam.dev/plan-only": "true"}

    world.apply(manifest)
    await world.until_reason("PlanOnly", of=(GROUPS, "platform", "orders"))
    await world.until_quiet(operator)

    assert world.elasticache.describe_user_groups()["UserGroups"] == []
    body = world.kube.get(GROUPS, "platform", "orders")
    assert body is not None
    assert "finalizers" not in body["metadata"]


async def test_a_tag_that_the_configuration_does_not_allow_is_refused(world: Ground):
    world.add_cache()
    await world.start({"allowedTagKeys": ["team"]})

    world.apply(group_manifest(tags={"team": "orders", "cost-center": "42"}))
    await world.until_reason("TagNotAllowed", of=(GROUPS, "platform", "orders"))

    message = world.condition(GROUPS, "platform", "orders", "Ready")["message"]
    assert "cost-center" in message
    assert "team" not in message
    assert world.elasticache.describe_user_groups()["UserGroups"] == []


async def test_a_cache_taken_off_the_list_stays_attached_and_is_named(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest())
    await world.until_ready(GROUPS, "platform", "orders")

    world.apply(group_manifest(caches=()))
    await world.until_reason("StillAttached", of=(GROUPS, "platform", "orders"))

    assert "modify-replication-group" in world.condition(GROUPS, "platform", "orders", "Ready")["message"]
    attached = world.elasticache.describe_replication_groups()["ReplicationGroups"][0]["UserGroupIds"]
    assert attached == [world.kube.get(GROUPS, "platform", "orders")["status"]["id"]]  # type: ignore[index]


async def test_a_cache_that_the_user_gives_up_loses_its_secret(world: Ground):
    world.add_cache("orders-prod")
    world.add_cache("orders-cold")
    await world.start()
    both = {"groups": [{"name": "orders", "namespace": "platform"}]}
    one = {"groups": [{"name": "orders", "namespace": "platform", "caches": ["main"]}]}
    world.apply(group_manifest(caches=("orders-prod", "orders-cold")), user_manifest(**both))
    await world.until_ready()
    assert world.kube.secret_names() == [("shop", "checkout"), ("shop", "checkout.cache2")]

    world.apply(user_manifest(**one))
    await world.until(lambda: world.kube.secret_names() == [("shop", "checkout")])
    await world.until_ready()

    caches = world.kube.get(USERS, "shop", "checkout")["status"]["caches"]  # type: ignore[index]
    assert [cache["name"] for cache in caches] == ["main"]


async def test_tokens_go_on_while_the_cache_cannot_be_found(world: Ground):
    world.add_cache()
    await world.start({"driftInterval": 0.2})
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    await world.until_reason("WaitingForCache")

    caches = world.kube.get(USERS, "shop", "checkout")["status"]["caches"]  # type: ignore[index]
    assert [cache["name"] for cache in caches] == ["main"]


async def test_a_user_that_becomes_unreadable_keeps_its_membership_and_its_tokens(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    user_id = world.kube.get(USERS, "shop", "checkout")["status"]["id"]  # type: ignore[index]

    world.apply(user_manifest(access={"preset": "Nonsense"}))
    await world.until_reason("InvalidSpec")
    await world.until_quiet(operator)
    world.apply(group_manifest(tags={}))

    group = world.elasticache.describe_user_groups()["UserGroups"][0]
    assert user_id in group["UserIds"]
    assert len(operator.tokens) == 1
