"""Groups that were there before: left alone, taken over, or lent, and only with their owner's consent."""

from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
DEFAULT_ID = names.default_user_id(OWNER, "terraform-orders")
THEIRS = "terraform-orders"
ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:usergroup:{THEIRS}"
ALLOW = "elasticache-iam.dev/allow"
QUICK = {"driftInterval": 0.2, "slowDriftInterval": 0.4}


def make_group(world: Ground, *members: str, allow: str | None = f"{OWNER}/platform", engine: str = "redis") -> None:
    """Make a group as Terraform would, with a user of its own in it."""
    make_user(world, "legacy", engine=engine)
    tags = [{"Key": "made-by", "Value": "terraform"}, *([{"Key": ALLOW, "Value": allow}] if allow else [])]
    first = ["default"] if engine == "redis" else []
    world.elasticache.create_user_group(
        UserGroupId=THEIRS, Engine=engine, UserIds=[*first, "legacy", *members], Tags=tags
    )


def make_user(world: Ground, user_id: str, *, engine: str = "redis") -> None:
    world.elasticache.create_user(
        UserId=user_id, UserName=user_id, Engine=engine, AccessString="on ~* +@read", AuthenticationMode={"Type": "iam"}
    )


def attach(world: Ground) -> None:
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToAdd=[THEIRS], ApplyImmediately=True
    )


def allow(world: Ground, value: str | None) -> None:
    if value is None:
        world.elasticache.remove_tags_from_resource(ResourceName=ARN, TagKeys=[ALLOW])
    else:
        world.elasticache.add_tags_to_resource(ResourceName=ARN, Tags=[{"Key": ALLOW, "Value": value}])


def adopting(**spec: Any) -> dict[str, Any]:
    return group_manifest(id=THEIRS, adoption="Adopt", **spec)


def lent(**spec: Any) -> dict[str, Any]:
    return group_manifest(id=THEIRS, adoption="Reference", attach=False, **spec)


def members(world: Ground, group_id: str = THEIRS) -> list[str]:
    return sorted(world.in_aws()["groups"][group_id][2])


def tags(world: Ground) -> dict[str, str]:
    return dict(world.in_aws()["groups"][THEIRS][3])


def events(world: Ground, reason: str) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == reason]


async def writes_nothing_more(world: Ground, operator: Any) -> None:
    """Let passes go by and see that they write nothing."""
    await world.until_quiet(operator)
    before, passes = len(operator.tap.writes), operator.passes
    await world.until(lambda: operator.passes >= passes + 6)
    assert operator.tap.writes[before:] == []


# -- never ------------------------------------------------------------------------------------------------------------


async def test_a_group_of_others_is_left_alone_and_the_ways_to_use_it_are_told(world: Ground):
    world.add_cache()
    make_group(world, allow=None)
    before = world.in_aws()
    operator = await world.start()

    world.apply(group_manifest(id=THEIRS))
    await world.until_reason("NotOwned", of=GROUP)
    await world.until_quiet(operator)

    message = world.condition(*GROUP, "Ready")["message"]
    assert "spec.adoption: Adopt" in message
    assert f"--resource-name {ARN} --tags Key={ALLOW},Value=demo/platform" in message
    assert world.in_aws() == before


async def test_an_id_that_the_operator_has_no_right_to_make_is_refused_before_aws_does(world: Ground):
    world.add_cache()
    operator = await world.start()

    world.apply(group_manifest(id="orders"))
    await world.until_reason("IdNotAllowed", of=GROUP)
    await world.until_quiet(operator)

    assert "begins with demo-" in world.condition(*GROUP, "Ready")["message"]
    assert world.calls("CreateUserGroup") == 0
    assert world.calls("CreateUser") == 0


# -- adopt ------------------------------------------------------------------------------------------------------------


async def test_without_consent_nothing_is_done_and_what_would_be_is_shown(world: Ground):
    world.add_cache()
    make_group(world, allow=None)
    before = world.in_aws()
    operator = await world.start()

    world.apply(adopting(membership="Authoritative"))
    await world.until_reason("ConsentMissing", of=GROUP)
    await world.until_quiet(operator)

    message = world.condition(*GROUP, "GroupSynced")["message"]
    assert f"Key={ALLOW},Value=demo/platform" in message
    assert "remove legacy" in message
    assert f"add {DEFAULT_ID}, remove default" in message
    assert world.in_aws() == before


