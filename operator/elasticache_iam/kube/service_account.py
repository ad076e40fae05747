"""What a Pod finds of its ServiceAccount."""

from pathlib import Path
from typing import Final

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def own_namespace() -> str | None:
    """Return the Pod's namespace; None outside a Pod."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="ascii").strip() or None
    except OSError:
        return None
