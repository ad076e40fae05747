"""Manifests over what a cluster has."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.builders import group_manifest

from elasticache_iam.core.errors import NotLeaderError
from elasticache_iam.runtime.manifests import Manifests
from elasticache_iam.runtime.planning import UNKNOWN_UID, ManifestKube, merge_manifest
from elasticache_iam.runtime.resources import ReadOnly

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def known(**metadata: Any) -> dict[str, Any]:
    manifest = group_manifest()
    base = {"uid": "u-1", "generation": 3, "resourceVersion": "7", "finalizers": ["f"], "annotations": {"a": "1"}}
    return {**manifest, "metadata": {**manifest["metadata"], **base, **metadata}, "status": {"id": "demo-orders"}}


def test_a_new_resource_gets_what_the_cluster_would_give_it():
    body = merge_manifest(group_manifest(), None, now=NOW, is_deletion=False)

    assert body["metadata"]["uid"] == UNKNOWN_UID
    assert body["metadata"]["creationTimestamp"] == "2026-01-02T00:00:00Z"
    assert body["metadata"]["generation"] == 1


def test_a_known_resource_keeps_its_identity_and_status():
    body = merge_manifest(group_manifest(engine="valkey"), known(), now=NOW, is_deletion=False)

    assert (body["metadata"]["uid"], body["metadata"]["generation"]) == ("u-1", 4)
    assert body["status"] == {"id": "demo-orders"}
    assert body["spec"]["engine"] == "valkey"


def test_the_same_again_is_no_new_generation():
    assert merge_manifest(group_manifest(), known(), now=NOW, is_deletion=False)["metadata"]["generation"] == 3


def test_annotations_are_added_as_apply_does():
    manifest = group_manifest()
    manifest["metadata"]["annotations"] = {"b": "2"}

    body = merge_manifest(manifest, known(), now=NOW, is_deletion=False)

    assert body["metadata"]["annotations"] == {"a": "1", "b": "2"}


def test_deleting_goes_by_what_is_in_the_cluster():
    body = merge_manifest(group_manifest(engine="valkey"), known(), now=NOW, is_deletion=True)

    assert body["metadata"]["deletionTimestamp"] == "2026-01-02T00:00:00Z"
    assert body["spec"]["engine"] == "redis"


async def test_without_a_cluster_a_service_account_counts_as_there():
    kube = ManifestKube(None, Manifests())

    assert await kube.get_service_account_annotations("shop", "checkout") == {}
    assert await kube.get_namespace_labels("shop") == {"kubernetes.io/metadata.name": "shop"}
    assert await kube.is_namespace_ending("shop") is False
    assert [body async for body in kube.list_resources("usergroups")] == []


async def test_what_the_manifests_bring_along_is_there():
    kube = ManifestKube(
        None, Manifests(namespaces={"shop": {"team": "x"}}, service_accounts={("shop", "a"): {"r": "1"}})
    )

    assert (await kube.get_namespace_labels("shop"))["team"] == "x"
    assert await kube.get_service_account_annotations("shop", "a") == {"r": "1"}


async def test_nothing_can_be_written():
    kube = ManifestKube(None, Manifests())

    with pytest.raises(NotLeaderError):
        ReadOnly().check()
    for write in (
        kube.patch_status("usergroups", "a", "b", uid="", status={}),
        kube.set_finalizers("usergroups", "a", "b", resource_version="", finalizers=()),
        kube.delete_secret("a", "b", uid=""),
        kube.reclaim_secret("a", "b", body={}),
        kube.annotate_service_account("a", "b", {}),
        kube.create_event("a", {}),
    ):
        with pytest.raises(NotLeaderError):
            await write
