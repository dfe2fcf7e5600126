"""NWK commands of routers (Zigbee PRO r21 3.4): how routes are asked for, answered, recorded, and said to be broken.

Each is the payload of a NwkFrame of type COMMAND, plain. Not done: multicast routes, network report and update.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from devices.wire.errors import MalformedFrameError
from devices.wire.nwk import NwkCommand, addresses_to_bytes, body_of, read_addresses

_IEEE = Struct("<Q")
_LAYER = "NWK command"


class ManyToOne(IntEnum):
    """Whether a route request is for routes to its sender from everybody (Zigbee PRO table 3.42)."""

    NO = 0
    WITH_ROUTE_RECORDS = 1  # the concentrator keeps source routes
    WITHOUT_ROUTE_RECORDS = 2


_MANY_TO_ONE_SHIFT = 3  # bits 3 and 4 of the options, Zigbee PRO 3.4.1.3.1
_DESTINATION_IEEE = 0x20  # Zigbee PRO 3.4.1.3.1
_ROUTE_REQUEST = Struct("<BBHB")  # options, identifier, destination, path cost (Zigbee PRO figure 3.11)


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """Zigbee PRO 3.4.1, a broadcast to routers. `path_cost` is what the way has cost so far, 0 at the originator."""

    identifier: int
    destination: int  # 0xFFFC of a many-to-one request
    path_cost: int = 0
    many_to_one: ManyToOne = ManyToOne.NO
    destination_ieee: int | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        options, identifier, destination, cost = _ROUTE_REQUEST.unpack(
            body_of(octets, NwkCommand.ROUTE_REQUEST, _ROUTE_REQUEST.size)
        )
        kind = options >> _MANY_TO_ONE_SHIFT & 3
        if kind > ManyToOne.WITHOUT_ROUTE_RECORDS:
            raise MalformedFrameError(_LAYER, "reserved kind of many-to-one request", 1)
        ieee, _ = _optional_ieee(octets, 1 + _ROUTE_REQUEST.size, present=options & _DESTINATION_IEEE)
        return cls(identifier, destination, cost, ManyToOne(kind), ieee)

    def to_bytes(self) -> bytes:
        ieee = _ieee_bytes(self.destination_ieee)
        options = self.many_to_one << _MANY_TO_ONE_SHIFT | (_DESTINATION_IEEE if ieee else 0)
        fields = _ROUTE_REQUEST.pack(options, self.identifier, self.destination, self.path_cost)
        return bytes((NwkCommand.ROUTE_REQUEST,)) + fields + ieee


_ORIGINATOR_IEEE = 0x10  # Zigbee PRO 3.4.2.3.1
_RESPONDER_IEEE = 0x20  # Zigbee PRO 3.4.2.3.1
_ROUTE_REPLY = Struct("<BBHHB")  # options, identifier, originator, responder, path cost (Zigbee PRO figure 3.13)


@dataclass(frozen=True, slots=True)
class RouteReply:
    """Zigbee PRO 3.4.2, which goes back hop by hop to the `originator` of the request; the cost grows as it goes."""

    identifier: int  # of the request
    originator: int
    responder: int  # the destination that was asked for
    path_cost: int = 0
    originator_ieee: int | None = None
    responder_ieee: int | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        body = body_of(octets, NwkCommand.ROUTE_REPLY, _ROUTE_REPLY.size)
        options, identifier, originator, responder, cost = _ROUTE_REPLY.unpack(body)
        originator_ieee, at = _optional_ieee(octets, 1 + _ROUTE_REPLY.size, present=options & _ORIGINATOR_IEEE)
        responder_ieee, _ = _optional_ieee(octets, at, present=options & _RESPONDER_IEEE)
        return cls(identifier, originator, responder, cost, originator_ieee, responder_ieee)

    def to_bytes(self) -> bytes:
        originator, responder = _ieee_bytes(self.originator_ieee), _ieee_bytes(self.responder_ieee)
        options = (_ORIGINATOR_IEEE if originator else 0) | (_RESPONDER_IEEE if responder else 0)
        fields = _ROUTE_REPLY.pack(options, self.identifier, self.originator, self.responder, self.path_cost)
        return bytes((NwkCommand.ROUTE_REPLY,)) + fields + originator + responder


class NetworkStatusCode(IntEnum):
    """Zigbee PRO table 3.44."""

    NO_ROUTE_AVAILABLE = 0x00
    TREE_LINK_FAILURE = 0x01
    NON_TREE_LINK_FAILURE = 0x02
    LOW_BATTERY_LEVEL = 0x03
    NO_ROUTING_CAPACITY = 0x04
    NO_INDIRECT_CAPACITY = 0x05
    INDIRECT_TRANSACTION_EXPIRY = 0x06
    TARGET_DEVICE_UNAVAILABLE = 0x07
    TARGET_ADDRESS_UNALLOCATED = 0x08
    PARENT_LINK_FAILURE = 0x09
    VALIDATE_ROUTE = 0x0A
    SOURCE_ROUTE_FAILURE = 0x0B
    MANY_TO_ONE_ROUTE_FAILURE = 0x0C
    ADDRESS_CONFLICT = 0x0D
    VERIFY_ADDRESSES = 0x0E
    PAN_IDENTIFIER_UPDATE = 0x0F
    NETWORK_ADDRESS_UPDATE = 0x10
    BAD_FRAME_COUNTER = 0x11
    BAD_KEY_SEQUENCE_NUMBER = 0x12


_NETWORK_STATUS = Struct("<BH")  # code, destination: Zigbee PRO figure 3.15


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """Zigbee PRO 3.4.3: something is wrong on the way to `destination`; `code` may be none of NetworkStatusCode."""

    code: int
    destination: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        return cls(*_NETWORK_STATUS.unpack(body_of(octets, NwkCommand.NETWORK_STATUS, _NETWORK_STATUS.size)))

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.NETWORK_STATUS,)) + _NETWORK_STATUS.pack(self.code, self.destination)


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """Zigbee PRO 3.4.5: the way that a frame took to the concentrator; `relays` begins next to the device that sent."""

    relays: tuple[int, ...] = ()

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        (count,) = body_of(octets, NwkCommand.ROUTE_RECORD, 1)
        return cls(read_addresses(octets, 2, count, _LAYER)[0])

    def to_bytes(self) -> bytes:
        return bytes((NwkCommand.ROUTE_RECORD, len(self.relays))) + addresses_to_bytes(self.relays)


class Link(NamedTuple):
    """Zigbee PRO figure 3.22: costs of 1 (good) to 7; an outgoing cost of 0 means that the neighbour told none."""

    address: int
    incoming_cost: int
    outgoing_cost: int


_LINK = Struct("<HB")  # address; incoming cost in bits 0-2, outgoing in bits 4-6 (Zigbee PRO figure 3.22)
_COST = 0x07  # Zigbee PRO figure 3.22
_COUNT = 0x1F  # Zigbee PRO 3.4.8.3.1
_FIRST, _LAST = 0x20, 0x40  # Zigbee PRO 3.4.8.3.1


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Zigbee PRO 3.4.8, a broadcast over one hop: how well its sender hears its neighbours, up to 31 in one frame."""

    links: tuple[Link, ...]
    first: bool = True  # of the frames that one neighbour table takes
    last: bool = True

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        (options,) = body_of(octets, NwkCommand.LINK_STATUS, 1)
        count = options & _COUNT
        body = body_of(octets, NwkCommand.LINK_STATUS, 1 + count * _LINK.size)
        links = tuple(Link(address, cost & _COST, cost >> 4 & _COST) for address, cost in _LINK.iter_unpack(body[1:]))
        return cls(links, bool(options & _FIRST), bool(options & _LAST))

    def to_bytes(self) -> bytes:
        if len(self.links) > _COUNT:
            raise ValueError(f"a link status has up to {_COUNT} links, not {len(self.links)}")
        options = len(self.links) | (_FIRST if self.first else 0) | (_LAST if self.last else 0)
        links = (_LINK.pack(address, incoming | outgoing << 4) for address, incoming, outgoing in self.links)
        return bytes((NwkCommand.LINK_STATUS, options)) + b"".join(links)


def _optional_ieee(octets: bytes, at: int, *, present: int) -> tuple[int | None, int]:
    """An IEEE address where there is one, and the offset behind it."""
    if not present:
        return None, at
    if len(octets) < at + _IEEE.size:
        raise MalformedFrameError(_LAYER, "ends within its IEEE addresses", len(octets))
    return _IEEE.unpack_from(octets, at)[0], at + _IEEE.size


def _ieee_bytes(ieee: int | None) -> bytes:
    return b"" if ieee is None else _IEEE.pack(ieee)