@pytest.mark.parametrize("consent", ["demo", "demo/platform", "rival demo/platform"])
async def test_with_consent_a_group_becomes_ours_with_its_members(world: Ground, consent: str):
    world.add_cache()
    make_group(world, allow=consent)
    operator = await world.start(QUICK)

    world.apply(adopting(), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)

    assert members(world) == sorted([DEFAULT_ID, "legacy", USER_ID])
    assert tags(world)["elasticache-iam.dev/owner"] == OWNER
    assert tags(world)[ALLOW] == consent
    assert world.in_aws()["caches"]["orders-prod"][1] == THEIRS
    assert len(events(world, "Adopted")) == 1
    await writes_nothing_more(world, operator)


async def test_a_consent_to_somebody_else_is_none(world: Ground):
    world.add_cache()
    make_group(world, allow="demo/other rival demo2")
    before = world.in_aws()
    await world.start()

    world.apply(adopting())
    await world.until_reason("ConsentMissing", of=GROUP)

    assert world.in_aws() == before


async def test_a_consent_that_comes_later_is_seen(world: Ground):
    world.add_cache()
    make_group(world, allow=None)
    await world.start()
    world.apply(adopting())
    await world.until_reason("ConsentMissing", of=GROUP)

    allow(world, "demo/platform")

    await world.later(lambda: world.is_ready(*GROUP))


async def test_the_default_user_of_an_adopted_group_may_stay(world: Ground):
    world.add_cache()
    make_group(world)
    await world.start()

    world.apply(adopting(defaultUser="Unmanaged"))
    await world.until_ready(*GROUP)

    assert members(world) == ["default", "legacy"]


async def test_a_group_of_another_engine_is_not_adopted(world: Ground):
    world.add_cache(engine="valkey", engine_version="8.0")
    make_group(world, engine="valkey")
    before = world.in_aws()
    await world.start()

    world.apply(adopting(engine="redis"))
    await world.until_reason("EngineMismatch", of=GROUP)

    assert "engine: valkey" in world.condition(*GROUP, "Ready")["message"]
    assert world.in_aws() == before


async def test_a_group_of_another_installation_is_never_taken_even_with_consent(world: Ground):
    world.add_cache()
    make_group(world)
    rival = {"owner": "rival", "kind": "UserGroup", "namespace": "platform", "name": "orders"}
    world.elasticache.add_tags_to_resource(
        ResourceName=ARN, Tags=[{"Key": f"elasticache-iam.dev/{key}", "Value": value} for key, value in rival.items()]
    )
    before = world.in_aws()
    await world.start()

    world.apply(adopting())
    await world.until_reason("NotOwned", of=GROUP)

    assert "rival, UserGroup platform/orders" in world.condition(*GROUP, "Ready")["message"]
    assert world.in_aws() == before


async def test_an_adopted_group_is_deleted_only_if_asked(world: Ground):
    make_group(world)
    await world.start()
    world.apply(adopting(caches=(), deletionPolicy="Delete"))
    await world.until_ready(*GROUP)

    world.kube.delete(*GROUP)
    await world.until(lambda: world.kube.get(*GROUP) is None)

    there = world.in_aws()
    assert there["groups"] == {}
    assert sorted(there["users"]) == ["default", "legacy"]


async def test_an_orphaned_group_is_taken_over_by_consent_and_loses_the_mark(world: Ground):
    make_group(world)
    old = {"owner": OWNER, "kind": "UserGroup", "namespace": "gone", "name": "gone", "orphaned": "2026-11-21T09:00:00Z"}
    world.elasticache.add_tags_to_resource(
        ResourceName=ARN, Tags=[{"Key": f"elasticache-iam.dev/{key}", "Value": value} for key, value in old.items()]
    )
    await world.start()

    world.apply(adopting(caches=()))
    await world.until_ready(*GROUP)

    assert tags(world)["elasticache-iam.dev/namespace"] == "platform"
    assert "elasticache-iam.dev/orphaned" not in tags(world)


async def test_there_is_no_group_to_adopt(world: Ground):
    await world.start()

    world.apply(adopting(caches=()))

    await world.until_reason("GroupNotFound", of=GROUP)
    assert world.calls("CreateUserGroup") == 0


# -- reference --------------------------------------------------------------------------------------------------------


