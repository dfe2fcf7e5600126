"""CCM* at level 5 (ENC-MIC-32), the one that ZigBee uses, over NWK and APS frames (Zigbee PRO 4.3, 4.4, A.2, B.1).

With level 5 CCM* is plain AES-CCM with a 4-octet tag and a 13-octet nonce. The level goes over the air as 0 and is
filled in for the nonce and the authenticated header (4.3.1.1). Frame counters are checked by the stack, not here.
"""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.wire.errors import FrameSecurityError, MalformedFrameError

MIC_BYTES = 4
KEY_BYTES = 16
MAX_FRAME_COUNTER = 0xFFFFFFFE  # 4.3.1.1: a counter of all ones stops the key
NWK_OVERHEAD_BYTES = 14 + MIC_BYTES
APS_OVERHEAD_BYTES = 5 + MIC_BYTES  # without the extended nonce

_LEVEL = 5
_EXTENDED_NONCE = 0x20
_CONTROL_COUNTER = Struct("<BI")
_CONTROL_COUNTER_IEEE = Struct("<BIQ")
_CONTROL_COUNTER_IEEE_SEQUENCE = Struct("<BIQB")
NONCE = Struct("<QIB")  # originator, frame counter, security control (4.5.2.2)
assert NONCE.size == 13
assert _CONTROL_COUNTER_IEEE_SEQUENCE.size + MIC_BYTES == NWK_OVERHEAD_BYTES


class KeyIdentifier(IntEnum):
    """Which key (Zigbee PRO table 4.30)."""

    DATA = 0
    NETWORK = 1
    KEY_TRANSPORT = 2
    KEY_LOAD = 3


_KEY_IDENTIFIERS = tuple(KeyIdentifier)


class AuxiliaryHeader(NamedTuple):
    """Zigbee PRO 4.5.1. `source` is there with an extended nonce, `key_sequence` with the network key."""

    key: KeyIdentifier
    frame_counter: int
    source: int | None = None
    key_sequence: int = 0

    @classmethod
    def from_bytes(cls, octets: bytes, at: int = 0) -> Self:
        """Read it at an offset of a frame; `size` tells how much it took."""
        left = len(octets) - at
        if left < _CONTROL_COUNTER.size:
            raise MalformedFrameError("security", "ends within the auxiliary header", len(octets))
        control, counter = _CONTROL_COUNTER.unpack_from(octets, at)
        if control & 0xC0:
            raise MalformedFrameError("security", f"reserved bits in security control {control:#04x}", at)
        key = _KEY_IDENTIFIERS[control >> 3 & 3]
        if not control & _EXTENDED_NONCE:
            if key is KeyIdentifier.NETWORK:
                raise MalformedFrameError("security", "network key without extended nonce", at)
            return cls(key, counter)
        if key is KeyIdentifier.NETWORK:
            if left < _CONTROL_COUNTER_IEEE_SEQUENCE.size:
                raise MalformedFrameError("security", "ends within the auxiliary header", len(octets))
            _, _, source, sequence = _CONTROL_COUNTER_IEEE_SEQUENCE.unpack_from(octets, at)
            return cls(key, counter, source, sequence)
        if left < _CONTROL_COUNTER_IEEE.size:
            raise MalformedFrameError("security", "ends within the auxiliary header", len(octets))
        return cls(key, counter, _CONTROL_COUNTER_IEEE.unpack_from(octets, at)[2])

    def to_bytes(self, level: int = 0) -> bytes:
        control = self.key << 3 | level
        if self.source is None:
            return _CONTROL_COUNTER.pack(control, self.frame_counter)
        control |= _EXTENDED_NONCE
        if self.key is KeyIdentifier.NETWORK:
            return _CONTROL_COUNTER_IEEE_SEQUENCE.pack(control, self.frame_counter, self.source, self.key_sequence)
        return _CONTROL_COUNTER_IEEE.pack(control, self.frame_counter, self.source)

    @property
    def size(self) -> int:
        if self.source is None:
            return _CONTROL_COUNTER.size
        return 14 if self.key is KeyIdentifier.NETWORK else 13


def cipher_for(key: bytes) -> AESCCM:
    """The cipher object of a key. Making one costs more than using it: keep it as long as the key."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a ZigBee key has {KEY_BYTES} octets, not {len(key)}")
    return AESCCM(key, tag_length=MIC_BYTES)


def seal(cipher: AESCCM, header: bytes, auxiliary: AuxiliaryHeader, payload: bytes, originator: int) -> bytes:
    """The protected frame: header, auxiliary header, ciphertext, MIC. `originator` goes into the nonce."""
    authenticated = auxiliary.to_bytes(_LEVEL)
    nonce = NONCE.pack(originator, auxiliary.frame_counter, authenticated[0])
    ciphertext = cipher.encrypt(nonce, payload, header + authenticated)
    return header + bytes((authenticated[0] & 0xF8,)) + authenticated[1:] + ciphertext


def unseal(cipher: AESCCM, octets: bytes, header_bytes: int, auxiliary: AuxiliaryHeader, originator: int) -> bytes:
    """The plain payload of a frame whose auxiliary header, found behind `header_bytes`, was read before."""
    at = header_bytes + auxiliary.size
    if len(octets) < at + MIC_BYTES:
        raise MalformedFrameError("security", "ends within the MIC", len(octets))
    # The level that came over the air is ignored (4.3.1.2).
    control = octets[header_bytes] & 0xF8 | _LEVEL
    authenticated = octets[:header_bytes] + bytes((control,)) + octets[header_bytes + 1 : at]
    return decrypt(cipher, NONCE.pack(originator, auxiliary.frame_counter, control), octets[at:], authenticated)


def decrypt(cipher: AESCCM, nonce: bytes, ciphertext: bytes, authenticated: bytes) -> bytes:
    """The plain octets. Raises FrameSecurityError where they, or what is authenticated with them, are not genuine."""
    try:
        return cipher.decrypt(nonce, ciphertext, authenticated)
    except InvalidTag:
        raise FrameSecurityError("the frame does not authenticate") from None
