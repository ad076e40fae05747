"""The composition root of `elasticache-iam verify`: one user's chain, read with the caller's own rights.

Nothing is written, and nothing is signed. Only on request the Secret is read, and a login tried with its token; what it
holds is never shown.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from elasticache_iam.api.base import ConditionStatus
from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import ANNOTATION_EXPIRES_AT, ANNOTATION_ISSUED_AT
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser, UserCacheStatus
from elasticache_iam.cache.probe import RedisProbe
from elasticache_iam.core import commands, names
from elasticache_iam.core.diagnosis import Cause, Check, Diagnosis, Mark, SignedFor, TokenLife, read_token
from elasticache_iam.core.diagnosis_tree import Branch, Tree
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.plan.attachment import cache_ref, cache_status
from elasticache_iam.core.state import Inventory
from elasticache_iam.core.status import USER_STAGES, VERIFIED
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.reconcile.store import group_key
from elasticache_iam.reconcile.user.diagnosis import Examination, Trial
from elasticache_iam.reconcile.user.subject import Memory, Subject
from elasticache_iam.runtime.installation import Said
from elasticache_iam.runtime.manifests import Manifests
from elasticache_iam.runtime.planning import Question, open_plane
from elasticache_iam.runtime.resources import RESOURCES_API, call_user

_STAMP: Final = "%Y%m%dT%H%M%SZ"
"""Of X-Amz-Date."""
_SHOWN: Final = 80
"""Characters of what somebody else has put into a Secret."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Whom to look at, and how.

    Attributes:
        namespace: Of the resource.
        name: Of the resource.
        said: Which installation.
        tries_login: Whether to read the Secret and to log in with its token.
        kubeconfig: How to reach the cluster; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.
    """

    namespace: str
    name: str
    said: Said
    tries_login: bool = False
    kubeconfig: str | None = None
    context: str | None = None


async def verify(inquiry: Inquiry) -> Tree:
    """Walk the chain of one user, for all its caches.

    Raises:
        ConfigurationError: Something is missing; the text says what to do.
        OperatorError: AWS or the cluster doesn't answer.
    """
    question = Question(
        Manifests(),
        inquiry.said,
        lists_resources=False,
        kubeconfig=inquiry.kubeconfig,
        context=inquiry.context,
        way_out="",
    )
    async with open_plane(question) as (plane, connection):
        assert connection is not None  # noqa: S101  # the question uses a cluster
        return await examine(inquiry, plane, connection)


async def examine(inquiry: Inquiry, plane: Plane, connection: Connection) -> Tree:
    """As `verify`, on a plane that is open.

    Args:
        inquiry: Whom to look at.
        plane: What reads AWS.
        connection: For the resources and the Secret.
    """
    key = Key(USERS, inquiry.namespace, inquiry.name)
    user, group = await _read(connection, key)
    branches: tuple[Branch, ...] = ()
    operator = tuple(_operator_says(user))
    if group is None:
        wanted = group_key(user)
        says = f"there is no UserGroup {wanted.namespace}/{wanted.name}"
        missing = Check(
            "group", Mark.BROKEN, says, Cause.GROUP_NOT_FOUND, "kubectl get ecug -A   # or correct spec.groups"
        )
        branches = (Branch("its group", Diagnosis("group", (missing,))),)
    else:
        subject = Subject(plane, key, user, group, Memory())
        inventory = await plane.aws(subject.place).get_inventory(max_age_s=0.0, slow_max_age_s=0.0)
        branches = tuple(
            [
                await _examine_cache(inquiry, subject, cache, inventory, connection)
                for cache in _targets(subject, inventory)
            ]
        )
    return Tree(inquiry.namespace, inquiry.name, plane.installation.user_id(user), operator, branches)


async def _read(connection: Connection, key: Key) -> tuple[ElastiCacheIAMUser, UserGroup | None]:
    """Read one user and its group: who may read no others can ask, too."""
    try:
        request = Request("get", RESOURCES_API, USERS, key.namespace, key.name)
        user = parse_user(await call_user(connection, request, role="view"))
        return user, await _read_group(connection, group_key(user))
    except InvalidResourceError as error:
        raise ConfigurationError(f"{key.namespace}/{key.name} or its UserGroup is invalid: {error}") from error


async def _read_group(connection: Connection, key: Key) -> UserGroup | None:
    try:
        return parse_group(await connection.call(Request("get", RESOURCES_API, GROUPS, key.namespace, key.name)))
    except NotFoundError:
        return None
    except AccessDeniedError as error:
        raise ConfigurationError(
            f"you may not get its UserGroup {key.namespace}/{key.name}: ask whoever keeps it, or for that right"
        ) from error


# -- one cache --------------------------------------------------------------------------------------------------------


def _targets(subject: Subject, inventory: Inventory) -> Iterator[UserCacheStatus]:
    """Yield the caches: those that tokens are made for, and those that are asked for and not there yet."""
    known = {cache.name for cache in subject.user.status.caches}
    yield from subject.user.status.caches
    for wanted in subject.listed:
        if wanted.name not in known:
            yield cache_status(wanted, subject.place, inventory.caches.get(cache_ref(wanted)))


async def _examine_cache(
    inquiry: Inquiry, subject: Subject, cache: UserCacheStatus, inventory: Inventory, connection: Connection
) -> Branch:
    trial, ahead = Trial(), None
    remarks: tuple[Check, ...] = ()
    if inquiry.tries_login and subject.user.spec.delivery.mode is DeliveryMode.SECRET:
        trial, remarks = await _try(inquiry, subject, cache, connection)
        ahead = _ahead(trial.signed, subject.plane)
    found = await Examination(subject, ahead=ahead).examine(cache, inventory, trial, is_thorough=True)
    title = f"{cache.name}: {cache.id} at {cache.host}:{cache.port}" if cache.host else f"{cache.name}: {cache.id}"
    return Branch(title, Diagnosis(cache.name, (*found.checks, *remarks)))


async def _try(
    inquiry: Inquiry, subject: Subject, cache: UserCacheStatus, connection: Connection
) -> tuple[Trial, tuple[Check, ...]]:
    """Log in with the token in the Secret, as an application does; return what it showed, and what was in the way."""
    user, config = subject.user, subject.plane.installation.config
    name = names.secret_name(user.spec.delivery.secret.name or user.metadata.name, cache.name)
    where = f"{inquiry.namespace}/{name}"
    request = Request("get", "/api/v1", "secrets", namespace=inquiry.namespace, name=name, confidential=True)
    try:
        secret = await connection.call(request)
    except NotFoundError:
        says = f"there is no Secret {where}: TokenDelivered of the resource says why"
        return Trial(), (Check("secret", Mark.BROKEN, says),)
    except AccessDeniedError:
        return Trial(), (Check("secret", Mark.UNTOLD, f"your kubeconfig may not read the Secret {where}"),)
    data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
    if not data.get("password") or not data.get("username"):
        says = f"the Secret {where} has no keys username and password: a template has its own names"
        return Trial(), (Check("secret", Mark.UNTOLD, says),)
    remarks = tuple(_differences(data, cache, user, where, cache_ca=config.cache_ca))
    signed = read_token(data["password"])
    if data["username"] != user.status.id:
        return Trial(signed=signed), remarks  # its token is nobody else's to try
    if not cache.host:
        says = "the operator has found no endpoint of the cache yet, so there is nothing to connect to"
        return Trial(signed=signed), (*remarks, Check("secret", Mark.UNTOLD, says))
    result = await RedisProbe(config.cache_ca).login(
        host=cache.host, port=cache.port, username=data["username"], password=data["password"]
    )
    annotations = secret.get("metadata", {}).get("annotations") or {}
    life = _life(annotations, asked=timedelta(seconds=config.token_seconds))
    return Trial(_from_here(result), life, signed), remarks


def _differences(
    data: Mapping[str, str], cache: UserCacheStatus, user: ElastiCacheIAMUser, where: str, *, cache_ca: str | None
) -> Iterator[Check]:
    """Yield what a Secret says otherwise than the operator.

    Whoever may write the Secret, or its template, decides what stands there: it is told, and never connected to, nor
    trusted as a CA. This runs on an administrator's machine.
    """
    template = user.spec.delivery.secret.template
    repair = commands.refresh(user.metadata.namespace, user.metadata.name)
    wanted = {"username": user.status.id, "host": cache.host, "port": str(cache.port)}
    for key, expected in wanted.items():
        given = data.get(key)
        if given is None or given == expected:
            continue
        says = f"the Secret {where} has the {key} {_shorten(given)}, the operator {expected or 'none'}"
        if key in template:
            yield Check("secret", Mark.UNTOLD, f"{says}: its template says so")
        else:
            yield Check("secret", Mark.BROKEN, says, Cause.WRONG_ENDPOINT if key != "username" else None, repair)
    given_ca = data.get("ca.crt", "")
    if given_ca and given_ca.split() != (cache_ca or "").split():
        says = (
            f"the ca.crt in the Secret {where} isn't what was trusted here: the cacheCA of --config, else your "
            "system's CAs"
        )
        yield Check("secret", Mark.UNTOLD, says)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _from_here(result: LoginResult) -> LoginResult:
    """Return the result in the words of somebody who isn't the operator."""
    if result.outcome is not LoginOutcome.UNREACHABLE:
        return result
    where = result.detail.partition(" ")[0]
    return LoginResult(result.outcome, f"{where} can't be reached from here: run this where there is a route")


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _life(annotations: Mapping[str, str], *, asked: timedelta) -> TokenLife | None:
    try:
        issued, expires = (
            datetime.fromisoformat(annotations[key]) for key in (ANNOTATION_ISSUED_AT, ANNOTATION_EXPIRES_AT)
        )
    except (KeyError, ValueError):
        return None
    return TokenLife(issued, expires, asked)


