"""Loops in threads of their own."""

import asyncio
import threading

import pytest

from elasticache_iam.runtime.loops import LoopThread


@pytest.fixture
def thread():
    made = LoopThread("a-loop")
    yield made
    made.stop()


async def _name() -> str:
    return threading.current_thread().name


async def test_work_runs_in_the_loops_own_thread(thread):
    assert await thread.run(_name()) == "a-loop"
    assert threading.current_thread().name != "a-loop"


async def test_a_failure_comes_back(thread):
    async def fail() -> None:
        raise ValueError("as asked")

    with pytest.raises(ValueError, match="as asked"):
        await thread.run(fail())


async def test_a_function_is_called_on_the_loop(thread):
    called = threading.Event()
    thread.call(called.set)

    assert await asyncio.to_thread(called.wait, 5.0)


def test_stopping_cancels_what_runs_and_lets_it_clean_up():
    thread = LoopThread("a-loop")
    began, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.set()

    future = thread.start(work())
    assert began.wait(5.0)

    thread.stop()

    assert cleaned.is_set()
    assert future.cancelled()
    assert thread.loop.is_closed()


def test_stopping_twice_is_fine_and_calls_afterwards_are_dropped():
    thread = LoopThread("a-loop")
    thread.stop()

    thread.stop()
    thread.call(pytest.fail)

    assert thread.loop.is_closed()
