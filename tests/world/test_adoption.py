"""Users that exist in AWS already: taken over with their owner's consent, and never without."""

from typing import Any

import pytest
from tests.builders import OWNER, Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
CONSENT = {"elasticache-iam.dev/allow": f"{OWNER}/shop"}
OURS = {
    "elasticache-iam.dev/owner": OWNER,
    "elasticache-iam.dev/kind": "ElastiCacheIAMUser",
    "elasticache-iam.dev/namespace": "shop",
    "elasticache-iam.dev/name": "checkout",
}
PASSWORD = {"Type": "password", "Passwords": ["sixteen-characters-or-more"]}


def make_user(world: Ground, tags: dict[str, str], **changes: Any) -> None:
    world.elasticache.create_user(
        **{
            "UserId": "legacy",
            "UserName": "legacy",
            "Engine": "redis",
            "AccessString": "on ~* +@all",
            "AuthenticationMode": {"Type": "iam"},
            **changes,
        },
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


def group() -> Manifest:
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["legacy"]}
    return group_manifest(admits=(), admission=[rule])


def live(world: Ground) -> Any:
    return world.in_aws()["users"].get("legacy")


def synced(world: Ground) -> tuple[str, str]:
    return world.conditions(*USER).get("UserSynced", ("", ""))


def arn(world: Ground) -> str:
    return str(world.elasticache.describe_users(UserId="legacy")["Users"][0]["ARN"])


def set_tags(world: Ground, **tags: str) -> None:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    world.elasticache.add_tags_to_resource(ResourceName=arn(world), Tags=listed)


async def start(world: Ground, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start({**QUICK, "allowedTagKeys": ["team"]})
    world.apply(group(), user_manifest(**{"id": "legacy", "adoption": "Adopt", **spec}))
    return operator


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    await world.until_quiet(operator)
    kube_writes, before = len(world.kube.writes), world.in_aws()
    for key in operator.plane.store.all_keys() * 2:
        await operator.work(key)
    assert len(world.kube.writes) == kube_writes
    assert world.in_aws() == before


async def test_a_user_whose_owner_consents_becomes_ours(world: Ground):
    make_user(world, {**CONSENT, "team": "theirs", "cost": "1"})

    operator = await start(world)
    await world.until_ready()

    _, _, _, access_string, _, tags = live(world)
    assert "~orders:*" in access_string
    assert tags == {**CONSENT, **OURS, "team": "theirs", "cost": "1"}
    assert world.calls("CreateUser") == 2  # theirs, and the disabled default user of the group
    assert [event["reason"] for event in world.kube.events].count("Adopted") == 1
    assert not [event for event in world.kube.events if event["reason"] == "DriftRepaired"]
    await writes_nothing_more(world, operator)


async def test_without_consent_it_is_told_what_would_change_and_how_to_agree(world: Ground):
    make_user(world, {"cost": "1"})
    before = live(world)

    operator = await start(world)
    await world.until(lambda: synced(world) == ("False", "ConsentMissing"))

    message = world.condition(*USER, "UserSynced")["message"]
    assert 'from "on ~* +@all" to "on ~orders:*' in message
    assert f"aws elasticache add-tags-to-resource --region eu-central-1 --resource-name {arn(world)}" in message
    assert f"Value={OWNER}/shop" in message
    assert live(world) == before
    await writes_nothing_more(world, operator)


async def test_consent_given_later_is_seen(world: Ground):
    make_user(world, {"elasticache-iam.dev/allow": "rival/shop"})
    await start(world)
    await world.until(lambda: synced(world) == ("False", "ConsentMissing"))
    assert f"Value=rival/shop {OWNER}/shop" in world.condition(*USER, "UserSynced")["message"]

    set_tags(world, **{"elasticache-iam.dev/allow": f"rival/shop {OWNER}/shop"})

    await world.later(world.is_ready, step_s=10)


@pytest.mark.parametrize(
    ("changes", "tags", "reason"),
    [
        pytest.param({"AuthenticationMode": PASSWORD}, CONSENT, "NotAdoptable", id="with-a-password"),
        pytest.param(
            {"UserName": "other", "AuthenticationMode": PASSWORD}, CONSENT, "NotAdoptable", id="with-another-name"
        ),
        pytest.param({}, {**CONSENT, "elasticache-iam.dev/owner": "rival"}, "NotOwned", id="of-another-installation"),
        pytest.param(
            {}, {**CONSENT, **OURS, "elasticache-iam.dev/name": "other"}, "NotOwned", id="of-another-resource"
        ),
        pytest.param({}, {"elasticache-iam.dev/allow": f"{OWNER}/other"}, "ConsentMissing", id="for-others"),
    ],
)
async def test_who_can_not_be_adopted_is_left_alone(
    world: Ground, changes: dict[str, Any], tags: dict[str, str], reason: str
):
    make_user(world, tags, **changes)
    before = live(world)

    operator = await start(world)
    await world.until(lambda: synced(world) == ("False", reason))
    await writes_nothing_more(world, operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert live(world) == before


async def test_nobody_is_adopted_unasked(world: Ground):
    make_user(world, CONSENT)
    before = live(world)

    await start(world, adoption="Never")
    await world.until(lambda: synced(world) == ("False", "NotOwned"))

    assert "spec.adoption: Adopt" in world.condition(*USER, "UserSynced")["message"]
    assert live(world) == before


async def test_an_adopted_user_is_kept_as_asked_and_goes_with_its_resource(world: Ground):
    make_user(world, CONSENT)
    await start(world)
    await world.until_ready()
    before = live(world)

    world.elasticache.modify_user(UserId="legacy", AccessString="on ~* +@all")
    await world.until(lambda: live(world) == before)
    assert [event for event in world.kube.events if event["reason"] == "DriftRepaired"]
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert live(world) is None


async def test_an_adopted_user_that_its_owner_takes_back_gets_no_more_tokens(world: Ground):
    make_user(world, CONSENT)
    await start(world)
    await world.until_ready()

    world.elasticache.remove_tags_from_resource(
        ResourceName=arn(world), TagKeys=[*OURS, "elasticache-iam.dev/uid", *CONSENT]
    )

    await world.later(lambda: synced(world) == ("False", "ConsentMissing"))
    await world.until(lambda: world.kube.secret_names() == [])
    assert live(world) is not None
