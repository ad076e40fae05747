"""`elasticache-iam resume`: let suspended users in again."""

import click

from elasticache_iam.cli.ordering import give_order, order_options


@click.command(short_help="Let suspended users in again.")
@order_options
def resume(
    users: tuple[str, ...],
    *,
    namespace: str | None,
    wait: bool,
    timeout: float,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Let suspended USERS in again: back into their group, with new tokens. Takes back what `suspend` set."""
    give_order("resume", users, namespace, wait=wait, timeout=timeout, kubeconfig=kubeconfig, context=context)
