"""NWK frames (Zigbee PRO r21 3.3, 3.4): header and security, and the commands of a one-hop network.

A frame that was read with security carries its auxiliary header, and its payload is plain where it was read with the
key. `seal` writes a frame whose payload is plain. Source routes and multicast are refused: nothing in a
one-hop star makes them; the bits for route discovery and for the end device as initiator say nothing here.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.fields import Fields
from devices.wire.security import LEVEL, LEVEL_MASK, MIC_BYTES, NONCE, NWK_OVERHEAD_BYTES

HEADER_BYTES = 8  # without IEEE addresses, Zigbee PRO 3.3.1
_HEADER = Struct("<HHHBB")  # control, destination, source, radius, sequence
_AUXILIARY = Struct("<BIQB")  # control, frame counter, IEEE source, key sequence (Zigbee PRO 4.5.1)
assert _HEADER.size == HEADER_BYTES
_AUXILIARY_BYTES = _AUXILIARY.size
assert _AUXILIARY_BYTES + MIC_BYTES == NWK_OVERHEAD_BYTES

# Frame control, Zigbee PRO 3.3.1.1
_VERSION = 0x0008  # protocol version 2 in bits 2-5
_TYPE_VERSION_RESERVED = 0xC03E  # Zigbee PRO 3.3.1.1
_ROUTES = 0x0580  # a reserved value of route discovery, multicast, source route
_SECURITY = 0x0200  # Zigbee PRO 3.3.1.1
_DESTINATION_IEEE = 0x0800  # Zigbee PRO 3.3.1.1
_SOURCE_IEEE = 0x1000  # Zigbee PRO 3.3.1.1
_IEEE_ADDRESSES = _DESTINATION_IEEE | _SOURCE_IEEE

_NETWORK_KEY = 0x28  # security control: network key, extended nonce (Zigbee PRO 4.5.1.1)
_NETWORK_KEY_INSIDE = _NETWORK_KEY | LEVEL


class NwkType(IntEnum):
    """Zigbee PRO 3.3.1.1.1."""

    DATA = 0
    COMMAND = 1


class NwkCommand(IntEnum):
    """Those of a one-hop network (Zigbee PRO 3.4)."""

    LEAVE = 0x04
    REJOIN_REQUEST = 0x06
    REJOIN_RESPONSE = 0x07
    END_DEVICE_TIMEOUT_REQUEST = 0x0B
    END_DEVICE_TIMEOUT_RESPONSE = 0x0C


class NwkSecurity(NamedTuple):
    """What the auxiliary header of a NWK frame says; the key is always the network key."""

    frame_counter: int
    source: int  # the IEEE address of the last hop, who secured the frame
    key_sequence: int = 0


class NwkFrame(NamedTuple):
    destination: int
    source: int
    radius: int
    sequence: int
    payload: bytes  # of a frame that was read with `security`, but without its key: ciphertext and MIC
    type: NwkType = NwkType.DATA
    security: NwkSecurity | None = None
    destination_ieee: int | None = None
    source_ieee: int | None = None

    @classmethod
    def from_bytes(cls, octets: bytes, cipher: AESCCM | None = None) -> Self:
        """`cipher` opens the payload of a frame with security; raises FrameSecurityError where it does not."""
        if len(octets) < HEADER_BYTES:
            raise MalformedFrameError("NWK", "shorter than its header", len(octets))
        control, destination, source, radius, sequence = _HEADER.unpack_from(octets)
        if control & _TYPE_VERSION_RESERVED != _VERSION:
            raise MalformedFrameError("NWK", f"frame type or protocol version not known (control {control:#06x})", 0)
        if control & _ROUTES:
            raise MalformedFrameError("NWK", "source route, multicast or route discovery that is not supported", 0)
        at = HEADER_BYTES
        destination_ieee = source_ieee = security = None
        if control & _IEEE_ADDRESSES:
            if control & _DESTINATION_IEEE:
                destination_ieee, at = _read_ieee(octets, at)
            if control & _SOURCE_IEEE:
                source_ieee, at = _read_ieee(octets, at)
        if control & _SECURITY:
            if len(octets) < at + _AUXILIARY_BYTES:
                raise MalformedFrameError("NWK", "ends within the auxiliary header", len(octets))
            security_control, counter, sender, key_sequence = _AUXILIARY.unpack_from(octets, at)
            if security_control & ~LEVEL_MASK != _NETWORK_KEY:
                raise MalformedFrameError("NWK", f"security control {security_control:#04x}: no network key", at)
            security = tuple.__new__(NwkSecurity, (counter, sender, key_sequence))
            at += _AUXILIARY_BYTES
        type_ = NwkType.COMMAND if control & 1 else NwkType.DATA
        payload = octets[at:]
        if security is not None and cipher is not None:
            payload = _opened(octets[:at], payload, security, cipher)
        return tuple.__new__(  # half the time of cls(...)
            cls, (destination, source, radius, sequence, payload, type_, security, destination_ieee, source_ieee)
        )

    def seal(self, cipher: AESCCM) -> bytes:
        """The octets of a frame with `security` whose payload is plain: header, auxiliary header, ciphertext, MIC."""
        destination, source, radius, sequence, payload, type_, security, destination_ieee, source_ieee = self
        assert security is not None, "to be sent with security"
        counter, ieee, key_sequence = security
        if destination_ieee is source_ieee is None:
            control, addresses = _VERSION | _SECURITY | type_, b""
        else:
            control, addresses = self._control_and_addresses()
        header = _HEADER.pack(control, destination, source, radius, sequence) + addresses
        inside = header + _AUXILIARY.pack(_NETWORK_KEY_INSIDE, counter, ieee, key_sequence)
        on_air = header + _AUXILIARY.pack(_NETWORK_KEY, counter, ieee, key_sequence)
        return on_air + cipher.encrypt(NONCE.pack(ieee, counter, _NETWORK_KEY_INSIDE), payload, inside)

    def to_bytes(self) -> bytes:
        """As it stands: with `security`, the payload is ciphertext and MIC already."""
        control, addresses = self._control_and_addresses()
        header = _HEADER.pack(control, self.destination, self.source, self.radius, self.sequence) + addresses
        if self.security is not None:
            header += _AUXILIARY.pack(_NETWORK_KEY, *self.security)
        return header + self.payload

    def _control_and_addresses(self) -> tuple[int, bytes]:
        control = _VERSION | self.type
        if self.security is not None:
            control |= _SECURITY
        addresses = b""
        if self.destination_ieee is not None:
            control |= _DESTINATION_IEEE
            addresses += self.destination_ieee.to_bytes(8, "little")
        if self.source_ieee is not None:
            control |= _SOURCE_IEEE
            addresses += self.source_ieee.to_bytes(8, "little")
        return control, addresses


def _opened(headers: bytes, sealed: bytes, security: NwkSecurity, cipher: AESCCM) -> bytes:
    """The plain payload of what followed `headers`."""
    counter, sender, _ = security
    # On the air the level is 0; level 5 is in what was authenticated (Zigbee PRO 4.3.1.2).
    authenticated = bytearray(headers)
    authenticated[-_AUXILIARY_BYTES] = _NETWORK_KEY_INSIDE
    try:
        return cipher.decrypt(NONCE.pack(sender, counter, _NETWORK_KEY_INSIDE), sealed, authenticated)
    except InvalidTag:
        raise FrameSecurityError("the NWK frame does not authenticate") from None


def _read_ieee(octets: bytes, at: int) -> tuple[int, int]:
    """An IEEE address, and the offset behind it."""
    end = at + 8
    if len(octets) < end:
        raise MalformedFrameError("NWK", "ends within its IEEE addresses", len(octets))
    return int.from_bytes(octets[at:end], "little"), end


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


class _Command(Fields):
    """One whose body is one struct."""

    __slots__ = ()
    COMMAND: ClassVar[NwkCommand]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        return super().from_bytes(_body(octets, cls.COMMAND, cls.LAYOUT.size))

    def to_bytes(self) -> bytes:
        return bytes((self.COMMAND,)) + super().to_bytes()


@dataclass(frozen=True, slots=True)
class RejoinRequest(_Command):
    """Zigbee PRO 3.4.6."""

    COMMAND = NwkCommand.REJOIN_REQUEST
    LAYOUT = Struct("<B")

    capability: int


@dataclass(frozen=True, slots=True)
class RejoinResponse(_Command):
    """Zigbee PRO 3.4.7; the status is one of MAC association."""

    COMMAND = NwkCommand.REJOIN_RESPONSE
    LAYOUT = Struct("<HB")

    address: int
    status: int


@dataclass(frozen=True, slots=True)
class EndDeviceTimeoutRequest(_Command):
    """Zigbee PRO r21 3.4.11: how long a child may be silent before its parent forgets it."""

    COMMAND = NwkCommand.END_DEVICE_TIMEOUT_REQUEST
    LAYOUT = Struct("<BB")

    timeout_code: int
    configuration: int = 0

    @property
    def seconds(self) -> float | None:
        """Table 3.44: 10 s, then 2 minutes doubling up to 14 times; None where reserved."""
        if self.timeout_code > 14:
            return None
        return 60.0 * (1 << self.timeout_code) if self.timeout_code else 10.0


@dataclass(frozen=True, slots=True)
class EndDeviceTimeoutResponse(_Command):
    """Zigbee PRO r21 3.4.12; parent information bit 0: keepalive by MAC data poll, bit 1: by timeout request."""

    COMMAND = NwkCommand.END_DEVICE_TIMEOUT_RESPONSE
    LAYOUT = Struct("<BB")

    status: int
    parent_information: int = 0x01
