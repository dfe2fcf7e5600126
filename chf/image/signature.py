"""The supplier's signature of a GBCS image (GBCS 11.2.2): ECDSA P-256 with SHA-256, as r || s.

It covers the Manufacturer Image only: neither the header nor ForceReplace is signed. Whether a certificate is to be
trusted is not judged here.
"""

from dataclasses import dataclass
from hashlib import sha512
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from chf.crypto import p256
from chf.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

_SEED_DOMAIN = b"chf firmware image test key\0"


@dataclass(frozen=True, slots=True)
class Signer:
    """`subject` is who the certificate says holds the key; empty for a bare public key."""

    public_key: ec.EllipticCurvePublicKey
    subject: str


def key_from_seed(seed: str) -> ec.EllipticCurvePrivateKey:
    """A test key that anybody can derive from its published seed: for test images, never for a real product."""
    return p256.key_from_digest(sha512(_SEED_DOMAIN + seed.encode()).digest())


def key_from_pem(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises UsageError; no error repeats what was read."""
    try:
        key: PrivateKeyTypes = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError("the signing key is not an unencrypted private key in PEM") from None
    if not p256.is_private_key(key):
        raise UsageError("the signing key is not a P-256 key")
    return key


def public_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signer_from_certificate(octets: bytes) -> Signer:
    """From an X.509 certificate (PEM, DER) or a bare public key (PEM). Raises UsageError."""
    try:
        if b"-----BEGIN PUBLIC KEY" in octets:
            key: PublicKeyTypes = load_pem_public_key(octets)
            subject = ""
        else:
            certificate = _load_certificate(octets)
            key, subject = certificate.public_key(), _subject(certificate)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("not an X.509 certificate, nor a public key in PEM") from None
    if not p256.is_public_key(key):
        raise UsageError("the certificate does not hold a P-256 key, which GBCS signs with")
    return Signer(key, subject)


def _load_certificate(octets: bytes) -> x509.Certificate:
    pem = b"-----BEGIN CERTIFICATE" in octets
    return x509.load_pem_x509_certificate(octets) if pem else x509.load_der_x509_certificate(octets)


def _subject(certificate: x509.Certificate) -> str:
    """The subject, with the EUI-64 that SMKI puts into an organisation's (x500UniqueIdentifier)."""
    identifiers = certificate.subject.get_attributes_for_oid(x509.NameOID.X500_UNIQUE_IDENTIFIER)
    euis = [
        bytes(identifier.value)[-8:].hex("-").upper()
        for identifier in identifiers
        if isinstance(identifier.value, bytes)
    ]
    names = [
        f"{attribute.rfc4514_attribute_name}={attribute.value}"
        for attribute in certificate.subject
        if isinstance(attribute.value, str)
    ]
    return ", ".join(names + euis)
