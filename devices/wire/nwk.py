"""NWK frames (Zigbee PRO r21 3.3, 3.4): header and security, and the commands between a parent and its children.

A frame that was read with security carries its auxiliary header, and its payload is plain where it was read with the
key. `seal` writes a frame whose payload is plain. Multicast is refused: r22 took it out of the standard. The bits for
route discovery and for the end device as initiator are read over. The commands of routers are in routing.py, frames
between networks in inter_pan.py.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack, unpack_from
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
INTER_PAN = 0x000B  # frame type 3, protocol version 2: Zigbee PRO annex G
_MULTICAST = 0x0100  # Zigbee PRO 3.3.1.1
_SECURITY = 0x0200  # Zigbee PRO 3.3.1.1
_DESTINATION_IEEE = 0x0800  # Zigbee PRO 3.3.1.1
_SOURCE_IEEE = 0x1000  # Zigbee PRO 3.3.1.1
_SOURCE_ROUTE = 0x0400  # Zigbee PRO 3.3.1.1
_MORE_HEADER = _DESTINATION_IEEE | _SOURCE_IEEE | _SOURCE_ROUTE

_NETWORK_KEY = 0x28  # security control: network key, extended nonce (Zigbee PRO 4.5.1.1)
_NETWORK_KEY_INSIDE = _NETWORK_KEY | LEVEL


_NO_MORE_HEADER = [None, None, None]  # neither IEEE address nor source route


class NwkType(IntEnum):
    """Zigbee PRO 3.3.1.1.1."""

    DATA = 0
    COMMAND = 1


class NwkCommand(IntEnum):
    """Zigbee PRO table 3.40."""

    ROUTE_REQUEST = 0x01
    ROUTE_REPLY = 0x02
    NETWORK_STATUS = 0x03
    LEAVE = 0x04
    ROUTE_RECORD = 0x05
    REJOIN_REQUEST = 0x06
    REJOIN_RESPONSE = 0x07
    LINK_STATUS = 0x08
    END_DEVICE_TIMEOUT_REQUEST = 0x0B
    END_DEVICE_TIMEOUT_RESPONSE = 0x0C


class NwkSecurity(NamedTuple):
    """What the auxiliary header of a NWK frame says; the key is always the network key."""

    frame_counter: int
    source: int  # the IEEE address of the last hop, who secured the frame
    key_sequence: int = 0


class SourceRoute(NamedTuple):
    """The way that the originator chose (Zigbee PRO 3.3.1.9); `relays` begins with the one next to the destination."""

    relays: tuple[int, ...]
    next_relay: int  # place in `relays` of who has the frame next; the originator begins at the end of the list


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
    source_route: SourceRoute | None = None

    @classmethod
    def from_bytes(cls, octets: bytes, cipher: AESCCM | None = None) -> Self:
        """`cipher` opens the payload of a frame with security; raises FrameSecurityError where it does not."""
        if len(octets) < HEADER_BYTES:
            raise MalformedFrameError("NWK", "shorter than its header", len(octets))
        control, destination, source, radius, sequence = _HEADER.unpack_from(octets)
        if control == INTER_PAN:
            raise MalformedFrameError("NWK", "an inter-PAN frame, which has no NWK header", 0)
        if control & _TYPE_VERSION_RESERVED != _VERSION:
            raise MalformedFrameError("NWK", f"frame type or protocol version not known (control {control:#06x})", 0)
        if control & _MULTICAST:
            raise MalformedFrameError("NWK", "multicast, which r22 took out of the standard", 0)
        at = HEADER_BYTES
        destination_ieee = source_ieee = source_route = security = None
        if control & _MORE_HEADER:
            if control & _DESTINATION_IEEE:
                destination_ieee, at = _read_ieee(octets, at)
            if control & _SOURCE_IEEE:
                source_ieee, at = _read_ieee(octets, at)
            if control & _SOURCE_ROUTE:
                source_route, at = _read_source_route(octets, at)
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
        head, more = (destination, source, radius, sequence), (destination_ieee, source_ieee, source_route)
        return tuple.__new__(cls, (*head, payload, type_, security, *more))  # half the time of cls(...)

    def seal(self, cipher: AESCCM) -> bytes:
        """The octets of a frame with `security` whose payload is plain: header, auxiliary header, ciphertext, MIC."""
        destination, source, radius, sequence, payload, type_, security, *more = self
        assert security is not None, "to be sent with security"
        counter, ieee, key_sequence = security
        control, behind = _VERSION | _SECURITY | type_, b""
        if more != _NO_MORE_HEADER:
            control, behind = self._control_and_rest()
        header = _HEADER.pack(control, destination, source, radius, sequence) + behind
        inside = header + _AUXILIARY.pack(_NETWORK_KEY_INSIDE, counter, ieee, key_sequence)
        on_air = header + _AUXILIARY.pack(_NETWORK_KEY, counter, ieee, key_sequence)
        return on_air + cipher.encrypt(NONCE.pack(ieee, counter, _NETWORK_KEY_INSIDE), payload, inside)

    def to_bytes(self) -> bytes:
        """As it stands: with `security`, the payload is ciphertext and MIC already."""
        control, behind = self._control_and_rest()
        header = _HEADER.pack(control, self.destination, self.source, self.radius, self.sequence) + behind
        if self.security is not None:
            header += _AUXILIARY.pack(_NETWORK_KEY, *self.security)
        return header + self.payload

    def _control_and_rest(self) -> tuple[int, bytes]:
        """Frame control, and the parts of the header that it announces."""
        control = _VERSION | self.type
        if self.security is not None:
            control |= _SECURITY
        rest = b""
        if self.destination_ieee is not None:
            control |= _DESTINATION_IEEE
            rest += self.destination_ieee.to_bytes(8, "little")
        if self.source_ieee is not None:
            control |= _SOURCE_IEEE
            rest += self.source_ieee.to_bytes(8, "little")
        if self.source_route is not None:
            control |= _SOURCE_ROUTE
            relays, next_relay = self.source_route
            rest += bytes((len(relays), next_relay)) + addresses_to_bytes(relays)
        return control, rest


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


def _read_source_route(octets: bytes, at: int) -> tuple[SourceRoute, int]:
    """A source route, and the offset behind it (Zigbee PRO 3.3.1.9). Its next relay may lie outside of it."""
    if len(octets) < at + 2:
        raise MalformedFrameError("NWK", "ends within its source route", len(octets))
    relays, end = read_addresses(octets, at + 2, octets[at], "NWK")
    return SourceRoute(relays, octets[at + 1]), end


def read_addresses(octets: bytes, at: int, count: int, layer: str) -> tuple[tuple[int, ...], int]:
    """So many network addresses, and the offset behind them."""
    end = at + 2 * count
    if len(octets) < end:
        raise MalformedFrameError(layer, f"ends within its {count} relays", len(octets))
    return unpack_from(f"<{count}H", octets, at), end


def addresses_to_bytes(addresses: tuple[int, ...]) -> bytes:
    return pack(f"<{len(addresses)}H", *addresses)


def body_of(octets: bytes, command: NwkCommand, length: int) -> bytes:
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
        options = body_of(octets, NwkCommand.LEAVE, 1)[0]
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
        return super().from_bytes(body_of(octets, cls.COMMAND, cls.LAYOUT.size))

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
