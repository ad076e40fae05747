import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import wait_for

from elasticache_iam_sandbox.processes import Process, ProcessError, kill_process, start_time

PRINT_PID_AND_SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)

PARENT = """
import sys, time
from pathlib import Path
from elasticache_iam_sandbox.processes import Process

child = Process("sleeper", ["sleep", "60"], log=Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""


def group_members(pgid):
    """Return the live processes of a group, from /proc."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        state, _, group = text[text.rindex(")") + 2 :].split()[:3]
        if int(group) == pgid and state != "Z":
            members.append(int(stat.parent.name))
    return members


def test_the_pid_is_the_program_s_own(tmp_path):
    log = tmp_path / "log"

    with Process("printer", [sys.executable, "-c", PRINT_PID_AND_SLEEP], log=log) as process:
        wait_for(lambda: process.tail() == str(process.pid))


def test_a_child_is_not_in_our_process_group(tmp_path):
    with Process("sleeper", ["sleep", "60"], log=tmp_path / "log") as process:
        assert os.getpgid(process.pid) == process.pid


def test_stop_leaves_nothing_of_the_group(tmp_path):
    process = Process("sleeper", ["sleep", "60"], log=tmp_path / "log")
    process.start()
    wait_for(lambda: len(group_members(process.pid)) == 2)  # the program and its watcher

    process.stop()

    assert not process.is_running
    assert process.exit_code == -signal.SIGTERM
    wait_for(lambda: group_members(process.pid) == [])


def test_a_program_deaf_to_sigterm_is_killed(tmp_path):
    process = Process("stubborn", [sys.executable, "-c", STUBBORN], log=tmp_path / "log")
    process.start()
    wait_for(lambda: process.tail() == "deaf")

    process.stop(timeout_s=0.1)

    assert process.exit_code == -signal.SIGKILL


def test_a_child_dies_with_a_parent_killed_by_sigkill(tmp_path):
    command = [sys.executable, "-c", PARENT, tmp_path / "log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603  # our own program
        pid = int(parent.stdout.readline())
        assert start_time(pid) is not None

        parent.kill()

    wait_for(lambda: group_members(pid) == [])


def test_the_exit_code_of_a_program_that_ends_by_itself_is_kept(tmp_path):
    process = Process("quitter", ["sh", "-c", "echo why it failed; exit 3"], log=tmp_path / "log")
    process.start()

    assert process.wait(timeout_s=30) == 3
    process.stop()

    assert process.exit_code == 3
    assert process.tail() == "why it failed"


def test_waiting_has_an_end(tmp_path):
    with Process("sleeper", ["sleep", "60"], log=tmp_path / "log") as process, pytest.raises(TimeoutError):
        process.wait(timeout_s=0.01)


def test_a_stopped_process_starts_again(tmp_path):
    process = Process("echo", ["sh", "-c", "echo again"], log=tmp_path / "log")
    for _ in range(2):
        process.start()
        process.wait()
        process.stop()

    assert process.tail() == "again\nagain"


def test_the_tail_has_the_last_lines_only(tmp_path):
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(100)))

    assert Process("any", ["true"], log=tmp_path / "log").tail(2) == "line 98\nline 99"


def test_without_a_log_the_tail_is_empty(tmp_path):
    assert Process("any", ["true"], log=tmp_path / "log").tail() == ""


def test_a_missing_program_is_named(tmp_path):
    process = Process("ghost", ["/nowhere/ghost"], log=tmp_path / "log")

    with pytest.raises(ProcessError, match="ghost: no program /nowhere/ghost"):
        process.start()


def test_a_left_over_process_is_killed_by_pid_and_start_time(tmp_path):
    process = Process("sleeper", ["sleep", "60"], log=tmp_path / "log")
    process.start()
    started = start_time(process.pid)

    assert kill_process(process.pid, started)

    wait_for(lambda: not process.is_running)
    process.stop()


def test_a_reused_pid_is_left_alone(tmp_path):
    with Process("sleeper", ["sleep", "60"], log=tmp_path / "log") as process:
        assert not kill_process(process.pid, "some other start")
        assert process.is_running


def test_an_ended_process_has_no_start_time(tmp_path):
    process = Process("true", ["true"], log=tmp_path / "log")
    process.start()
    wait_for(lambda: start_time(process.pid) is None)
    process.stop()
