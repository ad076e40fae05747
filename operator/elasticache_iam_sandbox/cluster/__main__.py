"""Get the control plane's programs, building them if need be: `python -m elasticache_iam_sandbox.cluster`."""

import sys

from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.cluster.errors import ClusterError


def main() -> None:
    """Find or build the programs; exit code 2 and one line if that can't be done."""
    try:
        find_binaries(lambda line: print(f"    {line}", flush=True))  # noqa: T201  # this is a command
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        sys.exit(2)


if __name__ == "__main__":
    main()
