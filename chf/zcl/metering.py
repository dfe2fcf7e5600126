"""The mirror of a sleepy GSME (Metering, 0x0702): its Functional Notification Flags, and nothing of metering.

A GSME that wakes reads them to learn whether anything waits for it (GBCS 10.2.2.1 in SL-CHF; HG). They are an
attribute of the cluster's client side, so the device, whose side is the server, asks in the server's direction. One
endpoint answers for every mirror, since what it answers depends on who asks (our choice).
"""

from dataclasses import replace
from enum import IntFlag

from chf.errors import MalformedFrameError
from chf.zcl.attributes import DataType, Value, answer_read
from chf.zcl.frame import Frame

CLUSTER = 0x0702  # Metering, SE1.4
FUNCTIONAL_NOTIFICATION_FLAGS = 0x0000  # client attribute, SL-CHF; HG


class NotificationFlag(IntFlag):
    NEW_OTA_FIRMWARE = 1 << 0
    TUNNEL_MESSAGE_PENDING = 1 << 21


def answer(octets: bytes, flags: NotificationFlag) -> bytes | None:
    """The ZCL frame that answers `octets` on this cluster, or None where nothing is to be said. Never raises."""
    try:
        frame = Frame.from_bytes(octets)
    except MalformedFrameError:
        return None
    if not frame.to_client:
        return answer_read({}, octets)
    held = {FUNCTIONAL_NOTIFICATION_FLAGS: Value(DataType.BITMAP32, int(flags))}
    read = answer_read(held, replace(frame, to_client=False).to_bytes())
    return None if read is None else replace(Frame.from_bytes(read), to_client=False).to_bytes()
