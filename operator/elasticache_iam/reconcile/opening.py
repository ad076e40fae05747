"""How every pass begins, of users and groups alike: what can't be read, isn't there, is held, or is being deleted."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core.status import Stage
from elasticache_iam.reconcile.plane import HELD_LOOK_S, Plane
from elasticache_iam.reconcile.queue import Key
from elasticache_iam.reconcile.store import Body

R = TypeVar("R", ElastiCacheIAMUser, UserGroup)
Pass = Callable[[R], Awaitable[float | None]]
"""Takes the resource; returns after how many seconds to look again, None: when woken."""


async def open_pass(
    plane: Plane,
    key: Key,
    *,
    read: Callable[[Key], R | None],
    salvage: Callable[[Body], R],
    order: tuple[str, ...],
    delete: Pass[R],
    work: Pass[R],
) -> float | None:
    """Do what comes before the work, and the work if it may be done.

    Args:
        plane: The control plane's hands.
        key: The resource.
        read: Returns it from the store, raises InvalidResourceError.
        salvage: Returns what can be told of one that breaks its rules: enough to delete it.
        order: The kind's stages; one that can't be read is told on the first.
        delete: The pass of a resource that is being deleted.
        work: The pass of any other.
    """
    invalid = ""
    try:
        resource = read(key)
    except InvalidResourceError as error:
        resource, invalid = salvage(plane.store.body(key) or {}), str(error)
    if resource is None:
        plane.forget(key)
        return None
    meta = resource.metadata
    if await plane.is_held(meta):
        return HELD_LOOK_S if meta.is_deleting else None
    if meta.is_deleting:
        return await delete(resource)
    if invalid:
        stages = [Stage.blocked(order[0], "InvalidSpec", invalid)]
        return await plane.finish(key, meta, resource.status, resource.status, stages, order=order, polling=False)
    return await work(resource)
