"""The commands of the Tunneling cluster (0x0704), both directions: the pipe that GBCS messages travel through.

Frames only. Who opens a tunnel, when, and what is done about a closed one is `chf.tunnel`'s business. The same command
has one number from client to server and another from server to client: `command` and `parse` take the direction.
Flow control commands (AckTransferData, ReadyData) are not here: GBCS tunnels do not use flow control.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Self

from chf.errors import MalformedFrameError
from chf.zcl.frame import Frame, FrameType, Payload, cluster_command, unpack

CLUSTER = 0x0704  # Tunneling, SE1.4

GB_HRGP = 6  # protocol number of GBCS traffic
MANUFACTURER_NOT_USED = 0xFFFF
GBCS_TRANSFER_SIZE = 1500  # both sides state it

_TUNNEL_ID = Struct("<H")  # SE1.4, as all that follow
_PROTOCOLS_HEADER = Struct("<BB")  # list complete, count
_PROTOCOL = Struct("<HB")  # manufacturer, protocol
assert _PROTOCOL.size == 3


class TunnelStatus(IntEnum):
    """Of RequestTunnelResponse."""

    SUCCESS = 0
    BUSY = 1
    NO_MORE_TUNNEL_IDS = 2
    PROTOCOL_NOT_SUPPORTED = 3
    FLOW_CONTROL_NOT_SUPPORTED = 4


class TransferDataStatus(IntEnum):
    """Of TransferDataError."""

    NO_SUCH_TUNNEL = 0
    WRONG_DEVICE = 1
    DATA_OVERFLOW = 2


@dataclass(frozen=True, slots=True)
class RequestTunnel(Payload):
    LAYOUT = Struct("<BH?H")  # SE1.4

    protocol: int = GB_HRGP
    manufacturer_code: int = MANUFACTURER_NOT_USED
    flow_control: bool = False
    maximum_incoming_transfer_size: int = GBCS_TRANSFER_SIZE


@dataclass(frozen=True, slots=True)
class RequestTunnelResponse(Payload):
    """`status` stays a plain number: a device may send one that `TunnelStatus` does not know."""

    LAYOUT = Struct("<HBH")  # SE1.4

    tunnel_id: int
    status: int
    maximum_incoming_transfer_size: int = GBCS_TRANSFER_SIZE


@dataclass(frozen=True, slots=True)
class CloseTunnel(Payload):
    LAYOUT = _TUNNEL_ID

    tunnel_id: int


@dataclass(frozen=True, slots=True)
class TransferData(Payload):
    """One whole GBCS message; the length is what the frame holds."""

    LAYOUT = _TUNNEL_ID

    tunnel_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TransferDataError(Payload):
    LAYOUT = Struct("<HB")  # SE1.4

    tunnel_id: int
    status: int


@dataclass(frozen=True, slots=True)
class GetSupportedTunnelProtocols(Payload):
    LAYOUT = Struct("<B")  # SE1.4

    protocol_offset: int = 0


@dataclass(frozen=True, slots=True)
class SupportedTunnelProtocolsResponse:
    """`protocols` are pairs of manufacturer code and protocol number."""

    complete: bool
    protocols: tuple[tuple[int, int], ...] = ((MANUFACTURER_NOT_USED, GB_HRGP),)

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        complete, count = unpack(_PROTOCOLS_HEADER, payload, 0, "SupportedTunnelProtocolsResponse")
        offsets = range(_PROTOCOLS_HEADER.size, _PROTOCOLS_HEADER.size + count * _PROTOCOL.size, _PROTOCOL.size)
        pairs = (unpack(_PROTOCOL, payload, offset, "protocol") for offset in offsets)
        return cls(bool(complete), tuple((manufacturer, protocol) for manufacturer, protocol in pairs))

    def to_bytes(self) -> bytes:
        header = _PROTOCOLS_HEADER.pack(self.complete, len(self.protocols))
        return header + b"".join(_PROTOCOL.pack(manufacturer, protocol) for manufacturer, protocol in self.protocols)


@dataclass(frozen=True, slots=True)
class TunnelClosureNotification(Payload):
    LAYOUT = _TUNNEL_ID

    tunnel_id: int


TunnelingCommand = (
    RequestTunnel
    | RequestTunnelResponse
    | CloseTunnel
    | TransferData
    | TransferDataError
    | GetSupportedTunnelProtocols
    | SupportedTunnelProtocolsResponse
    | TunnelClosureNotification
)

_TO_SERVER: dict[int, type[TunnelingCommand]] = {
    0x00: RequestTunnel,
    0x01: CloseTunnel,
    0x02: TransferData,
    0x03: TransferDataError,
    0x06: GetSupportedTunnelProtocols,
}
_TO_CLIENT: dict[int, type[TunnelingCommand]] = {
    0x00: RequestTunnelResponse,
    0x01: TransferData,
    0x02: TransferDataError,
    0x05: SupportedTunnelProtocolsResponse,
    0x06: TunnelClosureNotification,
}
_NUMBERS = {
    to_client: {kind: number for number, kind in table.items()}
    for to_client, table in ((False, _TO_SERVER), (True, _TO_CLIENT))
}


def command(body: TunnelingCommand, sequence: int, *, to_client: bool, answered: bool = False) -> bytes:
    """The whole ZCL frame. With `answered`, the receiver is asked for a Default Response.

    Raises KeyError for a command that does not exist in that direction: a mistake of the caller.
    """
    number = _NUMBERS[to_client][type(body)]
    return cluster_command(number, sequence, body.to_bytes(), to_client=to_client, answered=answered)


def parse(frame: Frame) -> TunnelingCommand | None:
    """The command in a cluster frame; None for a command of the cluster that is not implemented here.

    Raises MalformedFrameError, also for a frame that is not this cluster's (global, manufacturer specific).
    """
    if frame.frame_type is not FrameType.CLUSTER or frame.manufacturer_code is not None:
        raise MalformedFrameError("not a command of the Tunneling cluster", offset=0, field="frame control")
    kind = (_TO_CLIENT if frame.to_client else _TO_SERVER).get(frame.command)
    return None if kind is None else kind.from_bytes(frame.payload)
