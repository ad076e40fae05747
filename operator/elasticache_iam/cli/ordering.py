"""What `suspend`, `resume` and `refresh` have in common."""

import asyncio
import sys
from typing import Final

import click

from elasticache_iam.cli.exit_codes import ExitCode
from elasticache_iam.cli.options import add_all, cluster_options, namespace_option, resolve_namespace
from elasticache_iam.cli.terminal import say

_OPTIONS: Final = (
    click.argument("users", nargs=-1, required=True, metavar="USER..."),
    namespace_option("The users' namespace"),
    click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done."),
    click.option(
        "--timeout",
        type=click.FloatRange(min=1.0),
        default=120.0,
        show_default=True,
        help=f"Seconds to wait; after that the exit code is {ExitCode.NOT_YET:d}.",
    ),
    cluster_options,
)


def order_command(order: str, *, short_help: str, text: str) -> click.Command:
    """Return the command that gives an order to users, and exits with NOT_YET if it isn't carried out in time.

    Args:
        order: Its name, and the command's.
        short_help: For the list of commands.
        text: What the command's own help says.
    """

    def give(
        users: tuple[str, ...],
        *,
        namespace: str | None,
        wait: bool,
        timeout: float,
        kubeconfig: str | None,
        context: str | None,
    ) -> None:
        # Not at the top: the other commands start without the Kubernetes client.
        from elasticache_iam.core.orders import Order  # noqa: PLC0415
        from elasticache_iam.runtime.orders import Errand, run_errand  # noqa: PLC0415

        errand = Errand(
            Order(order),
            resolve_namespace(namespace, kubeconfig=kubeconfig, context=context),
            users,
            timeout_s=timeout if wait else 0.0,
            kubeconfig=kubeconfig,
            context=context,
        )
        if not asyncio.run(run_errand(errand, say)):
            sys.exit(ExitCode.NOT_YET)

    return click.command(order, short_help=short_help, help=text)(add_all(_OPTIONS, give))
