"""AES-MMO and HMAC-MMO (ZigBee PRO B.6, B.1.4), the hash that install codes and ZigBee keys are made with.

Right at any length: the padding changes form at 2^16 bits (B.6), where some libraries are wrong.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK_BYTES = 16  # AES
_LONG_FORM_FROM_BITS = 1 << 16  # ZigBee PRO B.6


def aes_mmo(message: bytes) -> bytes:
    """The 16-octet Matyas-Meyer-Oseas digest over AES-128 of a message shorter than 2^32 bits."""
    digest = bytes(BLOCK_BYTES)
    padded = message + _padding(len(message))
    for start in range(0, len(padded), BLOCK_BYTES):
        block = padded[start : start + BLOCK_BYTES]
        encrypted = Cipher(algorithms.AES(digest), modes.ECB()).encryptor().update(block)  # noqa: S305 one block
        digest = (int.from_bytes(encrypted, "big") ^ int.from_bytes(block, "big")).to_bytes(BLOCK_BYTES, "big")
    return digest


def hmac_mmo(key: bytes, message: bytes) -> bytes:
    """HMAC (FIPS 198) over AES-MMO; keys longer than a block are hashed first."""
    if len(key) > BLOCK_BYTES:
        key = aes_mmo(key)
    key = key.ljust(BLOCK_BYTES, b"\0")
    inner = aes_mmo(bytes(octet ^ 0x36 for octet in key) + message)
    return aes_mmo(bytes(octet ^ 0x5C for octet in key) + inner)


def key_transport_key(link_key: bytes) -> bytes:
    """The key that protects Transport-Key to the holder of `link_key` (ZigBee PRO 4.5.3)."""
    return hmac_mmo(link_key, b"\x00")


def _padding(message_bytes: int) -> bytes:
    bits = message_bytes * 8
    tail = bits.to_bytes(2, "big") if bits < _LONG_FORM_FROM_BITS else bits.to_bytes(4, "big") + bytes(2)
    zeros = -(message_bytes + 1 + len(tail)) % BLOCK_BYTES
    return b"\x80" + bytes(zeros) + tail
