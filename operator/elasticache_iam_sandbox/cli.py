"""`elasticache-iam sandbox`: up, down, env, status. Joins the command line by an entry point."""

import asyncio
import http.client
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from elasticache_iam_sandbox.cache_kinds import CACHE_SYNTAX, CacheSpec, ServedKind, parse_cache
from elasticache_iam_sandbox.cache_programs import PROGRAMS, find_missing, find_programs
from elasticache_iam_sandbox.processes import start_time
from elasticache_iam_sandbox.state import CREDENTIALS_FILE, RUN_FILE, read_run

if TYPE_CHECKING:
    from elasticache_iam_sandbox.supervisor import Sandbox

_LOG_FILE = "sandbox.log"
_START_TIMEOUT_S = 1200.0
"""A first run may build the control plane from source."""
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1


class CallerError(click.ClickException):
    """What the caller must put right, as opposed to what failed."""

    exit_code = 2


@click.group(short_help="Run AWS, caches and Kubernetes here, to try.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ELASTICACHE_IAM_STATE",
    default=Path(".state/sandbox"),
    show_default=True,
    show_envvar=True,
    help="Folder for all of its files; one sandbox a folder.",
)
@click.pass_context
def sandbox(context: click.Context, state: Path) -> None:
    """AWS, caches and a Kubernetes control plane on this machine, to try and to test against."""
    context.obj = state.absolute()


@sandbox.command()
@click.option("--detach", is_flag=True, help="Return once it is ready, and keep it running.")
@click.option("--cluster/--no-cluster", default=True, show_default=True, help="With a Kubernetes control plane.")
@click.option(
    "--cache",
    "caches",
    multiple=True,
    metavar=CACHE_SYNTAX,
    help=f"Start with this cache. ENGINE: {' or '.join(PROGRAMS)}. KIND: {', '.join(ServedKind)}.",
)
@click.option(
    "--redis-server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program behind redis caches; default: redis-server of PATH.",
)
@click.option(
    "--valkey-server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program behind valkey caches; default: valkey-server of PATH.",
)
@click.option("--port", type=int, default=0, help="Of the AWS endpoint; default: a free one.")
@click.pass_obj
def up(
    state: Path,
    *,
    detach: bool,
    cluster: bool,
    caches: Sequence[str],
    redis_server: Path | None,
    valkey_server: Path | None,
    port: int,
) -> None:
    """Start it. Ctrl-C stops it and all that it started."""
    if (run := read_run(state)) is not None:
        if not detach:
            raise CallerError(f"a sandbox runs already in {state} (process {run['pid']})")
        _say(f"the sandbox runs already: {run['aws_url']}")
        return
    try:
        specs = [parse_cache(cache) for cache in caches]
    except ValueError as error:
        raise CallerError(str(error)) from error
    named = {"redis": redis_server, "valkey": valkey_server}
    programs = find_programs() | {engine: program for engine, program in named.items() if program is not None}
    engines = {spec.engine for spec in specs} or PROGRAMS
    if (missing := find_missing(engines, programs)) is not None:
        raise CallerError(missing)
    if detach:
        options = (
            "--cluster" if cluster else "--no-cluster",
            f"--port={port}",
            *(f"--cache={cache}" for cache in caches),
            *(f"--{PROGRAMS[engine]}={program}" for engine, program in programs.items()),
        )
        _start_detached(state, options)
        return
    _run(state, cluster=cluster, caches=specs, programs=programs, port=port)


