"""The programs behind the caches, one for each engine. Light to import: commands look before they start anything."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

PROGRAMS: Final[Mapping[str, str]] = {"redis": "redis-server", "valkey": "valkey-server"}
"""What runs a cache, by engine. Neither stands in for the other: commands, categories and versions differ."""

_CURES: Final[Mapping[str, str]] = {
    "redis": "apt-get install redis-server (or: brew install redis)",
    "valkey": "apt-get install valkey-server; Debian 12 has it in its backports (or: brew install valkey)",
}


def find_programs() -> dict[str, Path]:
    """Return the programs of PATH by engine; an engine whose program is missing is not in it."""
    found = {engine: shutil.which(program) for engine, program in PROGRAMS.items()}
    return {engine: Path(path) for engine, path in found.items() if path is not None}


def explain_missing(engine: str) -> str:
    """Return what is missing for caches of an engine, and how to get it."""
    return f"{PROGRAMS[engine]} is missing; install it: {_CURES[engine]}"


def find_missing(engines: Iterable[str], programs: Mapping[str, Path]) -> str | None:
    """Return the explanation for the first of these engines that has no program; None if all have one."""
    return next((explain_missing(engine) for engine in engines if engine not in programs), None)
