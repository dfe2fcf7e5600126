"""The keys and certificates that a [[device]] table names, in files relative to the scenario.

P-256 keys and certificates for GBCS, as PEM; and what a device holds of the ZigBee PKI: its own `credentials`, and the
CA and signers of its images. Whose a certificate is, and since when, is not judged: a device with somebody else's is
worth emulating.
"""

import hashlib
from pathlib import Path
from typing import Literal, overload

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chf.crypto import p256
from chf.crypto.binary_curve import InvalidPointError
from chf.crypto.credentials_text import parse_credentials
from chf.crypto.ecqv import Credentials, Suite
from chf.errors import MalformedError
from devices.bench.toml_section import Section
from devices.nodes.settings import ImageTrust

SIGNING_KEY = "signing_key"
KEY_AGREEMENT_KEY = "key_agreement_key"

_TEST_KEY_DOMAINS = {  # our choice
    SIGNING_KEY: b"chf emulated device signing key",
    KEY_AGREEMENT_KEY: b"chf emulated device key agreement key",
}
_CREDENTIALS = "credentials"
_IMAGE_CA, _IMAGE_SIGNERS = "image_ca", "image_signers"
_PLACEHOLDER = "{eui64}"


def private_key(section: Section, name: str, eui64: int) -> EllipticCurvePrivateKey:
    """The key in the file that `name` gives; where it is not given, the device's test key."""
    if not section.text(name, ""):
        return test_key(name, eui64)
    path = section.file(name)
    try:
        key = load_pem_private_key(_read(section, name, path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise section.error(name, f"{path} is not an unencrypted PEM private key") from None
    if not p256.is_private_key(key):
        raise section.error(name, f"{path} is not a P-256 key: GBCS works with P-256")
    return key


def test_key(name: str, eui64: int) -> EllipticCurvePrivateKey:
    """A key that anybody can derive, for scenarios that do not care who signed."""
    return p256.key_from_digest(hashlib.sha256(_TEST_KEY_DOMAINS[name] + eui64.to_bytes(8, "big")).digest())


@overload
def certified_key(section: Section, name: str) -> EllipticCurvePublicKey: ...
@overload
def certified_key(section: Section, name: str, *, optional: Literal[True]) -> EllipticCurvePublicKey | None: ...
def certified_key(section: Section, name: str, *, optional: bool = False) -> EllipticCurvePublicKey | None:
    """The public key of a certificate that the device holds."""
    if optional and not section.text(name, ""):
        return None
    path = section.file(name)
    try:
        key = x509.load_pem_x509_certificate(_read(section, name, path)).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise section.error(name, f"{path} is not a certificate in PEM") from None
    if not p256.is_public_key(key):
        raise section.error(name, f"{path} does not certify a P-256 key: GBCS works with P-256")
    return key


def read_credentials(section: Section, count: int) -> list[Credentials | None]:
    """One for each of `count` devices. In the path, `{eui64}` stands for the device's own, in 16 hex digits."""
    pattern = section.text(_CREDENTIALS, "")
    if not pattern:
        return [None] * count
    if count > 1 and _PLACEHOLDER not in pattern:
        raise section.error(
            _CREDENTIALS, f"would be the same for all {count} devices: write {_PLACEHOLDER} into the path"
        )
    first = section.eui64("eui64")
    return [_load(section, pattern.replace(_PLACEHOLDER, f"{first + index:016x}")) for index in range(count)]


def _load(section: Section, name: str) -> Credentials:
    path = section.file(_CREDENTIALS, name)
    try:
        return parse_credentials(_read(section, _CREDENTIALS, path).decode("ascii"))
    except (MalformedError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, MalformedError) else "it is not text"
        raise section.error(_CREDENTIALS, f"{path} holds no credentials: {reason}") from None


def read_image_trust(section: Section) -> ImageTrust | None:
    """None where neither key is there: the device then takes images whoever signed them, and unsigned ones."""
    digits = section.text(_IMAGE_CA, "")
    if not digits:
        if section.has(_IMAGE_SIGNERS):
            raise section.error(_IMAGE_SIGNERS, f"cannot be verified without {_IMAGE_CA}: add it")
        return None
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        raise section.error(_IMAGE_CA, "is the CA's public key in hex digits") from None
    for suite in Suite:
        if len(key) == suite.point_octets:
            try:
                suite.curve.decompress(key)
            except InvalidPointError as error:
                raise section.error(_IMAGE_CA, f"is no public key: {error}") from None
            return ImageTrust(suite, key, section.eui64s(_IMAGE_SIGNERS))
    lengths = " or ".join(str(suite.point_octets) for suite in Suite)
    raise section.error(_IMAGE_CA, f"has {lengths} octets (suite 1 or 2), not {len(key)}")


def _read(section: Section, name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise section.error(name, f"{path} cannot be read: {error.strerror}") from None
