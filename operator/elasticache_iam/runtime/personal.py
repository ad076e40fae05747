"""The composition root of `elasticache-iam token`: a person's token, signed with the person's own AWS identity.

The cluster is only asked for which user and cache; a Secret isn't read, and nothing is written anywhere. Signing is
offline: whether the identity may connect shows at the cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

from elasticache_iam.api.group import GroupCacheStatus, UserGroup
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.aws.errors import is_out_of_reach, translate
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError
from elasticache_iam.core.names import MAIN_ALIAS, place_of_arn, service_word
from elasticache_iam.core.token import Credentials, Token, sign_token
from elasticache_iam.kube.connection import Connection, Request, open_connection
from elasticache_iam.reconcile.queue import GROUPS, USERS
from elasticache_iam.reconcile.store import group_key
from elasticache_iam.runtime.resources import RESOURCES_API, call_user

_SAY_ALL = "say all yourself: --user-id, --cache-id and --region"
_SERVERLESS_ARN = ":serverlesscache:"
_NO_CREDENTIALS = "there are no AWS credentials: log in (aws sso login), or choose a profile: --profile"


@dataclass(frozen=True, slots=True)
class Door:
    """Which cache to log in to, as whom.

    Attributes:
        user_id: The user's id in AWS, and its name in Redis.
        cache_id: What is signed for.
        service: `elasticache` or `memorydb`.
        region: Of the cache.
        serverless: Whether the cache is a serverless one.
        host: Where it listens; "" where nobody has said.
        port: The port there.
    """

    user_id: str
    cache_id: str
    service: str
    region: str
    serverless: bool = False
    host: str = ""
    port: int = 6379


async def find_door(
    name: str, *, namespace: str, cache: str | None, kubeconfig: str | None, context: str | None
) -> Door:
    """Return the door of an ElastiCacheIAMUser.

    Args:
        name: Of the resource.
        namespace: Of the resource.
        cache: The cache's alias; None: `main`, or the only one.
        kubeconfig: How to reach the cluster; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.

    Raises:
        ConfigurationError: There is no such user or cache, or AWS doesn't have it yet.
        OperatorError: The cluster doesn't answer.
    """
    async with await open_connection(kubeconfig, context=context) as connection:
        user = await _read_user(connection, namespace, name)
        doors = _own_doors(user) or await _group_doors(connection, user)
    if not user.status.id or not doors:
        raise ConfigurationError(
            f"{namespace}/{name} has no user or no cache in AWS yet; see: elasticache-iam status -n {namespace}"
        )
    alias = cache or (MAIN_ALIAS if MAIN_ALIAS in doors else next(iter(doors)))
    if cache and cache not in doors:
        raise ConfigurationError(f"{namespace}/{name} has no cache {cache}, but {', '.join(sorted(doors))}")
    if alias not in doors or (cache is None and MAIN_ALIAS not in doors and len(doors) > 1):
        raise ConfigurationError(f"which cache? {namespace}/{name} has {', '.join(sorted(doors))}; say --cache")
    return doors[alias]


async def _read_user(connection: Connection, namespace: str, name: str) -> ElastiCacheIAMUser:
    request = Request("get", RESOURCES_API, USERS, namespace, name)
    try:
        return parse_user(await call_user(connection, request, role="view", way_out=f"; or {_SAY_ALL}"))
    except InvalidResourceError as error:
        raise ConfigurationError(f"{namespace}/{name} is invalid: {error}") from error


def _own_doors(user: ElastiCacheIAMUser) -> Mapping[str, Door]:
    return {
        cache.name: Door(
            user.status.id, cache.id, cache.service, cache.region, cache.serverless, cache.host, cache.port
        )
        for cache in user.status.caches
    }


async def _group_doors(connection: Connection, user: ElastiCacheIAMUser) -> Mapping[str, Door]:
    """Return the doors by the group's status: a user without a role has none of its own."""
    key = group_key(user)
    try:
        group = parse_group(await connection.call(Request("get", RESOURCES_API, GROUPS, key.namespace, key.name)))
    except (NotFoundError, InvalidResourceError):
        return {}
    except AccessDeniedError as error:
        raise ConfigurationError(
            f"you may not get UserGroup {key.namespace}/{key.name}, which knows the caches; {_SAY_ALL}"
        ) from error
    return {cache.name: _door(user, group, cache) for cache in group.status.caches if cache.arn}


def _door(user: ElastiCacheIAMUser, group: UserGroup, cache: GroupCacheStatus) -> Door:
    place = place_of_arn(cache.arn)
    return Door(
        user.status.id,
        cache.id,
        service_word(group.spec.service),
        place.region if place is not None else "",
        serverless=_SERVERLESS_ARN in cache.arn,
        host=cache.host,
        port=cache.port,
    )


def open_session(profile: str | None) -> Session:
    """Return the caller's own AWS identity, by boto3's default chain. Raises ConfigurationError."""
    try:
        return Session(profile_name=profile)
    except BotoCoreError as error:  # the profile names none, or ~/.aws/config can't be read
        raise ConfigurationError(f"your AWS settings can't be used: {error}; choose a profile: --profile") from error


def require_credentials(session: Session) -> None:
    """Stop early where each call would be refused for the same reason.

    Raises:
        ConfigurationError: There are no credentials.
        OperatorError: AWS gives none.
    """
    try:
        _freeze(session)
    except AccessDeniedError as error:
        if not is_out_of_reach(error.code):
            raise
        raise ConfigurationError(_NO_CREDENTIALS) from error


def mint(door: Door, session: Session, *, now: datetime) -> Token:
    """Sign a token with the caller's own AWS identity.

    Raises:
        ConfigurationError: There are no credentials, or an id can't be signed.
        OperatorError: AWS gives no credentials.
    """
    try:
        return sign_token(
            _freeze(session),
            service=door.service,
            region=door.region,
            cache_id=door.cache_id.lower(),
            user_id=door.user_id.lower(),
            now=now,
            serverless=door.serverless,
        )
    except ValueError as error:
        raise ConfigurationError(f"this can't be signed: {error}") from error


def _freeze(session: Session) -> Credentials:
    try:
        credentials: Any = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
    except (BotoCoreError, ClientError) as error:
        operation = getattr(error, "operation_name", "GetCredentials")
        raise translate(error, service="sts", operation=operation) or ConfigurationError(str(type(error))) from None
    if frozen is None:
        raise ConfigurationError(_NO_CREDENTIALS)
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)
