"""The one shape that nearly every frame on the air has, each layer read and written by one struct instead of by parts.

NWK: a data frame between short addresses, under the network key, in a MAC data frame within a PAN. APS: unicast data or
its acknowledgement, without extended header, under a link key without extended nonce. The readers say None to whatever
is different in anything, malformed frames too: `mac`, `nwk`, `aps` and `security` take those, and this shape as well.
"""

from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.wire.security import MIC_BYTES, NONCE, decrypt

_LEVEL = 5  # ENC-MIC-32: in the nonce and in what is authenticated; on the air the level is 0 (Zigbee PRO 4.3.1.1)

_MAC_BYTES = 9
_NWK_SECURED_DATA = 0x0208  # protocol version 2, security (Zigbee PRO 3.3.1.1)
_NETWORK_KEY = 0x28  # with the extended nonce (4.5.1.1)
_NETWORK_KEY_ON_AIR, _NETWORK_KEY_INSIDE = bytes((_NETWORK_KEY,)), bytes((_NETWORK_KEY | _LEVEL,))
_NWK_HEADERS = Struct("<HHHBB BIQB")  # NWK header and auxiliary header
_NWK_CONTROL_AT = 8
_MAC_NWK_HEADERS = Struct("<HBHHH HHHBB BIQB")
_MAC_NWK_BYTES = _MAC_NWK_HEADERS.size
_MAC_DATA = 0x8841  # short addresses of one PAN
_MAC_MAY_DIFFER = 0x0030  # acknowledgement request, frame pending
assert _NWK_HEADERS.size == 22
assert _MAC_BYTES + _NWK_HEADERS.size == _MAC_NWK_BYTES

_APS_HEADERS = Struct("<BBHHBB BI")  # APS header and auxiliary header
_APS_BYTES = _APS_HEADERS.size
_APS_CONTROL_AT = 8
_APS_DATA, _APS_DATA_WITH_ACK, _APS_ACK = 0x20, 0x60, 0x22
_LINK_KEY_ON_AIR, _LINK_KEY_INSIDE = bytes(1), bytes((_LEVEL,))
assert _APS_BYTES == 13

NwkHeaders = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int]
"""MAC control, sequence, PAN, destination and source; NWK control, destination, source, radius and sequence; security
control, frame counter, IEEE source and key sequence."""

ApsHeaders = tuple[int, int, int, int, int, int, int, int]
"""APS control, destination endpoint, cluster, profile, source endpoint and counter; security control, frame counter."""


def read_nwk(octets: bytes) -> NwkHeaders | None:
    """Of a whole MAC frame without FCS."""
    if len(octets) < _MAC_NWK_BYTES + MIC_BYTES:
        return None
    headers: NwkHeaders = _MAC_NWK_HEADERS.unpack_from(octets)
    usual = (
        headers[0] & ~_MAC_MAY_DIFFER == _MAC_DATA
        and headers[5] == _NWK_SECURED_DATA
        and headers[10] & 0xF8 == _NETWORK_KEY
    )
    return headers if usual else None


def unseal_nwk(cipher: AESCCM, octets: bytes, counter: int, source: int) -> bytes:
    """The plain NWK payload of a whole MAC frame of this shape."""
    control_at = _MAC_BYTES + _NWK_CONTROL_AT
    authenticated = octets[_MAC_BYTES:control_at] + _NETWORK_KEY_INSIDE + octets[control_at + 1 : _MAC_NWK_BYTES]
    nonce = NONCE.pack(source, counter, _NETWORK_KEY | _LEVEL)
    return decrypt(cipher, nonce, octets[_MAC_NWK_BYTES:], authenticated)


def seal_nwk(
    cipher: AESCCM,
    destination: int,
    source: int,
    radius: int,
    sequence: int,
    counter: int,
    ieee: int,
    key_sequence: int,
    payload: bytes,
) -> bytes:
    """The MAC payload: NWK header, auxiliary header, ciphertext and MIC."""
    authenticated = _NWK_HEADERS.pack(
        _NWK_SECURED_DATA, destination, source, radius, sequence, _NETWORK_KEY | _LEVEL, counter, ieee, key_sequence
    )
    ciphertext = cipher.encrypt(NONCE.pack(ieee, counter, _NETWORK_KEY | _LEVEL), payload, authenticated)
    return authenticated[:_NWK_CONTROL_AT] + _NETWORK_KEY_ON_AIR + authenticated[_NWK_CONTROL_AT + 1 :] + ciphertext


def read_aps(octets: bytes) -> ApsHeaders | None:
    """Of a NWK payload."""
    if len(octets) < _APS_BYTES + MIC_BYTES:
        return None
    headers: ApsHeaders = _APS_HEADERS.unpack_from(octets)
    control = headers[0]
    usual = control in {_APS_DATA_WITH_ACK, _APS_ACK, _APS_DATA} and headers[6] & 0xF8 == 0
    return headers if usual else None


def is_acknowledgement(headers: ApsHeaders) -> bool:
    return headers[0] == _APS_ACK


def wants_acknowledgement(headers: ApsHeaders) -> bool:
    return headers[0] == _APS_DATA_WITH_ACK


def unseal_aps(cipher: AESCCM, octets: bytes, counter: int, source: int) -> bytes:
    """The plain APS payload; `source` is the IEEE address of who made the frame."""
    authenticated = octets[:_APS_CONTROL_AT] + _LINK_KEY_INSIDE + octets[_APS_CONTROL_AT + 1 : _APS_BYTES]
    return decrypt(cipher, NONCE.pack(source, counter, _LEVEL), octets[_APS_BYTES:], authenticated)


def seal_aps(cipher: AESCCM, header: bytes, counter: int, payload: bytes, originator: int) -> bytes:
    """Behind any APS header: auxiliary header, ciphertext and MIC."""
    counter_octets = counter.to_bytes(4, "little")
    nonce = NONCE.pack(originator, counter, _LEVEL)
    ciphertext = cipher.encrypt(nonce, payload, header + _LINK_KEY_INSIDE + counter_octets)
    return header + _LINK_KEY_ON_AIR + counter_octets + ciphertext
