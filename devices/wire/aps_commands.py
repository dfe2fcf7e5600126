"""APS commands (Zigbee PRO r21 4.4.9): what trust centre, routers and joining devices say to each other.

Each is the plain payload of an ApsCommandFrame. Not done: Switch-Key, and application keys, which no device here has.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self

from devices.wire.errors import MalformedFrameError
from devices.wire.fields import Fields, unpack


class ApsCommand(IntEnum):
    """Command identifiers, Zigbee PRO table 4.32."""

    TRANSPORT_KEY = 0x05
    UPDATE_DEVICE = 0x06
    REMOVE_DEVICE = 0x07
    REQUEST_KEY = 0x08
    SWITCH_KEY = 0x09
    TUNNEL = 0x0E
    VERIFY_KEY = 0x0F
    CONFIRM_KEY = 0x10


class KeyType(IntEnum):
    """Zigbee PRO 4.4.9.2; Request-Key, Verify-Key and Confirm-Key use the same values."""

    STANDARD_NETWORK_KEY = 0x01
    TRUST_CENTRE_LINK_KEY = 0x04


class _Command(Fields):
    """One whose plain payload is its identifier, where a type has one its type, and one struct."""

    __slots__ = ()
    HEAD: ClassVar[bytes]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        head, name = cls.HEAD, cls.__name__
        if not octets.startswith(head):
            raise MalformedFrameError(name, f"begins with {octets[: len(head)].hex()}, not with {head.hex()}", 0)
        unpack(cls.LAYOUT, octets, name, len(head))  # where it ends early, the error counts from the identifier on
        return super().from_bytes(octets[len(head) :])

    def to_bytes(self) -> bytes:
        return self.HEAD + super().to_bytes()


@dataclass(frozen=True, slots=True)
class TransportNetworkKey(_Command):
    """Transport-Key of the network key (Zigbee PRO 4.4.9.2)."""

    HEAD = bytes((ApsCommand.TRANSPORT_KEY, KeyType.STANDARD_NETWORK_KEY))
    LAYOUT = Struct("<16sBQQ")

    key: bytes = field(repr=False)
    key_sequence: int
    destination: int
    source: int


@dataclass(frozen=True, slots=True)
class TransportLinkKey(_Command):
    """Transport-Key of a device's trust-centre link key (Zigbee PRO 4.4.9.2), under the key-load key."""

    HEAD = bytes((ApsCommand.TRANSPORT_KEY, KeyType.TRUST_CENTRE_LINK_KEY))
    LAYOUT = Struct("<16sQQ")

    key: bytes = field(repr=False)
    destination: int
    source: int


class DeviceStatus(IntEnum):
    """What a router tells the trust centre of a device (Zigbee PRO 4.4.9.3)."""

    SECURED_REJOIN = 0x00
    UNSECURED_JOIN = 0x01
    LEFT = 0x02
    TRUST_CENTRE_REJOIN = 0x03


@dataclass(frozen=True, slots=True)
class UpdateDevice(_Command):
    """Zigbee PRO 4.4.9.3; `status` may be none of DeviceStatus."""

    HEAD = bytes((ApsCommand.UPDATE_DEVICE,))
    LAYOUT = Struct("<QHB")

    device: int
    address: int
    status: int


@dataclass(frozen=True, slots=True)
class RemoveDevice(_Command):
    """Zigbee PRO 4.4.9.4: the trust centre asks a router to send a child of its away."""

    HEAD = bytes((ApsCommand.REMOVE_DEVICE,))
    LAYOUT = Struct("<Q")

    device: int


@dataclass(frozen=True, slots=True)
class RequestLinkKey(_Command):
    """Request-Key of a trust-centre link key (Zigbee PRO 4.4.9.5), which names no partner."""

    HEAD = bytes((ApsCommand.REQUEST_KEY, KeyType.TRUST_CENTRE_LINK_KEY))
    LAYOUT = Struct("")


@dataclass(frozen=True, slots=True)
class Tunnel(_Command):
    """Zigbee PRO 4.4.9.8: a router is to send `command`, a whole APS command frame, to its child as it is."""

    HEAD = bytes((ApsCommand.TUNNEL,))
    LAYOUT = Struct("<Q")

    device: int
    command: bytes


@dataclass(frozen=True, slots=True)
class VerifyKey(_Command):
    """Zigbee PRO r21 4.4.9: the device proves that it has its trust-centre link key. Under no APS security itself."""

    HEAD = bytes((ApsCommand.VERIFY_KEY, KeyType.TRUST_CENTRE_LINK_KEY))
    LAYOUT = Struct("<Q16s")

    source: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class ConfirmKey(_Command):
    """Zigbee PRO r21 4.4.9: the trust centre's verdict on a Verify-Key, under the key that was verified."""

    HEAD = bytes((ApsCommand.CONFIRM_KEY,))
    LAYOUT = Struct("<BBQ")

    status: int
    key_type: int
    destination: int
