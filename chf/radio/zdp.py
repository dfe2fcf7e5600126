"""The few ZigBee Device Profile frames that a hub speaks itself (Zigbee r22 2.4.3, 2.4.4): profile 0, endpoint 0.

Not a ZDO: the dongle answers what other devices ask of it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64, to_little_endian
from chf.zcl.frame import unpack

ZDP_PROFILE = 0x0000  # Zigbee R22 2.4
ZDP_ENDPOINT = 0  # Zigbee R22 2.4

NWK_ADDR_REQ = 0x0000  # Zigbee R22 2.4.3.1.1
IEEE_ADDR_REQ = 0x0001  # Zigbee R22 2.4.3.1.2
MATCH_DESC_REQ = 0x0006  # Zigbee R22 2.4.3.1.7
DEVICE_ANNCE = 0x0013  # Zigbee R22 2.4.3.1.11
MGMT_LEAVE_REQ = 0x0034  # Zigbee R22 2.4.3.3.5
MGMT_PERMIT_JOINING_REQ = 0x0036  # Zigbee R22 2.4.3.3.7
MGMT_NWK_UPDATE_REQ = 0x0038  # Zigbee R22 2.4.3.3.9
RESPONSE = 0x8000  # Zigbee R22 2.4.4: the bit that turns a request's cluster into its response's

SUCCESS = 0x00  # Zigbee R22 2.4.5
NO_MATCH = 0x86  # r22 2.4.5

_RX_ON_WHEN_IDLE = 0x08  # capability information, r22 table 2-48
_ADDRESS_RESPONSE = struct.Struct("<BBQH")  # Zigbee R22, NWK_addr_rsp
_ANNOUNCEMENT = struct.Struct("<BHQB")  # Zigbee R22 2.4.3.1.11
_MATCH_RESPONSE = struct.Struct("<BBHB")  # Zigbee R22, Match_Desc_rsp
_SCAN_RESPONSE = struct.Struct("<BBIHHB")  # Zigbee R22 2.4.4.3.9
assert (_ADDRESS_RESPONSE.size, _ANNOUNCEMENT.size, _MATCH_RESPONSE.size, _SCAN_RESPONSE.size) == (12, 12, 5, 11)


@dataclass(frozen=True, slots=True)
class DeviceAnnounce:
    network_address: int
    device: Eui64
    sleepy: bool

    @classmethod
    def from_bytes(cls, frame: bytes) -> "DeviceAnnounce":
        _, network_address, device, capability = unpack(_ANNOUNCEMENT, frame, 0, "Device_annce")
        return cls(network_address, Eui64(device), not capability & _RX_ON_WHEN_IDLE)


@dataclass(frozen=True, slots=True)
class AddressResponse:
    """NWK_addr_rsp and IEEE_addr_rsp, which are alike."""

    status: int
    device: Eui64
    network_address: int

    @classmethod
    def from_bytes(cls, frame: bytes) -> "AddressResponse":
        _, status, device, network_address = unpack(_ADDRESS_RESPONSE, frame, 0, "address response")
        return cls(status, Eui64(device), network_address)


@dataclass(frozen=True, slots=True)
class MatchDescriptorResponse:
    status: int
    endpoints: tuple[int, ...]

    @classmethod
    def from_bytes(cls, frame: bytes) -> "MatchDescriptorResponse":
        _, status, _, length = unpack(_MATCH_RESPONSE, frame, 0, "Match_Desc_rsp")
        endpoints = frame[_MATCH_RESPONSE.size :][:length]
        if len(endpoints) != length:
            raise MalformedFrameError(f"{length} endpoints announced, {len(endpoints)} there", field="Match_Desc_rsp")
        return cls(status, tuple(endpoints))


@dataclass(frozen=True, slots=True)
class EnergyScan:
    """Mgmt_NWK_Update_notify (2.4.4.3.9)."""

    channels: tuple[int, ...]
    values: bytes

    @classmethod
    def from_bytes(cls, frame: bytes) -> "EnergyScan":
        name = "Mgmt_NWK_Update_notify"
        _, status, mask, _, _, count = unpack(_SCAN_RESPONSE, frame, 0, name)
        channels = tuple(channel for channel in range(11, 27) if mask & 1 << channel)
        values = frame[_SCAN_RESPONSE.size :][:count]
        if status != SUCCESS or len(values) != len(channels):
            raise MalformedFrameError(f"status {status}, {len(values)} values, {len(channels)} channels", field=name)
        return cls(channels, values)

    def energies(self) -> dict[int, float]:
        """By channel, 0 to 255."""
        return dict(zip(self.channels, map(float, self.values), strict=True))


def match_descriptor_request(
    transaction: int, network_address: int, profile: int, server_clusters: Sequence[int]
) -> bytes:
    """r22 2.4.3.1.7: the server clusters are the input clusters; we ask for no output clusters."""
    count = len(server_clusters)
    return struct.pack(f"<BHHB{count}HB", transaction, network_address, profile, count, *server_clusters, 0)


def leave_request(transaction: int, device: Eui64) -> bytes:
    """r22 2.4.3.3.5, without "remove children" and without "rejoin"."""
    return bytes((transaction,)) + to_little_endian(device) + b"\x00"


def nwk_address_request(transaction: int, device: Eui64) -> bytes:
    """r22 2.4.3.1.1, single device response."""
    return bytes((transaction,)) + to_little_endian(device) + b"\x00\x00"


def ieee_address_request(transaction: int, network_address: int) -> bytes:
    """r22 2.4.3.1.2, single device response."""
    return struct.pack("<BHBB", transaction, network_address, 0, 0)
