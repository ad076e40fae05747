"""Builds all that a release consists of, from the commit that is checked out, twice, and takes it only if both are the same.

    make release [DIST=dist] [ARGS=--without-image] [DEBIAN_MIRROR=http://…]

Wheel, source distribution, the chart as an archive, install.yaml, crds.yaml, Argo CD's configuration, the AWS side,
the kubectl plugin for krew, the image with its bill of materials, and SHA256SUMS. What isn't committed is no part of it.

The image is made by buildah, as root, on bases of Debian's packages (packaging/image/base.sh), which are made twice, too.
"""

import argparse
import gzip
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from elasticache_iam_sandbox.cluster.binaries import find_helm
from elasticache_iam_sandbox.cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]
NAME = "elasticache-iam-operator"
CHART = Path("charts") / NAME
SUMS = "SHA256SUMS"
BUILDERS = ("buildah", "debootstrap")

Step = Callable[[Path, Path, str], None]
"""Puts its files into a folder: of the commit's files, the folder, the commit's time in seconds since 1970."""


class ReleaseError(Exception):
    """What is wrong, and what to do about it."""


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


def run(*command: str | Path, folder: Path | None = None, environment: dict[str, str] | None = None) -> bytes:
    answer = subprocess.run(command, cwd=folder or ROOT, env=os.environ | (environment or {}), capture_output=True, check=False)
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).decode(errors="replace").strip().splitlines()[-5:]
        raise ReleaseError(f"{Path(command[0]).name} {command[1]} failed:\n" + "\n".join(said))
    return answer.stdout


def git(*arguments: str) -> str:
    return run("git", *arguments).decode().strip()


def export(folder: Path) -> None:
    """Put the commit's files there: nothing else can get into the artefacts."""
    packed = folder.with_suffix(".tar")
    run("git", "archive", f"--output={packed}", "HEAD")
    run("tar", "-xf", packed, "-C", folder)
    packed.unlink()


def version_of(source: Path) -> str:
    return str(runpy.run_path(str(source / "packaging" / "version.py"))["version"]())


def build_files(source: Path, target: Path, epoch: str) -> None:
    """Build everything but the image."""
    helm = find_helm(say)
    environment = {"SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0"}
    run(sys.executable, "-m", "hatchling", "build", "-d", target, folder=source, environment=environment)
    run(helm, "package", source / CHART, "-d", target, environment=environment | _helm_settings(target.parent))
    shutil.copyfile(source / "packaging" / "install.yaml", target / "install.yaml")
    shutil.copyfile(source / "packaging" / "argocd" / "argocd-cm.yaml", target / "argocd-cm.yaml")
    definitions = [path.read_text(encoding="utf-8") for path in sorted((source / "crds").glob("*.yaml"))]
    (target / "crds.yaml").write_text("".join(f"---\n{text.removeprefix('---').lstrip()}" for text in definitions))
    run(sys.executable, source / "packaging" / "build_krew.py", target)
    shutil.copyfile(source / "packaging" / "krew.yaml", target / "krew.yaml")
    pack(source / "packaging" / "aws", target / f"{NAME}-aws-{version_of(source)}.tar.gz", epoch=int(epoch))


def build_image(source: Path, target: Path, epoch: str) -> None:
    """Build the image and its bill of materials with nothing at hand from earlier builds, and in the form that is published."""
    cache = target.parent / "cache"
    chosen = {"BUILDER": "buildah", "BASE": "", "RUNTIME": "", "IMAGE": ""}
    try:
        run(
            sys.executable, source / "packaging" / "image" / "build.py", folder=source,
            environment=chosen | {"SOURCE_DATE_EPOCH": epoch, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
    finally:
        unmount(cache)
    images, version = source / ".state" / "images", version_of(source)
    shutil.copyfile(images / "operator.tar", target / f"{NAME}-image-{version}.tar")
    shutil.copyfile(images / "sbom.json", target / f"{NAME}-image-{version}.sbom.json")


def unmount(folder: Path) -> None:
    """Take off what buildah's storage leaves mounted, or the folder can't be removed."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for point in reversed([point for point in points if folder in Path(point).parents]):
        run("umount", "--lazy", point)


def check_builder() -> None:
    """Refuse to begin where the image can't be built."""
    missing = [name for name in BUILDERS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        wanted = f"{' and '.join(missing)}, missing here" if missing else "root"
        raise ReleaseError(f"the image needs {wanted}; leave it out by `make release ARGS=--without-image`")


def _helm_settings(folder: Path) -> dict[str, str]:
    return {f"HELM_{name}_HOME": str(folder / "helm") for name in ("CACHE", "CONFIG", "DATA")}


def pack(folder: Path, target: Path, *, epoch: int) -> None:
    """Make an archive that depends on the files' names, contents and executable bits alone."""
    with target.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=epoch) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder)}")
                member.size, member.mtime = path.stat().st_size, epoch
                member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with path.open("rb") as content:
                    archive.addfile(member, content)


def sums(folder: Path) -> str:
    """Return what `sha256sum *` prints there."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != SUMS}
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def empty(dist: Path) -> None:
    """Remove an earlier release from the folder, which its list of sums tells; refuse a folder of somebody else's."""
    dist.mkdir(parents=True, exist_ok=True)
    listed = dist / SUMS
    ours = {line.split()[1] for line in listed.read_text().splitlines()} | {SUMS} if listed.exists() else set()
    if others := sorted(path.name for path in dist.iterdir() if path.name not in ours):
        raise ReleaseError(f"{dist} holds something else, as {others[0]}: empty it, or say DIST=")
    for name in ours:
        (dist / name).unlink(missing_ok=True)


def build_twice(dist: Path, *steps: Step) -> None:
    """Build, build again elsewhere, compare, and put the result into `dist`."""
    epoch = git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        results = []
        for name in ("once", "and-again-under-another-name"):
            place = Path(scratch) / name
            source, target = place / "source", place / "dist"
            source.mkdir(parents=True)
            target.mkdir()
            export(source)
            for step in steps:
                step(source, target, epoch)
            results.append((target, sums(target)))
        (target, once), (_, again) = results
        if once != again:
            differing = sorted({line.split()[1] for line in set(once.splitlines()) ^ set(again.splitlines())})
            raise ReleaseError(f"two builds of the same commit differ in {', '.join(differing)}")
        empty(dist)
        for path in target.iterdir():
            shutil.copyfile(path, dist / path.name)
    (dist / SUMS).write_text(sums(dist), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(usage="release.py [DIST] [--without-image]")
    parser.add_argument("dist", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--without-image", action="store_true")
    arguments = parser.parse_args()
    dist = arguments.dist.resolve()
    try:
        if not arguments.without_image:
            check_builder()
        if changed := git("status", "--porcelain", "--untracked-files=no"):
            say(f"not part of the release, as they aren't committed: {len(changed.splitlines())} files")
        say(f"building the commit {git('rev-parse', '--short', 'HEAD')}, twice")
        build_twice(dist, *((build_files,) if arguments.without_image else (build_files, build_image)))
    except (ReleaseError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in sorted(dist.iterdir()):
        print(f"    {path.stat().st_size / 1000:8.0f} kB  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
