"""Builds all that a release consists of, from the commit that is checked out, twice, and takes it only if both are the same.

    make release [DIST=dist]

Wheel, source distribution, the chart as an archive, install.yaml, crds.yaml, Argo CD's configuration, the AWS side,
the kubectl plugin for krew, and SHA256SUMS. What isn't committed is no part of it. The image comes along where docker or
(as root) buildah is there.
"""

import gzip
import hashlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from elasticache_iam_sandbox.cluster.binaries import find_helm
from elasticache_iam_sandbox.cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]
NAME = "elasticache-iam-operator"
CHART = Path("charts") / NAME
SUMS = "SHA256SUMS"


class ReleaseError(Exception):
    """What is wrong, and what to do about it."""


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


def run(*command: str | Path, folder: Path = ROOT, environment: dict[str, str] | None = None) -> bytes:
    answer = subprocess.run(command, cwd=folder, env=os.environ | (environment or {}), capture_output=True, check=False)
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).decode(errors="replace").strip().splitlines()[-5:]
        raise ReleaseError(f"{Path(command[0]).name} {command[1]} failed:\n" + "\n".join(said))
    return answer.stdout


def git(*arguments: str) -> str:
    return run("git", *arguments).decode().strip()


def export(folder: Path) -> None:
    """Put the commit's files there: nothing else can get into the artefacts."""
    with tarfile.open(fileobj=io.BytesIO(run("git", "archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


def build(source: Path, target: Path, *, version: str, epoch: str, helm: Path) -> None:
    """Build everything but the image."""
    environment = {"SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0"}
    run(sys.executable, "-m", "hatchling", "build", "-d", target, folder=source, environment=environment)
    run(helm, "package", source / CHART, "-d", target, environment=environment | _helm_settings(target.parent))
    shutil.copyfile(source / "packaging" / "install.yaml", target / "install.yaml")
    shutil.copyfile(source / "packaging" / "argocd" / "argocd-cm.yaml", target / "argocd-cm.yaml")
    definitions = [path.read_text(encoding="utf-8") for path in sorted((source / "crds").glob("*.yaml"))]
    (target / "crds.yaml").write_text("".join(f"---\n{text.removeprefix('---').lstrip()}" for text in definitions))
    run(sys.executable, source / "packaging" / "build_krew.py", target)
    shutil.copyfile(source / "packaging" / "krew.yaml", target / "krew.yaml")
    pack(source / "packaging" / "aws", target / f"{NAME}-aws-{version}.tar.gz", epoch=int(epoch))


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


def build_twice(dist: Path) -> None:
    """Build, build again elsewhere, compare, and put the result into `dist`."""
    versions = runpy.run_path(str(ROOT / "packaging" / "version.py"))
    epoch, version, helm = git("log", "-1", "--format=%ct"), versions["version"](), find_helm(say)
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        results = []
        for name in ("once", "and-again-under-another-name"):
            place = Path(scratch) / name
            source, target = place / "source", place / "dist"
            source.mkdir(parents=True)
            target.mkdir()
            export(source)
            build(source, target, version=version, epoch=epoch, helm=helm)
            results.append((target, sums(target)))
        (target, once), (_, again) = results
        if once != again:
            differing = sorted({line.split()[1] for line in set(once.splitlines()) ^ set(again.splitlines())})
            raise ReleaseError(f"two builds of the same commit differ in {', '.join(differing)}")
        empty(dist)
        for path in target.iterdir():
            shutil.copyfile(path, dist / path.name)


def add_image(dist: Path, version: str) -> None:
    """Add the image and its bill of materials, where there is a builder."""
    can_build = shutil.which("docker") or (shutil.which("buildah") and os.geteuid() == 0)
    if not can_build:
        say("no image: there is neither docker nor, as root, buildah")
        return
    run(sys.executable, ROOT / "packaging" / "image" / "build.py")
    images = ROOT / ".state" / "images"
    shutil.copyfile(images / "operator.tar", dist / f"{NAME}-image-{version}.tar")
    shutil.copyfile(images / "sbom.json", dist / f"{NAME}-image-{version}.sbom.json")


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    dist = Path(arguments[0] if arguments else ROOT / "dist").resolve()
    version = runpy.run_path(str(ROOT / "packaging" / "version.py"))["version"]()
    try:
        if changed := git("status", "--porcelain", "--untracked-files=no"):
            say(f"not part of the release, as they aren't committed: {len(changed.splitlines())} files")
        say(f"building {version} of commit {git('rev-parse', '--short', 'HEAD')}, twice")
        build_twice(dist)
        if "--no-image" not in sys.argv:
            add_image(dist, version)
        (dist / SUMS).write_text(sums(dist), encoding="utf-8")
    except (ReleaseError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in sorted(dist.iterdir()):
        print(f"    {path.stat().st_size / 1000:8.0f} kB  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
