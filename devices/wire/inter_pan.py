"""Frames between networks (Zigbee PRO annex G, inter-PAN): stubs of a NWK and of an APS header, and no security.

They come in MAC data frames with extended source and without a NWK address, as in touchlink. The stack drops them.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from devices.wire.aps import Delivery
from devices.wire.errors import MalformedFrameError
from devices.wire.nwk import INTER_PAN

_APS_TYPE = 0x03  # Zigbee PRO annex G
_HEADER = Struct("<HB")  # NWK control, APS control: Zigbee PRO annex G
_GROUP = Struct("<H")  # Zigbee PRO annex G
_ADDRESSING = Struct("<HH")  # cluster, profile: Zigbee PRO annex G


@dataclass(frozen=True, slots=True)
class InterPanFrame:
    cluster: int
    profile: int
    payload: bytes
    delivery: Delivery = Delivery.UNICAST
    group: int | None = None  # with GROUP, and never else

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < _HEADER.size:
            raise MalformedFrameError("inter-PAN", "shorter than its header", len(octets))
        network, control = _HEADER.unpack_from(octets)
        if network != INTER_PAN:
            raise MalformedFrameError("inter-PAN", f"NWK control {network:#06x}, not {INTER_PAN:#06x}", 0)
        if control & ~0x0C != _APS_TYPE or control >> 2 == 1:
            raise MalformedFrameError("inter-PAN", f"APS control {control:#04x}", 2)
        delivery, at, group = Delivery(control >> 2), _HEADER.size, None
        grouped = _GROUP.size if delivery is Delivery.GROUP else 0
        if len(octets) < at + grouped + _ADDRESSING.size:
            raise MalformedFrameError("inter-PAN", "shorter than its header", len(octets))
        if grouped:
            (group,) = _GROUP.unpack_from(octets, at)
        at += grouped
        cluster, profile = _ADDRESSING.unpack_from(octets, at)
        return cls(cluster, profile, octets[at + _ADDRESSING.size :], delivery, group)

    def to_bytes(self) -> bytes:
        group = b"" if self.group is None else _GROUP.pack(self.group)
        header = _HEADER.pack(INTER_PAN, _APS_TYPE | self.delivery << 2)
        return header + group + _ADDRESSING.pack(self.cluster, self.profile) + self.payload
