"""APS frames (Zigbee PRO r21 2.2.5): data, acknowledgements, commands, and the extended header of fragments.

Security is not applied here: with `secured`, `payload` is auxiliary header, ciphertext and MIC, see security.py. Of the
commands only Transport-Key of the network key has a layout here (4.4.9.2): it is the one a one-hop join needs.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from devices.wire.errors import MalformedFrameError

DATA_HEADER_BYTES = 8
EXTENDED_HEADER_BYTES = 2
_DATA = Struct("<BBHHBB")
_GROUP = Struct("<BHHHBB")
assert _DATA.size == DATA_HEADER_BYTES

_ACK_FORMAT = 0x10
_SECURITY = 0x20
_ACK_REQUEST = 0x40
_EXTENDED = 0x80


class ApsType(IntEnum):
    DATA = 0
    COMMAND = 1
    ACK = 2


class Delivery(IntEnum):
    UNICAST = 0
    BROADCAST = 2
    GROUP = 3


class Fragmentation(IntEnum):
    """Extended frame control (Zigbee PRO table 2.13)."""

    NONE = 0
    FIRST = 1
    PART = 2


_DELIVERIES = (Delivery.UNICAST, None, Delivery.BROADCAST, Delivery.GROUP)


@dataclass(frozen=True, slots=True)
class ExtendedHeader:
    """Zigbee PRO 2.2.5.1.8. In the first block of a message `block` is the number of blocks, else the block's place.

    In acknowledgements `block` is the first of the window and `received` has a bit for each of its eight blocks.
    """

    fragmentation: Fragmentation
    block: int
    received: int | None = None

    def to_bytes(self) -> bytes:
        if self.received is None:
            return bytes((self.fragmentation, self.block))
        return bytes((self.fragmentation, self.block, self.received))


class ApsFrame(NamedTuple):
    """A data frame or the acknowledgement of one (same addressing fields)."""

    destination_endpoint: int
    cluster: int
    profile: int
    source_endpoint: int
    counter: int
    payload: bytes = b""
    type: ApsType = ApsType.DATA
    delivery: Delivery = Delivery.UNICAST
    group: int = 0  # with GROUP, in place of the destination endpoint
    secured: bool = False
    ack_request: bool = False
    extended: ExtendedHeader | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < DATA_HEADER_BYTES:
            raise MalformedFrameError("APS", "shorter than its header", len(octets))
        control, endpoint, cluster, profile, source_endpoint, counter = _DATA.unpack_from(octets)
        kind = control & 3
        if kind == 0:
            type_ = ApsType.DATA
        elif kind == 2 and not control & _ACK_FORMAT:
            type_ = ApsType.ACK
        else:
            raise MalformedFrameError("APS", f"neither data nor its acknowledgement (control {control:#04x})", 0)
        delivery = _DELIVERIES[control >> 2 & 3]
        group, at = 0, DATA_HEADER_BYTES
        if delivery is not Delivery.UNICAST:
            if delivery is None:
                raise MalformedFrameError("APS", "reserved delivery mode", 0)
            if delivery is Delivery.GROUP:
                at += 1
                if len(octets) < at:
                    raise MalformedFrameError("APS", "shorter than its header", len(octets))
                _, group, cluster, profile, source_endpoint, counter = _GROUP.unpack_from(octets)
                endpoint = 0
        extended = None
        if control & _EXTENDED:
            extended, at = _extended(octets, at, type_)
        return cls(
            endpoint,
            cluster,
            profile,
            source_endpoint,
            counter,
            octets[at:],
            type_,
            delivery,
            group,
            bool(control & _SECURITY),
            bool(control & _ACK_REQUEST),
            extended,
        )

    def header_to_bytes(self) -> bytes:
        """The header alone: what APS security authenticates ahead of the auxiliary header."""
        control = self.type | self.delivery << 2
        if self.secured:
            control |= _SECURITY
        if self.ack_request:
            control |= _ACK_REQUEST
        if self.extended is not None:
            control |= _EXTENDED
        if self.delivery is Delivery.GROUP:
            header = _GROUP.pack(control, self.group, self.cluster, self.profile, self.source_endpoint, self.counter)
        else:
            header = _DATA.pack(
                control, self.destination_endpoint, self.cluster, self.profile, self.source_endpoint, self.counter
            )
        return header if self.extended is None else header + self.extended.to_bytes()

    def to_bytes(self) -> bytes:
        return self.header_to_bytes() + self.payload


def _extended(octets: bytes, at: int, type_: ApsType) -> tuple[ExtendedHeader | None, int]:
    if len(octets) <= at:
        raise MalformedFrameError("APS", "ends before its extended header", at)
    control = octets[at]
    if control > Fragmentation.PART:
        raise MalformedFrameError("APS", f"reserved extended frame control {control:#04x}", at)
    fragmentation = Fragmentation(control)
    if fragmentation is Fragmentation.NONE:
        return None, at + 1
    end = at + (3 if type_ is ApsType.ACK else 2)
    if len(octets) < end:
        raise MalformedFrameError("APS", "ends within its extended header", len(octets))
    block = octets[at + 1]
    if type_ is ApsType.ACK:
        return ExtendedHeader(fragmentation, block, octets[at + 2]), end
    if block == 0:
        raise MalformedFrameError("APS", "a message of no blocks, or a later block numbered 0", at + 1)
    return ExtendedHeader(fragmentation, block), end


def frame_type(octets: bytes) -> int:
    """The type bits of an APS frame, to choose its codec by; 3 is Inter-PAN."""
    if not octets:
        raise MalformedFrameError("APS", "empty", 0)
    return octets[0] & 3


@dataclass(frozen=True, slots=True)
class ApsCommandFrame:
    """An APS command (Zigbee PRO 2.2.5.2.2): control and counter, then the command, under security as a rule."""

    counter: int
    payload: bytes
    secured: bool = True

    HEADER_BYTES = 2

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < cls.HEADER_BYTES:
            raise MalformedFrameError("APS command", "shorter than its header", len(octets))
        if octets[0] & 0xDF != ApsType.COMMAND:
            raise MalformedFrameError("APS command", f"control {octets[0]:#04x}: unicast without ack expected", 0)
        return cls(octets[1], octets[2:], bool(octets[0] & _SECURITY))

    def header_to_bytes(self) -> bytes:
        return bytes((ApsType.COMMAND | (_SECURITY if self.secured else 0), self.counter))

    def to_bytes(self) -> bytes:
        return self.header_to_bytes() + self.payload


TRANSPORT_KEY = 0x05  # command identifier, Zigbee PRO table 4.32
STANDARD_NETWORK_KEY = 0x01
_TRANSPORT_KEY = Struct("<BB16sBQQ")
assert _TRANSPORT_KEY.size == 35


@dataclass(frozen=True, slots=True)
class TransportNetworkKey:
    """Transport-Key of the network key (Zigbee PRO 4.4.9.2), the plain command."""

    key_sequence: int
    destination: int
    source: int
    key: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) != _TRANSPORT_KEY.size:
            raise MalformedFrameError("Transport-Key", f"{_TRANSPORT_KEY.size} octets expected", len(octets))
        command, kind, key, sequence, destination, source = _TRANSPORT_KEY.unpack(octets)
        if command != TRANSPORT_KEY or kind != STANDARD_NETWORK_KEY:
            raise MalformedFrameError("Transport-Key", f"not a network key (command {command}, type {kind})", 0)
        return cls(sequence, destination, source, key)

    def to_bytes(self) -> bytes:
        return _TRANSPORT_KEY.pack(
            TRANSPORT_KEY, STANDARD_NETWORK_KEY, self.key, self.key_sequence, self.destination, self.source
        )
