import math

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.time import EventQueue


def test_runs_in_order_of_time_then_of_making():
    queue = EventQueue()
    seen: list[tuple[str, float]] = []
    for name, when in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
        queue.call_at(when, lambda name=name: seen.append((name, queue.now)))
    assert queue.next_due() == 1.0
    assert queue.run_until(1.5) == 2
    assert seen == [("a", 1.0), ("b", 1.0)]
    assert queue.now == 1.5
    assert queue.run_until(5.0) == 1
    assert seen[-1] == ("c", 2.0)
    assert queue.next_due() is None


def test_what_a_callback_schedules_within_reach_runs_in_the_same_call():
    queue = EventQueue()
    times: list[float] = []

    def again():
        times.append(queue.now)
        if len(times) < 3:
            queue.call_later(1.0, again)

    queue.call_later(0.0, again)
    assert queue.run_until(10.0) == 3
    assert times == [0.0, 1.0, 2.0]


def test_a_callback_never_runs_from_within_call_at():
    queue = EventQueue(now=5.0)
    ran: list[float] = []
    queue.call_at(1.0, lambda: ran.append(queue.now))
    assert ran == []
    assert queue.next_due() == 5.0
    queue.run_until(5.0)
    assert ran == [5.0]


def test_a_clock_that_is_behind_does_not_turn_time_back():
    queue = EventQueue(now=10.0)
    ran: list[float] = []
    queue.call_later(0.0, lambda: ran.append(queue.now))
    queue.run_until(9.0)
    assert ran == [10.0]
    assert queue.now == 10.0


def test_cancelled_calls_do_not_run_and_do_not_show():
    queue = EventQueue()
    ran: list[int] = []
    first = queue.call_at(1.0, lambda: ran.append(1))
    second = queue.call_at(2.0, lambda: ran.append(2))
    first.cancel()
    first.cancel()
    assert queue.next_due() == 2.0
    queue.run_until(3.0)
    assert ran == [2]
    second.cancel()
    assert not second.pending


def test_cancelled_calls_do_not_pile_up_and_the_others_stay():
    queue = EventQueue()
    ran: list[int] = []
    for number in range(5000):
        queue.call_later(1000.0, lambda: None).cancel()
        if number % 100 == 0:
            queue.call_later(2000.0 + number, lambda number=number: ran.append(number))
        queue.run_next(queue.now)
    assert len(queue._heap) < 1000
    queue.run_until(10_000.0)
    assert ran == list(range(0, 5000, 100))


def test_a_call_that_cancels_another_due_at_the_same_time():
    queue = EventQueue()
    ran: list[str] = []
    calls = []
    queue.call_at(1.0, lambda: calls.pop().cancel())
    calls.append(queue.call_at(1.0, lambda: ran.append("late")))
    queue.run_until(1.0)
    assert ran == []


@settings(derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=40), st.floats(0, 120))
def test_any_mix_runs_exactly_what_is_due(entries, until):
    queue = EventQueue()
    ran: list[int] = []
    for index, (when, cancelled) in enumerate(entries):
        call = queue.call_at(when, lambda index=index: ran.append(index))
        if cancelled:
            call.cancel()
    queue.run_until(until)
    expected = sorted(
        (when, index) for index, (when, cancelled) in enumerate(entries) if not cancelled and when <= until
    )
    assert ran == [index for _, index in expected]
    remaining = [when for when, cancelled in entries if not cancelled and when > until]
    assert queue.next_due() == min(remaining, default=None)
    assert math.isclose(queue.now, until)


def test_what_could_not_run_in_time_runs_late_and_in_its_order():
    queue = EventQueue(0.0)
    ran: list[tuple[str, float]] = []
    queue.call_at(1.0, lambda: ran.append(("first", queue.now)))
    queue.call_at(2.0, lambda: ran.append(("second", queue.now)))
    queue.pass_until(5.0)
    queue.call_later(0.0, lambda: ran.append(("third", queue.now)))
    queue.pass_until(4.0)
    assert queue.now == 5.0
    assert queue.run_next(5.0)
    queue.run_until(5.0)
    assert ran == [("first", 5.0), ("second", 5.0), ("third", 5.0)]
