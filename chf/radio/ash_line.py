"""bellows' ASH with a fast lane: whole frames in a few steps, and the hub's own frames without a task for each.

bellows goes through every octet several times, in Python, and sends every frame as a task with a timeout of its own.
The frames of every day (DATA in sequence, and ACK) are read and written here by operations on whole frames; whatever
is not of every day is left to bellows, octet for octet. The rules are bellows', and the state is too: numbers, window
of one frame, adaptive timeout, reject condition (Silicon Labs UG101).

What one turn of the event loop has to say leaves in one write, but for the answer to an image block's request, which
waits for nothing. An ACK frame is last in it, and only there where no DATA frame says the same: a frame that
acknowledges less than the one before it counts as damaged (Silicon Labs' own ASH).
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Callable
from typing import Any

from bellows.ash import (
    ACK_TIMEOUTS,
    MAX_BUFFER_SIZE,
    PSEUDO_RANDOM_DATA_SEQUENCE,
    AckFrame,
    AshProtocol,
    DataFrame,
    NcpFailure,
    NcpState,
    NotAcked,
)
from bellows.types import NcpResetCode

PRIVATE = (
    *("_transport", "_buffer", "_discarding_until_next_flag", "_pending_data_frames", "_send_data_frame_semaphore"),
    *("_tx_seq", "_rx_seq", "_t_rx_ack", "_ncp_state", "_in_reject_condition", "_ezsp_protocol"),
)
"""What is used of bellows' protocol that is not public."""

# Octets as numbers: Python looks for those without the detour that it makes for bytes
_FLAG, _ESCAPE, _BIT = 0x7E, 0x7D, 0x20
_XON, _XOFF, _SUBSTITUTE, _CANCEL = 0x11, 0x13, 0x18, 0x1A  # never within a sound frame
_ESCAPE_OCTET, _FLAG_OCTET = bytes((_ESCAPE,)), bytes((_FLAG,))
_ESCAPED = tuple(
    (bytes((octet,)), bytes((_ESCAPE, octet ^ _BIT)))
    for octet in (_ESCAPE, _FLAG, _XON, _XOFF, _SUBSTITUTE, _CANCEL)  # in this order: the others bring escapes
)
_UNESCAPED = {escaped[1:]: octet for octet, escaped in _ESCAPED}
_CRC_BYTES = 2
_RANDOM = tuple(
    int.from_bytes(PSEUDO_RANDOM_DATA_SEQUENCE[:length], "big")
    for length in range(len(PSEUDO_RANDOM_DATA_SEQUENCE) + 1)
)
_LONGEST = 1 + len(PSEUDO_RANDOM_DATA_SEQUENCE)
_DATA_BELOW = 0x80  # control octet: 0, frame number, retransmitted, acknowledgement number
_RETRANSMITTED = 0x08


def randomise(data: bytes) -> bytes:
    """UG101 4.3; its own inverse."""
    length = len(data)
    return (int.from_bytes(data, "big") ^ _RANDOM[length]).to_bytes(length, "big")


def wrap(control: int, data: bytes = b"") -> bytes:
    """A whole frame, ready for the line; `data` is randomised already."""
    frame = bytes((control,)) + data
    frame += crc_hqx(frame, 0xFFFF).to_bytes(_CRC_BYTES, "big")
    for octet, escaped in _ESCAPED:
        frame = frame.replace(octet, escaped)
    return frame + _FLAG_OCTET


def unwrap(octets: bytes) -> bytes | None:
    """Control octet and data of what stood before a flag; None where bellows is to say what is wrong with it."""
    if _ESCAPE in octets:
        octets, *escaped = octets.split(_ESCAPE_OCTET)
        for part in escaped:
            octet = _UNESCAPED.get(part[:1])
            if octet is None:
                return None
            octets += octet + part[1:]
    if len(octets) <= _CRC_BYTES or crc_hqx(octets, 0xFFFF):  # over a frame with its CRC it is zero
        return None
    return octets[:-_CRC_BYTES]


_ACKS = tuple(wrap(0x80 | number) for number in range(8))


class _Sending:
    """A frame of the fast lane until its end. Among bellows' pending frames it stands where bellows has a future."""

    __slots__ = ("attempts", "line", "number", "over", "payload", "sent_at", "timer")

    def __init__(self, line: "AshLine", number: int, payload: bytes) -> None:
        self.line, self.number, self.payload = line, number, payload
        self.attempts = 0
        self.over = False
        self.sent_at = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def done(self) -> bool:
        return self.over

    def set_result(self, _: object) -> None:
        self.line.acknowledged(self)

    def set_exception(self, error: BaseException) -> None:
        self.line.not_acknowledged(self, error)


