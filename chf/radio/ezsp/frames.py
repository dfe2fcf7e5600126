"""The two EZSP frames that there are of each image block, read by hand: what comes in, and the fate of what was sent.

Layouts of EZSP v8 to v19 (UG100). Everything else goes through bellows' tables. Two dialects: one-byte EmberStatus and
u8 message tags up to v13; four-byte sl_Status, first in the frame, and u16 message tags from v14 on.
"""

import struct
from typing import NamedTuple

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64

OLDEST_VERSION = 8  # v4 to v7 have other headers, and no stick of theirs keeps a Smart Energy network
SL_STATUS_VERSION = 14  # from here EZSP has sl_status_t instead of EmberStatus (bellows' v14 tables)

HEADER_BYTES = 5  # UG100, from v8 on: sequence, frame control in two octets, frame id in two
INCOMING_MESSAGE_HANDLER = 0x0045  # UG100, incomingMessageHandler
MESSAGE_SENT_HANDLER = 0x003F  # UG100, messageSentHandler
INVALID_COMMAND = 0x0058  # UG100, invalidCommand

OPTION_ENCRYPTION = 0x0020  # UG100, EmberApsOption
OPTION_RETRY = 0x0040  # UG100, EmberApsOption
OPTION_ENABLE_ROUTE_DISCOVERY = 0x0100  # UG100, EmberApsOption
OPTION_FRAGMENT = 0x8000  # UG100, EmberApsOption

_UNICASTS = frozenset({0, 1})  # UG100, EmberIncomingMessageType: unicast, and the reply to one
_BROADCASTS = frozenset({2, 4})  # UG100, EmberIncomingMessageType: multicast, broadcast

_APS = "HHBBHHB"  # UG100, EmberApsFrame: profile, cluster, endpoints from and to, options, group, sequence


_NO_EUI64 = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})  # what stands for none


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
    """incomingMessageHandler. `eui64` is there from v14 on."""

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


class Dialect:
    """The layouts of one EZSP version."""

    def __init__(self, version: int) -> None:
        self._sl_status = version >= SL_STATUS_VERSION
        tag = "H" if self._sl_status else "B"
        self._sent = struct.Struct(f"<IBH{_APS}{tag}" if self._sl_status else f"<BH{_APS}{tag}B")
        # From v14: sender, EUI-64, binding, address, LQI, RSSI, timestamp. Before: LQI, RSSI, sender, binding, address.
        self._incoming = struct.Struct(f"<B{_APS}HQBBBbIB" if self._sl_status else f"<B{_APS}BbHBBB")

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
