"""The rules of the link, one by one: windows, timers, rejects, resets."""

import pytest

from devices.ncp.ezsp.ash import (
    MAX_TIMEOUTS,
    NOT_READY_LIMIT_S,
    TIMEOUT_INITIAL_S,
    TIMEOUT_MAX_S,
    TIMEOUT_MIN_S,
    WINDOW,
    WINDOW_BYTES,
    Ash,
    LinkFailed,
    PayloadReceived,
    ResetRequested,
    StartHabit,
)
from devices.ncp.ezsp.ash_frames import (
    AckFrame,
    DataFrame,
    ErrorFrame,
    Frame,
    ResetAckFrame,
    ResetCode,
    ResetFrame,
    parse_frame,
)

PAYLOAD = b"payload"
CANCEL = b"\x1a"  # UG101 2.1
RST = ResetFrame().to_bytes()


def frames(line: bytes) -> list[Frame]:
    parsed = [parse_frame(piece.rpartition(CANCEL)[2]) for piece in line.split(b"\x7e") if piece]
    assert None not in parsed
    return [frame for frame in parsed if frame is not None]


def test_an_acknowledgement_rides_on_the_answer() -> None:
    ash = Ash()
    ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 0.0)
    ash.send(b"answer")
    assert frames(ash.data_to_send(0.0)) == [DataFrame(0, 1, b"answer")]


def test_an_acknowledgement_goes_alone_where_nothing_is_said() -> None:
    ash = Ash()
    ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 0.0)
    assert frames(ash.data_to_send(0.0)) == [AckFrame(1)]
    assert ash.data_to_send(0.0) == b""


def test_no_more_frames_than_the_window() -> None:
    ash = Ash()
    for index in range(WINDOW + 2):
        ash.send(bytes([index]) * 3)
    assert [frame.number for frame in frames(ash.data_to_send(0.0)) if isinstance(frame, DataFrame)] == [0, 1, 2, 3, 4]
    ash.receive(AckFrame(2).to_bytes(), 0.1)
    assert [frame.number for frame in frames(ash.data_to_send(0.1)) if isinstance(frame, DataFrame)] == [5, 6]
    assert not ash.waiting


def test_never_more_than_1024_octets_unacknowledged() -> None:
    ash = Ash()
    worst = bytes(octet ^ 0x11 for octet in DataFrame(0, 0, bytes(220)).to_bytes()[1:100])  # much of it gets stuffed
    for _ in range(WINDOW):
        ash.send(worst + bytes(121))
    assert 0 < len(ash.data_to_send(0.0)) <= WINDOW_BYTES < 1024
    assert ash.waiting


def test_a_frame_without_acknowledgement_comes_again_and_later_ones_too() -> None:
    ash = Ash()
    ash.send(b"one")
    ash.send(b"two")
    ash.data_to_send(0.0)
    assert ash.deadline() == pytest.approx(TIMEOUT_INITIAL_S)
    assert ash.handle_deadline(TIMEOUT_INITIAL_S - 0.01) == ()
    assert ash.data_to_send(TIMEOUT_INITIAL_S - 0.01) == b""
    assert ash.handle_deadline(TIMEOUT_INITIAL_S) == ()
    assert frames(ash.data_to_send(TIMEOUT_INITIAL_S)) == [
        DataFrame(0, 0, b"one", retransmitted=True),
        DataFrame(1, 0, b"two", retransmitted=True),
    ]


def test_five_timeouts_in_a_row_end_the_link() -> None:
    ash = Ash()
    ash.send(b"one")
    ash.data_to_send(0.0)
    told = ()
    waits = []
    now = 0.0
    for _ in range(MAX_TIMEOUTS):
        deadline = ash.deadline()
        assert deadline is not None
        waits.append(round(deadline - now, 3))
        now = deadline
        told = ash.handle_deadline(now)
    assert waits == [1.6, 3.2, 3.2, 3.2, 3.2]
    assert told == (LinkFailed(ResetCode.EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT),)
    assert frames(ash.data_to_send(now))[-1] == ErrorFrame(0x51)
    assert ash.deadline() is None

    ash.send(b"nobody hears this")
    assert ash.data_to_send(now) == b""
    ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), now)
    assert frames(ash.data_to_send(now)) == [ErrorFrame(0x51)]
    assert ash.receive(ResetFrame().to_bytes(), now) == (ResetRequested(),)
    assert frames(ash.data_to_send(now)) == [ResetAckFrame(ResetCode.SOFTWARE)]
    assert ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), now) == (PayloadReceived(PAYLOAD),)


def test_the_timeout_follows_the_line() -> None:
    ash = Ash()
    now = 0.0
    for number in range(20):  # a fast host: down to the minimum
        ash.send(b"one")
        ash.data_to_send(now)
        ash.receive(AckFrame((number + 1) % 8).to_bytes(), now + 0.01)
        now += 0.01
    ash.send(b"one")
    ash.data_to_send(now)
    assert ash.deadline() == pytest.approx(now + TIMEOUT_MIN_S)
    for number in range(20, 40):  # a slow one: up to the maximum
        ash.receive(AckFrame((number + 1) % 8).to_bytes(), now + 3.0)
        now += 3.0
        ash.send(b"one")
        ash.data_to_send(now)
    assert ash.deadline() == pytest.approx(now + TIMEOUT_MAX_S)


