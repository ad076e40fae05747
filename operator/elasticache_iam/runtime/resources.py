"""What the commands that read or change resources share."""

from typing import Any, Final

from elasticache_iam.api.keys import GROUP, VERSION
from elasticache_iam.core.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    NotLeaderError,
    OperatorError,
)
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.reconcile.queue import USERS

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


async def call_user(connection: Connection, request: Request, *, role: str, way_out: str = "") -> dict[str, Any]:
    """Send a request about one ElastiCacheIAMUser, and return the resource.

    Args:
        connection: The cluster.
        request: What to send.
        role: Kubernetes' own role that has the right to it.
        way_out: What else can be done without the right.

    Raises:
        ConfigurationError: There is no such user, or the caller may not do this.
        OperatorError: The cluster refuses, or doesn't answer.
    """
    try:
        return await connection.call(request)
    except NotFoundError as error:
        raise await _why_no_user(connection, request.namespace, request.name) from error
    except AccessDeniedError as error:
        if error.code == "Unauthorized":  # no right would help
            raise
        raise ConfigurationError(
            f"you may not {request.verb} ElastiCacheIAMUser {request.namespace}/{request.name}: "
            f"the role `{role}` there has that right{way_out}"
        ) from error


async def _why_no_user(connection: Connection, namespace: str, name: str) -> ConfigurationError:
    """Return what to say of a user that isn't there: the cluster may not even know the kind."""
    try:
        await connection.call(Request("list", RESOURCES_API, USERS, namespace, query={"limit": "1"}))
    except NotFoundError:
        return missing_crds()
    except OperatorError:  # it can't be told, and is the rarer of the two
        pass
    return ConfigurationError(
        f"there is no ElastiCacheIAMUser {namespace}/{name}; see: elasticache-iam status -A, another namespace: -n"
    )
