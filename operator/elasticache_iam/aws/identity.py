"""Who and where the operator is: asked once, at start."""

from typing import Final

from boto3.session import Session

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.core.errors import NotFoundError

_RESOURCE: Final = 5
"""Of an ARN."""


async def get_account(session: Session, *, region: str, bridge: Bridge) -> str:
    """Return the id of the account whose credentials the operator has. Raises core.errors."""
    answer = await Api(session, region=region, lane=bridge.control).call("sts", "GetCallerIdentity", {})
    return str(answer["Account"])


async def get_principal(session: Session, *, region: str, bridge: Bridge) -> str:
    """Return the ARN by which trust policies name the operator: its role's, with the path, or a user's.

    Raises core.errors.
    """
    api = Api(session, region=region, lane=bridge.control)
    arn = str((await api.call("sts", "GetCallerIdentity", {}))["Arn"])
    kind, _, name = arn.split(":")[_RESOURCE].partition("/")
    if kind != "assumed-role":
        return arn
    # The session's ARN doesn't show the role's path.
    answer = await api.call("iam", "GetRole", {"RoleName": name.partition("/")[0]})
    return str(answer["Role"]["Arn"])


async def get_issuer(session: Session, *, region: str, bridge: Bridge, cluster_name: str) -> str:
    """Return the OIDC issuer of an EKS cluster. Raises NotFoundError where it has none, and core.errors."""
    api = Api(session, region=region, lane=bridge.control)
    answer = await api.call("eks", "DescribeCluster", {"name": cluster_name})
    issuer = answer["cluster"].get("identity", {}).get("oidc", {}).get("issuer", "")
    if not issuer:
        raise NotFoundError(f"EKS DescribeCluster: cluster {cluster_name} has no OIDC issuer")
    return str(issuer)
