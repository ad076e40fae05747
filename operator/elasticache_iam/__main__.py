"""The command `elasticache-iam`."""

import sys


def main() -> None:
    """Run the CLI; without the `cli` extra, say which extra to install."""
    try:
        from elasticache_iam.cli.main import main as run  # noqa: PLC0415  # the base install has no click
    except ModuleNotFoundError as error:
        print(  # noqa: T201
            f"elasticache-iam: {error.name} is not installed; run: "
            "pip install 'elasticache-iam-operator[operator,cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
