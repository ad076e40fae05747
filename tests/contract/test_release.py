"""What a release consists of: built from the commit alone, twice the same, with one version everywhere."""

import hashlib
import json
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAME = "elasticache-iam-operator"
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "AWS policy", "Known gaps"]


def script(name):
    return runpy.run_path(str(ROOT / "packaging" / name))


VERSIONS = script("version.py")
VERSION = VERSIONS["version"]()


@pytest.mark.parametrize("path", VERSIONS["PLACES"])
def test_the_version_is_the_packages(path):
    assert VERSIONS["stamped"](path) == (ROOT / path).read_text(encoding="utf-8")  # run `make version`


def test_install_yaml_has_the_version():
    text = (ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8")

    found = set(re.findall(rf'app\.kubernetes\.io/version: "(.+)"|image: "{NAME}:(.+)"', text))

    assert found == {(VERSION, ""), ("", VERSION)}


@pytest.mark.parametrize("version", ["0.2.0", "1.10.3-rc.1"])
def test_another_version_gets_everywhere(version, monkeypatch):
    for path in VERSIONS["PLACES"]:
        monkeypatch.setitem(VERSIONS["stamped"].__globals__, "version", lambda: version)

        assert version in VERSIONS["stamped"](path)
        assert f"{NAME}:{VERSION}" not in VERSIONS["stamped"](path)


# -- the changelog -----------------------------------------------------------------------------------------------------


def test_the_changelog_is_one():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(script("changelog.py")["HEADING"].finditer(text))

    assert headings[0]["version"] == "Unreleased"
    assert re.findall(r"(?m)^## .*$", text) == [heading[0] for heading in headings]
    assert set(re.findall(r"(?m)^### (.*)$", text)) <= set(SECTIONS)
    dated = [heading["date"] for heading in headings[1:]]
    assert all(dated)
    assert dated == sorted(dated, reverse=True)


def test_the_changelog_speaks_of_this_version():
    parts = script("changelog.py")["parts"]()

    assert VERSION in parts or f"To become {VERSION}." in parts["Unreleased"]


def test_a_release_without_notes_is_refused():
    answer = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, ROOT / "packaging" / "changelog.py", "9.9.9"], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 2
    assert "nothing about 9.9.9" in answer.stderr


# -- the files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "dist"
    answer = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, ROOT / "packaging" / "release.py", folder, "--without-image"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


def test_a_release_has_all_its_files(dist):
    package = f"elasticache_iam_operator-{VERSION}"
    assert {path.name for path in dist.iterdir()} == {
        f"{NAME}-{VERSION}.tgz",
        f"{NAME}-aws-{VERSION}.tar.gz",
        f"{package}-py3-none-any.whl",
        f"{package}.tar.gz",
        "install.yaml",
        "crds.yaml",
        "argocd-cm.yaml",
        "krew.yaml",
        "kubectl-elasticache_iam.zip",
        "SHA256SUMS",
    }


def test_the_sums_are_those_of_the_files(dist):
    listed = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())

    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir() if path.name != "SHA256SUMS"
    }


def test_the_package_has_the_version_and_the_code(dist):
    with zipfile.ZipFile(dist / f"elasticache_iam_operator-{VERSION}-py3-none-any.whl") as wheel:
        metadata = wheel.read(f"elasticache_iam_operator-{VERSION}.dist-info/METADATA").decode()
        names = wheel.namelist()

    assert f"\nVersion: {VERSION}\n" in metadata
    assert {"elasticache_iam/client/__init__.py", "elasticache_iam/__main__.py"} <= set(names)


def test_the_chart_has_the_version(dist):
    with tarfile.open(dist / f"{NAME}-{VERSION}.tgz") as archive:
        chart = yaml.safe_load(archive.extractfile(f"{NAME}/Chart.yaml"))

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_aws_side_keeps_the_script_executable(dist):
    with tarfile.open(dist / f"{NAME}-aws-{VERSION}.tar.gz") as archive:
        modes = {member.name: member.mode for member in archive}

    assert modes["aws/setup.sh"] == 0o755
    assert {"aws/cloudformation.yaml", "aws/terraform/main.tf"} <= modes.keys()


