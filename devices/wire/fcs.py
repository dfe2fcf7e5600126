"""The frame check sequence of IEEE 802.15.4 (7.2.11 of the 2011 edition): CRC-16, reflected 0x1021, initial value 0.

`binascii.crc_hqx` is the same polynomial unreflected, so the octets are mirrored around it; both steps run in C.
"""

from binascii import crc_hqx

_MIRRORED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
FCS_BYTES = 2  # IEEE 802.15.4, FCS field


def fcs(octets: bytes) -> bytes:
    """The two octets that follow `octets` on the air, low octet first."""
    # Mirroring a 16-bit value swaps its octets and mirrors each, which is just what little-endian order undoes.
    return crc_hqx(octets.translate(_MIRRORED), 0).to_bytes(FCS_BYTES, "big").translate(_MIRRORED)
