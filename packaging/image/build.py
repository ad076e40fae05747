"""Builds the operator's image with docker or buildah, whichever is there, and tells its size and what is in it.

    make image [IMAGE=name:tag] [BASE=…] [RUNTIME=…] [BUILDER=buildah] [DEBIAN_MIRROR=http://…]

BASE and RUNTIME are the Dockerfile's arguments. Without them docker takes the Dockerfile's own base; with buildah, which
is for machines without Docker and for releases, the bases are made of Debian's packages (base.sh), once.

Into .state/images go operator.tar (as `docker save` writes it, for `docker load` and `ctr images import`), sbom.json
(CycloneDX: the Python packages by the image's own metadata, and Debian's) and operator.json (name, id, sizes). The same
sources on the same base give the same image, down to its id. A second run without a change takes no time.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGES = ROOT / ".state" / "images"
ARCHIVE = IMAGES / "operator.tar"
SBOM = IMAGES / "sbom.json"
FACTS = IMAGES / "operator.json"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elasticache-iam" / "image"
SOURCES = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements", "operator/elasticache_iam", "packaging/image")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MEGABYTE = 1_000_000


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def run(*command: str | Path, show: bool = False) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=not show, text=True, check=False)
    if done.returncode != 0:
        said = "" if show else "\n" + "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        fail(f"{' '.join(map(str, command[:3]))} … failed{said}")
    return "" if show else done.stdout


def version() -> str:
    return re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def sources() -> list[Path]:
    if (ROOT / ".git").exists():
        listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *SOURCES).splitlines()
        found = [ROOT / name for name in listed]
    else:  # the files of a commit, as a release takes them
        found = [path for name in SOURCES for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    return sorted(path for path in found if path.is_file())


def source_time() -> str:
    """Return when the sources changed last, in seconds since 1970: the time of everything in the image."""
    if (given := os.environ.get("SOURCE_DATE_EPOCH")) is not None:
        return given
    return run("git", "log", "-1", "--format=%ct", "--", *SOURCES).strip() or "0"


# -- builders --------------------------------------------------------------------------------------------------------------


def has_docker() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


def build_with_docker(name: str, arguments: dict[str, str], epoch: str) -> None:
    options = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    run("docker", "build", *options, "--build-arg", f"SOURCE_DATE_EPOCH={epoch}", "--tag", name, ".", show=True)
    run("docker", "save", "--output", ARCHIVE, name)


def buildah(*words: str | Path, show: bool = False) -> str:
    return run("buildah", "--root", CACHE / "storage", "--runroot", CACHE / "run", *words, show=show)


def made_base(part: str) -> str:
    """Return the name of a base made of Debian's packages, after making it if need be."""
    made_of = (HERE / "base.sh").read_bytes() + os.environ.get("DEBIAN_MIRROR", "").encode()
    folder = CACHE / f"base-{hashlib.sha256(made_of).hexdigest()[:12]}"
    tar = folder / f"{part}.tar"
    if not tar.exists():
        say("making base images of Debian's packages (a minute, once)")
        run(HERE / "base.sh", folder)
    name = f"localhost/elasticache-iam-{part}:{folder.name}"
    if not buildah("images", "--quiet", "--filter", f"reference={name}"):
        container = buildah("from", "scratch").strip()
        buildah("add", container, tar, "/")
        buildah("commit", "--quiet", "--identity-label=false", "--timestamp", "0", "--rm", container, name)
    return name


def build_with_buildah(name: str, arguments: dict[str, str], epoch: str) -> None:
    if "BASE" not in arguments:
        arguments |= {"BASE": made_base("build"), "RUNTIME": made_base("runtime")}
    options = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    if CERTIFICATES.exists():  # this machine's, for pip: a registry's mirror may have an authority of its own
        options += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--build-arg", f"PIP_CERT={CERTIFICATES}"]
    for setting in ("PIP_INDEX_URL",):
        options += ["--build-arg", f"{setting}={os.environ[setting]}"] if setting in os.environ else []
    buildah(
        "build", "--isolation", "chroot", "--layers", "--timestamp", epoch, "--format", "oci", "--identity-label=false", *options,
        "--build-arg", f"SOURCE_DATE_EPOCH={epoch}", "--tag", name, "--file", "Dockerfile", ROOT,
    )  # fmt: skip
    partial = ARCHIVE.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    buildah("push", "--quiet", name, f"docker-archive:{partial}:{name}")
    partial.replace(ARCHIVE)


