"""What the DLMS payloads of GBCS share: the long invoke id, and how the notifications that carry an alert begin.

Public test messages of seven counters have 0x20 (break on error) and the counter of the originator behind it; a public
message with a counter of 41 bits has its low 24 bits there.
"""

from typing import Final

from chf.errors import MalformedMessageError
from chf.gbcs.cursor import Cursor

COUNTER_MASK: Final = 0x00_FF_FF_FF  # the low 24 bits, RTDS
DATE_TIME: Final = bytes.fromhex("090C")
"""Head of an octet string of 12: a COSEM date-time."""
NO_DATE_TIME: Final = b"\x00"
"""Of a request, a response or a notification as a whole."""
_DATA_NOTIFICATION: Final = b"\x0f"  # tag of a data notification, RTDS
_ALERT: Final = NO_DATE_TIME + bytes.fromhex("020312")  # structure of 3, of which the first is a long-unsigned
_FLAGS: Final = 0x20
_INVOKE_ID_OCTETS: Final = 4  # long invoke id, RTDS


def invoke_id(counter: int) -> bytes:
    return (_FLAGS << 24 | counter & COUNTER_MASK).to_bytes(_INVOKE_ID_OCTETS, "big")


def read_invoke_id(cursor: Cursor) -> int:
    """The low 24 bits of the originator's counter."""
    offset = cursor.offset
    value = cursor.uint(_INVOKE_ID_OCTETS, "invoke id")
    if value >> 24 != _FLAGS:
        raise MalformedMessageError(
            f"its flags are 0x{_FLAGS:02X}, not 0x{value >> 24:02X}", offset=offset, field="invoke id"
        )
    return value & COUNTER_MASK


def notification_head(counter: int) -> bytes:
    """All that comes before the alert code."""
    return _DATA_NOTIFICATION + invoke_id(counter) + _ALERT


def read_notification_head(cursor: Cursor) -> int:
    """The low 24 bits of the originator's counter."""
    cursor.expect(_DATA_NOTIFICATION, "data notification")
    counter = read_invoke_id(cursor)
    cursor.expect(_ALERT, "data notification head")
    return counter
