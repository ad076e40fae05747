"""Pods that take a Secret where it never updates are told of; nobody else is."""

from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core.errors import AccessDeniedError, UnavailableError
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.reconcile.user.consumers import uses_of

USER = (USERS, "shop", "checkout")
PASSWORD = {"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "checkout", "key": "password"}}}
HOST = {"name": "REDIS_HOST", "valueFrom": {"secretKeyRef": {"name": "checkout", "key": "host"}}}
MOUNT = {"name": "redis", "mountPath": "/redis"}
VOLUME = {"name": "redis", "secret": {"secretName": "checkout"}}
PROJECTED = {"name": "redis", "projected": {"sources": [{"secret": {"name": "checkout"}}]}}


def pod(name: str = "web-7d9f-x", *, namespace: str = "shop", deployment: str = "web", **spec: Any) -> Manifest:
    owner = {"kind": "ReplicaSet", "name": f"{deployment}-7d9f", "controller": True}
    metadata = {"name": name, "labels": {"pod-template-hash": "7d9f"}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "namespace": namespace}, "spec": spec}


def with_container(**container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", **container}]}


def by_env(name: str = "web-7d9f-x", **where: str) -> Manifest:
    return pod(name, **where, **with_container(env=[PASSWORD]))


def message(world: Ground) -> str:
    return str((world.condition(*USER, "TokenDelivered") or {"message": ""})["message"])


def events(world: Ground) -> list[str]:
    return [event["note"] for event in world.kube.events if event["reason"] == "StaleConsumer"]


def listings(world: Ground) -> int:
    return len([call for call in world.kube.calls if call.resource == "pods"])


async def start(world: Ground, *manifests: Manifest) -> Operator:
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), *(manifests or (user_manifest(),)))
    return operator


BAD = {
    "env": (with_container(env=[PASSWORD]), "container app: env REDIS_PASSWORD"),
    "env-of-an-init-container": (
        {"initContainers": [{"name": "wait", "env": [PASSWORD]}]},
        "container wait: env REDIS_PASSWORD",
    ),
    "env-from": (with_container(envFrom=[{"secretRef": {"name": "checkout"}}]), "container app: envFrom"),
    "sub-path": (
        {**with_container(volumeMounts=[{**MOUNT, "subPath": "password"}]), "volumes": [VOLUME]},
        "container app: subPath password",
    ),
    "sub-path-of-a-projected-volume": (
        {**with_container(volumeMounts=[{**MOUNT, "subPathExpr": "$(KEY)"}]), "volumes": [PROJECTED]},
        "container app: subPath $(KEY)",
    ),
}
GOOD = {
    "files": {**with_container(volumeMounts=[MOUNT]), "volumes": [VOLUME]},
    "projected-files": {**with_container(volumeMounts=[MOUNT]), "volumes": [PROJECTED]},
    "a-key-that-lasts-by-env": with_container(env=[HOST]),
    "a-file-that-lasts-by-sub-path": {
        **with_container(volumeMounts=[{**MOUNT, "subPath": "ca.crt"}]),
        "volumes": [VOLUME],
    },
    "another-secret": with_container(
        envFrom=[{"secretRef": {"name": "other"}}, {"configMapRef": {"name": "checkout"}}]
    ),
    "a-value": with_container(env=[{"name": "A", "value": "checkout"}]),
    "nothing": {},
}


@pytest.mark.parametrize(("spec", "how"), BAD.values(), ids=BAD)
async def test_who_takes_it_once_and_for_all_is_named_and_the_user_stays_ready(
    world: Ground, spec: dict[str, Any], how: str
):
    world.kube.put(pod(**spec))
    await start(world)
    await world.until(lambda: "Warning" in message(world))
    await world.until_ready()

    told = f"Secret checkout never updates in Deployment web ({how}): mount it as files, without subPath"
    assert message(world) == f"a token is in Secret checkout. Warning: {told}"
    assert events(world) == [told]
    assert world.conditions(*USER)["TokenDelivered"] == ("True", "Delivered")


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
async def test_who_takes_it_right_is_not(world: Ground, spec: dict[str, Any]):
    world.kube.put(pod(**spec))
    operator = await start(world)
    await world.until_ready()
    await world.until_quiet(operator)

    assert listings(world) == 1
    assert message(world) == "a token is in Secret checkout"
    assert events(world) == []


