"""The Tunneling cluster 0x0704 (SE 1.2 D.6), both sides of it. One command id has two meanings, by direction."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from devices.wire.errors import MalformedFrameError

CLUSTER = 0x0704  # SE 1.2 D.6

CLOSE_TUNNEL_TIMEOUT = 0x0000  # attribute, u16 seconds

GB_HRGP = 6  # ProtocolID
NO_MANUFACTURER = 0xFFFF  # "not used"
GBCS_TRANSFER_BYTES = 1500  # GBCS 10.2.2: both sides state it


class ClientCommand(IntEnum):
    """From the client to the server."""

    REQUEST_TUNNEL = 0x00
    CLOSE_TUNNEL = 0x01
    TRANSFER_DATA = 0x02
    TRANSFER_DATA_ERROR = 0x03
    GET_SUPPORTED_TUNNEL_PROTOCOLS = 0x06


class ServerCommand(IntEnum):
    """From the server to the client."""

    REQUEST_TUNNEL_RESPONSE = 0x00
    TRANSFER_DATA = 0x01
    TRANSFER_DATA_ERROR = 0x02
    SUPPORTED_TUNNEL_PROTOCOLS_RESPONSE = 0x05
    TUNNEL_CLOSURE_NOTIFICATION = 0x06


class TunnelStatus(IntEnum):
    SUCCESS = 0
    BUSY = 1
    NO_MORE_TUNNEL_IDS = 2
    PROTOCOL_NOT_SUPPORTED = 3
    FLOW_CONTROL_NOT_SUPPORTED = 4


class TransferError(IntEnum):
    NO_SUCH_TUNNEL = 0
    WRONG_DEVICE = 1
    DATA_OVERFLOW = 2


_REQUEST = struct.Struct(
    "<BHBH"
)  # protocol, manufacturer, flow control, largest transfer: SE 1.2 D.6, as all that follow
_RESPONSE = struct.Struct("<HBH")  # tunnel, status, largest transfer
_ERROR = struct.Struct("<HB")  # tunnel, status
_ID = struct.Struct("<H")  # tunnel


@dataclass(frozen=True, slots=True)
class RequestTunnel:
    protocol: int
    manufacturer: int
    flow_control: bool
    maximum_incoming_bytes: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> RequestTunnel:
        if len(payload) < _REQUEST.size:
            raise MalformedFrameError("RequestTunnel", "truncated", len(payload))
        protocol, manufacturer, flow_control, maximum = _REQUEST.unpack_from(payload)
        return cls(protocol, manufacturer, bool(flow_control), maximum)

    def to_bytes(self) -> bytes:
        return _REQUEST.pack(self.protocol, self.manufacturer, self.flow_control, self.maximum_incoming_bytes)


@dataclass(frozen=True, slots=True)
class RequestTunnelResponse:
    tunnel_id: int
    status: int
    maximum_incoming_bytes: int = GBCS_TRANSFER_BYTES

    @classmethod
    def from_bytes(cls, payload: bytes) -> RequestTunnelResponse:
        if len(payload) < _RESPONSE.size:
            raise MalformedFrameError("RequestTunnelResponse", "truncated", len(payload))
        return cls(*_RESPONSE.unpack_from(payload))

    def to_bytes(self) -> bytes:
        return _RESPONSE.pack(self.tunnel_id, self.status, self.maximum_incoming_bytes)


@dataclass(frozen=True, slots=True)
class TransferData:
    """The data runs to the end of the frame; its command id is the direction's."""

    tunnel_id: int
    data: bytes

    @classmethod
    def from_bytes(cls, payload: bytes) -> TransferData:
        return cls(parse_tunnel_id("TransferData", payload), payload[_ID.size :])

    def to_bytes(self) -> bytes:
        return _ID.pack(self.tunnel_id) + self.data


@dataclass(frozen=True, slots=True)
class TransferDataError:
    tunnel_id: int
    status: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> TransferDataError:
        if len(payload) < _ERROR.size:
            raise MalformedFrameError("TransferDataError", "truncated", len(payload))
        return cls(*_ERROR.unpack_from(payload))

    def to_bytes(self) -> bytes:
        return _ERROR.pack(self.tunnel_id, self.status)


def parse_tunnel_id(command: str, payload: bytes) -> int:
    """All of CloseTunnel and TunnelClosureNotification, the start of TransferData."""
    if len(payload) < _ID.size:
        raise MalformedFrameError(command, "no tunnel id", len(payload))
    (tunnel_id,) = _ID.unpack_from(payload)
    return int(tunnel_id)


def tunnel_id_bytes(tunnel_id: int) -> bytes:
    return _ID.pack(tunnel_id)


def supported_protocols(protocols: tuple[tuple[int, int], ...]) -> bytes:
    """SupportedTunnelProtocolsResponse: complete, and each (manufacturer, protocol)."""
    listed = b"".join(struct.pack("<HB", manufacturer, protocol) for manufacturer, protocol in protocols)
    return bytes((True, len(protocols))) + listed
