"""Throws bodies at an operator that has a healthy pair to look after, and looks what became of it all."""

import asyncio
import re
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.bodies import KINDS
from tests.world.disturbances import unfit_messages
from tests.world.scenarios import GROUP, USER, put_strangers, ready
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.reconcile.queue import GROUPS, USERS

PROFILE: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same bodies in each run. They aren't shrunk: hours of virtual time would be tried over and over."""
TIME_FOR_IT_S: Final = 400.0
"""A refresh of the healthy pair's token, and a look again at what failed."""
_DECENT: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def endure(thrown: list[Manifest]) -> list[str]:
    """Apply bodies one after the other, then delete them; return what should not be."""
    return play(_endure(thrown))


async def _endure(thrown: list[Manifest]) -> list[str]:
    async with virtual_ground() as world:
        world.add_cache()
        put_strangers(world)
        others = world.in_aws()
        await world.start()
        world.apply(group_manifest(), user_manifest())
        await ready(world, GROUP, USER)
        for body in thrown:
            world.kube.put(body)
            await asyncio.sleep(5.0)
        await asyncio.sleep(TIME_FOR_IT_S)
        found = _look(world, others)
        for body in thrown:
            key = (KINDS[body["kind"]], body["metadata"]["namespace"], body["metadata"]["name"])
            if world.kube.get(*key) is not None:
                world.kube.delete(*key)
        await asyncio.sleep(TIME_FOR_IT_S)
        return found + _look(world, others)


def _look(world: VirtualGround, others: Any) -> list[str]:
    found = [*world.failures(), *world.violations, *world.stale_secrets(), *unfit_messages(world.shown)]
    there = world.in_aws()
    found += [
        f"{part} {name} of somebody else is now {there[part].get(name)}"
        for part, objects in others.items()
        for name, was in objects.items()
        if there[part].get(name) != was and name != "orders-prod"
    ]
    found += [
        f"{part} {name!r} is no name for an object in AWS"
        for part in ("users", "groups", "roles")
        for name in there[part]
        if _DECENT.fullmatch(name) is None
    ]
    found += [f"{kind} is not Ready any more" for kind in (GROUP, USER) if not world.is_ready(*kind)]
    found += [
        f"{plural} {namespace}/{name} was never looked at"
        for plural, namespace, name in list(world.kube._objects)
        if plural in {USERS, GROUPS} and _is_overlooked(world.kube.get(plural, namespace, name) or {})
    ]
    return found


def _is_overlooked(body: Any) -> bool:
    is_paused = body["metadata"].get("annotations", {}).get("elasticache-iam.dev/paused", "false").lower() != "false"
    return not is_paused and body["status"].get("observedGeneration") != body["metadata"]["generation"]
