"""ASH on the wire: byte stuffing, CRC, randomisation, and the seven frames (Silicon Labs UG101, sections 2 and 3).

Knows nothing of windows, timers or EZSP. The two hot functions, `data_frame` and `unwrap`, work on whole frames with
operations that run in C (`bytes.replace`, one big-integer XOR, `binascii.crc_hqx`) instead of octet by octet.
"""

import binascii
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

FLAG = 0x7E  # ends a frame
ESCAPE = 0x7D  # the next octet has bit 5 inverted
XON = 0x11  # UG101, reserved octets
XOFF = 0x13  # UG101, reserved octets
SUBSTITUTE = 0x18  # the frame in which it stands had a line error
CANCEL = 0x1A  # forget what came since the last flag

FLAG_OCTET = bytes([FLAG])
_STUFFED = tuple(
    (bytes([octet]), bytes([ESCAPE, octet ^ 0x20]))
    for octet in (ESCAPE, FLAG, XON, XOFF, SUBSTITUTE, CANCEL)  # the escape first: the others bring it in
)
_ESCAPE_OCTET = bytes([ESCAPE])

ASH_VERSION = 0x02  # UG101 2.1, in RSTACK and ERROR
CRC_BYTES = 2  # UG101, CRC-CCITT
MAX_DATA_FIELD_BYTES = 220
"""UG101 2.5 has 128; EmberZNet since 6.x carries EZSP frames of 200 octets and 20 of headers, and hosts count on it."""


class ResetCode(IntEnum):
    """Why the co-processor restarted, or stopped (UG101, table of reset and error codes)."""

    EXTERNAL = 0x01
    POWER_ON = 0x02
    WATCHDOG = 0x03
    ASSERT = 0x06
    SOFTWARE = 0x0B
    EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT = 0x51


def _pseudo_random_sequence(length: int) -> bytes:
    """UG101 4.3: an eight-bit shift register seeded with 0x42, restarted for every frame."""
    sequence = bytearray()
    register = 0x42
    for _ in range(length):
        sequence.append(register)
        register = register >> 1 ^ (0xB8 if register & 1 else 0)
    return bytes(sequence)


_RANDOM = _pseudo_random_sequence(MAX_DATA_FIELD_BYTES)
_RANDOM_AS_INTEGER = tuple(int.from_bytes(_RANDOM[:length], "big") for length in range(MAX_DATA_FIELD_BYTES + 1))


def randomise(data: bytes) -> bytes:
    """XOR with the pseudo-random sequence; its own inverse. At most MAX_DATA_FIELD_BYTES octets."""
    length = len(data)
    return (int.from_bytes(data, "big") ^ _RANDOM_AS_INTEGER[length]).to_bytes(length, "big")


def stuff(octets: bytes) -> bytes:
    for reserved, escaped in _STUFFED:
        if reserved in octets:
            octets = octets.replace(reserved, escaped)
    return octets


def unstuff(octets: bytes) -> bytes | None:
    """Undo `stuff`; None where an escape stands before nothing or before another escape."""
    if _ESCAPE_OCTET not in octets:
        return octets
    first, *escaped = octets.split(_ESCAPE_OCTET)
    if not all(escaped):
        return None
    return first + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in escaped)


def wrap(control: int, data: bytes = b"") -> bytes:
    """A whole frame, ready for the line."""
    frame = bytes([control]) + data
    return stuff(frame + binascii.crc_hqx(frame, 0xFFFF).to_bytes(CRC_BYTES, "big")) + FLAG_OCTET


def unwrap(octets: bytes) -> bytes | None:
    """Control octet and data field of what stood between two flags; None where it is damaged."""
    frame = unstuff(octets)
    if frame is None or len(frame) < 1 + CRC_BYTES or binascii.crc_hqx(frame, 0xFFFF):
        return None  # the CRC over a frame with its CRC is zero
    return frame[:-CRC_BYTES]


class DataFrame(NamedTuple):
    """DATA(frame number, acknowledge number, retransmitted), with the EZSP frame in clear."""

    number: int
    acknowledged: int
    payload: bytes
    retransmitted: bool = False

    def to_bytes(self) -> bytes:
        control = self.number << 4 | self.retransmitted << 3 | self.acknowledged
        return wrap(control, randomise(self.payload))


class AckFrame(NamedTuple):
    """ACK, or with `rejecting` NAK. `not_ready` asks the other side to hold back what can wait."""

    acknowledged: int
    not_ready: bool = False
    rejecting: bool = False

    def to_bytes(self) -> bytes:
        return wrap((0xA0 if self.rejecting else 0x80) | self.not_ready << 3 | self.acknowledged)


@dataclass(frozen=True, slots=True)
class ResetFrame:
    """RST: the host asks for a restart."""

    def to_bytes(self) -> bytes:
        return wrap(0xC0)


@dataclass(frozen=True, slots=True)
class ResetAckFrame:
    """RSTACK: the co-processor has restarted."""

    code: int
    version: int = ASH_VERSION

    def to_bytes(self) -> bytes:
        return wrap(0xC1, bytes([self.version, self.code]))


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """ERROR: the co-processor has given up and waits for a reset."""

    code: int
    version: int = ASH_VERSION

    def to_bytes(self) -> bytes:
        return wrap(0xC2, bytes([self.version, self.code]))


Frame = DataFrame | AckFrame | ResetFrame | ResetAckFrame | ErrorFrame

_MIN_DATA_FIELD_BYTES = 3  # UG101 2.5
PLAIN_ACKS = tuple(AckFrame(number).to_bytes() for number in range(8))
"""Every second frame of a busy line is one of these."""
_PLAIN_ACKS = {octets.removesuffix(FLAG_OCTET): AckFrame(number) for number, octets in enumerate(PLAIN_ACKS)}


def parse_frame(octets: bytes) -> Frame | None:
    """What stood between two flags, or None where it is not a frame (UG101 2.1, table of control octets)."""
    if (plain := _PLAIN_ACKS.get(octets)) is not None:
        return plain
    frame = unwrap(octets)
    if frame is None:
        return None
    control, data = frame[0], frame[1:]
    if control < 0x80:
        if not _MIN_DATA_FIELD_BYTES <= len(data) <= MAX_DATA_FIELD_BYTES:
            return None
        return DataFrame(control >> 4, control & 7, randomise(data), bool(control & 8))
    if control < 0xC0:
        # Bit 4 is reserved and ignored, as the receiver of UG101 2.1 does.
        return None if data else AckFrame(control & 7, bool(control & 8), bool(control & 0x20))
    if control == 0xC0:
        return None if data else ResetFrame()
    if control in {0xC1, 0xC2} and len(data) == 2:
        return (ResetAckFrame if control == 0xC1 else ErrorFrame)(data[1], data[0])
    return None