def test_the_plugin_for_krew_is_the_one_that_its_manifest_names(dist):
    (platform,) = yaml.safe_load((dist / "krew.yaml").read_text(encoding="utf-8"))["spec"]["platforms"]

    archive = dist / platform["uri"].rpartition("/")[2]
    assert platform["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"/v{VERSION}/" in platform["uri"]


def test_the_crds_are_both(dist):
    documents = list(yaml.safe_load_all((dist / "crds.yaml").read_text(encoding="utf-8")))

    assert sorted(document["spec"]["names"]["kind"] for document in documents) == ["ElastiCacheIAMUser", "UserGroup"]


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("42")

    with pytest.raises(Exception, match=r"holds something else, as thesis\.txt"):
        script("release.py")["empty"](tmp_path)

    assert (tmp_path / "thesis.txt").read_text() == "42"


# -- the image ---------------------------------------------------------------------------------------------------------


IMAGE_BUILDER = """
import json, os
from pathlib import Path

root, cache = Path(__file__).parents[2], Path(os.environ["XDG_CACHE_HOME"])
cache.mkdir()  # fails if there is anything of an earlier build
images = root / ".state" / "images"
images.mkdir(parents=True)
settings = {name: os.environ[name] for name in ("BUILDER", "BASE", "RUNTIME", "IMAGE", "SOURCE_DATE_EPOCH")}
files = sorted(str(path.relative_to(root)) for path in (root / "operator").rglob("*"))
images.joinpath("operator.tar").write_text(json.dumps([settings, files]) + EXTRA)
images.joinpath("sbom.json").write_text("{}")
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of which `release.py` builds, with a builder of images that only writes down what it was given."""
    root = tmp_path / "repository"
    for path in ("packaging/version.py", "pyproject.toml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text((ROOT / path).read_text(encoding="utf-8"))
    (root / "operator").mkdir()
    (root / "operator" / "committed.py").touch()
    release = script("release.py")
    monkeypatch.setitem(release["build_twice"].__globals__, "ROOT", root)

    def commit(extra):
        (root / "packaging" / "image").mkdir()
        (root / "packaging" / "image" / "build.py").write_text(IMAGE_BUILDER.replace("EXTRA", extra))
        release["git"]("init", "-q")
        release["git"]("add", ".")
        release["git"]("-c", "user.name=x", "-c", "user.email=x@example", "commit", "-q", "-m", "x")
        (root / "operator" / "uncommitted.py").touch()
        return release

    return commit


def test_the_image_is_built_of_the_commit_on_the_bases_that_everybody_has(repository, tmp_path, monkeypatch):
    for name in ("BUILDER", "BASE", "RUNTIME", "IMAGE"):
        monkeypatch.setenv(name, "of-this-machine")
    release = repository("''")

    release["build_twice"](tmp_path / "dist", release["build_image"])

    dist = tmp_path / "dist"
    image, bill = (f"{NAME}-image-{VERSION}.{ending}" for ending in ("tar", "sbom.json"))
    assert {path.name for path in dist.iterdir()} == {image, bill, "SHA256SUMS"}
    epoch = release["git"]("log", "-1", "--format=%ct")
    settings = {"BUILDER": "buildah", "BASE": "", "RUNTIME": "", "IMAGE": "", "SOURCE_DATE_EPOCH": epoch}
    assert json.loads((dist / image).read_text()) == [settings, ["operator/committed.py"]]
    assert image in (dist / "SHA256SUMS").read_text()


def test_an_image_that_comes_out_differently_the_second_time_is_no_release(repository, tmp_path):
    release = repository("os.urandom(8).hex()")

    with pytest.raises(Exception, match=rf"differ in {NAME}-image-{VERSION}\.tar$"):
        release["build_twice"](tmp_path / "dist", release["build_image"])

    assert not (tmp_path / "dist").exists()


def test_a_release_lacks_its_image_only_if_it_is_told_so(tmp_path):
    answer = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, ROOT / "packaging" / "release.py", tmp_path / "dist"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 2
    assert "the image needs buildah and debootstrap, missing here" in answer.stderr
    assert "--without-image" in answer.stderr
    assert not (tmp_path / "dist").exists()


# -- the workflows -----------------------------------------------------------------------------------------------------


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_people_run_and_pins_what_it_takes(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))

    assert workflow["permissions"] == {"contents": "read"}
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    as_root = 'sudo env "PATH=$PATH" "HOME=$HOME" '  # packages are installed, a node and images made: nobody else may
    commands = [step["run"].removeprefix(as_root) for step in steps if "run" in step]
    assert any(command in {".ci/run", "make release"} for command in commands)
    assert {word for command in commands for word in re.findall(r"^make ([a-z-]+)", command)} <= targets
    scripts = {word for command in commands for word in re.findall(r"(?:packaging|\.ci)/[\w./]+", command)}
    assert all((ROOT / name).exists() for name in scripts)


def test_the_workflow_of_a_release_gets_what_builds_the_image_before():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text(encoding="utf-8"))
    commands = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    (install,) = (number for number, command in enumerate(commands) if "apt-get install" in command)
    (release,) = (number for number, command in enumerate(commands) if command.endswith("make release"))

    assert install < release
    assert all(command.startswith("sudo ") for command in (commands[install], commands[release]))
    assert set(script("release.py")["BUILDERS"]) <= set(commands[install].split())


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yaml")), ids=lambda path: path.stem
)
def test_an_issue_form_is_one(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
