"""Slots for logins, on a clock that goes on between two looks at it, as real ones do."""

import asyncio
import itertools
from datetime import UTC, datetime

from elasticache_iam.tokens.endpoints import Endpoints


class Ticking:
    def __init__(self):
        self._ticks = itertools.count()

    def now(self):
        return datetime.fromtimestamp(self.monotonic(), tz=UTC)

    def monotonic(self):
        return float(next(self._ticks))


async def test_a_login_gets_a_free_slot_at_once():
    endpoints = Endpoints(Ticking())

    async with asyncio.timeout(10):
        answers = [
            await endpoints.enter(("orders", 6379), lane="shop", is_newcomer=is_newcomer)
            for is_newcomer in (True, False)
        ]

    assert answers == [None, None]
