"""One part of the inventory: age, sharing, and writes of ours that overtake a read."""

import asyncio
import threading

import pytest

from elasticache_iam.aws.part import Part, Sequence


class Clock:
    seconds = 100.0

    def now(self):
        raise NotImplementedError

    def monotonic(self):
        return self.seconds


class Source:
    """Something to read. While `gate` is closed a read that has begun doesn't end; it answers what was there then."""

    def __init__(self):
        self.value = "old"
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = None

    async def __call__(self):
        self.reads += 1
        seen = self.value
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return seen


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def part(source, clock):
    return Part(source, clock=clock, sequence=Sequence())


async def start(awaitable):
    task = asyncio.create_task(awaitable)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_what_is_young_enough_is_not_read_again(part, source, clock):
    await part.get(60.0)
    clock.seconds += 59.0

    await part.get(60.0)

    assert source.reads == 1


async def test_what_is_too_old_is_read_again(part, source, clock):
    await part.get(60.0)
    clock.seconds += 60.0

    await part.get(60.0)

    assert source.reads == 2


async def test_age_counts_from_the_start_of_the_read(part, source, clock):
    source.gate.clear()
    first = await start(part.get(60.0))
    clock.seconds += 61.0
    source.gate.set()
    await first

    await part.get(60.0)

    assert source.reads == 2


async def test_callers_at_the_same_time_share_a_read(part, source):
    readings = await asyncio.gather(*(part.get(0.0) for _ in range(50)))

    assert source.reads == 1
    assert {reading.value for reading in readings} == {"old"}


async def test_a_write_makes_stale_at_once(part, source):
    await part.get(60.0)
    source.value = "new"

    part.invalidate()

    assert (await part.get(60.0)).value == "new"


async def test_a_read_overtaken_by_a_write_does_not_count_for_later_callers(part, source):
    source.gate.clear()
    early = await start(part.get(60.0))
    source.value = "new"
    part.invalidate()
    late = await start(part.get(60.0))

    source.gate.set()

    assert (await early).value == "old"
    assert (await late).value == "new"
    assert (await part.get(60.0)).value == "new"
    assert source.reads == 2


async def test_of_writes_that_end_together_in_threads_the_last_one_counts(source, clock):
    taken, overtaken = threading.Event(), threading.Event()

    class HeldUp(Sequence):
        """Who takes the first number is held up on its way to say so."""

        def next(self):
            number = super().next()
            if number == 1:
                taken.set()
                overtaken.wait(0.2)
            return number

    part = Part(source, clock=clock, sequence=HeldUp())
    first = threading.Thread(target=part.invalidate)
    first.start()
    taken.wait()
    await part.get(60.0)
    source.value = "new"

    part.invalidate()

    overtaken.set()
    first.join()
    assert (await part.get(60.0)).value == "new"


async def test_many_writes_do_not_keep_a_reader_waiting_for_ever(part, source):
    source.gate.clear()
    reader = await start(part.get(60.0))
    for _ in range(10):
        part.invalidate()

    source.gate.set()

    assert (await asyncio.wait_for(reader, 1)).value == "old"


async def test_callers_after_a_write_share_one_new_read(part, source):
    source.gate.clear()
    await start(part.get(60.0))
    part.invalidate()
    late = [await start(part.get(60.0)) for _ in range(20)]

    source.gate.set()
    await asyncio.gather(*late)

    assert source.reads == 2


async def test_a_cancelled_caller_does_not_stop_the_others(part, source):
    source.gate.clear()
    first = await start(part.get(60.0))
    second = await start(part.get(60.0))

    first.cancel()
    source.gate.set()

    assert (await second).value == "old"
    assert source.reads == 1


async def test_a_failure_reaches_all_and_the_next_read_starts_anew(part, source):
    source.error = ConnectionError("down")
    failures = await asyncio.gather(*(part.get(60.0) for _ in range(3)), return_exceptions=True)
    source.error = None

    reading = await part.get(60.0)

    assert [type(failure) for failure in failures] == [ConnectionError] * 3
    assert reading.value == "old"
    assert source.reads == 2


async def test_a_read_may_be_asked_for_after_a_moment(part, source):
    before = await part.get(60.0)

    after = await part.get(60.0, after=before.stamp)

    assert after.stamp > before.stamp
    assert source.reads == 2
