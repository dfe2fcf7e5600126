"""ECDSA (SEC 1 4.1) on the two binary curves, as ZigBee signs OTA files with it: over 16-octet AES-MMO digests.

Signs deterministically (RFC 6979), so that a signed file can be built again byte for byte. Signatures are r || s, each
as long as a scalar. For a bench only, as `binary_curve` is: whoever can measure the signing learns the key.
"""

import hmac
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from chf.crypto.binary_curve import BinaryCurve, Point

_HASH: Final = sha256  # of the nonce alone; RFC 6979 3.6 allows another one than the digest's


def sign(curve: BinaryCurve, private_key: int, digest: bytes) -> bytes:
    """The same r || s for the same key and digest, always."""
    assert 0 < private_key < curve.order, "not a private key of this curve"
    number = _number(curve, digest)
    for nonce in _nonces(curve, private_key, digest):
        point = curve.multiply(nonce, curve.generator)
        assert point is not None, "a scalar from 1 to order - 1 does not lead to infinity"
        r = curve.x_number(point) % curve.order
        s = pow(nonce, -1, curve.order) * (number + r * private_key) % curve.order
        if r and s:
            return b"".join(half.to_bytes(curve.scalar_octets, "big") for half in (r, s))
    raise AssertionError("nonces do not end")


def verifies(curve: BinaryCurve, public_key: Point, digest: bytes, signature: bytes) -> bool:
    """False for anything but a signature of this digest by this key, wrong lengths included."""
    size = curve.scalar_octets
    if len(signature) != 2 * size:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    if not 0 < r < curve.order or not 0 < s < curve.order:
        return False
    inverse = pow(s, -1, curve.order)
    point = curve.add(
        curve.multiply(_number(curve, digest) * inverse % curve.order, curve.generator),
        curve.multiply(r * inverse % curve.order, public_key),
    )
    return point is not None and curve.x_number(point) % curve.order == r


def _number(curve: BinaryCurve, octets: bytes) -> int:
    """The leftmost bits of a digest, as many as the order has (RFC 6979 2.3.2)."""
    return int.from_bytes(octets, "big") >> max(0, 8 * len(octets) - curve.order.bit_length())


def _nonces(curve: BinaryCurve, private_key: int, digest: bytes) -> Iterator[int]:
    """RFC 6979 3.2; steps by their letters there."""
    size = curve.scalar_octets
    secret = private_key.to_bytes(size, "big") + (_number(curve, digest) % curve.order).to_bytes(size, "big")
    value, key = b"\x01" * _HASH().digest_size, bytes(_HASH().digest_size)  # b, c
    for separator in (b"\x00", b"\x01"):  # d to g
        key = hmac.digest(key, value + separator + secret, _HASH)
        value = hmac.digest(key, value, _HASH)
    while True:  # h
        candidate = b""
        while 8 * len(candidate) < curve.order.bit_length():
            value = hmac.digest(key, value, _HASH)
            candidate += value
        nonce = _number(curve, candidate)
        if 0 < nonce < curve.order:
            yield nonce
        key = hmac.digest(key, value + b"\x00", _HASH)
        value = hmac.digest(key, value, _HASH)
