"""Options that several commands have, called as kubectl calls them."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_CLUSTER: Final = (
    click.option("--kubeconfig", help="The kubeconfig; else the one that kubectl uses."),
    click.option("--context", help="A context of the kubeconfig; else the current one."),
)


def cluster_options(command: Command) -> Command:
    """Add --kubeconfig and --context."""
    for option in reversed(_CLUSTER):
        command = option(command)
    return command


def namespace_option(text: str) -> Callable[[Command], Command]:
    """Return what adds -n/--namespace; without it the command gets None and asks `resolve_namespace`."""
    return click.option("-n", "--namespace", help=f"{text}; else that of the kubeconfig's context.")


def resolve_namespace(namespace: str | None, *, kubeconfig: str | None, context: str | None) -> str:
    """Return the namespace that is meant: as kubectl does, that of the context, or `default`."""
    if namespace:
        return namespace
    from elasticache_iam.kube.connection import find_namespace  # noqa: PLC0415  # half a second of imports

    return find_namespace(kubeconfig, context=context)