# -- what came of it -------------------------------------------------------------------------------------------------------


def layers(archive: tarfile.TarFile) -> Iterator[bytes]:
    manifest = json.load(archive.extractfile("manifest.json"))[0]
    for layer in manifest["Layers"]:
        yield archive.extractfile(layer).read()


def image_id(archive: tarfile.TarFile) -> str:
    return str(json.load(archive.extractfile("manifest.json"))[0]["Config"]).split("/")[-1].removesuffix(".json")


def describe(name: str) -> dict[str, Any]:
    """Return the image's facts, and write what is in it."""
    size = compressed = 0
    with tarfile.open(ARCHIVE) as archive, tempfile.TemporaryDirectory() as work:
        environment = Path(work) / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        library = next(environment.glob("lib/python3*")) / "site-packages"
        packages: list[str] = []
        for layer in layers(archive):
            with tarfile.open(fileobj=io.BytesIO(layer)) as files:
                for member in files:
                    path = PurePosixPath(member.name)
                    size += member.size
                    if path.parent.name.endswith(".dist-info") and member.isfile():
                        target = library / path.parent.name / path.name
                        target.parent.mkdir(exist_ok=True)
                        target.write_bytes(files.extractfile(member).read())
                    elif path.parts[-3:-1] == ("dpkg", "status.d") or path.parts[-2:] == ("dpkg", "status"):
                        packages.append(files.extractfile(member).read().decode())
            compressed += len(zlib.compress(layer, 6))
        write_sbom(name, environment, packages)
        return {"image": name, "id": image_id(archive), "bytes": size, "compressed_bytes": compressed}


def write_sbom(name: str, environment: Path, packages: list[str]) -> None:
    partial = SBOM.with_suffix(".partial")
    run(
        Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible", "--output-format", "JSON",
        "--output-file", partial, environment / "bin" / "python",
    )  # fmt: skip
    bill = json.loads(partial.read_text())
    bill["metadata"]["component"] = {"type": "container", "name": name, "bom-ref": name, "version": version()}
    for stanza in (stanza for text in packages for stanza in text.split("\n\n") if stanza.strip()):
        field = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        reference = f"pkg:deb/debian/{field['Package']}@{field['Version']}?arch={field['Architecture']}"
        component = {"type": "library", "name": field["Package"], "version": field["Version"], "purl": reference, "bom-ref": reference}
        bill["components"].append(component)
    partial.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
    partial.replace(SBOM)


def main() -> None:
    began = time.monotonic()
    name = os.environ.get("IMAGE") or f"elasticache-iam-operator:{version()}"
    arguments = {key: os.environ[key] for key in ("BASE", "RUNTIME") if os.environ.get(key)} | {"VERSION": version()}
    epoch = source_time()
    digest = hashlib.sha256(json.dumps([name, arguments, epoch]).encode())
    for path in sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    key = digest.hexdigest()
    facts = json.loads(FACTS.read_text()) if FACTS.exists() and ARCHIVE.exists() and SBOM.exists() else {}
    if facts.get("key") != key:
        IMAGES.mkdir(parents=True, exist_ok=True)
        FACTS.unlink(missing_ok=True)
        if os.environ.get("BUILDER") != "buildah" and has_docker():
            say(f"building {name} with docker")
            build_with_docker(name, arguments, epoch)
        elif shutil.which("buildah"):
            say(f"building {name} with buildah")
            build_with_buildah(name, arguments, epoch)
        else:
            fail("neither docker nor buildah can build an image here; on Debian: apt-get install buildah")
        facts = describe(name) | {"key": key}
        FACTS.write_text(json.dumps(facts, indent=2) + "\n")
    say(
        f"{facts['image']} is in {ARCHIVE.relative_to(ROOT)}: {facts['compressed_bytes'] / MEGABYTE:.0f} MB compressed, "
        f"{facts['bytes'] / MEGABYTE:.0f} MB unpacked, id {facts['id'][:12]} ({time.monotonic() - began:.0f} s)"
    )
    say(f"{len(json.loads(SBOM.read_text())['components'])} packages are listed in {SBOM.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
