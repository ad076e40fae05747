"""What the commands that read or change resources share."""

from typing import Final

from elasticache_iam.api.keys import GROUP, VERSION
from elasticache_iam.core.errors import ConfigurationError, NotLeaderError

RESOURCES_API: Final = f"/apis/{GROUP}/{VERSION}"


class ReadOnly:
    """A fence that is always closed: whatever would write fails."""

    def check(self) -> None:
        """Raise NotLeaderError."""
        raise NotLeaderError("this command writes nothing")

    def left_s(self) -> float:
        """Return 0."""
        return 0.0


def missing_crds() -> ConfigurationError:
    """Return what to say of a cluster that doesn't know our kinds."""
    return ConfigurationError(
        "this cluster doesn't know ElastiCacheIAMUser and UserGroup: the operator's CRDs aren't installed; "
        "run: elasticache-iam setup"
    )
