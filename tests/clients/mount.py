"""A Secret volume, and what the operator and the kubelet do to it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree


class Mount:
    """A Secret volume as the kubelet lays it out: links through `..data`, which is swapped in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0

    def put(self, files: Mapping[str, str]) -> None:
        """Swap in a new version, then remove the one before."""
        before = self.folder / f"..{self._version}"
        self._version += 1
        fresh = self.folder / f"..{self._version}"
        fresh.mkdir(parents=True)
        for name, text in files.items():
            (fresh / name).write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
        rmtree(before, ignore_errors=True)

    def log_in_as(self, username: str, password: str) -> None:
        """Swap in a version of the two files that a client reads."""
        self.put({"username": username, "password": password})


@contextmanager
def repeatedly(act: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Do something again and again in a thread, beside the block; what goes wrong there is raised at its end."""
    stop = threading.Event()
    failures = []

    def run() -> None:
        try:
            while not stop.wait(every_s):
                act()
        except Exception as error:  # noqa: BLE001  # raised again where it is seen
            failures.append(error)

    thread = threading.Thread(target=run, name="repeatedly")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
