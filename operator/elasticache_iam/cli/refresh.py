"""`elasticache-iam refresh`: new tokens now."""

from elasticache_iam.cli.ordering import order_command

refresh = order_command(
    "refresh",
    short_help="Have new tokens made now.",
    text="""Have new tokens made for USERS now, though the old ones live. Tokens that are out stay valid until they end.

Sets the annotation elasticache-iam.dev/refresh.
""",
)
