"""`elasticache-iam`: the group of commands, each loaded when it is called; others join by entry point.

Every failure that can be expected is one line on the standard error, which ends in what to do. `--debug` shows where it
comes from. Called as `kubectl-elasticache_iam` it is the kubectl plugin.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, Final

import click
from typing_extensions import override

from elasticache_iam.cli.completion import COMPLETE_VARIABLE
from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.extras import missing_extra
from elasticache_iam.cli.terminal import say
from elasticache_iam.core.errors import ConfigurationError, OperatorError

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Look": ("status", "verify", "plan", "lint"),
    "Act": ("token", "refresh", "suspend", "resume"),
    "Install": ("setup", "policy", "import", "completion"),
    "Run": ("operator", "sandbox"),
}
"""All commands, as the help shows them."""

_MODULES: Final = {"import": "import_command"}
"""Where a command isn't in the module of its name."""
_PLUGIN_PREFIX: Final = "kubectl-"


class Commands(click.Group):
    """The group: a command's module is imported when the command is called, or all for the help."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help, with those of other distributions at the end."""
        ours = [name for names in SECTIONS.values() for name in names]
        return [*ours, *sorted(name for name in _others() if name not in ours)]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded now."""
        return _load(cmd_name)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        width = max(map(len, self.list_commands(ctx)))
        named = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in named)
        for title, names in {**SECTIONS, "More": others}.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (f"{name:<{width}}", command.get_short_help_str(formatter.width - width - 6))
                for name, command in commands
                if command is not None and not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@cache
def _others() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="elasticache_iam.commands")}


@cache
def _load(name: str) -> click.Command | None:
    if name in _others():
        try:
            loaded: click.Command = _others()[name].load()
        except ModuleNotFoundError as error:
            return _unavailable(name, error)
        return loaded
    if not any(name in names for names in SECTIONS.values()):
        return None
    module = importlib.import_module(f"elasticache_iam.cli.{_MODULES.get(name, name)}")
    command: click.Command = getattr(module, _MODULES.get(name, name))
    if name != "operator":  # which has --log-level
        _take_debug(command)
    return command


def _unavailable(name: str, error: ModuleNotFoundError) -> click.Command:
    """Return a command that says what to install: the extra that it needs isn't there."""
    message = missing_extra(error.name, name)

    @click.command(name, hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def refuse(rest: tuple[str, ...]) -> None:
        """Say so."""
        del rest
        raise ConfigurationError(message)

    return refuse


def _take_debug(command: click.Command) -> None:
    """Let a command and those below it take --debug, too: that is where people write it."""
    command.params.append(_debug_option(hidden=True))
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _take_debug(child)


def _debug_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        envvar=None if hidden else "ELASTICACHE_IAM_DEBUG",
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_set_debug,
        help="Show where an error comes from.",
    )


def _set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's
    if value:
        ctx.find_root().meta["debug"] = True
        _debugged.append(True)


_debugged: list[bool] = []
"""Not empty once --debug was seen: an error may come before there is a context to ask."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("elasticache-iam-operator"), "-V", "--version")
def cli() -> None:
    """Passwordless access to Redis and Valkey on AWS for Kubernetes workloads."""


cli.params.append(_debug_option(hidden=False))


def program_name(argument: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return how the program was called, in the words of whoever called it.

    Args:
        argument: The program's own path; kubectl's plugins are called `kubectl-elasticache_iam`.
        environment: krew's launcher says it there: it has a path of its own.
    """
    if said := environment.get("ELASTICACHE_IAM_PROGRAM"):
        return said
    return "kubectl elasticache-iam" if Path(argument).name.startswith(_PLUGIN_PREFIX) else "elasticache-iam"


def main() -> None:
    """Run a command; see `ExitCode`."""
    sys.exit(run(sys.argv[1:], program=program_name(sys.argv[0])))


def run(arguments: list[str], *, program: str = "elasticache-iam") -> int:
    """Run a command and return its exit code; what fails is told in one line on the standard error."""
    _debugged.clear()
    try:
        code: Any = cli.main(arguments, prog_name=program, complete_var=COMPLETE_VARIABLE, standalone_mode=False)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        return _click_error(error, program)
    except OperatorError as error:
        return _operator_error(error, program)
    except BrokenPipeError:
        _drop_stdout()
        return ExitCode.FAILED
    except ModuleNotFoundError as error:
        return _missing_module(error, program)
    except Exception as error:  # noqa: BLE001  # nobody is above: a bug is one line, too
        return _surprise(error, program)
    return code if isinstance(code, int) else ExitCode.OK


def _click_error(error: click.ClickException, program: str) -> int:
    if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        path = error.ctx.command_path if error.ctx is not None else program
        message = " ".join(error.format_message().split()).rstrip(".")  # click lists choices in lines of their own
        say(f"{path}: {message[:1].lower()}{message[1:]}; see: {path} --help", err=True)
    else:
        error.show()
    return error.exit_code


def _missing_module(error: ModuleNotFoundError, program: str) -> int:
    if (error.name or "").startswith("elasticache_iam"):
        return _surprise(error, program)
    say(f"{program}: {missing_extra(error.name, 'operator,cli')}", err=True)
    _trace()
    return ExitCode.USAGE


def _operator_error(error: OperatorError, program: str) -> int:
    for line in error.message.splitlines():
        say(f"{program}: {line}", err=True)
    _trace()
    return ExitCode.USAGE if isinstance(error, ConfigurationError) else ExitCode.FAILED


def _surprise(error: Exception, program: str) -> int:
    """Tell of what nobody expected. Its text may quote anything, so that only its name is shown."""
    if _debugged:
        _trace()
    else:
        say(
            f"{program}: unexpected {type(error).__name__}; that is a fault of ours: run it again with --debug",
            err=True,
        )
    return ExitCode.FAILED


def _trace() -> None:
    """Show the way to the error that is being handled, without what looks like a credential."""
    if not _debugged:
        return
    from elasticache_iam.runtime.log import redact  # noqa: PLC0415  # only who debugs pays for it

    for line in redact(traceback.format_exc()).splitlines():
        say(line, err=True)


def _drop_stdout() -> None:
    """Let nothing be written any more: whoever read it has gone, and the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
