"""A preview's ports have all that the real ones have, so that no write can slip through or be forgotten."""

import inspect

import pytest

from elasticache_iam.ports import Aws, Kube, PodIdentity
from elasticache_iam.reconcile.preview.aws import PreviewAws
from elasticache_iam.reconcile.preview.kube import PreviewKube
from elasticache_iam.reconcile.preview.pod_identity import PreviewPodIdentity
from elasticache_iam.runtime.planning import ManifestKube


def methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(value)
    }


@pytest.mark.parametrize(
    ("port", "preview"),
    [(Aws, PreviewAws), (Kube, PreviewKube), (Kube, ManifestKube), (PodIdentity, PreviewPodIdentity)],
    ids=["aws", "kube", "manifests", "pod-identity"],
)
def test_a_preview_takes_every_call_of_its_port(port: type, preview: type):
    asked, there = methods(port), methods(preview)

    assert asked.keys() <= there.keys()
    assert {name: list(asked[name].parameters) for name in asked} == {
        name: list(there[name].parameters) for name in asked
    }
