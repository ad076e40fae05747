"""The lanes: bounded, cancellable, apart from each other."""

import asyncio
import threading

import pytest
from botocore.exceptions import ClientError

from elasticache_iam.aws.bridge import Bridge, Lane, LaneSize
from elasticache_iam.core.errors import BusyError, ThrottledError, UnavailableError


@pytest.fixture
def lane():
    lane = Lane("test", LaneSize(workers=1, queue=1, timeout_s=60.0))
    yield lane
    lane.close()


def run(lane, function, observe=None):
    return lane.run(function, service="elasticache", operation="CreateUser", observe=observe)


async def until(event):
    assert await asyncio.to_thread(event.wait, 30)


class Gate:
    """A blocking call that tells when it runs and waits to be let go."""

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.left = threading.Event()

    def __call__(self):
        self.entered.set()
        self.opened.wait(30)
        self.left.set()
        return "answer"


async def test_a_call_runs_in_a_thread_of_the_lane(lane):
    name = await run(lane, lambda: threading.current_thread().name)

    assert name.startswith("test")


async def test_a_full_lane_refuses(lane):
    gate = Gate()
    running = asyncio.create_task(run(lane, gate))
    await until(gate.entered)
    waiting = asyncio.create_task(run(lane, lambda: "second"))
    await asyncio.sleep(0)

    with pytest.raises(ThrottledError, match="too many calls are waiting"):
        await run(lane, lambda: "third")

    gate.opened.set()
    assert [await running, await waiting] == ["answer", "second"]


async def test_a_place_is_free_again_after_the_answer(lane):
    answers = [await run(lane, lambda number=number: number) for number in range(5)]

    assert answers == [0, 1, 2, 3, 4]


async def test_a_cancelled_call_that_waits_is_never_sent(lane):
    gate = Gate()
    sent = []
    running = asyncio.create_task(run(lane, gate))
    await until(gate.entered)
    waiting = asyncio.create_task(run(lane, lambda: sent.append("second")))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait((waiting,))
    gate.opened.set()
    await running
    await run(lane, lambda: None)

    assert sent == []


async def test_a_cancelled_call_that_runs_ends_and_frees_its_place(lane):
    gate = Gate()
    running = asyncio.create_task(run(lane, gate))
    await until(gate.entered)

    running.cancel()
    await asyncio.wait((running,))
    gate.opened.set()
    await until(gate.left)

    assert running.cancelled()
    assert await run(lane, lambda: "next") == "next"


async def test_no_answer_in_time_is_unavailable():
    lane = Lane("test", LaneSize(workers=1, queue=1, timeout_s=0.01))
    gate = Gate()

    with pytest.raises(UnavailableError, match=r"ElastiCache CreateUser: no answer within 0\.01 s"):
        await run(lane, gate)

    gate.opened.set()
    lane.close()


async def test_a_call_of_aws_is_translated_and_keeps_its_cause(lane):
    def refuse():
        raise ClientError({"Error": {"Code": "InvalidUserState", "Message": "busy"}}, "CreateUser")

    with pytest.raises(BusyError) as caught:
        await run(lane, refuse)

    assert isinstance(caught.value.__cause__, ClientError)


async def test_a_bug_is_not_translated(lane):
    def stumble():
        raise KeyError("typo")

    with pytest.raises(KeyError):
        await run(lane, stumble)


async def test_each_call_is_reported_with_its_code(lane):
    seen = []

    def observe(service, operation, code, seconds):
        seen.append((service, operation, code, seconds >= 0))

    def refuse():
        raise ClientError({"Error": {"Code": "Throttling", "Message": ""}}, "CreateUser")

    await run(lane, lambda: None, observe)
    with pytest.raises(ThrottledError):
        await run(lane, refuse, observe)

    assert seen == [("elasticache", "CreateUser", "", True), ("elasticache", "CreateUser", "Throttling", True)]


async def test_a_closed_lane_is_unavailable(lane):
    lane.close()

    with pytest.raises(UnavailableError, match="stopping"):
        await run(lane, lambda: None)


async def test_a_stuck_control_plane_does_not_delay_sts():
    bridge = Bridge(
        control=LaneSize(workers=1, queue=10, timeout_s=60.0), sts=LaneSize(workers=1, queue=1, timeout_s=60.0)
    )
    gate = Gate()
    stuck = asyncio.create_task(run(bridge.control, gate))
    await until(gate.entered)

    answer = await asyncio.wait_for(run(bridge.sts, lambda: "session"), timeout=30)

    assert answer == "session"
    gate.opened.set()
    await stuck
    bridge.close()
