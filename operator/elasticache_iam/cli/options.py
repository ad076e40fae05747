"""Options that several commands have, called as kubectl calls them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from elasticache_iam.api.keys import OPERATOR_NAMESPACE

Command = TypeVar("Command", bound=Callable[..., Any])

_CLUSTER: Final = (
    click.option("--kubeconfig", help="The kubeconfig; else the one that kubectl uses."),
    click.option("--context", help="A context of the kubeconfig; else the current one."),
)
_SETTINGS: Final = (
    click.option("--owner", help="The installation's owner."),
    click.option("--region", help="The AWS region; else the one of your AWS profile."),
    click.option("--account", help="The AWS account; else the one of your credentials."),
    click.option("--issuer", help="The cluster's OIDC issuer; else the cluster is asked."),
)


def cluster_options(command: Command) -> Command:
    """Add --kubeconfig and --context."""
    return add_all(_CLUSTER, command)


def installation_options(command: Command) -> Command:
    """Add what says which installation is meant: --config, --owner and so on, and --operator-namespace."""
    config = config_option("The operator's configuration file; else that of the installation in the cluster.")
    where = operator_namespace_option("Where the operator is, or is to be.")
    return add_all((config, *_SETTINGS, where), command)


def config_option(text: str) -> Callable[[Command], Command]:
    """Return what adds --config, which the command gets as `config_path`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="ELASTICACHE_IAM_CONFIG",
        help=text,
    )


def recursive_option(command: Command) -> Command:
    """Add --recursive."""
    text = "Look into the folders of a folder, too."
    return click.option("-R", "--recursive", is_flag=True, help=text)(command)


def operator_namespace_option(text: str) -> Callable[[Command], Command]:
    """Return what adds --operator-namespace."""
    return click.option(
        "--operator-namespace",
        default=OPERATOR_NAMESPACE,
        show_default=True,
        envvar="ELASTICACHE_IAM_NAMESPACE",
        help=text,
    )


def add_all(options: Sequence[Callable[[Any], Any]], command: Command) -> Command:
    """Add options to a command, in the order of the help."""
    for option in reversed(options):
        command = option(command)
    return command


def check_namespace(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return a namespace that was said, or refuse what can't be one: the callback of options."""
    if value and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise click.BadParameter(f"{value!r} is no namespace: lower-case letters, digits and hyphens, 63 at most")
    return value


def namespace_option(text: str) -> Callable[[Command], Command]:
    """Return what adds -n/--namespace; without it the command gets None and asks `resolve_namespace`."""
    help_text = f"{text}; else that of the kubeconfig's context."
    return click.option("-n", "--namespace", callback=check_namespace, help=help_text)


def resolve_namespace(namespace: str | None, *, kubeconfig: str | None, context: str | None) -> str:
    """Return the namespace that is meant: as kubectl does, that of the context, or `default`."""
    if namespace:
        return namespace
    from elasticache_iam.kube.connection import find_namespace  # noqa: PLC0415  # half a second of imports

    return find_namespace(kubeconfig, context=context)
