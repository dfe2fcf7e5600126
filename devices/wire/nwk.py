"""NWK frames (Zigbee PRO r21 3.3, 3.4): the header, and the commands of a one-hop network.

Security is not applied here: `NwkFrame.payload` is whatever follows the header, see security.py. Source routes and
multicast are refused: nothing in a one-hop star makes them.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from devices.wire.errors import MalformedFrameError

HEADER_BYTES = 8
_HEADER = Struct("<HHHBB")
_IEEE = Struct("<Q")
assert _HEADER.size == HEADER_BYTES

_VERSION = 0x0008  # protocol version 2 in bits 2-5
_DISCOVER_ROUTE = 0x0040
_MULTICAST = 0x0100
_SECURITY = 0x0200
_SOURCE_ROUTE = 0x0400
_DESTINATION_IEEE = 0x0800
_SOURCE_IEEE = 0x1000
_END_DEVICE_INITIATOR = 0x2000


class NwkType(IntEnum):
    DATA = 0
    COMMAND = 1


class NwkCommand(IntEnum):
    NETWORK_STATUS = 0x03
    LEAVE = 0x04
    REJOIN_REQUEST = 0x06
    REJOIN_RESPONSE = 0x07
    LINK_STATUS = 0x08
    END_DEVICE_TIMEOUT_REQUEST = 0x0B
    END_DEVICE_TIMEOUT_RESPONSE = 0x0C


class NwkFrame(NamedTuple):
    destination: int
    source: int
    radius: int
    sequence: int
    payload: bytes  # with `secured`: auxiliary header, ciphertext and MIC
    type: NwkType = NwkType.DATA
    secured: bool = False
    destination_ieee: int | None = None
    source_ieee: int | None = None
    discover_route: bool = False
    end_device_initiator: bool = False

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < HEADER_BYTES:
            raise MalformedFrameError("NWK", "shorter than its header", len(octets))
        control, destination, source, radius, sequence = _HEADER.unpack_from(octets)
        if control & 0xC03E != _VERSION:
            raise MalformedFrameError("NWK", f"frame type or protocol version not known (control {control:#06x})", 0)
        if control & (_MULTICAST | _SOURCE_ROUTE | 0x0080):
            raise MalformedFrameError("NWK", "source route, multicast or route discovery that is not supported", 0)
        at = HEADER_BYTES
        destination_ieee = source_ieee = None
        if control & (_DESTINATION_IEEE | _SOURCE_IEEE):
            if control & _DESTINATION_IEEE:
                destination_ieee = _read_ieee(octets, at)
                at += 8
            if control & _SOURCE_IEEE:
                source_ieee = _read_ieee(octets, at)
                at += 8
        return cls(
            destination,
            source,
            radius,
            sequence,
            octets[at:],
            NwkType.COMMAND if control & 1 else NwkType.DATA,
            bool(control & _SECURITY),
            destination_ieee,
            source_ieee,
            bool(control & _DISCOVER_ROUTE),
            bool(control & _END_DEVICE_INITIATOR),
        )

    def header_to_bytes(self) -> bytes:
        """The header alone: what NWK security authenticates ahead of the auxiliary header."""
        control = _VERSION | self.type
        if self.secured:
            control |= _SECURITY
        if self.discover_route:
            control |= _DISCOVER_ROUTE
        if self.end_device_initiator:
            control |= _END_DEVICE_INITIATOR
        if self.destination_ieee is None and self.source_ieee is None:
            return _HEADER.pack(control, self.destination, self.source, self.radius, self.sequence)
        addresses = b""
        if self.destination_ieee is not None:
            control |= _DESTINATION_IEEE
            addresses += _IEEE.pack(self.destination_ieee)
        if self.source_ieee is not None:
            control |= _SOURCE_IEEE
            addresses += _IEEE.pack(self.source_ieee)
        return _HEADER.pack(control, self.destination, self.source, self.radius, self.sequence) + addresses

    def to_bytes(self) -> bytes:
        return self.header_to_bytes() + self.payload


def _read_ieee(octets: bytes, at: int) -> int:
    if len(octets) < at + 8:
        raise MalformedFrameError("NWK", "ends within its IEEE addresses", len(octets))
    (ieee,) = _IEEE.unpack_from(octets, at)
    return int(ieee)


def _body(octets: bytes, command: NwkCommand, length: int) -> bytes:
    """What follows the command identifier. Longer bodies are taken: later revisions append to them."""
    if not octets or octets[0] != command:
        raise MalformedFrameError("NWK command", f"not a {command.name}", 0)
    if len(octets) < 1 + length:
        raise MalformedFrameError("NWK command", f"{command.name} ends early", len(octets))
    return octets[1 : 1 + length]


@dataclass(frozen=True, slots=True)
class Leave:
    """Zigbee PRO 3.4.4: a request to go, or (`request` unset) the news of having gone."""

    request: bool
    rejoin: bool = False
    remove_children: bool = False

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        options = _body(octets, NwkCommand.LEAVE, 1)[0]
        return cls(bool(options & 0x40), bool(options & 0x20), bool(options & 0x80))

    def to_bytes(self) -> bytes:
        options = (0x40 if self.request else 0) | (0x20 if self.rejoin else 0) | (0x80 if self.remove_children else 0)
        return bytes((NwkCommand.LEAVE, options))


@dataclass(frozen=True, slots=True)
class RejoinRequest:
    """Zigbee PRO 3.4.6."""

    capability: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        return cls(_body(octets, NwkCommand.REJOIN_REQUEST, 1)[0])

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.REJOIN_REQUEST, self.capability))


@dataclass(frozen=True, slots=True)
class RejoinResponse:
    """Zigbee PRO 3.4.7; the status is one of MAC association."""

    address: int
    status: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        body = _body(octets, NwkCommand.REJOIN_RESPONSE, 3)
        return cls(int.from_bytes(body[:2], "little"), body[2])

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.REJOIN_RESPONSE,)) + self.address.to_bytes(2, "little") + bytes((self.status,))


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """Zigbee PRO 3.4.3."""

    status: int
    address: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        body = _body(octets, NwkCommand.NETWORK_STATUS, 3)
        return cls(body[0], int.from_bytes(body[1:3], "little"))

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.NETWORK_STATUS, self.status)) + self.address.to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class EndDeviceTimeoutRequest:
    """Zigbee PRO r21 3.4.11: how long a child may be silent before its parent forgets it."""

    timeout_code: int
    configuration: int = 0

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        body = _body(octets, NwkCommand.END_DEVICE_TIMEOUT_REQUEST, 2)
        return cls(body[0], body[1])

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.END_DEVICE_TIMEOUT_REQUEST, self.timeout_code, self.configuration))

    @property
    def seconds(self) -> float | None:
        """Table 3.44: 10 s, then 2 minutes doubling up to 14 times; None where reserved."""
        if self.timeout_code > 14:
            return None
        return 60.0 * (1 << self.timeout_code) if self.timeout_code else 10.0


@dataclass(frozen=True, slots=True)
class EndDeviceTimeoutResponse:
    """Zigbee PRO r21 3.4.12; parent information bit 0: keepalive by MAC data poll, bit 1: by timeout request."""

    status: int
    parent_information: int = 0x01

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        body = _body(octets, NwkCommand.END_DEVICE_TIMEOUT_RESPONSE, 2)
        return cls(body[0], body[1])

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.END_DEVICE_TIMEOUT_RESPONSE, self.status, self.parent_information))
