"""What the configuration leaves open, asked of AWS and of the surroundings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from boto3.session import Session

from elasticache_iam.api.config import OperatorConfig, Signing
from elasticache_iam.api.keys import OPERATOR_NAMESPACE
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.identity import get_account, get_issuer, get_principal
from elasticache_iam.core.errors import ConfigurationError, OperatorError, SurroundingsError
from elasticache_iam.core.installation import Installation
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.runtime import config as configuration


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says of the operator's configuration; what they leave out is that of the installation.

    Attributes:
        settings: Said on the command line, by their names in the configuration; None: not said.
        path: A configuration file, instead of the installation's.
        namespace: Where the operator is, or is to be.
        name: Of all that the chart makes there.
    """

    settings: Mapping[str, str | None]
    path: Path | None = None
    namespace: str = OPERATOR_NAMESPACE
    name: str = "elasticache-iam-operator"


async def find_config(said: Said, connection: Connection | None) -> OperatorConfig:
    """Return the configuration that a person means.

    Args:
        said: What they say of it.
        connection: The cluster, for the installation's and for the issuer; None: there is none to look at.

    Raises:
        ConfigurationError: The file can't be read, a setting is wrong, nobody says the owner, or another than it has.
    """
    way_out = ""
    if said.path is not None:
        what, document = f"the configuration {said.path}", configuration.read_settings(said.path)
    elif connection is not None:
        what, document = (
            f"the ConfigMap {said.namespace}/{said.name}-config",
            await _deployed_settings(said, connection),
        )
        way_out = f"; {what} can't be read (--operator-namespace)"
        _check_owner(said, document)
    else:
        what, document = "the options", {}
    config = configuration.override_settings(document, said.settings, what=what, way_out=way_out)
    return await _with_issuer(config, connection)


async def _deployed_settings(said: Said, connection: Connection) -> dict[str, Any]:
    """Return the settings of the operator that is installed; {} where there is none, or they can't be read."""
    request = Request("get", "/api/v1", "configmaps", said.namespace, f"{said.name}-config")
    try:
        body = await connection.call(request)
        document = yaml.safe_load(body["data"]["config.yaml"])
    except (OperatorError, KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    if not isinstance(document, dict):
        return {}
    return document | {"cacheCA": None}  # a path in the Pod


def _check_owner(said: Said, deployed: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for another owner's name: what is made for it would be put in the place of ours."""
    owner, ours = said.settings.get("owner"), str(deployed.get("owner", ""))
    if owner is not None and ours.islower() and owner != ours:  # no owner has capitals; install.yaml's SET-ME is none
        raise ConfigurationError(
            f"--owner: the installation in {said.namespace} is of the owner {ours}, not {owner}: leave the option out, "
            "or say where the other installation is (--operator-namespace, --config)"
        )


def find_region(said: str | None, session: Session, *, setting: str = "say --region") -> str:
    """Return the AWS region: what was said, else that of the AWS settings and of the environment.

    Args:
        said: In the configuration, or on the command line.
        session: The credentials of whoever runs this, with the region of their AWS settings. boto3 reads
            AWS_DEFAULT_REGION; the other SDKs, IRSA and Pod Identity say AWS_REGION.
        setting: What to do where nobody says it.

    Raises:
        ConfigurationError: Nobody says the region, or it can't be one.
    """
    region = said or session.region_name or os.environ.get("AWS_REGION")
    if not region:
        raise ConfigurationError(f"which AWS region? {setting}, or set AWS_REGION in the environment")
    if (fault := configuration.setting_fault("region", region)) is not None:
        raise ConfigurationError(f"which AWS region? {fault}")
    return region


async def _with_issuer(config: OperatorConfig, connection: Connection | None) -> OperatorConfig:
    """Ask the cluster who signs its tokens, if nobody has said so."""
    if config.oidc_issuer is not None or config.cluster_name is not None or connection is None:
        return config
    try:
        answer = await connection.call(Request("get", "/.well-known", "openid-configuration"))
    except OperatorError:  # many may not ask this; then it has to be said
        return config
    issuer = answer.get("issuer")
    return config.model_copy(update={"oidc_issuer": issuer}) if isinstance(issuer, str) else config


async def resolve(
    config: OperatorConfig, session: Session, bridge: Bridge, *, is_operator: bool = True
) -> Installation:
    """Find out what the configuration leaves open.

    Args:
        config: What is configured.
        session: The credentials of whoever runs this.
        bridge: Its control lane carries the calls.
        is_operator: Whether that is the operator itself, and no person who asks for a plan.

    Raises:
        ConfigurationError: Something can't be found out; the text says which setting would tell. A SurroundingsError
            where it is AWS that doesn't say.
    """
    region = find_region(config.region, session, setting="set `region`" if is_operator else "say --region")
    try:
        account = config.account or await get_account(session, region=region, bridge=bridge)
        issuer = config.oidc_issuer
        if issuer is None and config.cluster_name is not None:
            issuer = await get_issuer(session, region=region, bridge=bridge, cluster_name=config.cluster_name)
    except OperatorError as error:
        raise SurroundingsError(f"can't find out about AWS: {error.message}") from error
    issuer = issuer or configuration.own_issuer() or ""
    if config.signing is Signing.ASSUME_ROLE:
        principal = await _find_principal(config, session, bridge, region=region, is_operator=is_operator)
        return Installation(config, region=region, account=account, issuer=issuer, principal=principal)
    if not issuer:
        setting = "set `oidcIssuer` or `clusterName`" if is_operator else "say --issuer"
        raise ConfigurationError(f"which OIDC issuer signs the ServiceAccounts' tokens? {setting}")
    if (fault := configuration.setting_fault("oidcIssuer", issuer)) is not None:
        raise ConfigurationError(f"which OIDC issuer signs the ServiceAccounts' tokens? {fault}")
    return Installation(config, region=region, account=account, issuer=issuer)


async def _find_principal(
    config: OperatorConfig, session: Session, bridge: Bridge, *, region: str, is_operator: bool
) -> str:
    if config.operator_role_arn is not None:
        return config.operator_role_arn
    if not is_operator:
        raise ConfigurationError("which role does the operator have? set `operatorRoleArn` in the file of --config")
    try:
        return await get_principal(session, region=region, bridge=bridge)
    except OperatorError as error:
        raise SurroundingsError(
            f"which role does the operator have? set `operatorRoleArn` (signing: AssumeRole; {error.message})"
        ) from error
