"""`elasticache-iam suspend`: cut users off."""

import click

from elasticache_iam.cli.ordering import give_order, order_options


@click.command(short_help="Cut users off: no tokens, out of their group.")
@order_options
def suspend(
    users: tuple[str, ...],
    *,
    namespace: str | None,
    wait: bool,
    timeout: float,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Cut USERS off: their Secrets go, and they leave their group in AWS, which ends their connections.

    Sets spec.suspend of the resource; where Argo CD or Flux apply it, set it in Git, too, or it comes back.
    """
    give_order("suspend", users, namespace, wait=wait, timeout=timeout, kubeconfig=kubeconfig, context=context)
