"""What the configuration leaves open, asked of AWS and of the surroundings."""

import os

from boto3.session import Session

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.identity import get_account, get_issuer
from elasticache_iam.core.errors import ConfigurationError, OperatorError
from elasticache_iam.core.installation import Installation
from elasticache_iam.runtime import config as configuration


async def resolve(config: OperatorConfig, session: Session, bridge: Bridge) -> Installation:
    """Find out what the configuration leaves open.

    Raises:
        ConfigurationError: Something can't be found out; the text says which setting would tell.
    """
    region = config.region or session.region_name or os.environ.get("AWS_REGION")
    if not region:
        raise ConfigurationError("which AWS region? set `region`, or AWS_REGION in the environment")
    try:
        account = config.account or await get_account(session, region=region, bridge=bridge)
        issuer = config.oidc_issuer
        if issuer is None and config.cluster_name is not None:
            issuer = await get_issuer(session, region=region, bridge=bridge, cluster_name=config.cluster_name)
    except OperatorError as error:
        raise ConfigurationError(f"can't find out about AWS: {error.message}") from error
    issuer = issuer or configuration.own_issuer()
    if not issuer:
        raise ConfigurationError(
            "which OIDC issuer signs the ServiceAccounts' tokens? set `oidcIssuer` or `clusterName`"
        )
    return Installation(config, region=region, account=account, issuer=issuer)
