"""Takes the pictures of the command line in docs/pictures/: `python docs/pictures.py`, after `make tools`.

Everything in them is real: the commands run against the sandbox, with the operator beside it, as the quickstart says.
They take two minutes, and hold ports, ids and times of that run, so no test compares them.
"""  # noqa: INP001

import json
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from elasticache_iam_sandbox.cluster.binaries import find_binaries

ROOT: Final = Path(__file__).resolve().parents[1]
PICTURES: Final = ROOT / "docs" / "pictures"
PROGRAM: Final = (sys.executable, "-m", "elasticache_iam")
PATIENCE: Final = "300s"
NAMESPACE: Final = "elasticache-iam"
CHECKPOINT: Final = "configmap/elasticache-iam-operator-checkpoint"
ASKS_TOO_MUCH: Final = {
    "apiVersion": "elasticache-iam.dev/v1alpha1",
    "kind": "ElastiCacheIAMUser",
    "metadata": {"name": "backup", "namespace": "shop"},
    "spec": {
        "groups": [{"name": "orders", "namespace": "platform"}],
        "access": {"preset": "ReadOnly", "keys": ["*"]},
        "serviceAccounts": ["checkout"],
    },
}

PAPER: Final = (30, 33, 41)
THEME: Final = TerminalTheme(
    PAPER,
    (214, 219, 230),
    [
        PAPER,
        (255, 128, 120),  # red
        (95, 211, 154),  # green
        (240, 198, 116),  # yellow
        (129, 162, 190),  # blue
        (178, 148, 187),  # magenta
        (138, 190, 183),  # cyan
        (197, 200, 198),  # white
    ],
)
FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"
"""The reader's own; rich's default would be fetched."""

COMMANDS: Final = {
    "status": "elasticache-iam status -A",
    "plan": "elasticache-iam plan -f examples/quickstart/user.yaml --owner demo --deleting",
    "verify": "elasticache-iam verify checkout -n shop --owner demo",
}
"""By the picture's name. `verify` comes last: for it the user is taken out of its group."""
WIDTHS: Final = {"demo": 124, "plan": 124, "verify": 162, "status": 140}


def main() -> None:
    """Take the pictures that are named, or all."""
    wanted = sys.argv[1:] or ["demo", *COMMANDS]
    if "demo" in wanted:
        _take("demo", "make demo", (sys.executable, "-m", "elasticache_iam_sandbox.demo"), os.environ)
    if others := [name for name in COMMANDS if name in wanted]:
        with tempfile.TemporaryDirectory() as folder, _world(Path(folder)) as environment:
            for name in others:
                if name == "verify":
                    _leave_the_group(environment)
                _take(name, COMMANDS[name], tuple(COMMANDS[name].split()), environment)


