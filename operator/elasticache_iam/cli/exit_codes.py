"""What a command's exit code means: one table for all commands, and for the page about them."""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOMETHING_TO_DO = 3
    NOT_YET = 4
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "Done, and nothing is wrong.",
    ExitCode.FAILED: "What was looked at isn't right (`verify`: a link is broken; `lint`: an error; `setup`: something "
    "is missing), or the command failed: AWS or the cluster refuses, or doesn't answer.",
    ExitCode.USAGE: "Something for the caller to put right: an option, a file, a resource that isn't there, missing "
    "credentials. `verify` also exits with it where it can't be told whether a login works, `setup` where something "
    "couldn't be looked at.",
    ExitCode.SOMETHING_TO_DO: "`plan --detailed-exitcode`: there is something to do.",
    ExitCode.NOT_YET: "Asked for, and not done within `--timeout`: `suspend`, `resume`, `refresh`.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C.",
}
"""For people, in Markdown."""
