"""The manifests for GitOps: kustomize renders them, and their values are the chart's and the configuration's."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.contract.chart import with_defaults

from elasticache_iam.runtime.config import load_config
from elasticache_iam_sandbox.cluster.binaries import find_binaries

ROOT = Path(__file__).parents[2]
GITOPS = ROOT / "examples" / "gitops"
NAME = "elasticache-iam-operator"


def kustomize(folder):
    kubectl = find_binaries(print).kubectl
    answer = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=True)  # noqa: S603  # ours
    return {identity(document): document for document in yaml.safe_load_all(answer.stdout)}


def identity(document):
    metadata = document["metadata"]
    return document["apiVersion"], document["kind"], metadata.get("namespace", ""), metadata["name"]


def only(documents, kind, name):
    (found,) = (document for (_, a_kind, _, a_name), document in documents.items() if (a_kind, a_name) == (kind, name))
    return found


@pytest.fixture(scope="module")
def overlay():
    return kustomize(GITOPS / "kustomize")


def test_the_base_is_install_yaml():
    text = (ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8")
    installed = [document for document in yaml.safe_load_all(text) if document]

    rendered = kustomize(ROOT / "packaging")

    assert rendered == {identity(document): document for document in installed}
    assert len(rendered) == len(installed)


def test_the_overlay_sets_the_image(overlay):
    (container,) = only(overlay, "Deployment", NAME)["spec"]["template"]["spec"]["containers"]

    assert container["image"].startswith(f"registry.example/{NAME}:")


def test_the_overlays_configuration_is_one(overlay, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(only(overlay, "ConfigMap", f"{NAME}-config")["data"]["config.yaml"])

    config = load_config(path)

    assert (config.owner, config.cluster_name) == ("prod", "main")


def test_the_overlay_gives_the_operator_its_role(overlay):
    annotations = only(overlay, "ServiceAccount", NAME)["metadata"]["annotations"]

    assert annotations["eks.amazonaws.com/role-arn"].endswith(f":role/{NAME}")


def test_the_overlay_changes_nothing_else(overlay):
    changed = {key[1] for key, document in kustomize(ROOT / "packaging").items() if overlay[key] != document}

    assert changed == {"Deployment", "ConfigMap", "ServiceAccount"}


@pytest.mark.parametrize(
    ("file", "kind", "path"),
    [
        ("argocd/operator.yaml", "Application", ("source", "helm", "valuesObject")),
        ("flux/operator.yaml", "HelmRelease", ("values",)),
    ],
)
def test_the_charts_values_are_valid(file, kind, path):
    schema = json.loads((ROOT / "charts" / NAME / "values.schema.json").read_text(encoding="utf-8"))
    documents = yaml.safe_load_all((GITOPS / file).read_text(encoding="utf-8"))
    (values,) = (document["spec"] for document in documents if document["kind"] == kind)
    for key in path:
        values = values[key]

    jsonschema.validate(with_defaults(values), schema)


def test_the_page_shows_the_overlay_as_it_is():
    page = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")

    assert (GITOPS / "kustomize" / "kustomization.yaml").read_text(encoding="utf-8") in page


def test_the_applications_folder_is_a_kustomization():
    kinds = [kind for _, kind, _, _ in kustomize(GITOPS / "orders")]

    assert sorted(kinds) == [
        "Deployment",
        "ElastiCacheIAMUser",
        "Namespace",
        "Namespace",
        "ServiceAccount",
        "UserGroup",
    ]
