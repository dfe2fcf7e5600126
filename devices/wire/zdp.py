"""ZigBee Device Profile messages (Zigbee PRO r21 2.4.3, 2.4.4) without their first octet, the transaction sequence.

Those that a device firmware bench meets: announcing, finding addresses and services, binding, leaving, permitting,
the neighbour table and the energy scan. Discovery caches, user descriptors and security messages are left out.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack
from typing import Self

from devices.wire.errors import MalformedFrameError
from devices.wire.fields import Fields, unpack

RESPONSE = 0x8000  # the bit that makes a request's cluster its response's


class ZdpCluster(IntEnum):
    NWK_ADDRESS_REQUEST = 0x0000
    IEEE_ADDRESS_REQUEST = 0x0001
    NODE_DESCRIPTOR_REQUEST = 0x0002
    POWER_DESCRIPTOR_REQUEST = 0x0003
    SIMPLE_DESCRIPTOR_REQUEST = 0x0004
    ACTIVE_ENDPOINTS_REQUEST = 0x0005
    MATCH_DESCRIPTOR_REQUEST = 0x0006
    DEVICE_ANNOUNCE = 0x0013
    BIND_REQUEST = 0x0021
    UNBIND_REQUEST = 0x0022
    MGMT_LQI_REQUEST = 0x0031
    MGMT_ROUTING_REQUEST = 0x0032
    MGMT_BIND_REQUEST = 0x0033
    MGMT_LEAVE_REQUEST = 0x0034
    MGMT_PERMIT_JOINING_REQUEST = 0x0036
    MGMT_NWK_UPDATE_REQUEST = 0x0038


class ZdpStatus(IntEnum):
    """Zigbee PRO table 2.4.5."""

    SUCCESS = 0x00
    INVALID_REQUEST_TYPE = 0x80
    DEVICE_NOT_FOUND = 0x81
    INVALID_ENDPOINT = 0x82
    NOT_ACTIVE = 0x83
    NOT_SUPPORTED = 0x84
    NO_MATCH = 0x86
    NO_DESCRIPTOR = 0x89


_U8 = Struct("<B")
_ADDRESSES = Struct("<BQH")  # status, IEEE and short address: 2.4.4.2.1
_NODE = Struct("<BBBHBHHHB")  # 2.3.2.3
assert _NODE.size == 13
_ENDPOINT = Struct("<BHHB")  # endpoint, profile, device, version: 2.3.2.5
_MATCH = Struct("<HH")  # address, profile: 2.4.3.1.7
_STATUS_ADDRESS = Struct("<BH")  # 2.4.4.2.3
_BOUND = Struct("<QBHB")  # source, its endpoint, cluster, address mode: 2.4.3.2.2
_TARGETS = {1: Struct("<H"), 3: Struct("<QB")}  # by address mode, a group, or a device's endpoint: 2.4.3.2.2
_LEAVE = Struct("<QB")  # 2.4.3.3.5
_NEIGHBOUR = Struct("<QQHBBBB")  # table 2.4.4.3.2
_SCAN = Struct("<IB")  # channels, duration: 2.4.3.3.9
_SCANNED = Struct("<BIHHB")  # 2.4.4.3.9


def _clusters(octets: bytes, at: int, name: str) -> tuple[tuple[int, ...], int]:
    """A list of clusters with its count in front, and the offset behind it."""
    (count,) = unpack(_U8, octets, name, at)
    return unpack(Struct(f"<{count}H"), octets, name, at + 1), at + 1 + 2 * count


def _cluster_list(clusters: tuple[int, ...]) -> bytes:
    return pack(f"<B{len(clusters)}H", len(clusters), *clusters)


@dataclass(frozen=True, slots=True)
class DeviceAnnounce(Fields):
    """2.4.3.1.11."""

    LAYOUT = Struct("<HQB")

    address: int
    ieee: int
    capability: int


@dataclass(frozen=True, slots=True)
class NwkAddressRequest(Fields):
    """2.4.3.1.1. `extended` asks for the children too."""

    LAYOUT = Struct("<QBB")

    ieee: int
    extended: bool = False
    start_index: int = 0

    def __post_init__(self) -> None:
        _refuse_reserved(self.extended, 8)


@dataclass(frozen=True, slots=True)
class IeeeAddressRequest(Fields):
    """2.4.3.1.2."""

    LAYOUT = Struct("<HBB")

    address: int
    extended: bool = False
    start_index: int = 0

    def __post_init__(self) -> None:
        _refuse_reserved(self.extended, 2)


def _refuse_reserved(kind: int, at: int) -> None:
    if kind > 1:
        raise MalformedFrameError("address request", f"reserved request type {kind}", at)


@dataclass(frozen=True, slots=True)
class AddressResponse:
    """NWK_addr_rsp and IEEE_addr_rsp (2.4.4.2.1, 2.4.4.2.2): the same layout; `children` with extended requests."""

    status: int
    ieee: int
    address: int
    children: tuple[int, ...] | None = None
    start_index: int = 0

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        status, ieee, address = unpack(_ADDRESSES, octets, "address response")
        if len(octets) == _ADDRESSES.size:
            return cls(status, ieee, address)
        count = octets[_ADDRESSES.size]
        if count == 0:
            return cls(status, ieee, address, ())
        start_index, *children = unpack(Struct(f"<B{count}H"), octets, "address response", _ADDRESSES.size + 1)
        return cls(status, ieee, address, tuple(children), start_index)

    def to_bytes(self) -> bytes:
        head = _ADDRESSES.pack(self.status, self.ieee, self.address)
        if self.children is None:
            return head
        if not self.children:
            return head + b"\0"
        return head + pack(f"<BB{len(self.children)}H", len(self.children), self.start_index, *self.children)


@dataclass(frozen=True, slots=True)
class AddressOfInterest(Fields):
    """The requests that name one device: node and power descriptor, active endpoints (2.4.3.1.3, .4, .6)."""

    LAYOUT = Struct("<H")

    address: int


@dataclass(frozen=True, slots=True)
class SimpleDescriptorRequest(Fields):
    """2.4.3.1.5."""

    LAYOUT = Struct("<HB")

    address: int
    endpoint: int


@dataclass(frozen=True, slots=True)
class NodeDescriptor:
    """2.3.2.3, thirteen octets."""

    logical_type: int  # 0 coordinator, 1 router, 2 end device
    capability: int
    manufacturer: int
    server_mask: int = 0
    maximum_buffer: int = 82
    maximum_incoming: int = 255
    maximum_outgoing: int = 255
    frequency_band: int = 0x40  # 2.4 GHz, in the upper five bits of the second octet

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        kind, band, capability, manufacturer, buffer, incoming, mask, outgoing, _ = unpack(
            _NODE, octets, "node descriptor"
        )
        return cls(kind & 7, capability, manufacturer, mask, buffer, incoming, outgoing, band & 0xF8)

    def to_bytes(self) -> bytes:
        head = self.logical_type, self.frequency_band, self.capability, self.manufacturer
        sizes = self.maximum_buffer, self.maximum_incoming, self.server_mask, self.maximum_outgoing
        return _NODE.pack(*head, *sizes, 0)


@dataclass(frozen=True, slots=True)
class SimpleDescriptor:
    """2.3.2.5. In Simple_Desc_rsp it follows status, address and a length octet."""

    endpoint: int
    profile: int
    device: int
    device_version: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        endpoint, profile, device, version = unpack(_ENDPOINT, octets, "simple descriptor")
        inputs, at = _clusters(octets, _ENDPOINT.size, "simple descriptor")
        return cls(endpoint, profile, device, version & 0x0F, inputs, _clusters(octets, at, "simple descriptor")[0])

    def to_bytes(self) -> bytes:
        head = _ENDPOINT.pack(self.endpoint, self.profile, self.device, self.device_version)
        return head + _cluster_list(self.input_clusters) + _cluster_list(self.output_clusters)


@dataclass(frozen=True, slots=True)
class MatchDescriptorRequest:
    """2.4.3.1.7: who serves one of `input_clusters` or uses one of `output_clusters`?"""

    address: int
    profile: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...] = ()

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        address, profile = unpack(_MATCH, octets, "Match_Desc_req")
        inputs, at = _clusters(octets, _MATCH.size, "Match_Desc_req")
        return cls(address, profile, inputs, _clusters(octets, at, "Match_Desc_req")[0])

    def to_bytes(self) -> bytes:
        head = _MATCH.pack(self.address, self.profile)
        return head + _cluster_list(self.input_clusters) + _cluster_list(self.output_clusters)


@dataclass(frozen=True, slots=True)
class DescriptorResponse:
    """Node, power, simple, active-endpoint and match responses (2.4.4.2.3 to .7): status, address, then their own part.

    Simple, active and match put a length octet ahead of `descriptor`; node and power do not (`counted`).
    """

    status: int
    address: int
    descriptor: bytes = b""
    counted: bool = True

    @classmethod
    def from_bytes(cls, octets: bytes, *, counted: bool = True) -> Self:
        status, address = unpack(_STATUS_ADDRESS, octets, "descriptor response")
        if not counted:
            return cls(status, address, octets[3:], counted=False)
        if len(octets) == 3:
            return cls(status, address)
        return cls(status, address, *unpack(Struct(f"{octets[3]}s"), octets, "descriptor response", 4))

    def to_bytes(self) -> bytes:
        head = _STATUS_ADDRESS.pack(self.status, self.address)
        return head + (bytes((len(self.descriptor),)) if self.counted else b"") + self.descriptor


@dataclass(frozen=True, slots=True)
class BindRequest:
    """Bind_req and Unbind_req (2.4.3.2.2, .3) to a device's endpoint, or to a group (`endpoint` None)."""

    source: int
    source_endpoint: int
    cluster: int
    destination: int
    endpoint: int | None

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        source, source_endpoint, cluster, mode = unpack(_BOUND, octets, "Bind_req")
        if mode not in _TARGETS:
            raise MalformedFrameError("Bind_req", f"reserved address mode {mode}", 11)
        destination, *endpoint = unpack(_TARGETS[mode], octets, "Bind_req", _BOUND.size)
        return cls(source, source_endpoint, cluster, destination, endpoint[0] if endpoint else None)

    def to_bytes(self) -> bytes:
        mode, target = (1, (self.destination,)) if self.endpoint is None else (3, (self.destination, self.endpoint))
        return _BOUND.pack(self.source, self.source_endpoint, self.cluster, mode) + _TARGETS[mode].pack(*target)


