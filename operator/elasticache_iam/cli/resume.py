"""`elasticache-iam resume`: let suspended users in again."""

from elasticache_iam.cli.ordering import order_command

resume = order_command(
    "resume",
    short_help="Let suspended users in again.",
    text="Let suspended USERS in again: back into their group, with new tokens. Takes back what `suspend` set.",
)