async def test_a_key_of_a_template_counts_as_one_that_changes(world: Ground):
    world.kube.put(pod(**with_container(env=[HOST])))
    await start(world, user_manifest(delivery={"secret": {"template": {"host": "{{ password }}"}}}))

    await world.until(lambda: "env REDIS_HOST" in message(world))


async def test_one_listing_serves_all_users_of_a_namespace_for_an_hour(world: Ground):
    world.kube.put(by_env())
    operator = await start(world, user_manifest(), user_manifest("billing"))
    await world.until_ready()
    await world.until_ready(name="billing")
    for key in operator.plane.store.all_keys() * 3:
        await operator.work(key)
    assert listings(world) == 1

    world.kube.delete("pods", "shop", "web-7d9f-x")
    await world.later(lambda: "Warning" not in message(world), step_s=600)

    assert listings(world) == 2
    assert len(events(world)) == 1


async def test_the_same_pods_are_told_once_also_after_a_restart(world: Ground):
    world.kube.put(by_env())
    first = await start(world)
    await world.until(lambda: "Warning" in message(world))
    await world.until_quiet(first)
    await first.kill()

    second = await world.start()
    await world.until(lambda: listings(world) == 2)
    await world.until_quiet(second)

    assert len(events(world)) == 1


async def test_pods_that_have_ended_or_are_elsewhere_do_not_count(world: Ground):
    world.kube.put({**by_env("done"), "status": {"phase": "Succeeded"}})
    world.kube.put(by_env(namespace="web"))
    operator = await start(world)
    await world.until_ready()
    await world.until_quiet(operator)

    assert events(world) == []


async def test_without_the_right_nobody_is_warned_and_nothing_else_changes(world: Ground):
    world.kube.put(by_env())
    world.kube.fail_next("list_pods", AccessDeniedError("pods is forbidden"), times=99)
    operator = await start(world)
    await world.until_ready()
    for key in operator.plane.store.all_keys() * 3:
        await operator.work(key)

    assert listings(world) == 1
    assert message(world) == "a token is in Secret checkout"


async def test_a_listing_that_failed_is_made_up_for(world: Ground):
    world.kube.put(by_env())
    world.kube.fail_next("list_pods", UnavailableError("no answer"))
    await start(world)
    await world.until_ready()

    await world.later(lambda: "Warning" in message(world))


async def test_of_many_only_some_are_named(world: Ground):
    for number in range(5):
        world.kube.put(by_env(f"web{number}", deployment=f"web{number}"))
    await start(world)

    await world.until(lambda: "Deployment web2 (container app: env REDIS_PASSWORD) and 2 more" in message(world))


@pytest.mark.parametrize(
    ("metadata", "workload"),
    [
        ({"name": "one"}, "Pod one"),
        (
            {"name": "a", "ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]},
            "StatefulSet db",
        ),
        (
            {"name": "a", "ownerReferences": [{"kind": "ReplicaSet", "name": "x-1", "controller": True}]},
            "ReplicaSet x-1",
        ),
        ({"name": "a", "ownerReferences": [{"kind": "Thing", "name": "x"}]}, "Pod a"),
    ],
)
def test_what_a_person_would_edit_is_named(metadata: dict[str, Any], workload: str):
    ((secret, use),) = uses_of({"metadata": metadata, "spec": with_container(env=[PASSWORD])})

    assert (secret, use.workload) == ("checkout", workload)
