"""The composition root of `elasticache-iam status`: resources and the operator's schedule, read as the caller may."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticache_iam.api.keys import OPERATOR_NAMESPACE
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError
from elasticache_iam.core.overview import Lives, Overview, look_over
from elasticache_iam.core.token import MAX_TOKEN_SECONDS
from elasticache_iam.kube.connection import Connection, Request, open_connection
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.kube.token_kube import ApiTokenKube
from elasticache_iam.ports import Clock
from elasticache_iam.reconcile.queue import GROUPS, USERS
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.resources import RESOURCES_API, ReadOnly, missing_crds
from elasticache_iam.tokens.checkpoint import decode


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at.

    Attributes:
        namespace: "" for all.
        operator_namespace: Where the operator notes how long tokens live.
        kubeconfig: How to reach the cluster; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.
    """

    namespace: str
    operator_namespace: str = OPERATOR_NAMESPACE
    kubeconfig: str | None = None
    context: str | None = None


async def watch(scope: Scope, show: Callable[[Overview], None], *, interval_s: float | None) -> None:
    """Look and show it, by one connection: once, or again and again.

    Args:
        scope: What to look at.
        show: Told of each look.
        interval_s: The pause between two looks; None: look once.

    Raises:
        ConfigurationError: There is no such cluster, no CRDs, or no right to list anything.
        OperatorError: The cluster doesn't answer.
    """
    async with await open_connection(scope.kubeconfig, context=scope.context) as connection:
        while True:
            show(await look(scope, connection, SystemClock()))
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)


async def look(scope: Scope, connection: Connection, clock: Clock) -> Overview:
    """Look once. Raises as `watch`."""
    (users, may_not_users), (groups, may_not_groups), (lives, why_no_lives) = await asyncio.gather(
        _list(connection, USERS, scope.namespace),
        _list(connection, GROUPS, scope.namespace),
        _read_lives(connection, scope, clock.now()),
    )
    if may_not_users and may_not_groups:
        where = f"in {scope.namespace}" if scope.namespace else "in all namespaces; try -n NAMESPACE"
        raise ConfigurationError(f"you may not list {USERS} {where}")
    notes = [note for note in (may_not_users, may_not_groups) if note]
    if scope.namespace:
        groups += await _named_groups(connection, users, groups)
    if users and lives is None:
        notes.append(f"how long tokens live isn't known: {why_no_lives}")
    return look_over(
        groups,
        users,
        lives=lives,
        now=clock.now(),
        operator_namespace=scope.operator_namespace,
        notes=tuple(notes),
    )


async def _list(connection: Connection, plural: str, namespace: str) -> tuple[list[Mapping[str, Any]], str]:
    """Return the resources, and why not if that isn't allowed."""
    kube = ApiKube(connection, ReadOnly(), namespaces=(namespace,) if namespace else ())
    try:
        return [body async for body in kube.list_resources(plural)], ""
    except NotFoundError as error:
        raise missing_crds() from error
    except AccessDeniedError as error:
        if error.code == "Unauthorized":  # no right would help
            raise
        where = f"in {namespace}" if namespace else "in all namespaces"
        return [], f"you may not list {plural} {where}, so none is shown"


async def _named_groups(
    connection: Connection, users: list[Mapping[str, Any]], known: list[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the groups in other namespaces that users name, as far as they may be read."""
    here = {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in known}
    wanted = {
        (group.get("namespace") or user["metadata"]["namespace"], group["name"])
        for user in users
        for group in (user.get("spec") or {}).get("groups") or ()
    }
    found: list[Mapping[str, Any]] = []
    for namespace, name in sorted(wanted - here):
        try:
            found.append(await connection.call(Request("get", RESOURCES_API, GROUPS, namespace, name)))
        except (NotFoundError, AccessDeniedError):  # the user's own conditions tell of a missing one
            continue
    return found


async def _read_lives(connection: Connection, scope: Scope, now: datetime) -> tuple[Lives | None, str]:
    """Return when tokens end by the operator's own note, made each minute: since then they were only replaced."""
    what = f"the ConfigMap of its schedule in {scope.operator_namespace} (--operator-namespace)"
    try:
        content = await ApiTokenKube(connection, ReadOnly(), namespace=scope.operator_namespace).load_checkpoint()
    except AccessDeniedError:
        return None, f"you may not read {what}"
    if content is None:
        return None, f"the operator hasn't written {what} yet"
    lives = decode(content, token_s=MAX_TOKEN_SECONDS, now=now)
    return {key: life.expires_at for key, life in lives.items()}, ""
