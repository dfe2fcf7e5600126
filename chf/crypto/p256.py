"""ECDSA on P-256 with SHA-256, a signature being r || s: as GBCS, DUIS and the suppliers of images sign."""

from typing import Final, TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_HALF: Final = 32  # of r and of s, SEC 2 2.4.2
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-4 D.1.2.3


def sign(octets: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """By RFC 6979 where OpenSSL has it (3.2 on): the same octets and key give the same signature."""
    try:
        der = key.sign(octets, ec.ECDSA(SHA256(), deterministic_signing=True))
    except UnsupportedAlgorithm:
        der = key.sign(octets, ec.ECDSA(SHA256()))
    return b"".join(number.to_bytes(_HALF, "big") for number in decode_dss_signature(der))


def verifies(octets: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """False for anything but a signature of these octets by this key, wrong lengths included."""
    if len(signature) != 2 * _HALF:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def key_from_digest(digest: bytes) -> ec.EllipticCurvePrivateKey:
    """A key that anybody can derive who knows what was hashed: for tests and demonstrations."""
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def is_private_key(key: object) -> TypeGuard[ec.EllipticCurvePrivateKey]:
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)


def is_public_key(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
