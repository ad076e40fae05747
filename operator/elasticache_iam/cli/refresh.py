"""`elasticache-iam refresh`: new tokens now."""

import click

from elasticache_iam.cli.ordering import give_order, order_options


@click.command(short_help="Have new tokens made now.")
@order_options
def refresh(
    users: tuple[str, ...],
    *,
    namespace: str | None,
    wait: bool,
    timeout: float,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Have new tokens made for USERS now, though the old ones live. Tokens that are out stay valid until they end.

    Sets the annotation elasticache-iam.dev/refresh.
    """
    give_order("refresh", users, namespace, wait=wait, timeout=timeout, kubeconfig=kubeconfig, context=context)
