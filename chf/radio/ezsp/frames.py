"""The EZSP frames of the hot path, packed by hand: a message sent, the dongle's answer, its fate, and what comes in.

Layouts of EZSP v8 to v19 (UG100). Everything else that the hub asks of a dongle goes through bellows' tables, whose
generic types are too slow for a frame per image block. Two dialects: one-byte EmberStatus and u8 message tags up to
v13; four-byte sl_Status, first in the frame, and u16 message tags from v14 on.
"""

import struct
from enum import Enum
from typing import NamedTuple

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64

OLDEST_VERSION = 8  # v4 to v7 have other headers, and no stick of theirs keeps a Smart Energy network
SL_STATUS_VERSION = 14

NOP = 0x0005
INCOMING_MESSAGE_HANDLER = 0x0045
MESSAGE_SENT_HANDLER = 0x003F
SEND_UNICAST = 0x0034
SEND_REPLY = 0x0039
INVALID_COMMAND = 0x0058

# EmberApsOption
OPTION_ENCRYPTION = 0x0020
OPTION_RETRY = 0x0040
OPTION_ENABLE_ROUTE_DISCOVERY = 0x0100
OPTION_FRAGMENT = 0x8000

# EmberIncomingMessageType
_UNICASTS = frozenset({0, 1})
_BROADCASTS = frozenset({2, 4})

_OUTGOING_DIRECT = 0x00

# EmberStatus and sl_Status: nothing is wrong with the message, there is no room for it now
_EMBER_FULL = frozenset({0x18, 0x72, 0xA1})  # NO_BUFFERS, MAX_MESSAGE_LIMIT_REACHED, NETWORK_BUSY
_SL_FULL = frozenset(
    {0x0004, 0x0019, 0x001A, 0x0C03}
)  # BUSY, ALLOCATION_FAILED, NO_MORE_RESOURCE, ZIGBEE_MAX_MESSAGE...

_HEADER = struct.Struct("<BBBH")  # sequence, frame control low, high (1: this format), frame id
_APS = "HHBBHHB"  # profile, cluster, source endpoint, destination endpoint, options, group, sequence
_REPLY = struct.Struct(f"<H{_APS}B")
assert (_HEADER.size, _REPLY.size) == (5, 14)

HEADER_BYTES = _HEADER.size


class Acceptance(Enum):
    """What the dongle said to a message that was handed to it."""

    TAKEN = "taken"
    FULL = "full"
    REFUSED = "refused"


class ApsFrame(NamedTuple):
    """EmberApsFrame. `group` carries count and index where `OPTION_FRAGMENT` is set."""

    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    options: int
    group: int = 0
    sequence: int = 0


class IncomingMessage(NamedTuple):
    """incomingMessageHandler. `eui64` is told from v14 on."""

    unicast: bool
    aps: ApsFrame
    sender: int
    eui64: Eui64 | None
    lqi: int
    rssi: int
    payload: bytes


class MessageSent(NamedTuple):
    """messageSentHandler."""

    destination: int
    tag: int
    delivered: bool


def header(sequence: int, frame_id: int) -> bytes:
    """The header of a command in the format of v8 and later."""
    return _HEADER.pack(sequence, 0x00, 0x01, frame_id)


def send_reply(sender: int, aps: ApsFrame) -> bytes:
    """The body of a sendReply with nothing in it, which is how a host acknowledges a fragment."""
    return _REPLY.pack(sender, *aps, 0)


class Dialect:
    """The layouts of one EZSP version."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._sl_status = version >= SL_STATUS_VERSION
        tag = "H" if self._sl_status else "B"
        self.tags = 0xFF if not self._sl_status else 0xFFFF
        self._unicast = struct.Struct(f"<BH{_APS}{tag}B")
        self._answer = struct.Struct("<IB" if self._sl_status else "<BB")
        self._sent = struct.Struct(f"<IBH{_APS}{tag}" if self._sl_status else f"<BH{_APS}{tag}B")
        # From v14: sender, EUI-64, binding, address, LQI, RSSI, timestamp. Before: LQI, RSSI, sender, binding, address.
        self._incoming = struct.Struct(f"<B{_APS}HQBBBbIB" if self._sl_status else f"<B{_APS}BbHBBB")

    def send_unicast(self, destination: int, aps: ApsFrame, tag: int, payload: bytes) -> bytes:
        return self._unicast.pack(_OUTGOING_DIRECT, destination, *aps, tag, len(payload)) + payload

    def acceptance(self, body: bytes) -> tuple[Acceptance, int]:
        """The answer to sendUnicast, with the APS counter that the dongle gave the message."""
        try:
            status, counter = self._answer.unpack_from(body)
        except struct.error:
            return Acceptance.REFUSED, 0
        if status == 0:
            return Acceptance.TAKEN, counter
        full = status in (_SL_FULL if self._sl_status else _EMBER_FULL)
        return (Acceptance.FULL if full else Acceptance.REFUSED), 0

    def message_sent(self, frame: bytes) -> MessageSent:
        """Read a whole messageSentHandler frame, header included (nothing is copied)."""
        try:
            fields = self._sent.unpack_from(frame, HEADER_BYTES)
        except struct.error as error:
            raise MalformedFrameError(f"{len(frame)} bytes are too few", field="messageSentHandler") from error
        if self._sl_status:
            return MessageSent(destination=fields[2], tag=fields[10], delivered=fields[0] == 0)
        return MessageSent(destination=fields[1], tag=fields[9], delivered=fields[10] == 0)

    def incoming(self, frame: bytes) -> IncomingMessage | None:
        """Read a whole incomingMessageHandler frame; None for what the dongle echoes of our own."""
        try:
            fields = self._incoming.unpack_from(frame, HEADER_BYTES)
        except struct.error as error:
            raise MalformedFrameError(f"{len(frame)} bytes are too few", field="incomingMessageHandler") from error
        start = HEADER_BYTES + self._incoming.size
        payload = frame[start : start + fields[-1]]
        if len(payload) != fields[-1]:
            raise MalformedFrameError(
                f"{fields[-1]} bytes announced, {len(payload)} there", field="incomingMessageHandler"
            )
        kind, aps = fields[0], ApsFrame(*fields[1:8])
        if kind not in _UNICASTS and kind not in _BROADCASTS:
            return None
        if self._sl_status:
            sender, eui64, lqi, rssi = fields[8], Eui64(fields[9]), fields[12], fields[13]
        else:
            lqi, rssi, sender, eui64 = fields[8], fields[9], fields[10], None
        if eui64 in _NO_EUI64:
            eui64 = None
        return IncomingMessage(kind in _UNICASTS, aps, sender, eui64, lqi, rssi, payload)


_NO_EUI64 = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})