def _take(name: str, title: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Run a command on a terminal and draw what it prints."""
    if argv[0] == "elasticache-iam":
        argv = (*PROGRAM, *argv[1:])
    width = WIDTHS[name]
    screen = Console(record=True, width=width, file=StringIO(), force_terminal=True, color_system="truecolor")
    screen.print(Text(f"$ {title}", style="bold"))
    screen.print(Text.from_ansi(_said(argv, {**environment, "COLUMNS": str(width)}).strip("\n") + "\n"))
    start, _, rest = CONSOLE_SVG_FORMAT.partition("@font-face")
    form = start + rest.rpartition("@font-face")[2].partition("}}")[2].replace("Fira Code, monospace", FONT)
    picture = screen.export_svg(title=title, theme=THEME, code_format=form, unique_id=name)
    (PICTURES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n", "utf-8")


def _said(argv: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """Return what a command prints to a terminal. Its exit code is its own business: a broken chain is 1."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603  # our own commands
        argv, cwd=ROOT, env={**environment, "TERM": "xterm-256color"}, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux tells the end of a terminal
            break
        if not chunk:
            break
        said += chunk
    os.close(ours)
    process.wait()
    return said.decode().replace("\r\n", "\n")


@contextmanager
def _world(state: Path) -> Iterator[Mapping[str, str]]:
    """Yield the environment of a sandbox where the quickstart has come to its login."""
    kubectl = find_binaries(print).kubectl.parent
    path = os.pathsep.join((str(kubectl), str(Path(sys.executable).parent), os.environ["PATH"]))
    start = {**os.environ, "ELASTICACHE_IAM_STATE": str(state), "PATH": path, "AWS_PAGER": ""}
    _run((*PROGRAM, "sandbox", "up", "--detach", "--cache", "orders-prod:redis"), start)
    try:
        exported = _run((*PROGRAM, "sandbox", "env"), start)
        pairs = (line.removeprefix("export ").split("=", 1) for line in exported.splitlines() if "=" in line)
        admin = {**start, **dict(pairs)}
        operator = _start_operator(state, admin)
        try:
            _follow_the_quickstart(admin)
            yield admin
        finally:
            operator.terminate()
            operator.wait()
    finally:
        _run((*PROGRAM, "sandbox", "down"), start)


def _start_operator(state: Path, admin: Mapping[str, str]) -> subprocess.Popen[bytes]:
    config = {"owner": "demo", "clusterName": "sandbox", "cacheCA": admin["AWS_CA_BUNDLE"]}
    (state / "operator.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    key = json.loads((state / "credentials.json").read_text(encoding="utf-8"))["operator"]
    credentials = {"AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}
    _run(("kubectl", "apply", "-f", "crds/"), admin)
    _run(("kubectl", "create", "namespace", NAMESPACE), admin)
    listen = ("--config", str(state / "operator.yaml"), "--namespace", NAMESPACE, "--listen", "127.0.0.1:0")
    with (state / "operator.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  # our own program
            (*PROGRAM, "operator", *listen), cwd=ROOT, env={**admin, **credentials}, stderr=log, stdout=log
        )


def _follow_the_quickstart(admin: Mapping[str, str]) -> None:
    arn = _run(("aws", "elasticache", "describe-replication-groups", "--query", "ReplicationGroups[0].ARN"), admin)
    tag = "Key=elasticache-iam.dev/allow,Value=demo/platform"
    _run(("aws", "elasticache", "add-tags-to-resource", "--resource-name", json.loads(arn), "--tags", tag), admin)
    for part in ("namespaces", "usergroup", "user"):
        _run(("kubectl", "apply", "-f", f"examples/quickstart/{part}.yaml"), admin)
    _run(("kubectl", "apply", "-f", "examples/three-roles"), admin)
    for namespace, name in (("platform", "ecug/orders"), ("platform", "eciu/dba"), ("shop", "eciu/checkout")):
        _wait(namespace, name, "condition=Ready", admin)
    _run(("kubectl", "apply", "-f", "-"), admin, stdin=json.dumps(ASKS_TOO_MUCH))
    _wait("shop", "eciu/backup", "condition=Ready=False", admin)
    _wait(NAMESPACE, CHECKPOINT, "create", admin)


def _leave_the_group(admin: Mapping[str, str]) -> None:
    """Have somebody take the user out of its group, which a paused UserGroup doesn't put right."""
    _run(("kubectl", "-n", "platform", "annotate", "ecug", "orders", "elasticache-iam.dev/paused=true"), admin)
    user, group = (
        json.loads(_run(("kubectl", "-n", namespace, "get", name, "-o", "json"), admin))["status"]["id"]
        for namespace, name in (("shop", "eciu/checkout"), ("platform", "ecug/orders"))
    )
    leave = ("--user-group-id", group, "--user-ids-to-remove", user)
    _run(("aws", "elasticache", "modify-user-group", *leave), admin)


def _wait(namespace: str, name: str, what: str, admin: Mapping[str, str]) -> None:
    _run(("kubectl", "-n", namespace, "wait", name, f"--for={what}", f"--timeout={PATIENCE}"), admin)


def _run(argv: tuple[str, ...], environment: Mapping[str, str], *, stdin: str | None = None) -> str:
    done = subprocess.run(  # noqa: S603  # our own commands
        argv, cwd=ROOT, env=dict(environment), check=True, stdout=subprocess.PIPE, text=True, input=stdin
    )
    return done.stdout


if __name__ == "__main__":
    main()