def _ahead(signed: SignedFor | None, plane: Plane) -> timedelta | None:
    """Return by how much the clock that signed is ahead at least; that it is behind can't be seen from a token."""
    here = plane.get_ahead()
    if signed is None or here is None:
        return None
    try:
        signed_at = datetime.strptime(signed.signed_at, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    ahead = signed_at - (plane.clock.now() - here)
    return ahead if ahead > timedelta() else None


# -- what the operator says -------------------------------------------------------------------------------------------


def _operator_says(user: ElastiCacheIAMUser) -> Iterator[Check]:
    meta = user.metadata
    if meta.is_paused:
        says = "the resource is paused: nothing is put right, though tokens are refreshed"
        yield Check("paused", Mark.UNTOLD, says, repair=commands.have_repaired(meta.namespace, meta.name))
    conditions = {condition.type: condition for condition in user.status.conditions}
    if not conditions:
        yield Check("Ready", Mark.BROKEN, "it hasn't looked at the resource: is it running, with this namespace?")
    for kind in USER_STAGES:
        condition = conditions.get(kind)
        if condition is None or (condition.status is ConditionStatus.TRUE and kind != VERIFIED):
            continue
        says = f"{kind} is {condition.status.value}, {condition.reason}, since {condition.last_transition_time}"
        if condition.status is not ConditionStatus.TRUE:
            says += f": {condition.message}"
        if condition.observed_generation != meta.generation:
            says += " (of an earlier version of the resource)"
        marks = {ConditionStatus.TRUE: Mark.WHOLE, ConditionStatus.FALSE: Mark.BROKEN}
        yield Check("condition", marks.get(condition.status, Mark.UNTOLD), says)
