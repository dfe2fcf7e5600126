"""ZigBee Device Profile messages (Zigbee PRO r21 2.4.3, 2.4.4) without their first octet, the transaction sequence.

Those that a device firmware bench meets: announcing, finding addresses and services, binding, leaving, permitting,
the neighbour table and the energy scan. Discovery caches, user descriptors and security messages are left out.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Self

from devices.wire.errors import MalformedFrameError

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


def _need(octets: bytes, length: int, name: str) -> None:
    if len(octets) < length:
        raise MalformedFrameError(name, f"at least {length} octets expected", len(octets))


def _clusters(octets: bytes, at: int, name: str) -> tuple[tuple[int, ...], int]:
    """A list of clusters with its count in front, and the offset behind it."""
    _need(octets, at + 1, name)
    end = at + 1 + 2 * octets[at]
    _need(octets, end, name)
    return tuple(int.from_bytes(octets[i : i + 2], "little") for i in range(at + 1, end, 2)), end


def _cluster_list(clusters: tuple[int, ...]) -> bytes:
    return bytes((len(clusters),)) + b"".join(cluster.to_bytes(2, "little") for cluster in clusters)


@dataclass(frozen=True, slots=True)
class DeviceAnnounce:
    """2.4.3.1.11."""

    address: int
    ieee: int
    capability: int

    _LAYOUT = Struct("<HQB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "Device_annce")
        return cls(*cls._LAYOUT.unpack_from(octets))

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(self.address, self.ieee, self.capability)


@dataclass(frozen=True, slots=True)
class NwkAddressRequest:
    """2.4.3.1.1. `extended` asks for the children too."""

    ieee: int
    extended: bool = False
    start_index: int = 0

    _LAYOUT = Struct("<QBB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "NWK_addr_req")
        ieee, kind, start = cls._LAYOUT.unpack_from(octets)
        return cls(ieee, _request_type(kind, 8), start)

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(self.ieee, self.extended, self.start_index)


@dataclass(frozen=True, slots=True)
class IeeeAddressRequest:
    """2.4.3.1.2."""

    address: int
    extended: bool = False
    start_index: int = 0

    _LAYOUT = Struct("<HBB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "IEEE_addr_req")
        address, kind, start = cls._LAYOUT.unpack_from(octets)
        return cls(address, _request_type(kind, 2), start)

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(self.address, self.extended, self.start_index)


def _request_type(kind: int, at: int) -> bool:
    if kind > 1:
        raise MalformedFrameError("address request", f"reserved request type {kind}", at)
    return bool(kind)


@dataclass(frozen=True, slots=True)
class AddressResponse:
    """NWK_addr_rsp and IEEE_addr_rsp (2.4.4.2.1, 2.4.4.2.2): the same layout; `children` with extended requests."""

    status: int
    ieee: int
    address: int
    children: tuple[int, ...] | None = None
    start_index: int = 0

    _LAYOUT = Struct("<BQH")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "address response")
        status, ieee, address = cls._LAYOUT.unpack_from(octets)
        if len(octets) == cls._LAYOUT.size:
            return cls(status, ieee, address)
        count = octets[11]
        if count == 0:
            return cls(status, ieee, address, ())
        _need(octets, 13 + 2 * count, "address response")
        children = tuple(int.from_bytes(octets[i : i + 2], "little") for i in range(13, 13 + 2 * count, 2))
        return cls(status, ieee, address, children, octets[12])

    def to_bytes(self) -> bytes:
        head = self._LAYOUT.pack(self.status, self.ieee, self.address)
        if self.children is None:
            return head
        if not self.children:
            return head + b"\0"
        listed = b"".join(child.to_bytes(2, "little") for child in self.children)
        return head + bytes((len(self.children), self.start_index)) + listed


@dataclass(frozen=True, slots=True)
class AddressOfInterest:
    """The requests that name one device: node and power descriptor, active endpoints (2.4.3.1.3, .4, .6)."""

    address: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, 2, "descriptor request")
        return cls(int.from_bytes(octets[:2], "little"))

    def to_bytes(self) -> bytes:
        return self.address.to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class SimpleDescriptorRequest:
    """2.4.3.1.5."""

    address: int
    endpoint: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, 3, "Simple_Desc_req")
        return cls(int.from_bytes(octets[:2], "little"), octets[2])

    def to_bytes(self) -> bytes:
        return self.address.to_bytes(2, "little") + bytes((self.endpoint,))


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

    _LAYOUT = Struct("<BBBHBHHHB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "node descriptor")
        kind, band, capability, manufacturer, buffer, incoming, mask, outgoing, _ = cls._LAYOUT.unpack_from(octets)
        return cls(kind & 7, capability, manufacturer, mask, buffer, incoming, outgoing, band & 0xF8)

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(
            self.logical_type,
            self.frequency_band,
            self.capability,
            self.manufacturer,
            self.maximum_buffer,
            self.maximum_incoming,
            self.server_mask,
            self.maximum_outgoing,
            0,
        )


assert NodeDescriptor._LAYOUT.size == 13  # noqa: SLF001 one module


@dataclass(frozen=True, slots=True)
class SimpleDescriptor:
    """2.3.2.5. In Simple_Desc_rsp it follows status, address and a length octet."""

    endpoint: int
    profile: int
    device: int
    device_version: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...]

    _LAYOUT = Struct("<BHHB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "simple descriptor")
        endpoint, profile, device, version = cls._LAYOUT.unpack_from(octets)
        inputs, at = _clusters(octets, cls._LAYOUT.size, "simple descriptor")
        outputs, _ = _clusters(octets, at, "simple descriptor")
        return cls(endpoint, profile, device, version & 0x0F, inputs, outputs)

    def to_bytes(self) -> bytes:
        return (
            self._LAYOUT.pack(self.endpoint, self.profile, self.device, self.device_version)
            + _cluster_list(self.input_clusters)
            + _cluster_list(self.output_clusters)
        )


@dataclass(frozen=True, slots=True)
class MatchDescriptorRequest:
    """2.4.3.1.7: who serves one of `input_clusters` or uses one of `output_clusters`?"""

    address: int
    profile: int
    input_clusters: tuple[int, ...]
    output_clusters: tuple[int, ...] = ()

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, 4, "Match_Desc_req")
        inputs, at = _clusters(octets, 4, "Match_Desc_req")
        outputs, _ = _clusters(octets, at, "Match_Desc_req")
        return cls(int.from_bytes(octets[:2], "little"), int.from_bytes(octets[2:4], "little"), inputs, outputs)

    def to_bytes(self) -> bytes:
        return (
            self.address.to_bytes(2, "little")
            + self.profile.to_bytes(2, "little")
            + _cluster_list(self.input_clusters)
            + _cluster_list(self.output_clusters)
        )


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
        _need(octets, 3, "descriptor response")
        status, address = octets[0], int.from_bytes(octets[1:3], "little")
        if not counted:
            return cls(status, address, octets[3:], counted=False)
        if len(octets) == 3:
            return cls(status, address)
        _need(octets, 4 + octets[3], "descriptor response")
        return cls(status, address, octets[4 : 4 + octets[3]])

    def to_bytes(self) -> bytes:
        head = bytes((self.status,)) + self.address.to_bytes(2, "little")
        return head + (bytes((len(self.descriptor),)) if self.counted else b"") + self.descriptor


@dataclass(frozen=True, slots=True)
class BindRequest:
    """Bind_req and Unbind_req (2.4.3.2.2, .3) to a device's endpoint, or to a group (`endpoint` None)."""

    source: int
    source_endpoint: int
    cluster: int
    destination: int
    endpoint: int | None

    _HEAD = Struct("<QBHB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._HEAD.size + 2, "Bind_req")
        source, source_endpoint, cluster, mode = cls._HEAD.unpack_from(octets)
        if mode == 1:
            return cls(source, source_endpoint, cluster, int.from_bytes(octets[12:14], "little"), None)
        if mode != 3:
            raise MalformedFrameError("Bind_req", f"reserved address mode {mode}", 11)
        _need(octets, 21, "Bind_req")
        return cls(source, source_endpoint, cluster, int.from_bytes(octets[12:20], "little"), octets[20])

    def to_bytes(self) -> bytes:
        if self.endpoint is None:
            head = self._HEAD.pack(self.source, self.source_endpoint, self.cluster, 1)
            return head + self.destination.to_bytes(2, "little")
        head = self._HEAD.pack(self.source, self.source_endpoint, self.cluster, 3)
        return head + self.destination.to_bytes(8, "little") + bytes((self.endpoint,))


@dataclass(frozen=True, slots=True)
class MgmtLeaveRequest:
    """2.4.3.3.5; an IEEE address of 0 means the receiver."""

    ieee: int
    rejoin: bool = False
    remove_children: bool = False

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, 9, "Mgmt_Leave_req")
        return cls(int.from_bytes(octets[:8], "little"), bool(octets[8] & 0x80), bool(octets[8] & 0x40))

    def to_bytes(self) -> bytes:
        options = (0x80 if self.rejoin else 0) | (0x40 if self.remove_children else 0)
        return self.ieee.to_bytes(8, "little") + bytes((options,))


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

    _LAYOUT = Struct("<QQHBBBB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "neighbour record")
        pan, ieee, address, flags, permit, depth, lqi = cls._LAYOUT.unpack_from(octets)
        return cls(pan, ieee, address, flags & 3, flags >> 2 & 3 == 1, flags >> 4 & 7, permit & 3, depth, lqi)

    def to_bytes(self) -> bytes:
        flags = self.device_type | (4 if self.receiver_on else 0) | self.relationship << 4
        return self._LAYOUT.pack(
            self.extended_pan, self.ieee, self.address, flags, self.permitting, self.depth, self.lqi
        )


@dataclass(frozen=True, slots=True)
class MgmtLqiResponse:
    """2.4.4.3.2."""

    status: int
    total: int
    start_index: int
    neighbours: tuple[Neighbour, ...]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, 4, "Mgmt_Lqi_rsp")
        _need(octets, 4 + 22 * octets[3], "Mgmt_Lqi_rsp")
        records = tuple(Neighbour.from_bytes(octets[4 + 22 * i :]) for i in range(octets[3]))
        return cls(octets[0], octets[1], octets[2], records)

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
        _need(octets, 5, "Mgmt_NWK_Update_req")
        count = 1
        if octets[4] <= 5:
            _need(octets, 6, "Mgmt_NWK_Update_req")
            count = octets[5]
        return cls(int.from_bytes(octets[:4], "little"), octets[4], count)

    def to_bytes(self) -> bytes:
        head = self.channels.to_bytes(4, "little") + bytes((self.duration,))
        return head + bytes((self.count,)) if self.duration <= 5 else head


@dataclass(frozen=True, slots=True)
class MgmtNwkUpdateNotify:
    """2.4.4.3.9: energy of each scanned channel, 0 to 255."""

    status: int
    channels: int
    total_transmissions: int
    failures: int
    energies: tuple[int, ...]

    _LAYOUT = Struct("<BIHHB")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        _need(octets, cls._LAYOUT.size, "Mgmt_NWK_Update_notify")
        status, channels, total, failures, count = cls._LAYOUT.unpack_from(octets)
        _need(octets, cls._LAYOUT.size + count, "Mgmt_NWK_Update_notify")
        return cls(status, channels, total, failures, tuple(octets[cls._LAYOUT.size : cls._LAYOUT.size + count]))

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(
            self.status, self.channels, self.total_transmissions, self.failures, len(self.energies)
        ) + bytes(self.energies)