@dataclass(frozen=True, slots=True)
class MgmtLeaveRequest:
    """2.4.3.3.5; an IEEE address of 0 means the receiver."""

    ieee: int
    rejoin: bool = False
    remove_children: bool = False

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        ieee, options = unpack(_LEAVE, octets, "Mgmt_Leave_req")
        return cls(ieee, bool(options & 0x80), bool(options & 0x40))

    def to_bytes(self) -> bytes:
        return _LEAVE.pack(self.ieee, self.rejoin << 7 | self.remove_children << 6)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One record of Mgmt_Lqi_rsp (table 2.4.4.3.2)."""

    extended_pan: int
    ieee: int
    address: int
    device_type: int
    receiver_on: bool
    relationship: int
    permitting: int = 2  # unknown
    depth: int = 1
    lqi: int = 255

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        pan, ieee, address, flags, permit, depth, lqi = unpack(_NEIGHBOUR, octets, "neighbour record")
        return cls(pan, ieee, address, flags & 3, flags >> 2 & 3 == 1, flags >> 4 & 7, permit & 3, depth, lqi)

    def to_bytes(self) -> bytes:
        flags = self.device_type | (4 if self.receiver_on else 0) | self.relationship << 4
        where = self.extended_pan, self.ieee, self.address
        return _NEIGHBOUR.pack(*where, flags, self.permitting, self.depth, self.lqi)


@dataclass(frozen=True, slots=True)
class MgmtLqiResponse:
    """2.4.4.3.2."""

    status: int
    total: int
    start_index: int
    neighbours: tuple[Neighbour, ...]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        status, total, start_index, count = unpack(Struct("<BBBB"), octets, "Mgmt_Lqi_rsp")
        records = (Neighbour.from_bytes(octets[4 + _NEIGHBOUR.size * place :]) for place in range(count))
        return cls(status, total, start_index, tuple(records))

    def to_bytes(self) -> bytes:
        head = bytes((self.status, self.total, self.start_index, len(self.neighbours)))
        return head + b"".join(neighbour.to_bytes() for neighbour in self.neighbours)


@dataclass(frozen=True, slots=True)
class MgmtNwkUpdateRequest:
    """2.4.3.3.9, the energy scan (`duration` 0 to 5) with its repetitions."""

    channels: int
    duration: int
    count: int = 1

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        head = unpack(_SCAN, octets, "Mgmt_NWK_Update_req")
        return cls(*head, *(unpack(_U8, octets, "Mgmt_NWK_Update_req", _SCAN.size) if head[1] <= 5 else ()))

    def to_bytes(self) -> bytes:
        head = _SCAN.pack(self.channels, self.duration)
        return head + bytes((self.count,)) if self.duration <= 5 else head


@dataclass(frozen=True, slots=True)
class MgmtNwkUpdateNotify:
    """2.4.4.3.9: energy of each scanned channel, 0 to 255."""

    status: int
    channels: int
    total_transmissions: int
    failures: int
    energies: tuple[int, ...]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        status, channels, total, failures, count = unpack(_SCANNED, octets, "Mgmt_NWK_Update_notify")
        energies = unpack(Struct(f"{count}B"), octets, "Mgmt_NWK_Update_notify", _SCANNED.size)
        return cls(status, channels, total, failures, energies)

    def to_bytes(self) -> bytes:
        counts = self.total_transmissions, self.failures, len(self.energies)
        return _SCANNED.pack(self.status, self.channels, *counts) + bytes(self.energies)
