"""Signatures and MACs of GBCS messages (RTDS): ECDSA P-256, ECDH and KDF, AES-128-GMAC.

Keys are `cryptography` key objects that the caller holds; none is stored, printed or compared here. Whose certificate a
public key came from is the business of the PKI.
"""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from chf.crypto import p256
from chf.gbcs.message import MAC_OCTETS, GbcsMessage, GroupingHeader

_MAC_KEY_OCTETS = 16  # AES-128, RTDS
_KDF_ALGORITHM_ID = bytes.fromhex("60857406080300")  # the DLMS OID for AES-GCM-128 key agreement
_SECURITY_CONTROL = bytes.fromhex("1100000000")


def sign(message: GbcsMessage, private_key: ec.EllipticCurvePrivateKey) -> GbcsMessage:
    """The message with its signature. A pre-command may come with or without its empty signature field."""
    return replace(message, signature=p256.sign(message.signed_octets, private_key))


def verify_signature(message: GbcsMessage, public_key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the holder of `public_key` signed this message. An unsigned message is signed by nobody."""
    return p256.verifies(message.signed_octets, message.signature or b"", public_key)


def mac_key(
    private_key: ec.EllipticCurvePrivateKey, public_key: ec.EllipticCurvePublicKey, header: GroupingHeader
) -> bytes:
    """The key of this one message, from one party's key agreement key and the other's public half.

    For commands the parties are the ACB and the device, whoever signed the command.
    """
    return mac_key_of(private_key.exchange(ec.ECDH(), public_key), header)


def mac_key_of(agreed: bytes, header: GroupingHeader) -> bytes:
    """`mac_key` for whoever keeps the secret that the two keys agree on, which is the same for every message."""
    kdf = Hash(SHA256())
    kdf.update(b"\x00\x00\x00\x01" + agreed + _KDF_ALGORITHM_ID)
    kdf.update(header.originator.to_bytes(8, "big") + header.transaction_id + header.recipient.to_bytes(8, "big"))
    return kdf.finalize()[:_MAC_KEY_OCTETS]


def add_mac(message: GbcsMessage, key: bytes) -> GbcsMessage:
    """The message with its MAC header and MAC; one that lacks a signature field gets the empty one."""
    if message.signature is None:
        message = replace(message, signature=b"")
    return replace(message, mac=_mac(message, key))


def verify_mac(message: GbcsMessage, key: bytes) -> bool:
    return message.mac is not None and bytes_eq(message.mac, _mac(message, key))


def _mac(message: GbcsMessage, key: bytes) -> bytes:
    nonce = message.header.originator.to_bytes(8, "big") + bytes(4)
    gmac = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    gmac.authenticate_additional_data(_SECURITY_CONTROL + b"\x00" + message.authenticated_octets)
    gmac.finalize()
    return gmac.tag[:MAC_OCTETS]
