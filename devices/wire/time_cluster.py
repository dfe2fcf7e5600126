"""The Time cluster 0x000A as its client sees it (ZCL8 3.12)."""

from __future__ import annotations

from devices.wire import zcl

CLUSTER = 0x000A  # ZCL8 3.12

TIME = 0x0000  # UTCTime: seconds since 2000-01-01 UTC

INVALID_TIME = 0xFFFF_FFFF  # ZCL8 2.6.2.12, invalid UTCTime


def read_time() -> bytes:
    """The payload of Read Attributes for the time."""
    return zcl.read_attributes((TIME,))


def parse_time(payload: bytes) -> int | None:
    """The ZigBee time in a Read Attributes Response, None where the server has none to give."""
    value = zcl.parse_read_attributes_response(payload).get(TIME)
    return value if isinstance(value, int) and value != INVALID_TIME else None
