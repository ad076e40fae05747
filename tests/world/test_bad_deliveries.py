"""What can be wrong with a delivery: each is told on its own resource, and holds up nobody else."""

from typing import Any

import pytest
from tests.builders import ACCOUNT, REGION, Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.reconcile.queue import USERS

CA = "-----BEGIN CERTIFICATE-----" + "x" * 30000


def user(name: str = "checkout", /, **secret: Any) -> Manifest:
    return user_manifest(name, service_account="checkout", delivery={"secret": secret})


def delivered(world: Ground, name: str = "checkout") -> Any:
    return world.conditions(USERS, "shop", name).get("TokenDelivered")


def message(world: Ground, name: str = "checkout", *, of: str = "TokenDelivered") -> str:
    return str(world.condition(USERS, "shop", name, of)["message"])


async def start(world: Ground, *users: Manifest, caches: tuple[str, ...] = ("orders-prod",)) -> Operator:
    for cache in caches:
        world.add_cache(cache)
    operator = await world.start({"cacheCA": CA})
    world.apply(group_manifest(caches=caches), *users)
    return operator


@pytest.mark.parametrize(
    ("holder", "comer", "caches"),
    [
        pytest.param(user("first", name="tokens"), user("second", name="tokens"), ("a-prod",), id="two-chosen-names"),
        pytest.param(user("first", name="second"), user("second"), ("a-prod",), id="a-chosen-name-and-a-resource"),
        pytest.param(
            user("first"), user("second", name="first.cache2"), ("a-prod", "b-prod"), id="a-chosen-name-and-an-alias"
        ),
    ],
)
async def test_of_two_that_want_one_secret_the_second_is_told_of_the_first(
    world: Ground, holder: Manifest, comer: Manifest, caches: tuple[str, ...]
):
    await start(world, holder, caches=caches)
    await world.until_ready(name="first")
    before = {name: (world.kube.secret(*name) or {}).get("username") for name in world.kube.secret_names()}

    world.apply(comer)
    await world.until(lambda: delivered(world, "second") == ("False", "SecretConflict"))

    assert "exists and isn't this resource's: it is that of ElastiCacheIAMUser first" in message(world, "second")
    for name, username in before.items():
        assert (world.kube.secret(*name) or {})["username"] == username
    assert world.is_ready(name="first")


async def test_a_name_that_becomes_free_is_taken(world: Ground):
    await start(world, user("first", name="second"))
    await world.until_ready(name="first")
    world.apply(user("second"))
    await world.until(lambda: delivered(world, "second") == ("False", "SecretConflict"))

    world.kube.delete(USERS, "shop", "first")

    await world.later(lambda: world.is_ready(name="second"))


async def test_a_secret_that_would_be_too_large_is_told_by_its_key(world: Ground):
    template = {f"K{number}": "{{ ca }}{{ ca }}" for number in range(20)}
    await start(world, user(template=template))
    await world.until(lambda: delivered(world) == ("False", "TemplateInvalid"))

    assert message(world).startswith("the templates make more than 262144 bytes; key 'K")
    assert world.kube.secret_names() == []

    world.apply(user(template={"K": "{{ ca }}"}))
    await world.later(world.is_ready)


BROKEN = {
    "a-loop": ("{% for i in (1..9) %}{% endfor %}", "isn't valid: unexpected tag 'for'"),
    "an-unknown-variable": ("{{ pasword }}", "uses pasword; there are only "),
    "not-closed": ("{{ host", "isn't valid: a {{ isn't closed"),
    "too-much-work": (
        "{% assign x = ca %}{% assign x = x | append: '%' %}" + "{{ x | url_encode | slice: 0 }}" * 9,
        "is too much work, all keys together",
    ),
    "an-unknown-filter": ("{{ host | shout }}", "uses the filters shout; there are only "),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
async def test_a_template_that_can_not_work_is_told_by_its_key(world: Ground, text: str, why: str):
    await start(world, user(template={"URL": text}))
    await world.until(lambda: delivered(world) == ("False", "TemplateInvalid"))

    assert message(world).startswith(f"the template of key 'URL' {why}")
    assert world.conditions(USERS, "shop", "checkout")["Stalled"] == ("True", "TemplateInvalid")


async def test_a_template_that_breaks_leaves_the_last_token_and_its_ca_in_place(world: Ground):
    await start(world, user())
    await world.until_ready()
    before = world.kube.secret("shop", "checkout")

    world.apply(user(template={"URL": "{{ host"}))
    await world.until(lambda: delivered(world) == ("False", "TemplateInvalid"))

    assert world.kube.secret("shop", "checkout") == before


async def test_a_secret_made_immutable_says_what_to_do_and_is_back_after_that(world: Ground):
    await start(world, user())
    await world.until_ready()
    world.kube.put({**(world.kube.get("secrets", "shop", "checkout") or {}), "immutable": True})

    world.pass_time(460)
    await world.until(lambda: delivered(world) == ("False", "MadeImmutable"))

    world.kube.delete("secrets", "shop", "checkout")
    await world.later(lambda: delivered(world) == ("True", "Delivered"))
    assert world.kube.secret("shop", "checkout") is not None


async def test_a_cache_without_an_endpoint_is_told_and_waited_for(world: Ground):
    world.add_cache("orders-prod", host="")
    await world.start()
    world.apply(group_manifest(), user())
    await world.until(
        lambda: world.conditions(USERS, "shop", "checkout").get("MembershipSynced") == ("False", "NoEndpoint")
    )

    assert "AWS shows no endpoint of cache main" in message(world, of="MembershipSynced")
    assert world.kube.secret_names() == []

    with world.aws.lock:
        (cache,) = world.world._state.accounts[ACCOUNT].region(REGION).caches.values()
        cache.host = "127.0.0.1"
    await world.later(world.is_ready)


async def test_nothing_of_that_holds_up_anybody_else(world: Ground):
    world.kube.put(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "foreign"}, "data": {}}
    )
    bad = [
        user("foreign"),
        user("clashing", name="foreign"),
        user("large", template={f"K{number}": "{{ ca }}{{ ca }}" for number in range(20)}),
        *(user(f"broken{number}", template={"URL": text}) for number, (text, _) in enumerate(BROKEN.values())),
    ]
    await start(world, *bad)
    await world.until(lambda: all((delivered(world, one["metadata"]["name"]) or "?")[0] == "False" for one in bad))

    world.apply(user("good"))
    await world.until_ready(name="good")
    good = world.kube.secret("shop", "good") or {}
    world.pass_time(460)

    await world.until(lambda: (world.kube.secret("shop", "good") or {})["password"] != good["password"])
