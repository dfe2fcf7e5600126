"""Octets on the modelled serial line take their time, and frames arrive with their last octet."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.bench.dongles import cut_ash
from devices.bench.serial_line import SerialLine
from devices.time import EventQueue

BAUDRATE = 10_000  # so that an octet takes a millisecond
MS = 0.001


class Dongle:
    """Says what it is given to say, and notes when it heard what."""

    def __init__(self, queue: EventQueue) -> None:
        self.queue = queue
        self.heard: list[tuple[float, bytes]] = []
        self.to_say = b""

    def receive(self, octets: bytes) -> None:
        self.heard.append((self.queue.now, octets))

    def data_to_send(self) -> bytes:
        octets, self.to_say = self.to_say, b""
        return octets

    def deadline(self) -> float | None:
        return 7.0

    def handle_deadline(self) -> None:
        self.to_say = b"late~"


@pytest.fixture
def queue() -> EventQueue:
    return EventQueue(100.0)


@pytest.fixture
def dongle(queue: EventQueue) -> Dongle:
    return Dongle(queue)


@pytest.fixture
def line(queue: EventQueue, dongle: Dongle) -> SerialLine:
    return SerialLine(dongle, cut_ash, queue, BAUDRATE)


def at(milliseconds: float) -> float:
    return pytest.approx(100.0 + milliseconds * MS)


def said(line: SerialLine, queue: EventQueue, until_ms: float) -> list[tuple[float, bytes]]:
    """What reached the host by then, and when; the line is asked after every event, as the runner does."""
    came = [(queue.now, line.data_to_send())]
    while queue.run_next(100.0 + until_ms * MS):
        came.append((queue.now, line.data_to_send()))
    return [(when, octets) for when, octets in came if octets]


def test_a_frame_arrives_with_its_last_octet(line, dongle, queue) -> None:
    line.receive(b"abcd~")
    queue.run_until(100.0 + 4.9 * MS)
    assert dongle.heard == []
    queue.run_until(101.0)
    assert dongle.heard == [(at(5), b"abcd~")]


def test_frames_follow_each_other_and_a_line_that_was_quiet_begins_at_once(line, dongle, queue) -> None:
    line.receive(b"ab~cd~")
    queue.run_until(100.0 + 1 * MS)
    line.receive(b"ef~")
    queue.run_until(100.0 + 50 * MS)
    line.receive(b"gh~")
    queue.run_until(101.0)
    assert dongle.heard == [(at(3), b"ab~"), (at(6), b"cd~"), (at(9), b"ef~"), (at(53), b"gh~")]


def test_what_a_host_writes_in_pieces_takes_no_longer(line, dongle, queue) -> None:
    line.receive(b"ab")
    queue.run_until(100.0 + 1 * MS)
    line.receive(b"c")
    queue.run_until(100.0 + 10 * MS)
    line.receive(b"d~e~")
    queue.run_until(101.0)
    assert dongle.heard == [(at(12), b"abcd~"), (at(14), b"e~")]


def test_what_the_dongle_says_reaches_the_host_frame_by_frame(line, dongle, queue) -> None:
    dongle.to_say = b"abc~d~"
    assert said(line, queue, 49) == [(at(4), b"abc~"), (at(6), b"d~")]
    queue.run_until(100.0 + 50 * MS)
    dongle.to_say = b"e~"
    assert said(line, queue, 100) == [(at(52), b"e~")]


def test_what_the_dongle_says_outside_a_frame_reaches_the_host_too(line, dongle, queue) -> None:
    dongle.to_say = b"a~xyz"
    assert said(line, queue, 100) == [(at(2), b"a~"), (at(5), b"xyz")]


def test_the_dongle_is_asked_for_more_once_the_line_is_free(line, dongle, queue) -> None:
    """Until then it can still say something else, or the same in fewer octets."""
    dongle.to_say = b"abc~"
    line.data_to_send()
    dongle.to_say = b"ack1~"
    assert said(line, queue, 3) == []
    dongle.to_say = b"ack2~"
    assert said(line, queue, 100) == [(at(4), b"abc~"), (at(9), b"ack2~")]


def test_the_two_directions_do_not_wait_for_each_other(line, dongle, queue) -> None:
    dongle.to_say = b"abc~"
    line.receive(b"def~")
    assert said(line, queue, 100) == [(at(4), b"abc~")]
    assert dongle.heard == [(at(4), b"def~")]


def test_the_dongle_keeps_its_timer(line, dongle, queue) -> None:
    assert line.deadline() == 7.0
    line.handle_deadline()
    assert said(line, queue, 100) == [(at(5), b"late~")]


@given(st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 12)), max_size=8))
@settings(derandomize=True)
def test_no_octet_is_lost_and_none_is_faster_than_the_line(writes: list[tuple[bytes, int]]) -> None:
    queue = EventQueue(100.0)
    dongle = Dongle(queue)
    line = SerialLine(dongle, cut_ash, queue, BAUDRATE)
    for octets, wait_ms in writes:
        line.receive(octets)
        queue.run_until(queue.now + wait_ms * MS)
    queue.run_until(200.0)
    written = b"".join(octets for octets, _ in writes)
    heard = b"".join(octets for _, octets in dongle.heard)
    assert heard == written[: written.rfind(b"~") + 1]
    arrived = 0
    for when, octets in dongle.heard:
        arrived += len(octets)
        assert when >= 100.0 + arrived * MS - 1e-9