class AshLine(AshProtocol):  # type: ignore[misc]
    """`turn_ended` is called when all that came in one piece was dealt with, and before what it caused is written."""

    _tx_seq: int
    _rx_seq: int
    _buffer: bytearray

    def __init__(self, gateway: Any, turn_ended: Callable[[], None], *, suppress_acks: bool = False) -> None:
        super().__init__(gateway, suppress_acks=suppress_acks)
        self._loop = asyncio.get_running_loop()
        self._turn_ended = turn_ended
        self.window: asyncio.Semaphore = self._send_data_frame_semaphore
        self.in_turn = False
        self._acknowledges = not suppress_acks
        self._ack_due = False
        self._unwritten = b""
        self._acknowledged = 0  # by the last DATA frame in there

    # What comes in

    def data_received(self, data: bytes) -> None:
        self.in_turn = True
        try:
            self._receive(data)
            self._turn_ended()
        finally:
            self.in_turn = False
            self._flush()

    def _receive(self, data: bytes) -> None:
        data = bytes(data)
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer = bytearray()
        if self._discarding_until_next_flag or _XON in data or _XOFF in data or _SUBSTITUTE in data or _CANCEL in data:
            super().data_received(data)
            return
        end = data.find(_FLAG)
        start = 0
        while end >= 0:
            frame = unwrap(data[start:end])
            if frame is None or not self._take(frame):
                break
            start = end + 1
            end = data.find(_FLAG, start)
        if end >= 0 or len(data) - start > MAX_BUFFER_SIZE:
            super().data_received(data[start:])  # from the start of a frame, by whose control octet it decides on a NAK
        elif start < len(data):
            self._buffer += data[start:]

    def _take(self, frame: bytes) -> bool:
        """A frame of every day is taken; False for all others."""
        control = frame[0]
        if control < _DATA_BELOW:
            if control >> 4 != self._rx_seq or len(frame) > _LONGEST:
                return False
            self._rx_seq = (self._rx_seq + 1) % 8
            self._handle_number(control & 7)
            self._ack_due = self._acknowledges
            if self._in_reject_condition:
                self._clear_reject_condition()
            self._ezsp_protocol.data_received(randomise(frame[1:]))
            return True
        if control & AckFrame.MASK == AckFrame.MASK_VALUE:
            self._handle_number(control & 7)
            return True
        return False

    def _handle_number(self, acknowledged: int) -> None:
        """The window is one frame, so that only the frame before the next expected one may wait for this."""
        pending = self._pending_data_frames.get((acknowledged - 1) % 8)
        if pending is not None and not pending.done():
            pending.set_result(True)

    # What leaves

    def _send_ack(self) -> None:
        if self._acknowledges:
            self._ack_due = True
            if not self.in_turn:
                self._flush()

    def _write_frame(self, frame: Any, **around: Any) -> None:
        if not isinstance(frame, DataFrame) or around:
            self._flush()
            super()._write_frame(frame, **around)
            return
        if self._transport is None or self._transport.is_closing():
            raise NcpFailure("Transport is closed, cannot send frame")
        self._put(frame.frm_num, frame.ezsp_frame, frame.ack_num, retransmitted=bool(frame.re_tx))

    def _put(self, number: int, payload: bytes, acknowledged: int, *, retransmitted: bool) -> None:
        control = number << 4 | (_RETRANSMITTED if retransmitted else 0) | acknowledged
        self._unwritten += wrap(control, randomise(payload))
        self._acknowledged = acknowledged
        if not self.in_turn:
            self._flush()

    def _flush(self) -> None:
        octets = self._unwritten
        if self._ack_due and not (octets and self._acknowledged == self._rx_seq):
            octets += _ACKS[self._rx_seq]
        self._ack_due = False
        self._unwritten = b""
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    # The fast lane

    def is_free(self) -> bool:
        """Whether a frame can be sent just now, if the line is open."""
        return self._ncp_state is not NcpState.FAILED and not self.window.locked()

    def send_at_once(self, payload: bytes) -> bool:
        """Send a frame, again where need be. False where nothing can be sent just now."""
        if self._transport is None or self._transport.is_closing() or not self.is_free():
            return False
        number = self._tx_seq
        try:
            self._put(number, payload, self._rx_seq, retransmitted=False)
        finally:
            self._began(number, payload)
        return True

    def _began(self, number: int, payload: bytes) -> None:
        take(self.window)
        self._tx_seq = (number + 1) % 8
        sending = self._pending_data_frames[number] = _Sending(self, number, payload)
        self._sent(sending)

    def _transmit_again(self, sending: _Sending) -> None:
        self._put(sending.number, sending.payload, self._rx_seq, retransmitted=True)
        self._sent(sending)

    def _sent(self, sending: _Sending) -> None:
        sending.attempts += 1
        sending.sent_at = self._loop.time()
        sending.timer = self._loop.call_later(self._t_rx_ack, self._expired, sending)

    def acknowledged(self, sending: _Sending) -> None:
        self._adapt_timeout(sending)
        self._end(sending)

    def not_acknowledged(self, sending: _Sending, error: BaseException) -> None:
        """By a NAK, after which it goes again; or there is no link any more."""
        if not isinstance(error, NotAcked):
            self._end(sending)
            return
        self._adapt_timeout(sending)  # UG101: for timing, a NAK is an acknowledgement
        self._again(sending)

    def _expired(self, sending: _Sending) -> None:
        if not sending.over:
            self._change_ack_timeout(2 * self._t_rx_ack)
            self._again(sending)

    def _again(self, sending: _Sending) -> None:
        if sending.timer is not None:
            sending.timer.cancel()
        closed = self._transport is None or self._transport.is_closing()
        if closed or self._ncp_state is NcpState.FAILED:
            self._end(sending)
        elif sending.attempts < ACK_TIMEOUTS:
            self._transmit_again(sending)
        else:
            self._end(sending)
            self._enter_failed_state(NcpResetCode.ERROR_EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT)

    def _adapt_timeout(self, sending: _Sending) -> None:
        took = self._loop.time() - sending.sent_at
        self._change_ack_timeout(7 / 8 * self._t_rx_ack + 0.5 * took)

    def _end(self, sending: _Sending) -> None:
        # It stays among the pending frames, where it is done, until the next of its number: bellows goes through them
        sending.over = True
        if sending.timer is not None:
            sending.timer.cancel()
        self.window.release()


def take(semaphore: Any) -> None:
    """Acquire one that is not locked, which takes no waiting and so no task."""
    try:
        semaphore.acquire().send(None)
    except StopIteration:
        return
    raise AssertionError("the semaphore is locked")
