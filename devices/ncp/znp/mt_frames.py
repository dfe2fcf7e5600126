"""The serial framing of TI's Monitor and Test interface (Z-Stack Monitor and Test API, section 2.1).

A frame is 0xFE, the length of its data, two octets of command, the data, and the XOR of all but the first octet. The
command is kept as one number here: its high octet has the type in the top three bits and the subsystem below.

There are no acknowledgements and no numbers: what is damaged is lost, and the host's own timers notice.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import xor
from typing import Self

START = 0xFE  # start of frame (2.1.1)
MAX_DATA_BYTES = 250  # 2.1.1
_OVERHEAD_BYTES = 5  # start, length, command, check octet
_HEADER_BYTES = 4  # start, length, command (2.1.1)


class MtType(IntEnum):
    """Bits 7 to 5 of a command (2.1.2)."""

    POLL = 0
    SYNCHRONOUS_REQUEST = 1
    ASYNCHRONOUS = 2
    SYNCHRONOUS_RESPONSE = 3


class Subsystem(IntEnum):
    """Bits 4 to 0 of a command's high octet (2.1.2)."""

    RPC_ERROR = 0x00
    SYS = 0x01
    AF = 0x04
    ZDO = 0x05
    UTIL = 0x07
    APP_CONFIG = 0x0F
    GREEN_POWER = 0x15


@dataclass(frozen=True, slots=True)
class MtFrame:
    """`command` 0x2101 is the synchronous request 0x01 of SYS."""

    command: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        body = bytes((len(self.data), self.command >> 8, self.command & 0xFF)) + self.data
        return b"\xfe" + body + bytes((reduce(xor, body),))

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """One whole frame. Raises ValueError for anything else."""
        if len(octets) < _OVERHEAD_BYTES or octets[0] != START or octets[1] != len(octets) - _OVERHEAD_BYTES:
            raise ValueError("not one MT frame")
        if octets[1] > MAX_DATA_BYTES or reduce(xor, octets[1:]):
            raise ValueError("too long, or damaged")
        return cls(octets[2] << 8 | octets[3], octets[_HEADER_BYTES:-1])


class MtReceiver:
    """Finds frames in what comes off the line, cut anywhere and with anything in between."""

    def __init__(self) -> None:
        self.damaged_frames = 0
        self._partial = b""

    def receive(self, octets: bytes) -> tuple[MtFrame, ...]:
        """After a bad length or check octet the search goes on behind the start octet that led astray."""
        line = self._partial + octets if self._partial else octets
        frames = []
        at = line.find(START)
        while at >= 0 and len(line) - at >= 2:
            end = at + line[at + 1] + _OVERHEAD_BYTES
            if line[at + 1] <= MAX_DATA_BYTES and end > len(line):
                break
            try:
                frames.append(MtFrame.from_bytes(line[at:end]))
            except ValueError:
                self.damaged_frames += 1
                end = at + 1
            at = line.find(START, end)
        self._partial = line[at:] if at >= 0 else b""
        return tuple(frames)
