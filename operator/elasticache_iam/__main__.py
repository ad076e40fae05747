"""The command `elasticache-iam`."""

import sys

from elasticache_iam.cli.extras import missing_extra


def main() -> None:
    """Run the CLI; without the `cli` extra, say which extra to install."""
    try:
        from elasticache_iam.cli.main import main as run  # noqa: PLC0415  # the base install has no click
    except ModuleNotFoundError as error:
        print(f"elasticache-iam: {missing_extra(error.name, 'operator,cli')}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
