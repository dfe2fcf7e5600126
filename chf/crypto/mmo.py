"""AES-MMO and HMAC-MMO (ZigBee PRO B.6, B.1.4), the hash that install codes and ZigBee keys are made with.

Right at any length: the padding changes form at 2^16 bits (B.6), where some libraries are wrong.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK_BYTES = 16  # AES
_LONG_FORM_FROM_BITS = 1 << 16  # ZigBee PRO B.6


class AesMmo:
    """The 16-octet Matyas-Meyer-Oseas digest over AES-128 of a message shorter than 2^32 bits, as it comes."""

    def __init__(self) -> None:
        self._state = bytes(BLOCK_BYTES)
        self._rest = b""  # less than a block
        self._length_bytes = 0

    def update(self, octets: bytes) -> None:
        self._length_bytes += len(octets)
        octets = self._rest + octets
        whole = len(octets) // BLOCK_BYTES * BLOCK_BYTES
        self._state, self._rest = _hash(self._state, octets[:whole]), octets[whole:]

    def digest(self, more: bytes = b"", *, long_form: bool = True) -> bytes:
        """Of the message so far and `more`. Without `long_form` the padding never changes form, as in some tools."""
        length_bytes = self._length_bytes + len(more)
        return _hash(self._state, self._rest + more + _padding(length_bytes, long_form=long_form))


def aes_mmo(message: bytes) -> bytes:
    hashed = AesMmo()
    hashed.update(message)
    return hashed.digest()


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


def _hash(state: bytes, blocks: bytes) -> bytes:
    for start in range(0, len(blocks), BLOCK_BYTES):
        block = blocks[start : start + BLOCK_BYTES]
        encrypted = Cipher(algorithms.AES(state), modes.ECB()).encryptor().update(block)  # noqa: S305 one block
        state = (int.from_bytes(encrypted, "big") ^ int.from_bytes(block, "big")).to_bytes(BLOCK_BYTES, "big")
    return state


def key_load_key(link_key: bytes) -> bytes:
    """The key that protects a new link key on its way to the holder of `link_key` (ZigBee PRO 4.5.3)."""
    return hmac_mmo(link_key, b"\x02")


def _padding(message_bytes: int, *, long_form: bool) -> bytes:
    bits = message_bytes * 8
    if bits >= _LONG_FORM_FROM_BITS and long_form:
        tail = bits.to_bytes(4, "big") + bytes(2)
    else:
        tail = (bits % _LONG_FORM_FROM_BITS).to_bytes(2, "big")
    zeros = -(message_bytes + 1 + len(tail)) % BLOCK_BYTES
    return b"\x80" + bytes(zeros) + tail
