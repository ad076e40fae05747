"""The queue: each key once at a time, soon when woken, later when its pass says so."""

import asyncio

import pytest
from structlog.testing import capture_logs

from elasticache_iam.core.errors import AccessDeniedError, NotFoundError, NotLeaderError, UnavailableError
from elasticache_iam.reconcile.queue import USERS, Key, WorkQueue

A, B, C = (Key(USERS, "shop", name) for name in "abc")
pytestmark = pytest.mark.looptime


class LoopClock:
    def monotonic(self):
        return asyncio.get_running_loop().time()


class Work:
    """Passes of a given length; remembers when each began."""

    def __init__(self, *, takes_s=0.0, again_s=None):
        self.takes_s = takes_s
        self.again_s = again_s
        self.errors = []
        self.began = []
        self.running = set()
        self.most = 0

    async def __call__(self, key):
        assert key not in self.running
        self.began.append((asyncio.get_running_loop().time(), key))
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        await asyncio.sleep(self.takes_s)
        self.running.discard(key)
        if self.errors:
            raise self.errors.pop(0)
        return self.again_s

    def times(self, key=A):
        return [at for at, which in self.began if which == key]


@pytest.fixture
def queue():
    return WorkQueue(LoopClock())


@pytest.fixture
async def run(queue):
    tasks = []

    def start(work, workers=4):
        tasks.append(asyncio.create_task(queue.run(work, workers=workers)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_woken_key_is_worked_on_once(queue, run):
    work = Work()
    run(work)

    for _ in range(5):
        queue.wake(A)
    await asyncio.sleep(10)

    assert work.times() == [0.0]
    assert queue.is_idle


async def test_a_key_is_due_at_the_earliest_of_its_wakes(queue, run):
    work = Work()
    run(work)

    queue.wake(A, after_s=20)
    queue.wake(A, after_s=5)
    queue.wake(A, after_s=30)
    await asyncio.sleep(100)

    assert work.times() == [5.0]


async def test_a_pass_says_when_to_come_back(queue, run):
    work = Work(again_s=30.0)
    run(work)

    queue.wake(A)
    await asyncio.sleep(100)

    assert work.times() == [0.0, 30.0, 60.0, 90.0]


async def test_a_key_woken_during_its_pass_runs_again_after_it(queue, run):
    work = Work(takes_s=10.0)
    run(work)
    queue.wake(A)
    await asyncio.sleep(3)

    queue.wake(A)
    queue.wake(A)
    await asyncio.sleep(50)

    assert work.times() == [0.0, 10.0]


async def test_a_key_that_comes_due_during_its_pass_never_runs_beside_itself(queue, run):
    work = Work(takes_s=10.0)
    run(work)
    queue.wake(A)
    await asyncio.sleep(1)

    queue.wake(A, after_s=2)
    await asyncio.sleep(50)

    assert work.times() == [0.0, 10.0]


async def test_no_more_than_the_workers_run_at_once(queue, run):
    work = Work(takes_s=1.0)
    run(work, workers=2)

    for key in (A, B, C):
        queue.wake(key)
    await asyncio.sleep(10)

    assert work.most == 2
    assert {key for _, key in work.began} == {A, B, C}


async def test_a_forgotten_key_is_not_worked_on(queue, run):
    work = Work()
    run(work)
    queue.wake(A, after_s=5)

    queue.forget(A)
    await asyncio.sleep(10)

    assert work.began == []


async def test_a_key_forgotten_during_its_pass_comes_back_only_if_the_pass_says_so(queue, run):
    work = Work(takes_s=5.0)
    run(work)
    queue.wake(A)
    await asyncio.sleep(1)
    queue.wake(A)

    queue.forget(A)
    await asyncio.sleep(20)

    assert work.times() == [0.0]


@pytest.mark.parametrize(
    ("error", "again_s"),
    [
        pytest.param(NotLeaderError("no"), 5.0, id="not-the-leader-waits-a-little"),
        pytest.param(UnavailableError("down"), 10.0, id="an-outage-by-its-own-pace"),
        pytest.param(AccessDeniedError("no"), 300.0, id="a-missing-right-slowly"),
        pytest.param(ZeroDivisionError("bug"), 60.0, id="a-bug-after-a-minute"),
    ],
)
async def test_a_failed_pass_comes_back(queue, run, error, again_s):
    work = Work()
    work.errors = [error]
    run(work)

    with capture_logs():
        queue.wake(A)
        await asyncio.sleep(1000)

    assert work.times() == [0.0, again_s]


async def test_a_resource_that_seems_to_be_gone_is_looked_at_again(queue, run):
    work = Work()
    work.errors = [NotFoundError("gone")]
    run(work)

    queue.wake(A)
    await asyncio.sleep(1000)

    assert work.times() == [0.0, NotFoundError.retry_after_s]


async def test_the_same_trouble_is_logged_once_until_it_is_over(queue, run):
    work = Work()
    work.errors = [UnavailableError("down"), UnavailableError("down")]
    run(work)

    with capture_logs() as logs:
        queue.wake(A)
        await asyncio.sleep(25)
        work.errors = [UnavailableError("down")]
        queue.wake(B)
        await asyncio.sleep(25)

    assert [entry["reason"] for entry in logs] == ["Unavailable", "Unavailable"]


async def test_a_cancellation_that_comes_with_a_wake_is_not_lost(queue, run):
    task = run(Work())
    await asyncio.sleep(1)

    queue.wake(A)
    task.cancel()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()


async def test_the_depth_and_lateness_of_a_backlog_show(queue):
    queue.wake(A)
    await asyncio.sleep(7)

    assert queue.lateness_s() == 7.0
    assert queue.depth() == 1
    assert not queue.is_idle


# -- urgent keys ------------------------------------------------------------------------------------------------------

MANY = [Key(USERS, "shop", f"new-{number}") for number in range(100)]


async def test_an_urgent_key_is_served_before_a_crowd(queue, run):
    work = Work(takes_s=1.0)
    for key in MANY:
        queue.wake(key)
    run(work, workers=8)
    await asyncio.sleep(0.5)

    queue.wake(A, is_urgent=True)
    await asyncio.sleep(0.01)

    assert work.times(A) == [0.5]  # at once, although all other workers have work


async def test_the_crowd_leaves_the_urgent_workers_free(queue, run):
    work = Work(takes_s=1.0)
    for key in MANY:
        queue.wake(key)

    run(work, workers=8)
    await asyncio.sleep(0.5)

    assert work.most == 6


async def test_a_waiting_key_becomes_urgent(queue, run):
    work = Work(takes_s=1.0)
    for key in MANY:
        queue.wake(key)
    queue.wake(A, after_s=300.0)
    run(work, workers=8)

    queue.wake(A, is_urgent=True)
    await asyncio.sleep(2.5)

    assert work.times(A) == [0.0]


async def test_a_key_woken_urgently_while_it_runs_runs_again_at_once(queue, run):
    work = Work(takes_s=1.0)
    queue.wake(A)
    run(work, workers=8)
    await asyncio.sleep(0.5)
    for key in MANY:
        queue.wake(key)

    queue.wake(A, is_urgent=True)
    await asyncio.sleep(1.0)

    assert work.times(A) == [0.0, 1.0]


async def test_a_namespace_that_is_edited_all_the_time_holds_up_no_other(queue, run):
    work = Work(takes_s=1.0)
    new, drifted = Key(USERS, "web", "new"), Key(USERS, "web", "drifted")

    async def edit():
        while True:
            for key in MANY:
                queue.wake(key, is_urgent=True)
            await asyncio.sleep(1.0)

    run(work, workers=8)
    edits = asyncio.create_task(edit())
    await asyncio.sleep(20.5)

    queue.wake(new)
    queue.wake(drifted, is_urgent=True)
    await asyncio.sleep(1.0)

    edits.cancel()
    assert work.times(new) == [21.0]
    assert work.times(drifted) == [21.0]


async def test_a_namespace_with_a_crowd_holds_up_no_other(queue, run):
    work = Work(takes_s=1.0)
    for key in MANY:
        queue.wake(key)
    run(work, workers=1)
    await asyncio.sleep(0.5)
    others = Key(USERS, "web", "new")

    queue.wake(others)
    await asyncio.sleep(2.0)

    assert work.times(others) == [2.0]


async def test_edits_without_end_leave_every_second_turn_to_the_rest_of_their_own_namespace(queue, run):
    work = Work(takes_s=1.0)
    for key in MANY:
        queue.wake(key)
    run(work, workers=1)

    for _ in range(10):
        queue.wake(A, is_urgent=True)
        await asyncio.sleep(1.0)

    assert len(work.times(A)) == 5
    assert len(work.began) == 10


async def test_few_workers_serve_everything(queue, run):
    work = Work(takes_s=1.0)
    queue.wake(B)
    run(work, workers=1)
    await asyncio.sleep(0.5)

    queue.wake(A, is_urgent=True)
    await asyncio.sleep(3.0)

    assert work.times(A) == [1.0]
