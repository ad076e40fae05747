"""The composition root of `elasticache-iam suspend`, `resume` and `refresh`: one patch a user, then wait."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from elasticache_iam.core.errors import ConfigurationError, NotFoundError, OperatorError
from elasticache_iam.core.orders import Order, Progress, patch_of, progress_of, refusal_of
from elasticache_iam.core.times import micro_time
from elasticache_iam.kube.connection import MERGE_PATCH, Connection, Request, open_connection
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam.runtime.resources import RESOURCES_API, call_user

FIELD_MANAGER: Final = "elasticache-iam-cli"
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Errand:
    """What to do to whom.

    Attributes:
        order: What to do.
        namespace: Of the users.
        names: Of the users.
        timeout_s: How long to wait until it is done; 0: don't.
        kubeconfig: How to reach the cluster; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.
    """

    order: Order
    namespace: str
    names: Sequence[str]
    timeout_s: float
    kubeconfig: str | None = None
    context: str | None = None


async def run_errand(errand: Errand, say: Callable[[str], None]) -> bool:
    """Give the order to all that can get it, then wait for them; return whether all is done, or nobody waited.

    Who suspends several in a hurry has the others suspended although one is misspelt.

    Args:
        errand: What to do to whom.
        say: Told of each user, one line at a time.

    Raises:
        ConfigurationError: After the others are done: a user isn't there, the order can't be carried out, or the caller
            may not give it.
        OperatorError: The cluster doesn't answer.
    """
    stamp = micro_time(datetime.now(UTC))
    async with await open_connection(errand.kubeconfig, context=errand.context) as connection:
        given: list[str] = []
        refusals: list[OperatorError] = []
        for name in errand.names:
            try:
                await _give(errand, connection, name, stamp)
            except OperatorError as error:
                refusals.append(error)
                continue
            given.append(name)
            if not errand.timeout_s:
                say(f"{errand.namespace}/{name}: {errand.order.value} asked for")
        is_done = True
        if errand.timeout_s:
            deadline = asyncio.get_running_loop().time() + errand.timeout_s
            waits = (_wait(errand, connection, name, stamp=stamp, deadline=deadline, say=say) for name in given)
            is_done = all(await asyncio.gather(*waits))
    for refusal in refusals[1:]:
        say(refusal.message)
    if refusals:
        raise refusals[0]
    return is_done


async def _give(errand: Errand, connection: Connection, name: str, stamp: str) -> None:
    request = Request("get", RESOURCES_API, USERS, errand.namespace, name)
    if refusal := refusal_of(errand.order, await call_user(connection, request, role="edit")):
        raise ConfigurationError(f"ElastiCacheIAMUser {errand.namespace}/{name}: {refusal}")
    await call_user(
        connection,
        Request(
            "patch",
            RESOURCES_API,
            USERS,
            errand.namespace,
            name,
            query={"fieldManager": FIELD_MANAGER},
            body=patch_of(errand.order, stamp=stamp),
            content_type=MERGE_PATCH,
        ),
        role="edit",
    )


async def _wait(
    errand: Errand, connection: Connection, name: str, *, stamp: str, deadline: float, say: Callable[[str], None]
) -> bool:
    """Look until it is done or time is up; a connection that fails in between is tried again."""
    progress = Progress(is_done=False, says="the cluster doesn't answer")
    request = Request("get", RESOURCES_API, USERS, errand.namespace, name)
    while True:
        try:
            progress = progress_of(errand.order, await connection.call(request), stamp=stamp)
        except NotFoundError:
            say(f"{errand.namespace}/{name}: it was deleted meanwhile")
            return False
        except OperatorError as error:
            progress = Progress(is_done=False, says=error.message)
        if progress.is_done:
            say(f"{errand.namespace}/{name}: {_DONE[errand.order]}")
            return True
        if asyncio.get_running_loop().time() >= deadline:
            say(f"{errand.namespace}/{name}: not within {errand.timeout_s:g} s; {progress.says}")
            say(f"  $ elasticache-iam verify {name} -n {errand.namespace}")
            return False
        await asyncio.sleep(POLL_S)


_DONE: Final = {
    Order.SUSPEND: "suspended: no tokens, out of the group, connections are cut",
    Order.RESUME: "resumed, and ready",
    Order.REFRESH: "has new tokens",
}
