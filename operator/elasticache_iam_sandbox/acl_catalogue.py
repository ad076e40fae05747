"""Writes down what real servers say about their commands: `python -m elasticache_iam_sandbox.acl_catalogue FOLDER`.

The operator's core reads the files (operator/elasticache_iam/core/access/catalogues); a contract test writes them anew
and compares.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from elasticache_iam_sandbox.cache_programs import PROGRAMS, explain_missing, find_programs
from elasticache_iam_sandbox.processes import Process

_START_TIMEOUT_S: Final = 20.0


class CatalogueError(Exception):
    """A server is missing, doesn't start, or contradicts itself."""


@contextmanager
def serve(engine: str) -> Iterator[redis.Redis]:
    """Start a stock server of an engine on a socket of its own, with nothing saved, and stop it at the end.

    Raises:
        CatalogueError: It isn't installed, or doesn't come up.
    """
    program = find_programs().get(engine)
    if program is None:
        raise CatalogueError(explain_missing(engine))
    with tempfile.TemporaryDirectory(prefix="acl-") as name:  # a short path: sockets allow about 100 characters
        folder = Path(name)
        arguments = (str(program), "--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--appendonly", "no")
        with (
            Process(engine, arguments, log=folder / "log", cwd=folder) as process,
            redis.Redis(unix_socket_path=str(folder / "s"), decode_responses=True, protocol=3) as client,
        ):
            deadline = time.monotonic() + _START_TIMEOUT_S
            while not _answers(client):
                if not process.is_running or time.monotonic() > deadline:
                    raise CatalogueError(f"{program.name} did not start: {process.tail()}")
                time.sleep(0.02)
            yield client


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def read_catalogue(client: redis.Redis) -> dict[str, Any]:
    """Return engine, version, categories and commands of a server, as they go into a file.

    Raises:
        CatalogueError: `ACL CAT` and `COMMAND` contradict each other.
    """
    info = client.info("server")
    engine = "valkey" if "valkey_version" in info else "redis"
    commands = {name: entry for raw in _ask(client, "COMMAND") for name, entry in _commands(raw)}
    categories = sorted(_ask(client, "ACL", "CAT"))
    for category in categories:
        listed = set(_ask(client, "ACL", "CAT", category))
        if listed != {name for name, entry in commands.items() if category in entry["categories"]}:
            raise CatalogueError(f"ACL CAT {category} and COMMAND disagree")
    return {
        "engine": engine,
        "version": info[f"{engine}_version"],
        "categories": categories,
        "commands": dict(sorted(commands.items())),
    }


def _ask(client: redis.Redis, *words: str) -> Any:
    """Send a command and return the reply as it came, which redis-py would rearrange."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*words)  # type: ignore[no-untyped-call]  # redis-py
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def _commands(raw: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a command and its sub-commands (`config|get`). Fields: COMMAND's documentation."""
    name, arity, flags, categories, key_specs, subcommands = raw[0], raw[1], raw[2], raw[6], raw[8], raw[9]
    entry: dict[str, Any] = {"arity": arity, "categories": sorted(category[1:] for category in categories)}
    if subcommands:
        entry["container"] = True
    if "no_auth" in flags:
        entry["free"] = True  # AUTH and the like: no rule can take it away
    if keys := [_key_spec(spec) for spec in key_specs if "not_key" not in spec["flags"]]:
        entry["keys"] = keys
    yield name.lower(), entry
    for subcommand in subcommands:
        yield from _commands(subcommand)


def _key_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return where keys stand among the arguments, and whether they are read or written (ACL's meaning of it)."""
    flags = set(spec["flags"])
    access = ("R" if "access" in flags else "") + ("W" if flags & {"insert", "delete", "update"} else "")
    begin, find = spec["begin_search"], spec["find_keys"]
    places = {} if "unknown" in {begin["type"], find["type"]} else {"begin": begin["spec"], "find": find["spec"]}
    # The server asks code of its own where the access depends on arguments or the places don't name all keys.
    varying = {"varying": True} if "variable_flags" in flags else {}
    incomplete = {"incomplete": True} if "incomplete" in flags or not places else {}
    return {"access": access, **places, **varying, **incomplete}


def render(catalogue: Mapping[str, Any]) -> str:
    """Return the file's text: JSON with a command a line, so that a diff shows what changed."""
    commands = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in catalogue["commands"].items()
    )
    head = "".join(
        f" {json.dumps(key)}: {json.dumps(catalogue[key])},\n" for key in ("engine", "version", "categories")
    )
    return f'{{\n{head} "commands": {{\n{commands}\n }}\n}}\n'


def file_name(catalogue: Mapping[str, Any]) -> str:
    """Return the name of a server's file: commands change with the minor version, not with the patch."""
    major, minor, *_ = catalogue["version"].split(".")
    return f"{catalogue['engine']}-{major}.{minor}.json"


def main() -> None:
    """Write a file for each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        for engine in PROGRAMS:
            with serve(engine) as client:
                catalogue = read_catalogue(client)
            (folder / file_name(catalogue)).write_text(render(catalogue), encoding="utf-8")
    except CatalogueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
