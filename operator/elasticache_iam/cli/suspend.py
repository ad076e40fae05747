"""`elasticache-iam suspend`: cut users off."""

from elasticache_iam.cli.ordering import order_command

suspend = order_command(
    "suspend",
    short_help="Cut users off: no tokens, out of their group.",
    text="""Cut USERS off: their Secrets go, and they leave their group in AWS, which ends their connections.

Sets spec.suspend of the resource; where Argo CD or Flux apply it, set it in Git, too, or it comes back.
""",
)
