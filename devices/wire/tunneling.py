"""The Tunneling cluster 0x0704 (SE 1.2 D.6), both sides of it. One command id has two meanings, by direction."""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack

from devices.wire.fields import Fields, unpack

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


_ID = Struct("<H")  # SE 1.2 D.6


@dataclass(frozen=True, slots=True)
class RequestTunnel(Fields):
    LAYOUT = Struct("<BH?H")  # SE 1.2 D.6

    protocol: int
    manufacturer: int
    flow_control: bool
    maximum_incoming_bytes: int


@dataclass(frozen=True, slots=True)
class RequestTunnelResponse(Fields):
    LAYOUT = Struct("<HBH")  # SE 1.2 D.6

    tunnel_id: int
    status: int
    maximum_incoming_bytes: int = GBCS_TRANSFER_BYTES


@dataclass(frozen=True, slots=True)
class TransferData(Fields):
    """The data runs to the end of the frame; its command id is the direction's."""

    LAYOUT = _ID

    tunnel_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TransferDataError(Fields):
    LAYOUT = Struct("<HB")  # SE 1.2 D.6

    tunnel_id: int
    status: int


def parse_tunnel_id(command: str, payload: bytes) -> int:
    """All of CloseTunnel and TunnelClosureNotification."""
    return int(unpack(_ID, payload, command)[0])


def tunnel_id_bytes(tunnel_id: int) -> bytes:
    return _ID.pack(tunnel_id)


def supported_protocols(protocols: tuple[tuple[int, int], ...]) -> bytes:
    """SupportedTunnelProtocolsResponse: complete, and each (manufacturer, protocol)."""
    listed = b"".join(pack("<HB", manufacturer, protocol) for manufacturer, protocol in protocols)
    return bytes((True, len(protocols))) + listed
