"""Which files of manifests the caller means, and their text."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TextIO

from elasticache_iam.core.errors import ConfigurationError

STDIN: Final = "-"
MAX_CHARACTERS: Final = 8_388_608
"""Of one file. An object has 1.5 MB at most, to etcd, and many may be in one file; parsed, one takes a hundred times
its length in memory."""
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_LINK: Final = "links to folders elsewhere aren't followed: name that folder"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of manifests: its name, for people, and its text."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Unread:
    """What isn't read, though manifests may be in it.

    Attributes:
        where: Its name.
        why: Why not.
        is_folder: Whether it is a folder, which may well hold none.
    """

    where: str
    why: str
    is_folder: bool = False


def read_sources(paths: Sequence[str], *, recursive: bool) -> Iterator[Source | Unread]:
    """Yield what files, folders (their .yaml, .yml and .json files) and `-`, the standard input, hold.

    Files are others' work, and git carries links: nothing is read without end.

    Args:
        paths: Where to look.
        recursive: Whether to look into the folders of folders, too; else they are among what isn't read.

    Raises:
        ConfigurationError: A file isn't there; a folder has no manifests.
    """
    for name in paths:
        path = Path(name)
        if name == STDIN:
            yield _read("standard input", sys.stdin)
        elif path.is_dir():
            yield from _read_folder(path, recursive=recursive)
        else:
            yield _read_named(path)


def _read_named(path: Path) -> Source | Unread:
    try:
        return _read_file(path, may_be_pipe=True)
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error


def _read_found(path: Path) -> Source | Unread:
    try:
        return _read_file(path, may_be_pipe=False)
    except OSError as error:
        return Unread(str(path), f"can't be read: {error.strerror}")


def _read_file(path: Path, *, may_be_pipe: bool) -> Source | Unread:
    """Read a file; a pipe only where somebody named it, as `<(kustomize build)` does."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not (may_be_pipe and stat.S_ISFIFO(mode)):
        return Unread(str(path), "can't be read: it is no file but a device, a pipe or the like")
    with path.open(encoding="utf-8") as file:
        return _read(str(path), file)


def _read(where: str, file: TextIO) -> Source | Unread:
    try:
        text = file.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError:
        return Unread(where, "can't be read: it isn't UTF-8")
    if len(text) > MAX_CHARACTERS:
        return Unread(where, f"isn't read: it has more than {MAX_CHARACTERS} characters; split it")
    return Source(where, text)


def _read_folder(path: Path, *, recursive: bool) -> Iterator[Source | Unread]:
    folder = _Folder(path)
    folder.look()
    files = [file for files in folder.files.values() for file in files] if recursive else folder.files.get(path, [])
    below = {} if recursive else folder.below()
    if not files:
        way_out = "-R looks into its folders, too" if below else "name the files, or their own folder"
        raise ConfigurationError(f"no .yaml, .yml or .json file in {path}: {way_out}")
    for file in files:
        yield _read_found(file)
    for name, count in below.items():
        files_there = "a file in it isn't read" if count == 1 else f"{count} files in it aren't read"
        yield Unread(str(path / name), f"{files_there}: -R looks into folders, too", is_folder=True)
    for link in folder.links:
        if recursive or link.parent == path:
            yield Unread(str(link), _LINK, is_folder=True)


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
        real, seen = os.path.realpath(self.path), set[str]()
        for name, folders, names in os.walk(self.path, onerror=_refuse):
            # Git's own, which no commit can hold; a branch may be called fix.yaml.
            folders[:] = sorted(folder for folder in folders if folder != ".git")
            here = Path(name)
            links = [link for link in map(here.joinpath, folders) if link.is_symlink()]
            self.links += [link for link in links if not Path(os.path.realpath(link)).is_relative_to(real)]
            for file in sorted(here / name for name in names if Path(name).suffix in _SUFFIXES):
                if (target := os.path.realpath(file)) not in seen:
                    seen.add(target)
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
