"""The co-processor's end of ASH, the link layer between host and dongle (Silicon Labs UG101).

Five verbs: `receive` takes what came off the line and tells what it means, `send` queues an EZSP frame,
`data_to_send` drains what is due on the line, `deadline` and `handle_deadline` are the retransmission timer. An
acknowledgement rides on the next DATA frame where one is sent before the line is drained, and goes alone otherwise.

Rules, in the order of UG101 5:

- At most WINDOW frames and WINDOW_BYTES octets towards the host are unacknowledged. The second limit is ours: hosts
  that read in one piece (bellows: 1024 octets) drop the oldest of what they cannot hold.
- A frame that is not acknowledged in time is sent again with all that follow it; the fifth time in a row the link
  fails with ERROR 0x51 and stays so until RST.
- The timeout doubles when it expires and otherwise becomes 7/8 of itself and half of the measured time.
- A damaged or unexpected frame is answered with one NAK, then with silence until the expected frame comes. A
  retransmitted frame that was taken before is acknowledged again. A frame that acknowledges what was not sent, or less
  than an earlier one did, counts as damaged (so Silicon Labs' own ASH has it).
- While the host is "not ready", callbacks wait (not responses), for at most NOT_READY_LIMIT_S.

- A reset takes `reset_s`, in which nothing is heard; then come a cancel octet and RSTACK.

Left out: XON/XOFF as flow control (the octets are dropped), multi-second synchronous callbacks.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, assert_never

from devices.ncp.ezsp.ash_frames import (
    CANCEL,
    FLAG_OCTET,
    MAX_DATA_FIELD_BYTES,
    PLAIN_ACKS,
    SUBSTITUTE,
    XOFF,
    XON,
    AckFrame,
    DataFrame,
    ErrorFrame,
    ResetAckFrame,
    ResetCode,
    ResetFrame,
    parse_frame,
)

WINDOW = 5  # frames; EmberZNet's default for the co-processor's transmit window
WINDOW_BYTES = 960  # leaves room in 1024 for acknowledgements in between
TIMEOUT_INITIAL_S = 1.6  # UG101 table of T_RX_ACK
TIMEOUT_MIN_S = 0.4  # UG101 table of T_RX_ACK
TIMEOUT_MAX_S = 3.2  # UG101 table of T_RX_ACK
MAX_TIMEOUTS = 5  # UG101 5, then error 0x51
NOT_READY_LIMIT_S = 1.0  # T_REMOTE_NOTRDY

_FORMER_DATA = DataFrame(2, 5, bytes.fromhex("00800000000204"), retransmitted=True)  # our choice of one
_FAILURES_TOLD = 5  # as in the log that has it

_MAX_PARTIAL_BYTES = 2 * (1 + MAX_DATA_FIELD_BYTES + 2)
_CANCEL_OCTET = bytes([CANCEL])
_SUBSTITUTE_OCTET = bytes([SUBSTITUTE])
_FLOW_OCTETS = bytes([XON, XOFF])


class PayloadReceived(NamedTuple):
    """An EZSP frame from the host, in order and once."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ResetRequested:
    """The host sent RST. The link has restarted itself and answered; what is above it must too."""


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The host stopped acknowledging; nothing passes until it resets."""

    code: ResetCode


Event = PayloadReceived | ResetRequested | LinkFailed


class StartHabit(Enum):
    """What a stick says to the first RST after it was plugged in, each as hosts have met it.

    herdsman issue 1053, universal-silabs-flasher issue 99, bellows issue 735.
    """

    PLAIN = "plain"
    """RSTACK."""
    ERROR_FIRST = "error-first"
    """ERROR 0x03, a watchdog's, and nothing more; the second RST is answered."""
    FORMER_DATA = "former-data"
    """A DATA frame that a former host did not acknowledge, again, and then RSTACK."""
    FAILED = "failed"
    """Five times ERROR 0x51, of a link that failed for a former host; the second RST is answered."""


@dataclass(slots=True)
class _Outgoing:
    number: int
    payload: bytes
    line_bytes: int
    sent_at: float


