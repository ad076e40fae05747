"""ConfigMaps with settings: made, kept and taken away with their user, and nobody else's touched."""

from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator, Tap

from elasticache_iam.core.errors import AccessDeniedError, ResourceQuotaExceededError, UnavailableError
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
HOST = {"HOST": "{{ host }}", "USER": "{{ username }}"}
SLOWLY = {"driftInterval": 3600, "slowDriftInterval": 7200}


def manifest(name: str = "settings", template: dict[str, str] | None = None, *, mode: str = "Secret") -> Manifest:
    config_map = {"name": name, "template": HOST if template is None else template}
    return user_manifest(delivery={"mode": mode, "configMap": config_map})


def config_map(world: Ground, name: str = "settings") -> Any:
    return world.kube.get("configmaps", "shop", name)


def data(world: Ground, name: str = "settings") -> Any:
    found = config_map(world, name)
    return None if found is None else found["data"]


def noted(world: Ground) -> Any:
    return (world.kube.get(*USER) or {})["status"].get("configMap")


def delivered(world: Ground) -> Any:
    return world.conditions(*USER).get("TokenDelivered")


def message(world: Ground) -> str:
    return str(world.condition(*USER, "TokenDelivered")["message"])


def theirs(name: str = "settings", **metadata: Any) -> Manifest:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"theirs": "1"}}
    return {**body, "metadata": {"namespace": "shop", "name": name, **metadata}}


async def start(world: Ground, made: Manifest, **options: Any) -> Operator:
    world.add_cache()
    operator = await world.start(SLOWLY, **options)
    world.apply(group_manifest(), made)
    return operator


@pytest.mark.parametrize(("mode", "reason"), [("Secret", "Delivered"), ("None", "SelfSigned")])
async def test_settings_are_there_however_tokens_come(world: Ground, mode: str, reason: str):
    await start(world, manifest(mode=mode))
    await world.until_ready()
    await world.until(lambda: data(world))

    assert data(world)["HOST"] == "127.0.0.1"
    assert data(world)["USER"].startswith("demo-checkout-")
    assert delivered(world) == ("True", reason)


async def test_an_unchanged_world_is_written_nothing_and_read_nothing(world: Ground):
    operator = await start(world, manifest())
    await world.until_ready()
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    await world.until_quiet(operator)
    before = len(world.kube.writes)

    for _ in range(3):
        for key in operator.plane.store.all_keys():
            await operator.work(key)

    assert len(world.kube.writes) == before
    assert {call.verb for call in world.kube.calls if call.resource == "configmaps" and call.name == "settings"} == {
        "create"
    }


async def test_a_changed_template_is_one_write(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    uid = config_map(world)["metadata"]["uid"]

    world.apply(manifest(template={"PORT": "{{ port }}"}))
    await world.until(lambda: data(world) == {"PORT": "6379"})

    assert config_map(world)["metadata"]["uid"] == uid
    assert [call.verb for call in world.kube.writes if call.name == "settings"] == ["create", "update"]


async def test_an_edit_of_somebody_elses_lasts_until_the_slow_clock_comes_round(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    before = data(world)

    world.kube.put({**config_map(world), "data": {"HOST": "elsewhere"}})
    await world.later(lambda: data(world) == before, step_s=3600)

    assert delivered(world)[0] == "True"


async def test_a_deleted_one_comes_back_with_the_slow_clock(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    uid = config_map(world)["metadata"]["uid"]

    world.kube.delete("configmaps", "shop", "settings")
    await world.later(lambda: data(world), step_s=3600)

    assert config_map(world)["metadata"]["uid"] != uid
    await world.until(lambda: noted(world)["uid"] == config_map(world)["metadata"]["uid"])


async def test_it_goes_when_it_is_no_longer_asked_for(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))

    world.apply(user_manifest())
    await world.until(lambda: config_map(world) is None)
    await world.until(lambda: noted(world) is None)

    await world.until_ready()


async def test_under_another_name_it_leaves_the_old_one(world: Ground):
    await start(world, manifest("one"))
    await world.until(lambda: noted(world) and noted(world).get("digest"))

    world.apply(manifest("two"))
    await world.until(lambda: noted(world)["name"] == "two" and noted(world).get("digest"))

    assert data(world, "one") is None
    assert data(world, "two")["HOST"] == "127.0.0.1"


async def test_it_goes_with_its_user(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert config_map(world) is None


async def test_settings_of_a_suspended_user_stay_as_they_open_nothing(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))

    suspended = manifest()
    suspended["spec"]["suspend"] = True
    world.apply(suspended)
    await world.until_reason("Suspended")

    assert data(world)["HOST"] == "127.0.0.1"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"labels": {"app.kubernetes.io/managed-by": "elasticache-iam-operator"}},
    ],
    ids=["theirs", "theirs-with-our-label"],
)
async def test_somebody_elses_is_never_overwritten_and_tokens_are_none_the_worse(
    world: Ground, metadata: dict[str, Any]
):
    world.kube.put(theirs(**metadata))
    await start(world, manifest())
    await world.until(lambda: delivered(world) == ("False", "ConfigMapConflict"))

    assert data(world) == {"theirs": "1"}
    assert "ConfigMap shop/settings exists" in message(world)
    assert "delete it, or choose another spec.delivery.configMap.name" in message(world)
    assert world.kube.secret_names() == [("shop", "checkout")]
    assert world.conditions(*USER)["Stalled"] == ("True", "ConfigMapConflict")

    world.kube.delete("configmaps", "shop", "settings")
    await world.later(lambda: data(world) and "HOST" in data(world))
    await world.until_ready()


