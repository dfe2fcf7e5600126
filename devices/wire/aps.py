"""APS frames (Zigbee PRO r21 2.2.5): data, acknowledgements, commands, their security, and the header of fragments.

A frame that was read with security carries its auxiliary header and, as payload, ciphertext and MIC: `unseal` gives the
plain payload. `seal` writes a frame whose payload is plain. What the commands hold is in aps_commands.py.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.security import (
    APS_OVERHEAD_BYTES,
    EXTENDED_NONCE,
    LEVEL,
    LEVEL_MASK,
    MIC_BYTES,
    NONCE,
    RESERVED,
    KeyIdentifier,
)

DATA_HEADER_BYTES = 8  # with an endpoint as destination, Zigbee PRO 2.2.5.1
EXTENDED_HEADER_BYTES = 2  # of a data frame, Zigbee PRO 2.2.5.1.8
_DATA = Struct("<BBHHBB")  # control, destination endpoint, cluster, profile, source endpoint, counter
_GROUP = Struct("<BHHHBB")  # the same with a group in place of the endpoint
_AUXILIARY = Struct("<BI")  # security control, frame counter (Zigbee PRO 4.5.1)
_AUXILIARY_SOURCE = Struct("<BIQ")  # the same with extended nonce
assert _DATA.size == DATA_HEADER_BYTES
assert _AUXILIARY.size + MIC_BYTES == APS_OVERHEAD_BYTES

# Frame control, Zigbee PRO 2.2.5.1.1
_ACK_FORMAT = 0x10  # Zigbee PRO 2.2.5.1.1
_SECURITY = 0x20  # Zigbee PRO 2.2.5.1.1
_ACK_REQUEST = 0x40  # Zigbee PRO 2.2.5.1.1
_EXTENDED = 0x80  # Zigbee PRO 2.2.5.1.1
_COMMAND_HEADER_BYTES = 2  # control and counter, Zigbee PRO 2.2.5.2.2


class ApsType(IntEnum):
    """Zigbee PRO 2.2.5.1.1.1."""

    DATA = 0
    COMMAND = 1
    ACK = 2


class Delivery(IntEnum):
    """Zigbee PRO 2.2.5.1.1.2."""

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


_KEYS = tuple(KeyIdentifier)


class ApsSecurity(NamedTuple):
    """What the auxiliary header of an APS frame says. Without `source` (no extended nonce) it is the NWK frame's."""

    frame_counter: int
    source: int | None = None
    key: KeyIdentifier = KeyIdentifier.DATA


class ApsFrame(NamedTuple):
    """A data frame or the acknowledgement of one (same addressing fields)."""

    destination_endpoint: int
    cluster: int
    profile: int
    source_endpoint: int
    counter: int
    payload: bytes = b""  # of a frame that was read with `security`: ciphertext and MIC
    type: ApsType = ApsType.DATA
    delivery: Delivery = Delivery.UNICAST
    group: int = 0  # with GROUP, in place of the destination endpoint
    security: ApsSecurity | None = None
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
        extended = security = None
        if control & _EXTENDED:
            extended, at = _extended(octets, at, type_)
        if control & _SECURITY:
            security, at = _read_security(octets, at)
        addressing, ack_request = (endpoint, cluster, profile, source_endpoint), control & _ACK_REQUEST != 0
        fields = (*addressing, counter, octets[at:], type_, delivery, group, security, ack_request, extended)
        return tuple.__new__(cls, fields)  # half the time of cls(...)

    def to_bytes(self) -> bytes:
        """As it stands: with `security`, the payload is ciphertext and MIC already."""
        if self.security is None:
            return self.header() + self.payload
        return self.header() + _security_to_bytes(self.security) + self.payload

    def header(self) -> bytes:
        endpoint, cluster, profile, source_endpoint, counter, _, type_, delivery, group, security, ack, extended = self
        control = type_ | delivery << 2
        if security is not None:
            control |= _SECURITY
        if ack:
            control |= _ACK_REQUEST
        if extended is not None:
            control |= _EXTENDED
        if delivery is Delivery.GROUP:
            header = _GROUP.pack(control, group, cluster, profile, source_endpoint, counter)
        else:
            header = _DATA.pack(control, endpoint, cluster, profile, source_endpoint, counter)
        return header if extended is None else header + extended.to_bytes()


