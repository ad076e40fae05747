"""The files by which a sandbox and its commands find each other. Light to import: every command needs them."""

import json
from pathlib import Path
from typing import Any

from elasticache_iam_sandbox.processes import start_time

RUN_FILE = "sandbox.json"
"""In the state folder while a sandbox runs: who it is and where it listens. No secrets."""
CREDENTIALS_FILE = "credentials.json"
"""In the state folder, mode 0600: the access keys of the first account."""


def read_run(state: Path) -> dict[str, Any] | None:
    """Return what the sandbox that runs in a state folder wrote about itself; None if none runs."""
    try:
        run: dict[str, Any] = json.loads((state / RUN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    # A killed run leaves its file behind, and process ids are reused.
    return run if start_time(int(run["pid"])) == run["started"] else None