async def test_our_members_come_and_go_in_a_lent_group_and_nothing_else_is_touched(world: Ground):
    world.add_cache(allow=None)
    make_group(world)
    attach(world)
    before = world.in_aws()
    operator = await world.start(QUICK)

    world.apply(lent(), user_manifest())
    await world.until_ready()
    await world.until_ready(*GROUP)
    assert members(world) == sorted(["default", "legacy", USER_ID])
    assert tags(world) == before["groups"][THEIRS][3]
    assert DEFAULT_ID not in world.in_aws()["users"]
    await writes_nothing_more(world, operator)

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)
    world.kube.delete(*GROUP)
    await world.until(lambda: world.kube.get(*GROUP) is None)
    assert world.in_aws()["groups"] == before["groups"]
    assert world.in_aws()["caches"] == before["caches"]


async def test_a_lent_group_needs_its_owners_consent(world: Ground):
    world.add_cache()
    make_group(world, allow=None)
    attach(world)
    await world.start()

    world.apply(lent(), user_manifest())
    await world.until_reason("ConsentMissing", of=GROUP)
    await world.until(lambda: not world.is_ready())

    assert members(world) == ["default", "legacy"]
    assert world.kube.secret_names() == []


async def test_a_lent_group_that_is_not_there_is_waited_for(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(lent())
    await world.until_reason("GroupNotFound", of=GROUP)

    make_group(world)
    attach(world)

    await world.later(lambda: world.is_ready(*GROUP))


async def test_a_lent_group_is_not_attached_by_us(world: Ground):
    world.add_cache()
    make_group(world)
    operator = await world.start()

    world.apply(lent())
    await world.until_reason("NotAttached", of=GROUP)
    await world.until_quiet(operator)
    assert world.calls("ModifyReplicationGroup") == 0

    attach(world)
    await world.later(lambda: world.is_ready(*GROUP))


async def test_a_consent_that_its_owner_takes_back_ends_the_tokens(world: Ground):
    world.add_cache()
    make_group(world)
    attach(world)
    await world.start(QUICK)
    world.apply(lent(), user_manifest())
    await world.until_ready()

    allow(world, None)
    await world.until_reason("ConsentMissing", of=GROUP)
    await world.until_reason("NotAdmitted")
    await world.until(lambda: world.kube.secret_names() == [])
    assert USER_ID in world.condition(*GROUP, "GroupSynced")["message"]

    allow(world, "demo")
    await world.later(world.is_ready, step_s=1)
    assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_member_of_ours_is_out_of_a_group_that_is_not_lent_any_more_when_it_is_deleted(world: Ground):
    world.add_cache()
    make_group(world)
    attach(world)
    await world.start(QUICK)
    world.apply(lent(), user_manifest())
    await world.until_ready()
    allow(world, None)
    await world.until_reason("ConsentMissing", of=GROUP)

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert members(world) == ["default", "legacy"]
    assert USER_ID not in world.in_aws()["users"]


async def test_of_two_resources_on_one_lent_group_the_older_has_it(world: Ground):
    world.add_cache()
    make_group(world)
    attach(world)
    operator = await world.start(QUICK)
    world.apply(lent(), user_manifest())
    await world.until_ready()

    world.apply({**lent(caches=()), "metadata": {"name": "second", "namespace": "platform"}})
    await world.until_reason("GroupClaimed", of=(GROUPS, "platform", "second"))
    passes = operator.passes
    await world.until(lambda: operator.passes > passes + 6)

    assert USER_ID in members(world)
    assert "platform/orders" in world.condition(GROUPS, "platform", "second", "Ready")["message"]


async def test_who_only_names_a_lent_group_knocks_nobody_out(world: Ground):
    world.add_cache()
    make_group(world)
    attach(world)
    operator = await world.start()
    world.apply(lent(), user_manifest())
    await world.until_ready()
    thief = group_manifest(id=THEIRS)

    world.apply({**thief, "metadata": {**thief["metadata"], "name": "thief"}})
    await world.until(lambda: (GROUPS, "platform", "thief") in world.all_conditions())
    await world.until(lambda: "Ready" in world.conditions(GROUPS, "platform", "thief"))
    await world.until_quiet(operator)

    assert world.kube.secret_names() == [("shop", "checkout")]
    assert world.is_ready()
