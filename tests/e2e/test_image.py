"""What `make image` wrote down about the image that runs here. Needs no cluster."""

import json
import os
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[2] / ".state" / "images"
LARGEST = 40_000_000
"""Bytes, compressed, on Debian's packages; it has 36 MB."""


@pytest.fixture(scope="module")
def facts():
    """The facts of the image under test, if it was built here on Debian's packages."""
    path = IMAGES / "operator.json"
    facts = json.loads(path.read_text()) if path.exists() else {}
    if not facts or os.environ.get("IMAGE") not in {None, facts["image"]}:
        pytest.skip("the image wasn't built here")
    return facts


@pytest.fixture(scope="module")
def components(facts):
    """The names of what its bill of materials lists, by whose packages they are."""
    bill = json.loads((IMAGES / "sbom.json").read_text())
    assert bill["metadata"]["component"]["name"] == facts["image"]
    assert all(component["version"] for component in bill["components"])
    found = {"debian": set(), "python": set()}
    for component in bill["components"]:
        found["debian" if component["bom-ref"].startswith("pkg:deb/") else "python"].add(component["name"])
    return found


def test_the_image_is_small(facts, components):
    if "bash" in components["debian"]:
        pytest.skip("it stands on another base")

    assert facts["compressed_bytes"] < LARGEST


def test_the_bill_of_materials_lists_pythons_and_debians_packages(components):
    assert {"elasticache-iam-operator", "boto3", "botocore", "kopf", "kubernetes"} <= components["python"]
    assert {"libc6", "zlib1g"} <= components["debian"]