def _read_security(octets: bytes, at: int) -> tuple[ApsSecurity, int]:
    """The auxiliary header at an offset, and the offset behind it."""
    if len(octets) < at + _AUXILIARY.size:
        raise MalformedFrameError("APS security", "ends within the auxiliary header", len(octets))
    control, counter = _AUXILIARY.unpack_from(octets, at)
    if control & RESERVED:
        raise MalformedFrameError("APS security", f"reserved bits in security control {control:#04x}", at)
    key = _KEYS[control >> 3 & 3]
    if key is KeyIdentifier.NETWORK:
        raise MalformedFrameError("APS security", "under the network key, which no device here asks for", at)
    if not control & EXTENDED_NONCE:
        return tuple.__new__(ApsSecurity, (counter, None, key)), at + _AUXILIARY.size
    if len(octets) < at + _AUXILIARY_SOURCE.size:
        raise MalformedFrameError("APS security", "ends within the auxiliary header", len(octets))
    source = _AUXILIARY_SOURCE.unpack_from(octets, at)[2]
    return ApsSecurity(counter, source, key), at + _AUXILIARY_SOURCE.size


def _security_to_bytes(security: ApsSecurity, level: int = 0) -> bytes:
    counter, source, key = security
    if source is None:
        return _AUXILIARY.pack(key << 3 | level, counter)
    return _AUXILIARY_SOURCE.pack(key << 3 | EXTENDED_NONCE | level, counter, source)


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


def is_command(octets: bytes) -> bool:
    """Whether this is for ApsCommandFrame to read, and not for ApsFrame."""
    return bool(octets) and (octets[0] & 3 == ApsType.COMMAND or octets[0] & (3 | _ACK_FORMAT) == _COMMAND_ACK)


_COMMAND_ACK = ApsType.ACK | _ACK_FORMAT
_COMMAND_CONTROLS = {ApsType.COMMAND: ApsType.COMMAND, _COMMAND_ACK: ApsType.ACK}


class ApsCommandFrame(NamedTuple):
    """An APS command, under security as a rule, or the acknowledgement of one (Zigbee PRO 2.2.5.2.2, 2.2.5.2.3).

    Neither has more of a header than control and counter.
    """

    counter: int
    payload: bytes  # of a frame that was read with `security`: ciphertext and MIC
    security: ApsSecurity | None = None
    ack_request: bool = False
    type: ApsType = ApsType.COMMAND

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        if len(octets) < _COMMAND_HEADER_BYTES:
            raise MalformedFrameError("APS command", "shorter than its header", len(octets))
        control = octets[0]
        type_ = _COMMAND_CONTROLS.get(control & ~(_SECURITY | _ACK_REQUEST))
        if type_ is None:
            reason = f"control {control:#04x}: a unicast command or its acknowledgement expected"
            raise MalformedFrameError("APS command", reason, 0)
        security, at = None, _COMMAND_HEADER_BYTES
        if control & _SECURITY:
            security, at = _read_security(octets, at)
        return cls(octets[1], octets[at:], security, bool(control & _ACK_REQUEST), type_)

    def to_bytes(self) -> bytes:
        """As it stands: with `security`, the payload is ciphertext and MIC already."""
        if self.security is None:
            return self.header() + self.payload
        return self.header() + _security_to_bytes(self.security) + self.payload

    def header(self) -> bytes:
        control = self.type | (_ACK_FORMAT if self.type is ApsType.ACK else 0)
        control |= (0 if self.security is None else _SECURITY) | (_ACK_REQUEST if self.ack_request else 0)
        return bytes((control, self.counter))


def seal(frame: ApsFrame | ApsCommandFrame, cipher: AESCCM, originator: int) -> bytes:
    """The octets of a frame with `security` whose payload is plain: header, auxiliary header, ciphertext, MIC."""
    assert frame.security is not None, "to be sent with security"
    header, inside = frame.header(), _security_to_bytes(frame.security, LEVEL)
    nonce = NONCE.pack(originator, frame.security.frame_counter, inside[0])
    return header + _security_to_bytes(frame.security) + cipher.encrypt(nonce, frame.payload, header + inside)


def unseal(frame: ApsFrame | ApsCommandFrame, octets: bytes, cipher: AESCCM, originator: int) -> bytes:
    """The plain payload. `octets` is what the frame was read from, `originator` the IEEE address of who made it.

    Raises FrameSecurityError.
    """
    assert frame.security is not None, "read with security"
    counter, source, _ = frame.security
    sealed_at = len(octets) - len(frame.payload)
    control_at = sealed_at - (_AUXILIARY.size if source is None else _AUXILIARY_SOURCE.size)
    # On the air the level is 0; level 5 is in what was authenticated (Zigbee PRO 4.3.1.2).
    authenticated = bytearray(octets[:sealed_at])
    control = authenticated[control_at] = octets[control_at] & ~LEVEL_MASK | LEVEL
    try:
        return cipher.decrypt(NONCE.pack(originator, counter, control), frame.payload, authenticated)
    except InvalidTag:
        raise FrameSecurityError("the APS frame does not authenticate") from None
