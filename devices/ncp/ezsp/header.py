"""The header of an EZSP frame (Silicon Labs UG100, section 3).

Up to version 7, and for the first `version` command of every host, it is `sequence, control, id`; from version 8 on
`sequence, control low, control high, id low, id high`, with the frame format version in the low bits of control high.
"""

import struct
from typing import NamedTuple

from devices.ncp.ezsp.commands import VERSION

RESPONSE = 0x80  # frame control low, UG100 3
ASYNCHRONOUS_CALLBACK = 0x10  # callback type in frame control low, UG100 3
CALLBACK_PENDING = 0x04  # in a response: a callback follows, UG100 3
OVERFLOW = 0x01
"""In a response: a callback was lost for want of memory since the last one."""
NETWORK_MASK = 0x60  # network index in frame control low, UG100 3

FORMAT = 0x01  # frame format version 1 in control high
_FORMAT_MASK = 0x03  # UG100 3
EXTENDED = struct.Struct("<BBBH")  # sequence, control low, control high, frame: UG100 3
_LEGACY_BYTES = 3  # sequence, control, frame: UG100 3
assert EXTENDED.size == 5


class Header(NamedTuple):
    sequence: int
    control: int
    id: int
    legacy: bool = False

    def to_bytes(self) -> bytes:
        if self.legacy:
            return bytes((self.sequence, self.control, self.id))
        return EXTENDED.pack(self.sequence, self.control, FORMAT, self.id)


def split_frame(frame: bytes) -> tuple[Header, bytes] | None:
    """Header and parameters of a frame from the host, None where there is not even a legacy header.

    The two formats are told apart as hosts use them: the third octet is 0x00 in a legacy `version` command, the format
    version in an extended header. Anything else is taken for a legacy command.
    """
    if len(frame) < _LEGACY_BYTES:
        return None
    if frame[2] != VERSION and frame[2] & _FORMAT_MASK == FORMAT and len(frame) >= EXTENDED.size:
        sequence, control, _, frame_id = EXTENDED.unpack_from(frame)
        return Header(sequence, control, frame_id), frame[EXTENDED.size :]
    return Header(frame[0], frame[1], frame[2], legacy=True), frame[_LEGACY_BYTES:]