class Ash:
    """`reset_s` is how long the chip takes from RST to RSTACK."""

    def __init__(self, reset_s: float = 0.0, habit: StartHabit = StartHabit.PLAIN) -> None:
        self.failed: ResetCode | None = None
        self._reset_s, self._habit = reset_s, habit
        self._starting: tuple[float, ResetCode] | None = None
        """When the chip has booted, and why it does."""
        self.damaged_frames = 0
        self._rejecting_until = 0.0
        self._line = bytearray()
        self._partial = b""
        self.waiting: deque[tuple[bytes, bool]] = deque()
        """Frames that no window had room for yet, and whether each is a callback."""
        self._clear()

    def _clear(self) -> None:
        self.failed = None
        self.waiting.clear()
        self._unacknowledged: deque[_Outgoing] = deque()
        self._unacknowledged_bytes = 0
        self._next_to_send = 0
        self._expected = 0
        self._rejecting = False
        self._acknowledgement_due = False
        self._timeout_s = TIMEOUT_INITIAL_S
        self._timer_started = 0.0
        self._timeouts = 0
        self._not_ready_until: float | None = None

    def send(self, payload: bytes, *, is_callback: bool = False) -> None:
        """Queue an EZSP frame of at most MAX_DATA_FIELD_BYTES. After a failure it is dropped: nobody listens."""
        if self.failed is None:
            self.waiting.append((payload, is_callback))

    def restart(self, code: ResetCode, now: float) -> None:
        """The co-processor reboots, on the host's request or its own: forget all, say so once it is up."""
        self._clear()
        self._starting = now + self._reset_s, code
        self._start(now)

    def _start(self, now: float) -> None:
        if self._starting is not None and now >= self._starting[0]:
            self._line += _CANCEL_OCTET + ResetAckFrame(self._starting[1]).to_bytes()
            self._starting = None

    def reject_until(self, when: float) -> None:
        """Take every DATA frame for damaged until then, and say so each time, as a link with a bad ground does."""
        self._rejecting_until = when

    def receive(self, octets: bytes, now: float) -> tuple[Event, ...]:
        """Take what came off the line, cut anywhere; junk is counted and never an error."""
        if self._starting is not None:
            return ()
        *complete, partial = (self._partial + octets.translate(None, _FLOW_OCTETS)).split(FLAG_OCTET)
        self._partial = self._shorten(partial) if partial else partial
        events: list[Event] = []
        for piece in complete:
            # A cancel octet forgets what stood before it, substitutes included.
            candidate = piece[piece.rfind(_CANCEL_OCTET) + 1 :]
            if candidate:
                self._take(candidate, now, events)
        return tuple(events)

    @staticmethod
    def _shorten(partial: bytes) -> bytes:
        """Keep no more than matters of a frame that has not ended: junk without flags must not fill the memory."""
        partial = partial[partial.rfind(_CANCEL_OCTET) + 1 :]
        return _SUBSTITUTE_OCTET if len(partial) > _MAX_PARTIAL_BYTES else partial

    def _take(self, candidate: bytes, now: float, events: list[Event]) -> None:
        frame = None if _SUBSTITUTE_OCTET in candidate else parse_frame(candidate)
        if isinstance(frame, ResetFrame):
            self._take_reset(now, events)
            return
        if self.failed is not None:
            # UG101 6: in the failed state everything but RST is answered with the error.
            self._line += ErrorFrame(self.failed).to_bytes()
            return
        match frame:
            case DataFrame() if now < self._rejecting_until:
                self._line += AckFrame(self._expected, rejecting=True).to_bytes()
            case DataFrame() | AckFrame() if not self._may_be_acknowledged(frame.acknowledged):
                self.damaged_frames += 1
                self._reject()
            case DataFrame():
                self._acknowledge_up_to(frame.acknowledged, now)
                self._take_data(frame, events)
            case AckFrame():
                self._take_ack(frame, now)
            case ResetAckFrame() | ErrorFrame() | None:
                # Only a co-processor sends the first two: on this line they are as good as damaged.
                self.damaged_frames += 1
                self._reject()
            case _:
                assert_never(frame)

    def _take_reset(self, now: float, events: list[Event]) -> None:
        habit, self._habit = self._habit, StartHabit.PLAIN
        match habit:
            case StartHabit.ERROR_FIRST:
                self._line += ErrorFrame(ResetCode.WATCHDOG).to_bytes()
            case StartHabit.FAILED:
                self.failed = ResetCode.EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT
                self._line += _FAILURES_TOLD * ErrorFrame(self.failed).to_bytes()
            case StartHabit.FORMER_DATA | StartHabit.PLAIN:
                self._line += _FORMER_DATA.to_bytes() if habit is StartHabit.FORMER_DATA else b""
                self.restart(ResetCode.SOFTWARE, now)
                events.append(ResetRequested())
            case _:
                assert_never(habit)

    def _take_data(self, frame: DataFrame, events: list[Event]) -> None:
        if frame.number == self._expected:
            self._expected = (self._expected + 1) % 8
            self._rejecting = False
            self._acknowledgement_due = True
            events.append(PayloadReceived(frame.payload))
        elif frame.retransmitted:
            self._acknowledgement_due = True
        else:
            self._reject()

    def _take_ack(self, frame: AckFrame, now: float) -> None:
        self._acknowledge_up_to(frame.acknowledged, now)
        self._not_ready_until = now + NOT_READY_LIMIT_S if frame.not_ready else None
        if frame.rejecting:
            self._retransmit(now)

    def _reject(self) -> None:
        if not self._rejecting:
            self._rejecting = True
            self._line += AckFrame(self._expected, rejecting=True).to_bytes()

    def _may_be_acknowledged(self, number: int) -> bool:
        return (number - self._oldest()) % 8 <= len(self._unacknowledged)

    def _acknowledge_up_to(self, number: int, now: float) -> None:
        """`number` is the next frame that the host expects."""
        acknowledged = (number - self._oldest()) % 8
        if not acknowledged:
            return
        for _ in range(acknowledged):
            frame = self._unacknowledged.popleft()
            self._unacknowledged_bytes -= frame.line_bytes
        self._timeouts = 0
        self._set_timeout(self._timeout_s * 7 / 8 + (now - frame.sent_at) / 2)
        self._timer_started = now

    def _oldest(self) -> int:
        return self._unacknowledged[0].number if self._unacknowledged else self._next_to_send

    def _set_timeout(self, seconds: float) -> None:
        self._timeout_s = min(max(seconds, TIMEOUT_MIN_S), TIMEOUT_MAX_S)

    def _retransmit(self, now: float) -> None:
        for frame in self._unacknowledged:
            frame.sent_at = now
            self._line += DataFrame(frame.number, self._expected, frame.payload, retransmitted=True).to_bytes()
            self._acknowledgement_due = False
        self._timer_started = now

    def data_to_send(self, now: float) -> bytes:
        """What is due on the line now. Call it after every `receive`, `send` and `handle_deadline`."""
        if self.failed is None:
            while (
                self.waiting and len(self._unacknowledged) < WINDOW and (payload := self._next_payload(now)) is not None
            ):
                self._transmit(payload, now)
            if self._acknowledgement_due:
                self._line += PLAIN_ACKS[self._expected]
                self._acknowledgement_due = False
        if not self._line:
            return b""
        due = bytes(self._line)
        self._line.clear()
        return due

    def _next_payload(self, now: float) -> bytes | None:
        if self._unacknowledged_bytes >= WINDOW_BYTES - _MAX_PARTIAL_BYTES:
            return None
        if self._not_ready_until is None or now >= self._not_ready_until:
            return self.waiting.popleft()[0]
        for index, (payload, is_callback) in enumerate(self.waiting):
            if not is_callback:
                del self.waiting[index]
                return payload
        return None

    def _transmit(self, payload: bytes, now: float) -> None:
        line = DataFrame(self._next_to_send, self._expected, payload).to_bytes()
        if not self._unacknowledged:
            self._timer_started = now
        self._unacknowledged.append(_Outgoing(self._next_to_send, payload, len(line), now))
        self._unacknowledged_bytes += len(line)
        self._next_to_send = (self._next_to_send + 1) % 8
        self._acknowledgement_due = False
        self._line += line

    def deadline(self) -> float | None:
        """When `handle_deadline` wants to be called, or None."""
        if self._starting is not None:
            return self._starting[0]
        if self.failed is not None:
            return None
        timer = self._timer_started + self._timeout_s if self._unacknowledged else None
        if self._not_ready_until is None or not self.waiting:
            return timer
        return self._not_ready_until if timer is None else min(timer, self._not_ready_until)

    def handle_deadline(self, now: float) -> tuple[Event, ...]:
        self._start(now)
        if self._not_ready_until is not None and now >= self._not_ready_until:
            self._not_ready_until = None
        if self.failed is not None or not self._unacknowledged or now < self._timer_started + self._timeout_s:
            return ()
        self._timeouts += 1
        self._set_timeout(self._timeout_s * 2)
        if self._timeouts < MAX_TIMEOUTS:
            self._retransmit(now)
            return ()
        self._clear()
        self.failed = ResetCode.EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT
        self._line += ErrorFrame(self.failed).to_bytes()
        return (LinkFailed(self.failed),)
