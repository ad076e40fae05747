"""Which commands an engine has, in which categories, and where their keys stand.

The files in catalogues/ are what real servers answered: elasticache_iam_sandbox.acl_catalogue writes them, and a
contract test compares. An engine whose version isn't among them has no catalogue; what isn't known is then not claimed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Where some keys of a command stand (COMMAND's key specifications), and what is done to them.

    Attributes:
        access: `R`, `W` or `RW` as access strings mean it; empty for commands that only look whether a key is there.
        begin: Where to begin: `index`, or `keyword` and `startfrom`.
        find: What follows: `lastkey`, `keystep` and `limit`, or `keynumidx`, `firstkey` and `keystep`.
        varying: The access depends on other arguments: `access` is the most of it.
        incomplete: There may be more keys than these.
    """

    access: str
    begin: Mapping[str, Any]
    find: Mapping[str, int]
    varying: bool = False
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command; sub-commands are named `config|get`.

    Attributes:
        name: In lower case.
        arity: Number of words with the name's own; negative: at least.
        categories: Without the `@`.
        is_container: It has sub-commands.
        is_free: No rule can take it away: AUTH, HELLO, QUIT, RESET.
        keys: Empty for commands without keys.
    """

    name: str
    arity: int
    categories: frozenset[str]
    is_container: bool
    is_free: bool
    keys: tuple[KeySpec, ...]

    @property
    def container(self) -> str:
        """The command that this one is a sub-command of; empty if it is none."""
        return self.name.rpartition("|")[0]

    def takes(self, words: int) -> bool:
        """Whether the server takes it with so many words."""
        return words == self.arity if self.arity >= 0 else words >= -self.arity


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What one version of an engine has. There is one of each, so that it is equal to itself only.

    Attributes:
        engine: `redis` or `valkey`.
        version: Of the server that was asked.
        commands: By name.
        members: What a rule for a command or a category (`@read`) is about: a command's sub-commands go with it.
    """

    engine: str
    version: str
    commands: Mapping[str, Command] = field(repr=False)
    members: Mapping[str, frozenset[str]] = field(repr=False)

    @property
    def title(self) -> str:
        """Engine and version, as in `valkey 8.0`."""
        return f"{self.engine} {_minor(self.version)}"


def find_catalogue(engine: str, version: str) -> Catalogue | None:
    """Return the catalogue of an engine's version (`7.0`, `8.0.1`); None if that version was never asked."""
    for catalogue in load_catalogues():
        if catalogue.engine == engine and _minor(catalogue.version) == _minor(version):
            return catalogue
    return None


@cache
def load_catalogues() -> tuple[Catalogue, ...]:
    """Return all catalogues there are."""
    folder = resources.files("elasticache_iam.core.access") / "catalogues"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return tuple(_parse(json.loads((folder / name).read_text(encoding="utf-8"))) for name in names)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _parse(document: Mapping[str, Any]) -> Catalogue:
    commands = {
        name: Command(
            name=name,
            arity=entry["arity"],
            categories=frozenset(entry["categories"]),
            is_container=entry.get("container", False),
            is_free=entry.get("free", False),
            keys=tuple(
                KeySpec(
                    access=spec["access"],
                    begin=spec.get("begin", {}),
                    find=spec.get("find", {}),
                    varying=spec.get("varying", False),
                    incomplete=spec.get("incomplete", False),
                )
                for spec in entry.get("keys", ())
            ),
        )
        for name, entry in document["commands"].items()
    }
    members = {
        name: frozenset(other for other in commands if name in (other, commands[other].container)) for name in commands
    }
    for category in document["categories"]:
        direct = [command.name for command in commands.values() if category in command.categories]
        members[f"@{category}"] = frozenset().union(*(members[name] for name in direct))
    members["@all"] = frozenset(commands)
    return Catalogue(engine=document["engine"], version=document["version"], commands=commands, members=members)