def test_a_damaged_frame_is_rejected_once() -> None:
    ash = Ash()
    damaged = bytearray(DataFrame(0, 0, PAYLOAD).to_bytes())
    damaged[3] ^= 1
    assert ash.receive(bytes(damaged), 0.0) == ()
    assert frames(ash.data_to_send(0.0)) == [AckFrame(0, rejecting=True)]
    ash.receive(bytes(damaged), 0.0)
    assert ash.data_to_send(0.0) == b""
    assert ash.receive(DataFrame(0, 0, PAYLOAD, retransmitted=True).to_bytes(), 0.1) == (PayloadReceived(PAYLOAD),)
    ash.data_to_send(0.1)
    ash.receive(bytes(damaged), 0.2)
    assert frames(ash.data_to_send(0.2)) == [AckFrame(1, rejecting=True)]


def test_a_retransmission_of_what_was_taken_is_acknowledged_and_not_taken_again() -> None:
    ash = Ash()
    ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 0.0)
    ash.data_to_send(0.0)
    assert ash.receive(DataFrame(0, 0, PAYLOAD, retransmitted=True).to_bytes(), 0.1) == ()
    assert frames(ash.data_to_send(0.1)) == [AckFrame(1)]


def test_a_frame_out_of_order_is_rejected() -> None:
    ash = Ash()
    assert ash.receive(DataFrame(3, 0, PAYLOAD).to_bytes(), 0.0) == ()
    assert frames(ash.data_to_send(0.0)) == [AckFrame(0, rejecting=True)]


def test_a_nak_brings_the_window_again_at_once() -> None:
    ash = Ash()
    for payload in (b"one", b"two", b"six"):
        ash.send(payload)
    ash.data_to_send(0.0)
    ash.receive(AckFrame(1, rejecting=True).to_bytes(), 0.1)
    assert frames(ash.data_to_send(0.1)) == [
        DataFrame(1, 0, b"two", retransmitted=True),
        DataFrame(2, 0, b"six", retransmitted=True),
    ]


def test_an_acknowledgement_of_what_was_never_sent_means_nothing() -> None:
    ash = Ash()
    ash.send(b"one")
    ash.data_to_send(0.0)
    ash.receive(AckFrame(5).to_bytes(), 0.1)
    assert ash.deadline() == pytest.approx(TIMEOUT_INITIAL_S)


@pytest.mark.parametrize("number", [0, 3], ids=["less than before", "never sent"])
def test_a_frame_with_an_impossible_acknowledgement_is_as_good_as_damaged(number: int) -> None:
    ash = Ash()
    for index in range(2):
        ash.send(bytes([index]) * 3)
    ash.data_to_send(0.0)
    assert ash.receive(AckFrame(1).to_bytes() + DataFrame(0, number, PAYLOAD).to_bytes(), 0.1) == ()
    assert frames(ash.data_to_send(0.1)) == [AckFrame(0, rejecting=True)]
    assert ash.damaged_frames == 1
    assert ash.receive(DataFrame(0, 2, PAYLOAD, retransmitted=True).to_bytes(), 0.2) == (PayloadReceived(PAYLOAD),)


def test_a_host_that_is_not_ready_gets_answers_and_no_callbacks() -> None:
    ash = Ash()
    ash.receive(AckFrame(0, not_ready=True).to_bytes(), 0.0)
    ash.send(b"callback", is_callback=True)
    ash.send(b"answer")
    assert frames(ash.data_to_send(0.0)) == [DataFrame(0, 0, b"answer")]
    ash.receive(AckFrame(1).to_bytes(), 0.1)  # ready again
    assert frames(ash.data_to_send(0.1)) == [DataFrame(1, 0, b"callback")]


def test_a_host_is_not_ready_for_a_second_at_most() -> None:
    ash = Ash()
    ash.receive(AckFrame(0, not_ready=True).to_bytes(), 0.0)
    ash.send(b"callback", is_callback=True)
    assert ash.data_to_send(0.0) == b""
    assert ash.deadline() == pytest.approx(NOT_READY_LIMIT_S)
    ash.handle_deadline(NOT_READY_LIMIT_S)
    assert frames(ash.data_to_send(NOT_READY_LIMIT_S)) == [DataFrame(0, 0, b"callback")]


@pytest.mark.parametrize(
    ("before", "taken"),
    [
        (b"\x00\x42\x1a", True),  # cancelled
        (b"\x00\x18\x42\x1a", True),  # a line error, then cancelled
        (b"\x00\x18", False),  # a line error
        (b"\x11", True),  # XON
        (b"\x13", True),  # XOFF
        (b"\x7e\x7e", True),  # empty frames
        (b"\x7d\x7d", False),  # an escape that escapes an escape
    ],
)
def test_the_reserved_octets(before: bytes, taken: bool) -> None:
    ash = Ash()
    events = ash.receive(before + DataFrame(0, 0, PAYLOAD).to_bytes(), 0.0)
    assert events == ((PayloadReceived(PAYLOAD),) if taken else ())


