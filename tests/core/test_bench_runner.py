"""When the virtual dongle's octets reach its host, and how exact its clock is."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devices.bench.runner import TURN_S, Runner, punctual_loop
from devices.time import EventQueue


class Dongle:
    def __init__(self) -> None:
        self.octets = b""

    def receive(self, octets: bytes) -> None:
        self.octets += octets

    def data_to_send(self) -> bytes:
        octets, self.octets = self.octets, b""
        return octets

    def deadline(self) -> float | None:
        return None

    def handle_deadline(self) -> None: ...


class Line:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.unread = b""

    def host_spoke(self) -> bool:
        return bool(self.unread)

    def write(self, octets: bytes) -> None:
        self.writes.append(octets)


class Loop:
    """Time, and the one timer that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer = None

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback):
        self.timer = callback
        return asyncio.TimerHandle(when, callback, (), self)

    def _timer_handle_cancelled(self, handle) -> None: ...
    def get_debug(self) -> bool:
        return False


def bench() -> tuple[Loop, EventQueue, Dongle, Line, Runner]:
    loop, queue, dongle, line = Loop(), EventQueue(0.0), Dongle(), Line()
    runner = Runner(loop, queue, dongle)
    runner.line = line
    return loop, queue, dongle, line, runner


def test_the_host_is_told_before_the_air_is_quiet():
    loop, queue, dongle, line, runner = bench()
    told: list[list[bytes]] = []
    queue.call_at(1.0, lambda: dongle.receive(b"a device speaks"))
    queue.call_at(1.0, lambda: told.append(list(line.writes)))
    runner.pump()
    loop.now = 1.0
    loop.timer()
    assert told == [[b"a device speaks"]]


def test_what_must_outlive_the_process_is_kept_before_its_octets_leave_and_at_the_end_of_a_silent_turn():
    loop, queue, dongle, line = Loop(), EventQueue(0.0), Dongle(), Line()
    said_when_kept: list[int] = []
    runner = Runner(loop, queue, dongle, keep=lambda: said_when_kept.append(len(line.writes)))
    runner.line = line
    queue.call_at(1.0, lambda: dongle.receive(b"a device speaks"))
    queue.call_at(2.0, lambda: None)
    runner.pump()
    assert said_when_kept == [0]
    loop.now = 1.0
    loop.timer()
    assert (said_when_kept[:2], line.writes) == ([0, 0], [b"a device speaks"])
    kept = len(said_when_kept)
    loop.now = 2.0
    loop.timer()
    assert said_when_kept[kept:] == [1]


def test_a_host_is_answered_before_the_world_goes_on_and_told_the_rest_in_one_write():
    _, queue, dongle, line, runner = bench()
    hear = dongle.receive
    answered: list[list[bytes]] = []

    def receive(octets: bytes) -> None:
        hear(b"answer to " + octets)
        queue.call_later(0.0, lambda: answered.append(list(line.writes)))
        queue.call_later(0.0, lambda: hear(b"its fate"))
        queue.call_later(0.0, lambda: hear(b", and an alert"))

    dongle.receive = receive
    runner.octets_received(b"request")
    assert answered == [[b"answer to request"]]
    assert line.writes == [b"answer to request", b"its fate, and an alert"]


def test_a_world_with_much_to_do_lets_the_host_in_between():
    """Each event takes a turn's time; the answer to the host comes after one of them, and none is lost or overtakes."""
    loop, queue, dongle, line, runner = bench()

    def event(name: bytes) -> None:
        dongle.receive(name)
        loop.now += TURN_S

    for name in (b"1", b"2", b"3", b"4"):
        queue.call_at(1.0, lambda name=name: event(name))
    runner.pump()
    loop.now = 1.0
    loop.timer()
    runner.octets_received(b"answer")
    while queue.next_due() is not None:
        loop.timer()
    assert line.writes == [b"1", b"answer", b"2", b"3", b"4"]
    runner.pump()
    assert queue.now == loop.now


def test_a_host_that_speaks_is_heard_after_the_event_of_that_moment():
    _, queue, dongle, line, runner = bench()

    def host_speaks() -> None:
        line.unread = b"answer"

    queue.call_at(0.0, host_speaks)
    queue.call_at(0.0, lambda: dongle.receive(b"a device speaks"))
    runner.pump()
    assert line.writes == []
    octets, line.unread = line.unread, b""
    runner.octets_received(octets)
    assert line.writes == [b"answer", b"a device speaks"]


def test_a_host_that_a_late_world_lets_in_is_heard_at_its_own_time():
    """Else a device that gets its answer would be that much earlier with its next request."""
    loop, queue, dongle, _line, runner = bench()
    heard: list[float] = []
    ran: list[float] = []
    dongle.receive = lambda _octets: heard.append(queue.now)

    def event() -> None:
        ran.append(queue.now)
        loop.now += TURN_S

    queue.call_at(1.0, event)
    queue.call_at(1.0, event)
    loop.now = 1.0
    runner.pump()
    assert ran == [1.0]
    loop.now = 1.5
    runner.octets_received(b"an answer")
    assert heard == [1.5]
    assert ran == [1.0, 1.5]


def test_what_is_not_due_waits_and_a_stopped_world_stands_still():
    loop, queue, dongle, line, runner = bench()
    queue.call_at(1.0, lambda: dongle.receive(b"first"))
    queue.call_at(2.0, lambda: dongle.receive(b"second"))
    runner.pump()
    loop.now = 1.5
    loop.timer()
    assert line.writes == [b"first"]
    assert queue.now == 1.5
    runner.stop()
    loop.now = 3.0
    loop.timer()
    assert line.writes == [b"first"]


def test_run_next_runs_one_event_and_leaves_time_alone_where_none_is_due():
    queue = EventQueue(0.0)
    ran: list[float] = []
    queue.call_at(0.5, lambda: ran.append(-1.0)).cancel()
    queue.call_at(1.0, lambda: ran.append(queue.now))
    queue.call_at(1.0, lambda: ran.append(queue.now + 1))
    assert not queue.run_next(0.9)
    assert queue.now == 0.0
    assert queue.run_next(1.5)
    assert ran == [1.0]
    assert queue.run_next(1.5)
    assert not queue.run_next(1.5)
    assert ran == [1.0, 2.0]
    assert queue.now == 1.0


def test_the_loop_of_the_virtual_dongle_waits_for_fractions_of_a_millisecond():
    """Some of many short waits end within the millisecond that epoll would round them up to, on any machine."""

    async def waits() -> list[float]:
        loop, took = asyncio.get_running_loop(), []
        for _ in range(50):
            began = time.perf_counter()
            woken = loop.create_future()
            loop.call_later(0.0002, woken.set_result, None)
            await woken
            took.append(time.perf_counter() - began)
        return took

    with asyncio.Runner(loop_factory=punctual_loop) as runner:
        assert min(runner.run(waits())) < 0.001


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="only Linux has timer slack")
def test_the_loop_of_the_virtual_dongle_asks_not_to_oversleep():
    """In a process of its own: the slack is the process's."""
    program = (
        "from pathlib import Path; from devices.bench.runner import punctual_loop; punctual_loop().close();"
        "print(Path('/proc/self/timerslack_ns').read_text())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(told.stdout) == 1