async def test_of_two_users_that_want_one_name_the_second_is_told_of_the_first(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    second = manifest()
    second["metadata"]["name"] = "billing"

    world.apply(second)
    other = (USERS, "shop", "billing")
    await world.until(lambda: world.conditions(*other).get("TokenDelivered") == ("False", "ConfigMapConflict"))

    assert (
        "it is that of ElastiCacheIAMUser checkout (settings)" in world.condition(*other, "TokenDelivered")["message"]
    )


async def test_one_that_lost_our_label_is_left_alone(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    found = config_map(world)

    world.kube.put({**found, "metadata": {**found["metadata"], "labels": {}}})
    world.apply(manifest(template={"PORT": "{{ port }}"}))
    await world.until(lambda: delivered(world) == ("False", "ConfigMapConflict"))

    assert "HOST" in data(world)


async def test_one_made_immutable_says_what_to_do_and_comes_back_after_that(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    world.kube.put({**config_map(world), "immutable": True})

    world.apply(manifest(template={"PORT": "{{ port }}"}))
    await world.until(lambda: delivered(world) == ("False", "MadeImmutable"))

    world.kube.delete("configmaps", "shop", "settings")
    await world.later(lambda: data(world) == {"PORT": "6379"})
    await world.later(lambda: delivered(world) == ("True", "Delivered"))


async def test_an_outage_while_writing_is_made_up_for(world: Ground):
    await start(world, manifest())
    await world.until(lambda: noted(world) and noted(world).get("digest"))

    world.kube.fail_next("replace_config_map", UnavailableError("no answer"), times=3)
    world.apply(manifest(template={"PORT": "{{ port }}"}))

    await world.later(lambda: data(world) == {"PORT": "6379"})


async def test_a_template_that_fails_is_told_with_its_key_and_nothing_is_written(world: Ground):
    await start(world, manifest(template={"TOKEN": "{{ password }}"}))
    await world.until(lambda: delivered(world) == ("False", "TemplateInvalid"))

    assert message(world).startswith("spec.delivery.configMap: the template of key 'TOKEN' uses password;")
    assert config_map(world) is None
    assert world.kube.secret_names() == [("shop", "checkout")]

    world.apply(manifest())
    await world.until_ready()
    await world.until(lambda: data(world))


async def test_a_missing_right_is_told_with_its_remedy(world: Ground):
    world.kube.fail_next("create_config_map", AccessDeniedError("configmaps is forbidden"), times=99)
    await start(world, manifest())
    await world.until(lambda: delivered(world) == ("False", "ConfigMapForbidden"))

    assert "rbac.configMaps=true" in message(world)
    assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_quota_of_the_namespace_is_told_for_what_it_is(world: Ground):
    world.kube.fail_next("create_config_map", ResourceQuotaExceededError("ResourceQuota team"), times=99)
    await start(world, manifest())
    await world.until(lambda: delivered(world) == ("False", "ResourceQuotaExceeded"))

    assert message(world) == "ResourceQuota team"
    assert world.kube.secret_names() == [("shop", "checkout")]


async def test_a_trouble_of_tokens_is_told_before_one_of_settings(world: Ground):
    world.kube.put({**theirs("checkout"), "kind": "Secret", "data": {}})
    await start(world, manifest(template={"TOKEN": "{{ password }}"}))

    await world.until(lambda: delivered(world) == ("False", "SecretConflict"))


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_write_leaves_one_config_map_and_none_astray(world: Ground, *, carried_out: bool):
    world.add_cache()
    world.apply(group_manifest(), manifest("one"))
    calm = await world.start(SLOWLY)
    await world.until(lambda: noted(world) and noted(world).get("digest"))
    await world.until_quiet(calm)
    await calm.kill()
    world.apply(manifest("two"))

    for die_at in range(1, 8):
        tap = Tap(die_at, carried_out=carried_out)
        operator = await world.start(SLOWLY, tap=tap)
        await world.until(lambda tap=tap: tap.died.is_set() or (noted(world) or {}).get("name") == "two")
        await operator.kill()
    last = await world.start(SLOWLY)
    await world.until(lambda: (noted(world) or {}).get("name") == "two" and noted(world).get("digest"))
    await world.until_quiet(last)

    assert data(world, "one") is None
    assert data(world, "two")["HOST"] == "127.0.0.1"
    assert noted(world)["uid"] == config_map(world, "two")["metadata"]["uid"]


async def test_one_made_right_before_a_crash_is_taken_away_when_it_is_not_wanted_any_more(world: Ground):
    tap = Tap()
    world.add_cache()
    operator = await world.start(SLOWLY, tap=tap)
    create = world.kube.create_config_map

    async def create_and_die(namespace: str, body: Any) -> str:
        await create(namespace, body)
        tap.died.set()
        return ""

    world.kube.create_config_map = create_and_die  # type: ignore[method-assign]
    world.apply(group_manifest(), manifest())
    await world.until(tap.died.is_set)
    await operator.kill()
    assert config_map(world) is not None

    world.apply(user_manifest())
    await world.start(SLOWLY)
    await world.until(lambda: config_map(world) is None)


async def test_a_plan_tells_of_settings_without_making_them(world: Ground):
    made = manifest()
    made["metadata"]["annotations"] = {"elasticache-iam.dev/plan-only": "true"}
    await start(world, made)

    await world.until(lambda: (world.kube.get(*USER) or {})["status"].get("plan"))

    plan = (world.kube.get(*USER) or {})["status"]["plan"]
    assert [line for line in plan if "ConfigMap" in line and "shop/settings" in line and "HOST" in line]
    assert config_map(world) is None
