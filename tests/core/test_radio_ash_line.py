"""The hub's own frames on ASH: sent without a task, again after a NAK or in silence, never more than one at a time."""

import asyncio

import pytest
from bellows.ash import ACK_TIMEOUTS, AckFrame, AshProtocol, DataFrame, NakFrame, parse_frame
from bellows.types import NcpResetCode

from chf.radio.ash_line import AshLine, take


class Timer:
    def __init__(self, when, call) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The two things that the line wants of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s, callback, *arguments) -> Timer:
        self.timers.append(Timer(self.now + delay_s, lambda: callback(*arguments)))
        return self.timers[-1]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.when <= self.now]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()


class Bench:
    """A line whose other end is this test."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.failed: list[NcpResetCode] = []
        self.writes: list[bytes] = []
        self.closing = False
        self.answer: bytes | None = None
        self.clock = Clock()
        self.line = AshLine(self, self.turn_ended)
        self.line._loop = self.clock
        self.line.connection_made(self)

    def connection_made(self, transport) -> None: ...
    def connection_lost(self, error) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.taken.append(data)

    def turn_ended(self) -> None:
        if self.answer is not None:
            assert self.line.send_at_once(self.answer)
            self.answer = None

    def error_received(self, code: NcpResetCode) -> None:
        self.failed.append(code)

    def write(self, octets: bytes) -> None:
        self.writes.append(octets)

    def is_closing(self) -> bool:
        return self.closing

    def says(self, *frames) -> None:
        self.line.data_received(b"".join(AshProtocol._stuff_bytes(frame.to_bytes()) + b"\x7e" for frame in frames))

    def written(self):
        """Frames since the last look."""
        octets, self.writes = b"".join(self.writes), []
        return [parse_frame(AshProtocol._unstuff_bytes(frame)) for frame in octets.split(b"\x7e")[:-1]]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def data(number: int, ack: int, payload: bytes, again: int = 0) -> DataFrame:
    return DataFrame(frm_num=number, re_tx=again, ack_num=ack, ezsp_frame=payload)


def ack(number: int) -> AckFrame:
    return AckFrame(res=0, ncp_ready=0, ack_num=number)


async def test_what_a_frame_causes_is_its_acknowledgement_too(bench: Bench):
    bench.answer = b"answer"
    bench.says(data(0, 0, b"callback"), data(1, 0, b"another"))
    assert bench.taken == [b"callback", b"another"]
    assert len(bench.writes) == 1
    assert bench.written() == [data(0, 2, b"answer")]


async def test_acknowledgements_never_go_back(bench: Bench):
    """A frame that is sent between two that come in one piece acknowledges the first of them only."""
    bench.answer = b"answer"
    bench.data_received = lambda _data: bench.turn_ended()
    bench.says(data(0, 0, b"callback"), data(1, 0, b"another"))
    assert len(bench.writes) == 1
    assert bench.written() == [data(0, 1, b"answer"), ack(2)]


async def test_one_frame_is_under_way_at_a_time(bench: Bench):
    assert bench.line.send_at_once(b"first")
    assert not bench.line.send_at_once(b"second")
    assert bench.written() == [data(0, 0, b"first")]
    bench.says(ack(1))
    assert bench.line.send_at_once(b"second")
    assert bench.written() == [data(1, 0, b"second")]


async def test_bellows_own_frames_take_turns_with_ours(bench: Bench):
    assert bench.line.send_at_once(b"ours")
    theirs = asyncio.create_task(bench.line.send_data(b"theirs"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.written() == [data(0, 0, b"ours")]
    bench.says(ack(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.written() == [data(1, 0, b"theirs")]
    assert not bench.line.send_at_once(b"ours again")
    bench.says(ack(2))
    await theirs
    assert bench.line.send_at_once(b"ours again")


async def test_a_rejected_frame_goes_again_with_the_acknowledgement_of_now(bench: Bench):
    assert bench.line.send_at_once(b"ours")
    bench.says(data(0, 0, b"meanwhile"), NakFrame(res=0, ncp_ready=0, ack_num=0))
    assert bench.written() == [data(0, 0, b"ours"), data(0, 1, b"ours", again=1)]
    bench.says(ack(1))
    bench.clock.pass_time(60)
    assert bench.written() == []


async def test_silence_sends_again_ever_later_and_then_gives_up(bench: Bench):
    assert bench.line.send_at_once(b"ours")
    assert bench.written() == [data(0, 0, b"ours")]
    waits = []
    while not bench.failed:
        wait = min(timer.when for timer in bench.clock.timers) - bench.clock.now
        bench.clock.pass_time(wait)
        waits.append(round(wait, 3))
        if not bench.failed:
            assert bench.written() == [data(0, 0, b"ours", again=1)]
    assert waits == [1.6, 3.2, 3.2, 3.2, 3.2]
    assert len(waits) == ACK_TIMEOUTS
    assert bench.failed == [NcpResetCode.ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT]
    assert not bench.line.send_at_once(b"nothing leaves a link that failed")


async def test_the_timeout_follows_the_dongle(bench: Bench):
    for _ in range(40):
        assert bench.line.send_at_once(b"ours")
        bench.clock.now += 0.01
        bench.says(ack(bench.line._tx_seq))
    assert bench.line._t_rx_ack == pytest.approx(0.4)


async def test_a_link_that_closes_forgets_what_was_under_way(bench: Bench):
    assert bench.line.send_at_once(b"ours")
    bench.written()
    bench.line.connection_lost(None)
    bench.clock.pass_time(60)
    assert bench.written() == []
    assert not bench.line.window.locked()
    assert not bench.line.send_at_once(b"more")


async def test_a_burst_longer_than_the_buffer_is_taken_whole(bench: Bench):
    """bellows drops the oldest of what it is given beyond 1,024 octets."""
    bench.says(*(data(number % 8, 0, bytes((number,)) * 100) for number in range(20)))
    assert [payload[0] for payload in bench.taken] == list(range(20))
    assert bench.written() == [ack(4)]


async def test_a_frame_with_a_broken_escape_is_rejected_once(bench: Bench):
    bench.line.data_received(b"\x05\x7d\x41\x00\x00\x7e")
    bench.line.data_received(b"\x05\x7d\x41\x00\x00\x7e")
    assert bench.written() == [NakFrame(res=0, ncp_ready=0, ack_num=0)]
    bench.says(data(0, 0, b"whole", again=1))
    assert bench.taken == [b"whole"]


async def test_a_free_semaphore_is_taken_without_waiting():
    semaphore = asyncio.Semaphore(1)
    take(semaphore)
    assert semaphore.locked()
    semaphore.release()
    assert not semaphore.locked()
