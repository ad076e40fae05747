"""`elasticache-iam operator`: run the operator."""

from pathlib import Path

import click


@click.command(short_help="Run the operator.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ELASTICACHE_IAM_CONFIG",
    default=Path("/etc/elasticache-iam/config.yaml"),
    show_default=True,
    help="The configuration file.",
)
@click.option("--namespace", envvar="POD_NAMESPACE", help="Where the Lease and the checkpoint live.")
@click.option(
    "--listen",
    envvar="ELASTICACHE_IAM_LISTEN",
    default="*:8080",
    show_default=True,
    help="Address and port of /livez, /readyz and /metrics; * for all addresses.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json")
def operator(config_path: Path, namespace: str | None, listen: str, log_level: str, log_format: str) -> None:
    """Run the operator until it is told to stop."""
    from elasticache_iam.runtime.app import run  # noqa: PLC0415  # the other commands start without kopf and boto3

    run(config_path, namespace=namespace, listen=listen, log_level=log_level, log_format=log_format)
