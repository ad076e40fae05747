"""The program behind the caches, looked for. Light to import: commands look before they start anything."""

import shutil
from pathlib import Path
from typing import Final

MISSING_SERVER: Final = "redis-server is missing; install it: apt-get install redis-server (or: brew install redis)"


def find_redis_server() -> Path | None:
    """Return the valkey-server or redis-server of PATH; None if there is neither."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None
