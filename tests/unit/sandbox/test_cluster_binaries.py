import fcntl
import os
import shutil
import threading
import time

import pytest

from elasticache_iam_sandbox.cluster import binaries
from elasticache_iam_sandbox.cluster.binaries import find_binaries, find_helm, find_node_binaries, module_version
from elasticache_iam_sandbox.cluster.errors import ClusterError

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")

FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo "$@" >> {calls}
while [ "$1" != -o ]; do shift; done
[ -z "{error}" ] || {{ echo "{error}"; exit 1; }}
echo built > "$2"; chmod +x "$2"
"""


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No assets, an empty cache, no go on PATH and no index to get one from."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "chmod").symlink_to(shutil.which("chmod"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


@pytest.fixture
def install_go(tmp_path):
    """Put a go on PATH that notes its calls and "builds" at once."""

    def install(version="go1.26.8", error=""):
        go = tmp_path / "bin" / "go"
        go.write_text(FAKE_GO.format(version=version, calls=tmp_path / "calls", error=error))
        go.chmod(0o755)
        return tmp_path / "calls"

    return install


def put_programs(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("ready-made")
        (folder / name).chmod(0o755)
    return folder


def test_the_assets_folder_comes_first(tmp_path, monkeypatch):
    folder = put_programs(tmp_path / "assets")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))

    found = find_binaries(pytest.fail)

    assert found.kube_controller_manager == folder / "kube-controller-manager"


def test_what_the_assets_folder_lacks_is_named(tmp_path, monkeypatch):
    folder = put_programs(tmp_path / "assets", names=("etcd", "kube-apiserver", "kubectl"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))

    with pytest.raises(ClusterError, match="has no kube-controller-manager"):
        find_binaries(pytest.fail)


def test_all_four_are_built_with_progress(install_go):
    calls = install_go()
    lines = []

    found = find_binaries(lines.append)

    assert [path.read_text() for path in (found.etcd, found.kubectl)] == ["built\n", "built\n"]
    assert len(calls.read_text().splitlines()) == 4
    assert lines[0].startswith(f"building kube-apiserver {module_version('kubernetes', 'k8s.io/kubernetes')} (1 of 4, ")


def test_what_is_built_once_is_not_built_again(install_go):
    calls = install_go()
    find_binaries(lambda _: None)
    calls.unlink()

    find_binaries(pytest.fail)

    assert not calls.exists()


def test_an_interrupted_build_goes_on_with_what_is_missing(install_go):
    calls = install_go()
    find_binaries(lambda _: None).etcd.unlink()
    calls.unlink()

    find_binaries(lambda _: None)

    assert [line.rpartition(" ")[2] for line in calls.read_text().splitlines()] == ["go.etcd.io/etcd/server/v3"]


def test_kubernetes_is_told_its_version(install_go):
    calls = install_go()

    find_binaries(lambda _: None)

    version = module_version("kubernetes", "k8s.io/kubernetes")
    assert f"k8s.io/component-base/version.gitVersion=v{version}" in calls.read_text().splitlines()[0]


def test_a_failed_build_tells_what_go_said_and_leaves_no_program(install_go, tmp_path):
    install_go(error="no space left on device")

    with pytest.raises(ClusterError, match=r"building kube-apiserver failed.*\n.*no space left on device"):
        find_binaries(lambda _: None)

    assert [path.name for path in tmp_path.glob("cache/elasticache-iam/bin/*/*") if os.access(path, os.X_OK)] == []


@pytest.mark.parametrize("version", [None, "go1.20.1"], ids=["no-go", "a-go-too-old"])
def test_without_go_the_error_says_how_to_get_it(install_go, version):
    if version is not None:
        install_go(version=version)

    with pytest.raises(ClusterError, match=r"install Go 1\.26\.0 or newer, or set KUBEBUILDER_ASSETS"):
        find_binaries(lambda _: None)


def test_two_runs_build_one_after_the_other(install_go, tmp_path):
    calls = install_go()
    folder = tmp_path / "cache" / "elasticache-iam" / "bin" / binaries._version_key()
    folder.mkdir(parents=True)
    lines = []
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=find_binaries, args=(lines.append,))
        second.start()
        while not lines:
            time.sleep(0.01)
        put_programs(folder)
    second.join(timeout=30)

    assert lines == ["waiting for another run that is building the same programs"]
    assert not calls.exists()


def test_every_kubernetes_module_is_of_one_version():
    go_mod = (binaries._GO_MODULES / "kubernetes" / "go.mod").read_text()
    minor_patch = module_version("kubernetes", "k8s.io/kubernetes").partition(".")[2]

    replaced = [line.split() for line in go_mod.splitlines() if "=>" in line]

    assert len(replaced) >= 30
    assert {fields[3] for fields in replaced} == {f"v0.{minor_patch}"}


def test_helm_is_built_only_when_asked_for(install_go):
    calls = install_go()

    find_binaries(lambda _: None)
    assert "helm.sh" not in calls.read_text()

    assert find_helm(lambda _: None).read_text() == "built\n"
    assert calls.read_text().splitlines()[-1].endswith(" helm.sh/helm/v4/cmd/helm")


def test_helm_is_told_its_version(install_go):
    calls = install_go()

    find_helm(lambda _: None)

    assert f"internal/version.version=v{module_version('helm', 'helm.sh/helm/v4')}" in calls.read_text()


@pytest.mark.parametrize(("version", "is_taken"), [("v4.1.0", True), ("v3.19.0", False)], ids=["helm-4", "helm-3"])
def test_a_helm_on_path_is_taken_if_it_is_new_enough(install_go, tmp_path, version, is_taken):
    install_go()
    helm = tmp_path / "bin" / "helm"
    helm.write_text(f"#!/bin/sh\necho {version}\n")
    helm.chmod(0o755)

    found = find_helm(lambda _: None)

    assert (found == helm) is is_taken


def test_without_go_and_helm_the_error_says_how_to_get_helm():
    with pytest.raises(ClusterError, match=r"or put helm 4 on PATH"):
        find_helm(lambda _: None)


def test_a_nodes_programs_are_built_beside_the_control_planes_and_only_when_asked_for(tmp_path, install_go):
    calls = install_go()
    programs = find_binaries(lambda _: None)

    node = find_node_binaries(lambda _: None)

    built = [line.rsplit("/", 1)[-1] for line in calls.read_text().splitlines()]
    assert built[-2:] == ["kube-scheduler", "kubelet"]
    assert "kubelet" not in built[:-2]
    assert node.kubelet.parent == node.kube_scheduler.parent == programs.etcd.parent


def test_a_nodes_programs_are_built_where_the_assets_of_envtest_have_none(tmp_path, install_go, monkeypatch):
    install_go()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(put_programs(tmp_path / "assets")))

    assert find_node_binaries(lambda _: None).kubelet.exists()
