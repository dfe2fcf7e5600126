"""IEEE 802.15.4-2011 MAC frames as ZigBee uses them on 2.4 GHz, without the frame check sequence (`fcs`).

Data, acknowledgement, beacon and command frames with short or extended addresses. Not done: MAC security (ZigBee uses
none), guaranteed time slots, beacon-enabled networks, the 2015 frame version.
"""

from binascii import crc_hqx
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from devices.wire.errors import MalformedFrameError

FCS_BYTES = 2  # frame check sequence, IEEE 802.15.4, FCS field
MAX_PSDU_BYTES = 127  # aMaxPHYPacketSize, FCS included
BROADCAST = 0xFFFF  # PAN and short address of all, IEEE 802.15.4 5.2.1
NO_SHORT_ADDRESS = 0xFFFE  # associated, but addressed by its extended address (IEEE 802.15.4 5.3.2)

PENDING = 0x0010  # frame control, IEEE 802.15.4 5.2.1.1
_ACK_REQUEST = 0x0020  # IEEE 802.15.4 5.2.1.1
_COMPRESSED = 0x0040  # PAN ID compression, IEEE 802.15.4 5.2.1.1
_RESERVED = 0x0380  # bits 7-9
_DATA, _DATA_MASK = 0x8841, 0xFFCF  # between short addresses of a PAN, but for ACK request and pending: 5.2.1.1
_FCF = Struct("<H")  # frame control, IEEE 802.15.4 5.2.1.1
_SHORT_PAIR = Struct("<HBHHH")  # control, sequence, PAN, destination, source: of every data frame within a PAN
DATA_HEADER_BYTES = _SHORT_PAIR.size
_MIRRORED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_MODE_BYTES = {0: 0, 2: 2, 3: 8}
assert DATA_HEADER_BYTES == 9


class MacType(IntEnum):
    BEACON = 0
    DATA = 1
    ACK = 2
    COMMAND = 3


class AddressMode(IntEnum):
    NONE = 0
    SHORT = 2
    EXTENDED = 3


class MacCommand(IntEnum):
    ASSOCIATION_REQUEST = 1
    ASSOCIATION_RESPONSE = 2
    DISASSOCIATION_NOTIFICATION = 3
    DATA_REQUEST = 4
    BEACON_REQUEST = 7


class AssociationStatus(IntEnum):
    SUCCESS = 0
    PAN_AT_CAPACITY = 1
    PAN_ACCESS_DENIED = 2


_TYPES = tuple(MacType)
_MODES = {int(mode): mode for mode in AddressMode}


class MacFrame(NamedTuple):
    """One MPDU without FCS. PANs are of no meaning where the mode of their address is NONE."""

    type: MacType
    sequence: int
    destination_mode: AddressMode = AddressMode.NONE
    destination_pan: int = 0
    destination: int = 0
    source_mode: AddressMode = AddressMode.NONE
    source_pan: int = 0
    source: int = 0
    payload: bytes = b""
    ack_request: bool = False
    pending: bool = False

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < 3:
            raise MalformedFrameError("MAC", "shorter than frame control and sequence number", len(octets))
        (control,) = _FCF.unpack_from(octets)
        if control & _DATA_MASK == _DATA and len(octets) >= DATA_HEADER_BYTES:
            _, sequence, pan, destination, source = _SHORT_PAIR.unpack_from(octets)
            short, payload = AddressMode.SHORT, octets[DATA_HEADER_BYTES:]
            ack_request, pending = control & _ACK_REQUEST != 0, control & PENDING != 0
            fields = MacType.DATA, sequence, short, pan, destination, short, pan, source, payload, ack_request, pending
            return tuple.__new__(cls, fields)  # half the time of cls(...), for what nearly every frame is
        return cls._from_any(octets, control)

    @classmethod
    def _from_any(cls, octets: bytes, control: int) -> Self:
        kind = control & 7
        if kind >= len(_TYPES):
            raise MalformedFrameError("MAC", f"reserved frame type {kind}", 0)
        if control & 8:
            raise MalformedFrameError("MAC", "MAC security is not part of ZigBee", 0)
        if control & _RESERVED or control >> 12 & 3 > 1:
            raise MalformedFrameError("MAC", "reserved bits or frame version", 1)
        destination_mode, source_mode = _MODES.get(control >> 10 & 3), _MODES.get(control >> 14)
        if destination_mode is None or source_mode is None:
            raise MalformedFrameError("MAC", "reserved addressing mode", 1)
        compressed = bool(control & _COMPRESSED)
        if compressed and AddressMode.NONE in {destination_mode, source_mode}:
            raise MalformedFrameError("MAC", "PAN ID compression with one address only", 0)
        at = 3
        destination_pan, destination, at = _address(octets, at, destination_mode, None)
        source_pan, source, at = _address(octets, at, source_mode, destination_pan if compressed else None)
        to, sender = (destination_mode, destination_pan, destination), (source_mode, source_pan, source)
        ack_request, pending = bool(control & _ACK_REQUEST), bool(control & PENDING)
        return cls(_TYPES[kind], octets[2], *to, *sender, octets[at:], ack_request, pending)

    def to_bytes(self) -> bytes:
        control = self.type | self.destination_mode << 10 | self.source_mode << 14
        if self.ack_request:
            control |= _ACK_REQUEST
        if self.pending:
            control |= PENDING
        both = self.destination_mode and self.source_mode
        if both and self.destination_pan == self.source_pan:
            control |= _COMPRESSED
        octets = _FCF.pack(control) + bytes((self.sequence,))
        if self.destination_mode:
            octets += self.destination_pan.to_bytes(2, "little")
            octets += self.destination.to_bytes(_MODE_BYTES[self.destination_mode], "little")
        if self.source_mode:
            if not control & _COMPRESSED:
                octets += self.source_pan.to_bytes(2, "little")
            octets += self.source.to_bytes(_MODE_BYTES[self.source_mode], "little")
        return octets + self.payload


