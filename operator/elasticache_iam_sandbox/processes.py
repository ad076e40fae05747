"""Child processes that never outlive us, not even when we are killed with SIGKILL.

Each child gets a watcher: a subshell (under 1 MiB) that waits at the other end of a pipe whose only writer is our
process. However we end, the kernel closes the pipe, and the watcher kills the child's process group. Chosen over
Linux' PR_SET_PDEATHSIG, which fires when the spawning *thread* ends and needs code between fork and exec; this works
on macOS too.

Only what leaves its process group on purpose (a daemon) escapes, and a fork of our own process that doesn't exec keeps
the pipe open.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The shell forks the watcher (twice, so that the program has no child it doesn't know of) and becomes the program: pid,
# exit code and signals are the program's own. `read` returns when the pipe closes; `kill 0` is the process group.
_GUARDED_EXEC = 'exec 3<&0 </dev/null; ( ( read -r _ <&3; kill -KILL 0 ) & ); exec 3<&-; exec "$@"'

_TAIL_BYTES = 64 * 1024

_HAS_PROC = Path("/proc/self/stat").exists()


class ProcessError(Exception):
    """A child process could not be started."""


class Process:
    """A program under guard, in a session of its own: Ctrl-C in the terminal reaches us alone, and we stop in order.

    Usable as a context manager. After `stop` it can be started again; its log is appended to.

    Attributes:
        name: For messages.
        argv: Program and arguments. They are visible to every user of the machine: no passwords here.
        log: File that stdout and stderr are appended to.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = tuple(str(argument) for argument in argv)
        self.log = log
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the program was started and hasn't ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The program's process id, and its process group's.

        Raises:
            ProcessError: It was never started.
        """
        if self._child is None:
            raise ProcessError(f"{self.name} was not started")
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """How the last run ended: negative for a signal, None while it runs or before the first start."""
        return self._child.poll() if self._child is not None else None

    def start(self) -> None:
        """Start the program; return without waiting for it to be ready.

        Raises:
            ProcessError: It runs already, or there is no such program.
        """
        if self.is_running:
            raise ProcessError(f"{self.name} runs already")
        self._close_guard()  # after a crash: what the last run left in its process group
        if shutil.which(self.argv[0]) is None:
            raise ProcessError(f"{self.name}: no program {self.argv[0]}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603  # the program is the caller's choice, and no shell parses it
                ("/bin/sh", "-c", _GUARDED_EXEC, self.name, *self.argv),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the program ends by itself and return its exit code: negative for a signal.

        Raises:
            ProcessError: It was never started.
            TimeoutError: It runs on.
        """
        if self._child is None:
            raise ProcessError(f"{self.name} was not started")
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_s} s") from None

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send SIGTERM, after `timeout_s` SIGKILL, and wait for the end; fine to call twice or before a start."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._close_guard()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log, for an error message; empty without a log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _close_guard(self) -> None:
        """Close our end of the pipe: the watcher kills what is left of the process group, itself included."""
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()


def start_time(pid: int) -> str | None:
    """Return when a process started, as an opaque string, or None if there is no such process (nor if it is a zombie).

    A process id alone says little, because ids are reused; together with this it names one process.
    """
    if _HAS_PROC:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field is the program's name in parentheses and may hold anything; the state follows it.
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(  # noqa: S603  # the only variable part is a number
        ("/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)), capture_output=True, text=True, check=False
    ).stdout.strip()
    return None if not shown or shown.startswith("Z") else shown.partition(" ")[2].strip()


def kill_process(pid: int, started: str) -> bool:
    """Kill the group of a process that an earlier run of ours left behind, if it still is that process.

    Args:
        pid: Its id, which is its process group's id too.
        started: What `start_time` said when it was ours.

    Returns:
        Whether there was one to kill.
    """
    if start_time(pid) != started:
        return False
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
