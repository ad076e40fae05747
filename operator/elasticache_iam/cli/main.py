"""`elasticache-iam`: the group of commands; other distributions' commands join by entry point."""

import sys
from importlib.metadata import entry_points, version
from typing import Final

import click

from elasticache_iam.core.errors import ConfigurationError, OperatorError

EXIT_FAILED: Final = 1
EXIT_CONFIGURATION: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("elasticache-iam-operator"), "-V", "--version")
def cli() -> None:
    """Passwordless access to Redis and Valkey on AWS for Kubernetes workloads."""


def main() -> None:
    """Run a command; expected failures are one line on stderr, with exit code 2 for what the caller must put right."""
    try:
        cli()
    except OperatorError as error:
        for line in error.message.splitlines():
            print(f"elasticache-iam: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_FAILED)


def _add_commands() -> None:
    from elasticache_iam.cli.operator import operator  # noqa: PLC0415  # after `cli` is there to add to
    from elasticache_iam.cli.plan import plan  # noqa: PLC0415
    from elasticache_iam.cli.policy import policy  # noqa: PLC0415
    from elasticache_iam.cli.verify import verify  # noqa: PLC0415

    cli.add_command(operator)
    cli.add_command(plan)
    cli.add_command(policy)
    cli.add_command(verify)
    for entry in entry_points(group="elasticache_iam.commands"):
        try:
            cli.add_command(entry.load())
        except ModuleNotFoundError:  # the extra that the command needs isn't installed
            continue


_add_commands()