def data_frame(
    sequence: int, pan: int, destination: int, source: int, payload: bytes, *, pending: bool = False
) -> bytes:
    """A data frame between short addresses of one PAN: what nearly every frame is. Broadcasts ask for no ACK."""
    control = _DATA if destination == BROADCAST else _DATA | _ACK_REQUEST
    if pending:
        control |= PENDING
    return _SHORT_PAIR.pack(control, sequence, pan, destination, source) + payload


Place = tuple[AddressMode, int, int]
"""How an end of a frame is addressed, its PAN, and the address."""


def command_frame(sequence: int, destination: Place, source: Place, payload: bytes, *, pending: bool = False) -> bytes:
    """A command that is to be acknowledged."""
    frame = MacFrame(MacType.COMMAND, sequence, *destination, *source, payload, ack_request=True, pending=pending)
    return frame.to_bytes()


def ack_frame(sequence: int, *, pending: bool = False) -> bytes:
    """The immediate acknowledgement (IEEE 802.15.4 5.2.2.3)."""
    return bytes((0x12 if pending else 0x02, 0x00, sequence))


def fcs(octets: bytes) -> bytes:
    """The two octets that follow `octets` on the air, low octet first: CRC-16, reflected 0x1021, initial value 0.

    `crc_hqx` is the same polynomial unreflected, so the octets are mirrored around it; both steps run in C. Mirroring a
    16-bit value swaps its octets and mirrors each, which is just what little-endian order undoes.
    """
    return crc_hqx(octets.translate(_MIRRORED), 0).to_bytes(FCS_BYTES, "big").translate(_MIRRORED)


def _address(octets: bytes, at: int, mode: AddressMode, pan: int | None) -> tuple[int, int, int]:
    """PAN, address and the offset behind them; `pan` is given where the frame leaves it out."""
    if mode is AddressMode.NONE:
        return 0, 0, at
    end = at + _MODE_BYTES[mode] + (2 if pan is None else 0)
    if end > len(octets):
        raise MalformedFrameError("MAC", "ends within its addresses", len(octets))
    if pan is None:
        pan = int.from_bytes(octets[at : at + 2], "little")
        at += 2
    return pan, int.from_bytes(octets[at:end], "little"), end


@dataclass(frozen=True, slots=True)
class Capability:
    """Capability information (IEEE 802.15.4 5.3.1.2; the same octet in NWK and ZDP)."""

    receiver_on_when_idle: bool
    full_function: bool = False
    mains_powered: bool = False
    allocate_address: bool = True

    @classmethod
    def from_octet(cls, octet: int) -> Self:
        return cls(bool(octet & 0x08), bool(octet & 0x02), bool(octet & 0x04), bool(octet & 0x80))

    def to_octet(self) -> int:
        own = self.full_function << 1 | self.mains_powered << 2
        return own | self.receiver_on_when_idle << 3 | self.allocate_address << 7


@dataclass(frozen=True, slots=True)
class AssociationResponse:
    """The payload of an association response command (IEEE 802.15.4 5.3.2)."""

    address: int
    status: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) != 4 or octets[0] != MacCommand.ASSOCIATION_RESPONSE:
            raise MalformedFrameError("MAC", "not an association response", 0)
        return cls(int.from_bytes(octets[1:3], "little"), octets[3])

    def to_bytes(self) -> bytes:
        return bytes((MacCommand.ASSOCIATION_RESPONSE,)) + self.address.to_bytes(2, "little") + bytes((self.status,))


_BEACON = Struct("<HBBBHQ3sB")  # superframe, GTS and pending addresses (IEEE 802.15.4), Zigbee PRO 3.6.7
assert _BEACON.size == 19


@dataclass(frozen=True, slots=True)
class Beacon:
    """The payload of a beacon frame: superframe specification and the ZigBee beacon payload (Zigbee PRO 3.6.7)."""

    permit: bool
    extended_pan: int
    depth: int = 0
    update_id: int = 0
    has_room: bool = True  # end device capacity, Zigbee PRO table 3.75

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) != _BEACON.size:
            raise MalformedFrameError("beacon", f"{_BEACON.size} octets expected", len(octets))
        superframe, guaranteed, pending, protocol, network, extended_pan, _, update_id = _BEACON.unpack(octets)
        if guaranteed or pending:
            raise MalformedFrameError("beacon", "time slots and pending addresses are not part of ZigBee beacons", 2)
        if protocol or network & 0xFF != 0x22:
            raise MalformedFrameError("beacon", "not ZigBee PRO (protocol 0, stack profile 2, version 2)", 4)
        return cls(bool(superframe & 0x8000), extended_pan, network >> 11 & 0x0F, update_id, bool(network & 0x8000))

    def to_bytes(self) -> bytes:
        # No beacon interval, no superframe, final CAP slot 15: a network without beacons (Zigbee PRO 3.6.1.1). From a
        # PAN coordinator with room for routers.
        superframe, network = 0x4FFF | self.permit << 15, 0x0422 | self.depth << 11 | self.has_room << 15
        return _BEACON.pack(superframe, 0, 0, 0, network, self.extended_pan, b"\xff\xff\xff", self.update_id)