def test_a_frame_may_come_octet_by_octet() -> None:
    ash = Ash()
    events = [event for octet in DataFrame(0, 0, PAYLOAD).to_bytes() for event in ash.receive(bytes([octet]), 0.0)]
    assert events == [PayloadReceived(PAYLOAD)]


def test_junk_without_an_end_is_not_kept() -> None:
    ash = Ash()
    for _ in range(100):
        ash.receive(bytes(1000), 0.0)
    assert len(ash._partial) < 1000
    ash.receive(b"\x7e", 0.0)
    assert ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 0.0) == (PayloadReceived(PAYLOAD),)


def test_the_timeout_is_seven_eighths_of_itself_and_half_of_the_time_that_was_measured() -> None:
    ash = Ash()
    now, timeout_s = 0.0, TIMEOUT_INITIAL_S
    for number, took_s in enumerate((0.5, 1.2, 0.1)):
        ash.send(PAYLOAD)
        ash.data_to_send(now)
        assert ash.deadline() == pytest.approx(now + timeout_s)
        now += took_s
        ash.receive(AckFrame((number + 1) % 8).to_bytes(), now)
        timeout_s = timeout_s * 7 / 8 + took_s / 2  # UG101 5.6
        assert TIMEOUT_MIN_S < timeout_s < TIMEOUT_MAX_S
    ash.send(PAYLOAD)
    ash.data_to_send(now)
    assert ash.deadline() == pytest.approx(now + timeout_s)
    ash.handle_deadline(now + timeout_s)
    assert ash.deadline() == pytest.approx(now + timeout_s + min(2 * timeout_s, TIMEOUT_MAX_S))  # it doubles


def test_timeouts_count_only_in_a_row() -> None:
    ash = Ash()
    now = 0.0
    for number in range(3):
        ash.send(PAYLOAD)
        ash.data_to_send(now)
        for _ in range(MAX_TIMEOUTS - 1):
            deadline = ash.deadline()
            assert deadline is not None
            now = deadline
            assert ash.handle_deadline(now) == ()
        ash.receive(AckFrame(number + 1).to_bytes(), now)
    assert ash.failed is None


# how a stick starts


def test_a_chip_takes_its_time_to_boot_and_hears_nothing_meanwhile() -> None:
    ash = Ash(reset_s=1.1)
    assert ash.receive(RST, 5.0) == (ResetRequested(),)
    assert ash.data_to_send(5.0) == b""
    assert ash.deadline() == 6.1
    assert ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes() + RST, 6.0) == ()
    ash.handle_deadline(6.0)
    assert ash.data_to_send(6.0) == b""
    ash.handle_deadline(6.1)
    assert ash.data_to_send(6.1) == CANCEL + ResetAckFrame(ResetCode.SOFTWARE).to_bytes()
    assert ash.deadline() is None
    assert ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 6.2) == (PayloadReceived(PAYLOAD),)


@pytest.mark.parametrize(
    ("habit", "first"),
    [
        (StartHabit.PLAIN, [ResetAckFrame(ResetCode.SOFTWARE)]),
        (StartHabit.ERROR_FIRST, [ErrorFrame(3)]),
        (StartHabit.FAILED, 5 * [ErrorFrame(0x51)]),
    ],
)
def test_what_a_stick_says_to_the_first_host(habit: StartHabit, first: list[Frame]) -> None:
    ash = Ash(habit=habit)
    assert bool(ash.receive(RST, 0.0)) is (habit is StartHabit.PLAIN)
    assert frames(ash.data_to_send(0.0)) == first
    if habit is StartHabit.FAILED:  # it is deaf
        ash.receive(DataFrame(0, 0, PAYLOAD).to_bytes(), 0.5)
        assert frames(ash.data_to_send(0.5)) == [ErrorFrame(0x51)]
    assert ash.receive(RST, 1.0) == (ResetRequested(),)
    assert frames(ash.data_to_send(1.0)) == [ResetAckFrame(ResetCode.SOFTWARE)]


def test_what_a_former_host_did_not_acknowledge_comes_before_the_restart_is_told() -> None:
    ash = Ash(reset_s=1.1, habit=StartHabit.FORMER_DATA)
    ash.receive(RST, 0.0)
    (former,) = frames(ash.data_to_send(0.0))
    assert isinstance(former, DataFrame)
    assert former.retransmitted
    ash.handle_deadline(1.1)
    assert frames(ash.data_to_send(1.1)) == [ResetAckFrame(ResetCode.SOFTWARE)]
    ash.receive(RST, 2.0)
    assert ash.data_to_send(2.0) == b""  # the second host hears none of it