@sandbox.command()
@click.pass_obj
def down(state: Path) -> None:
    """Stop the one that runs, and all that it started; fine if there is none."""
    run = read_run(state)
    if run is None:
        (state / RUN_FILE).unlink(missing_ok=True)
        _say("no sandbox runs")
        return
    pid = int(run["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while start_time(pid) == run["started"]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # its children are guarded: they end with it
            (state / RUN_FILE).unlink(missing_ok=True)
            break
        time.sleep(_POLL_S)
    _say("stopped")


@sandbox.command()
@click.pass_obj
def env(state: Path) -> None:
    """Print what points kubectl, the AWS CLI, Terraform and boto3 at it: eval "$(elasticache-iam sandbox env)"."""
    run = _require_run(state)
    key = json.loads((state / CREDENTIALS_FILE).read_text(encoding="utf-8"))["admin"]
    variables = {
        "KUBECONFIG": run["kubeconfig"],
        "AWS_ENDPOINT_URL": run["aws_url"],
        "AWS_REGION": run["region"],
        "AWS_DEFAULT_REGION": run["region"],
        "AWS_CA_BUNDLE": run["ca_file"],
        "AWS_ACCESS_KEY_ID": key["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
    }
    for name, value in variables.items():
        if value is not None:
            click.echo(f"export {name}={shlex.quote(value)}")
    # A session token or profile of the user's own would go before the key.
    click.echo("unset AWS_SESSION_TOKEN AWS_PROFILE")


@sandbox.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def status(state: Path, *, output: str) -> None:
    """Show where it listens, its caches, and the calls it has answered."""
    run = _require_run(state)
    document = run | {"caches": _ask(run, "caches"), "calls": _ask(run, "calls")}
    if output == "json":
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"AWS endpoint   {run['aws_url']} (account {run['account']}, region {run['region']})")
    click.echo(f"CA file        {run['ca_file']}")
    click.echo(f"kubeconfig     {run['kubeconfig'] or '-'}")
    calls = sum(count for operations in document["calls"].values() for count in operations.values())
    click.echo(f"calls          {calls}")
    _show_caches(document["caches"])


def _require_run(state: Path) -> dict[str, Any]:
    run = read_run(state)
    if run is None:
        raise CallerError(f"no sandbox runs in {state}; start one: elasticache-iam sandbox up --detach")
    return run


def _run(state: Path, *, cluster: bool, caches: Sequence[CacheSpec], programs: Mapping[str, Path], port: int) -> None:
    # A second of imports, which only this command should pay for.
    from elasticache_iam_sandbox.cluster.binaries import find_binaries  # noqa: PLC0415
    from elasticache_iam_sandbox.cluster.control_plane import ControlPlane  # noqa: PLC0415
    from elasticache_iam_sandbox.cluster.errors import ClusterError  # noqa: PLC0415
    from elasticache_iam_sandbox.cluster.errors import FolderInUseError as ClusterFolderInUseError  # noqa: PLC0415
    from elasticache_iam_sandbox.supervisor import FolderInUseError, Sandbox, SandboxError  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _stop_on_signal)
    control_plane = None
    try:
        with ExitStack() as stack:
            if cluster:
                control_plane = ControlPlane(state / "control-plane", binaries=find_binaries(_say))
                stack.callback(control_plane.stop)
                control_plane.start(_say)
            asyncio.run(_serve(Sandbox(state, control_plane=control_plane, programs=programs, port=port), caches))
    except (FolderInUseError, ClusterFolderInUseError, ValueError) as error:  # ValueError: of an option
        raise CallerError(str(error)) from error
    except (SandboxError, ClusterError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        pass
    _say("stopped")


async def _serve(service: "Sandbox", caches: Sequence[CacheSpec]) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    async with service:
        _say(f"AWS endpoint ready: {service.aws_url}")
        for spec in caches:
            cache = await service.add_cache(spec.cache_id, engine=spec.engine, kind=spec.kind, shards=spec.shards)
            _say(f"cache {cache.id} ({cache.engine}, {cache.kind}) ready: {cache.host}:{cache.port}")
        service.announce()
        _say('ready; in another shell: eval "$(elasticache-iam sandbox env)"')
        await stop.wait()
        _say("stopping")


def _start_detached(state: Path, options: Sequence[str]) -> None:
    """Start `up` as a process of its own and show what it says until it is ready; end it if that is not waited for."""
    signal.signal(signal.SIGTERM, _stop_on_signal)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_file = state / _LOG_FILE
    with log_file.open("wb") as log:
        child = subprocess.Popen(  # noqa: S603  # ourselves
            (sys.executable, "-m", "elasticache_iam_sandbox.cli", "--state", state, "up", *options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(child, state, log_file)
    except BaseException:  # also Ctrl-C, which the child doesn't see in its session
        _end(child)
        raise


def _follow(child: subprocess.Popen[bytes], state: Path, log_file: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with log_file.open(encoding="utf-8", errors="replace") as log:
        while True:
            ended, run = child.poll(), read_run(state)
            click.echo(log.read(), nl=False)
            if run is not None and run["pid"] == child.pid:
                return
            if ended is not None:
                kind = CallerError if ended == CallerError.exit_code else click.ClickException
                raise kind(f"the sandbox ended with code {ended}; its log is {log_file}")
            if time.monotonic() > deadline:
                raise click.ClickException(f"the sandbox is not ready after {_START_TIMEOUT_S:.0f} s; see {log_file}")
            time.sleep(_POLL_S)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a sandbox and all that it started, which is guarded: it ends with its parent, however that ends."""
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also if somebody presses Ctrl-C again
        child.kill()
        child.wait()


def _stop_on_signal(signal_number: int, _: Any) -> None:
    """Leave by way of the context managers, also while the control plane starts."""
    sys.exit(128 + signal_number)


def _ask(run: Mapping[str, Any], what: str) -> Any:
    context = ssl.create_default_context(cafile=run["ca_file"])
    connection = http.client.HTTPSConnection(urlsplit(run["aws_url"]).netloc, context=context, timeout=10.0)
    try:
        connection.request("GET", f"/_sandbox/{what}")
        return json.loads(connection.getresponse().read())
    except OSError as error:
        raise click.ClickException(f"the sandbox does not answer: {error}") from error
    finally:
        connection.close()


def _show_caches(caches: Sequence[Mapping[str, Any]]) -> None:
    columns = ("id", "engine", "kind", "host", "port", "account", "region")
    if not caches:
        click.echo("caches         none")
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415  # only a terminal pays for it
        from rich.table import Table  # noqa: PLC0415

        table = Table(*columns)
        for cache in caches:
            table.add_row(*(str(cache[column]) for column in columns))
        Console().print(table)
    else:
        for cache in caches:
            click.echo(" ".join(str(cache[column]) for column in columns))


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


if __name__ == "__main__":
    sandbox()
