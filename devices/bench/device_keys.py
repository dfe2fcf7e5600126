"""The P-256 keys and certificates that a [[device]] table names: PEM files, relative to the scenario."""

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from devices.bench.toml_section import Section

SIGNING_KEY = "signing_key"
KEY_AGREEMENT_KEY = "key_agreement_key"

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_TEST_KEY_DOMAINS = {
    SIGNING_KEY: b"chf emulated device signing key",
    KEY_AGREEMENT_KEY: b"chf emulated device key agreement key",
}


def private_key(section: Section, name: str, eui64: int) -> EllipticCurvePrivateKey:
    """The key in the file that `name` gives; where it is not given, the device's test key."""
    if not section.has(name):
        section.text(name, "")
        return test_key(name, eui64)
    path = _path(section, name)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise section.error(name, f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise section.error(name, f"{path} is not an unencrypted PEM private key") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise section.error(name, f"{path} is not a P-256 key: GBCS works with P-256")
    return key


def test_key(name: str, eui64: int) -> EllipticCurvePrivateKey:
    """A key that anybody can derive, for scenarios that do not care who signed."""
    digest = hashlib.sha256(_TEST_KEY_DOMAINS[name] + eui64.to_bytes(8, "big")).digest()
    return derive_private_key(int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, SECP256R1())


def certified_key(section: Section, name: str) -> EllipticCurvePublicKey:
    """The public key of a certificate that the device holds. Whose it is, and since when, is not judged."""
    path = _path(section, name)
    try:
        key = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
    except OSError as error:
        raise section.error(name, f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise section.error(name, f"{path} is not a certificate in PEM") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise section.error(name, f"{path} does not certify a P-256 key: GBCS works with P-256")
    return key


def optional_certified_key(section: Section, name: str) -> EllipticCurvePublicKey | None:
    if section.has(name):
        return certified_key(section, name)
    section.text(name, "")
    return None


def _path(section: Section, name: str) -> Path:
    return section.path.parent / Path(section.text(name)).expanduser()
