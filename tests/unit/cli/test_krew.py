"""The kubectl plugin: krew's manifest, its archive, and the launcher within."""

import hashlib
import io
import os
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.builders import load_script

ROOT = Path(__file__).resolve().parents[3]
PACKAGING = ROOT / "packaging"
BUILDER = PACKAGING / "build_krew.py"
LAUNCHER = PACKAGING / "krew" / "kubectl-elasticache_iam"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((PACKAGING / "krew.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def archive():
    return load_script(BUILDER).build_archive()


def test_the_manifest_is_of_todays_version_and_archive():
    text = (PACKAGING / "krew.yaml").read_text(encoding="utf-8")

    assert text == load_script(BUILDER).render_manifest(text)  # else: python packaging/build_krew.py


def test_the_manifest_has_what_krew_asks_for(manifest):
    # https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/, and krew's own validation
    spec = manifest["spec"]
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert manifest["kind"] == "Plugin"
    assert re.fullmatch(r"[a-z0-9-]+", manifest["metadata"]["name"])
    assert spec["version"] == f"v{PROJECT['version']}"
    assert 0 < len(spec["shortDescription"]) <= 50
    assert "\n" not in spec["shortDescription"]
    for platform in spec["platforms"]:
        assert platform["uri"].startswith("https://")
        assert spec["version"] in platform["uri"]
        assert platform["selector"]["matchExpressions"]
        assert platform["bin"] in {entry["from"] for entry in platform["files"]}


def test_the_checksum_is_the_archives(manifest, archive):
    assert {platform["sha256"] for platform in manifest["spec"]["platforms"]} == {hashlib.sha256(archive).hexdigest()}


def test_the_plugin_is_found_under_the_name_that_kubectl_looks_for(manifest, archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in content.infolist()}

    name = f"kubectl-{manifest['metadata']['name'].replace('-', '_')}"
    assert modes == {name: 0o755, "LICENSE": 0o644}
    assert name in PROJECT["scripts"]


def launch(folder, *arguments):
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(  # noqa: S603  # our own launcher
        [LAUNCHER, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def test_the_launcher_hands_everything_on(tmp_path):
    program = tmp_path / "elasticache-iam"
    program.write_text('#!/bin/sh\necho "$ELASTICACHE_IAM_PROGRAM|$1|$2"\nexit 3\n', encoding="utf-8")
    program.chmod(0o755)

    done = launch(tmp_path, "status", "a b")

    assert (done.returncode, done.stdout) == (3, "kubectl elasticache-iam|status|a b\n")


def test_the_launcher_says_what_to_install(tmp_path):
    done = launch(tmp_path, "status")

    assert done.returncode == 2
    assert done.stderr.endswith("or in a clone: pipx install '.[operator,cli]'\n")
    assert len(done.stderr.splitlines()) == 1


def test_the_launcher_may_be_run():
    assert os.access(LAUNCHER, os.X_OK)
