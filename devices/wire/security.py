"""CCM* at level 5 (ENC-MIC-32), the one that ZigBee uses (Zigbee PRO 4.3, 4.4, A.2, B.1): what both layers share of it.

With level 5 CCM* is plain AES-CCM with a 4-octet tag and a 13-octet nonce. The level goes over the air as 0 and is
filled in for the nonce and the authenticated header (4.3.1.1). The frames themselves are sealed and opened by nwk.py
and aps.py, each with the auxiliary header of its layer. Frame counters are checked by the stack, not here.
"""

from enum import IntEnum
from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

MIC_BYTES = 4  # ENC-MIC-32, Zigbee PRO 4.5.1.1
KEY_BYTES = 16  # AES-128, Zigbee PRO annex B.1
MAX_FRAME_COUNTER = 0xFFFFFFFE  # Zigbee PRO 4.3.1.1: a counter of all ones stops the key
NWK_OVERHEAD_BYTES = 14 + MIC_BYTES  # auxiliary header with source and key sequence, Zigbee PRO 4.5.1
APS_OVERHEAD_BYTES = 5 + MIC_BYTES  # auxiliary header without extended nonce, Zigbee PRO 4.5.1

LEVEL = 5  # ENC-MIC-32, Zigbee PRO 4.5.1.1: never on the air, always in nonce and authentication
LEVEL_MASK = 0x07  # of the security control octet, Zigbee PRO 4.5.1.1
EXTENDED_NONCE = 0x20  # the source is in the auxiliary header, Zigbee PRO 4.5.1.1
RESERVED = 0xC0  # Zigbee PRO 4.5.1.1
NONCE = Struct("<QIB")  # source, frame counter, security control: Zigbee PRO 4.5.2.2
assert NONCE.size == 13


class KeyIdentifier(IntEnum):
    """Which key (Zigbee PRO table 4.30)."""

    DATA = 0
    NETWORK = 1
    KEY_TRANSPORT = 2
    KEY_LOAD = 3


def cipher_for(key: bytes) -> AESCCM:
    """The cipher object of a key. Making one costs more than using it: keep it as long as the key."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a ZigBee key has {KEY_BYTES} octets, not {len(key)}")
    return AESCCM(key, tag_length=MIC_BYTES)
