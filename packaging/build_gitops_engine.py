"""Builds the program that runs Argo CD's and kstatus' own code in the tests, once per user and version. Prints its path.

Run by `make gitops`. Its source is tests/gitops/engine, pinned by go.sum; Go is the one that the local cluster is built
with, and the modules come from the Go module proxy that this machine is set up for.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from elasticache_iam_sandbox.cluster.binaries import find_go
from elasticache_iam_sandbox.cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "gitops" / "engine"
TAKES = "2 to 3 min"
"""On two cores, cold."""


def say(line: str) -> None:
    print(f"==> {line}", file=sys.stderr, flush=True)


def find_engine(progress: Callable[[str], None] = say) -> Path:
    """Return the program's path; build it if it isn't there.

    Raises:
        ClusterError: There is no Go, or the build fails.
    """
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elasticache-iam" / "bin"
    program = cache / f"gitops-engine-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".gitops-engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building the same
        if not program.exists():
            build(program, progress)
    return program


def build(program: Path, progress: Callable[[str], None]) -> None:
    text = (SOURCE / "go.mod").read_text(encoding="utf-8")
    needed = re.search(r"^go (\S+)$", text, re.MULTILINE)[1]
    version = re.search(r"argo-cd/v3 v(\S+)$", text, re.MULTILINE)[1]
    go = find_go(needed, progress, hint="leave out tests/gitops")
    progress(f"building the test program with Argo CD {version} and kstatus ({TAKES} on two cores, once)")
    partial = program.with_suffix(".partial")
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    answer = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", partial, "."],
        cwd=SOURCE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        partial.unlink(missing_ok=True)
        said = "\n".join(answer.stderr.strip().splitlines()[-5:])
        raise ClusterError(f"building {SOURCE.relative_to(ROOT)} failed:\n{said}")
    partial.replace(program)


def main() -> int:
    try:
        path = find_engine()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not sys.stdout.isatty():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
