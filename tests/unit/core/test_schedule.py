"""The schedule: earliest first, each key once, whatever was moved and removed in between."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from elasticache_iam.core.schedule import Schedule


def schedule_of(**dues: float) -> Schedule[str]:
    schedule: Schedule[str] = Schedule()
    for key, due in dues.items():
        schedule.put(key, due=due)
    return schedule


def test_keys_leave_earliest_first():
    schedule = schedule_of(late=3.0, early=1.0, middle=2.0)

    assert schedule.pop_due(now=5.0) == ["early", "middle", "late"]


def test_keys_with_one_due_time_leave_in_the_order_they_came():
    schedule = schedule_of(b=1.0, a=1.0, c=1.0)

    assert schedule.pop_due(now=1.0) == ["b", "a", "c"]


def test_a_moved_key_is_due_once_at_its_new_time():
    schedule = schedule_of(orders=100.0, billing=150.0)
    schedule.put("orders", due=200.0)

    assert schedule.pop_due(now=160.0) == ["billing"]
    assert schedule.next_due() == 200.0


def test_a_key_moved_forward_is_first():
    schedule = schedule_of(orders=100.0, billing=50.0)
    schedule.put("orders", due=0.0)

    assert schedule.pop_due(now=1000.0) == ["orders", "billing"]


def test_a_removed_key_never_leaves():
    schedule = schedule_of(orders=1.0)
    schedule.remove("orders")

    assert schedule.pop_due(now=2.0) == []
    assert schedule.next_due() is None


def test_removing_a_missing_key_is_fine():
    schedule = schedule_of(orders=1.0)

    schedule.remove("billing")

    assert len(schedule) == 1


def test_a_limit_leaves_the_rest_for_later():
    schedule = schedule_of(a=1.0, b=2.0, c=3.0)

    assert schedule.pop_due(now=9.0, limit=2) == ["a", "b"]
    assert schedule.pop_due(now=9.0, limit=2) == ["c"]


def test_lateness_is_the_heads():
    schedule = schedule_of(a=10.0, b=20.0)

    assert schedule.lateness(now=25.0) == 15.0


def test_nothing_due_is_not_late():
    assert schedule_of(a=10.0).lateness(now=5.0) == 0.0
    assert schedule_of().lateness(now=5.0) == 0.0


def test_keys_need_no_order_of_their_own():
    schedule: Schedule[object] = Schedule()
    first, second = object(), object()
    schedule.put(first, due=1.0)
    schedule.put(second, due=1.0)

    assert schedule.pop_due(now=1.0) == [first, second]


def test_a_due_time_must_be_a_number():
    with pytest.raises(ValueError, match="not a number"):
        schedule_of(a=float("nan"))


def test_moving_a_key_for_ever_takes_no_more_memory():
    schedule = schedule_of(a=0.0)
    for due in range(10_000):
        schedule.put("a", due=float(due))

    assert len(schedule._heap) < 200


class AgainstADictionary(RuleBasedStateMachine):
    """Whatever is done, the schedule answers as a dictionary of due times would."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[int] = Schedule()
        self.model: dict[int, float] = {}

    @rule(key=st.integers(0, 30), due=st.floats(-100, 100))
    def put(self, key: int, due: float) -> None:
        self.schedule.put(key, due=due)
        self.model[key] = due

    @rule(key=st.integers(0, 30), times=st.integers(1, 90))
    def put_often(self, key: int, times: int) -> None:
        for due in range(times):
            self.put(key, float(due))

    @rule(key=st.integers(0, 30))
    def remove(self, key: int) -> None:
        self.schedule.remove(key)
        self.model.pop(key, None)

    @rule(now=st.floats(-100, 100), limit=st.none() | st.integers(0, 5))
    def pop(self, now: float, limit: int | None) -> None:
        popped = self.schedule.pop_due(now, limit)

        dues = [self.model.pop(key) for key in popped]
        assert dues == sorted(dues)
        assert all(due <= now for due in dues)
        rest = sorted(due for due in self.model.values() if due <= now)
        assert (limit is not None and len(popped) == limit) or not rest
        assert not dues or not rest or dues[-1] <= rest[0]

    @invariant()
    def agrees(self) -> None:
        assert len(self.schedule) == len(self.model)
        assert self.schedule.next_due() == min(self.model.values(), default=None)
        assert all(self.schedule.due_of(key) == self.model.get(key) for key in range(31))
        assert all((key in self.schedule) == (key in self.model) for key in range(31))


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
