"""Which files of manifests the caller means, and their text."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from elasticache_iam.core.errors import ConfigurationError

STDIN: Final = "-"
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_LINK: Final = "links to folders elsewhere aren't followed: name that folder"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of manifests: its name, for people, and its text."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder that isn't read, though manifests may be in it: its name, and why."""

    where: str
    why: str


def read_sources(paths: Sequence[str], *, recursive: bool) -> Iterator[Source | Unread]:
    """Yield what files, folders (their .yaml, .yml and .json files) and `-`, the standard input, hold.

    Args:
        paths: Where to look.
        recursive: Whether to look into the folders of folders, too; else they are among what isn't read.

    Raises:
        ConfigurationError: A file isn't there, or isn't text; a folder has no manifests.
    """
    for name in paths:
        path = Path(name)
        if name == STDIN:
            yield Source("standard input", sys.stdin.read())
        elif path.is_dir():
            yield from _read_folder(path, recursive=recursive)
        else:
            yield _read_file(path)


def _read_file(path: Path) -> Source:
    try:
        return Source(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"can't read {path}: it isn't UTF-8") from error


def _read_folder(path: Path, *, recursive: bool) -> Iterator[Source | Unread]:
    folder = _Folder(path)
    folder.look()
    files = [file for files in folder.files.values() for file in files] if recursive else folder.files.get(path, [])
    below = {} if recursive else folder.below()
    if not files:
        way_out = "-R looks into its folders, too" if below else "name the files, or their own folder"
        raise ConfigurationError(f"no .yaml, .yml or .json file in {path}: {way_out}")
    for file in files:
        yield _read_file(file)
    for name, count in below.items():
        files_there = "a file in it isn't read" if count == 1 else f"{count} files in it aren't read"
        yield Unread(str(path / name), f"{files_there}: -R looks into folders, too")
    for link in folder.links:
        if recursive or link.parent == path:
            yield Unread(str(link), _LINK)


@dataclass(slots=True)
class _Folder:
    """A folder with those in it.

    Attributes:
        path: Its name.
        files: Files of manifests by their folder, its own first; each once, however many links lead to it.
        links: Links in it to folders elsewhere.
    """

    path: Path
    files: dict[Path, list[Path]] = field(default_factory=dict)
    links: list[Path] = field(default_factory=list)

    def look(self) -> None:
        """Look into it."""
        real, seen = self.path.resolve(), set[Path]()
        for name, folders, names in os.walk(self.path, onerror=_refuse):
            # Git's own, which no commit can hold; a branch may be called fix.yaml.
            folders[:] = sorted(folder for folder in folders if folder != ".git")
            here = Path(name)
            links = [link for link in map(here.joinpath, folders) if link.is_symlink()]
            self.links += [link for link in links if not link.resolve().is_relative_to(real)]
            for file in sorted(here / name for name in names if Path(name).suffix in _SUFFIXES):
                if file.resolve() not in seen:
                    seen.add(file.resolve())
                    self.files.setdefault(here, []).append(file)

    def below(self) -> dict[str, int]:
        """Return how many files are below each folder in it."""
        counts: dict[str, int] = {}
        for folder, files in self.files.items():
            if folder != self.path:
                name = folder.relative_to(self.path).parts[0]
                counts[name] = counts.get(name, 0) + len(files)
        return counts


def _refuse(error: OSError) -> NoReturn:
    raise ConfigurationError(f"can't read {error.filename}: {error.strerror}") from error
