"""What a device checks before it will run an image that it has downloaded.

One that believes in signers checks a standard image's certificate, signature and integrity code as devices in the field
do: signer and certificate must name the same, who must be on the list; then the certificate under the CA's key must be
that of the key that signed. Its validity dates are not looked at (our choice: a boot loader has no clock).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from chf.crypto import ecdsa
from chf.crypto.binary_curve import InvalidPointError
from chf.crypto.ecqv import DIGITAL_SIGNATURE, Certificate, CertificateError, Suite
from chf.crypto.mmo import aes_mmo
from devices.nodes.settings import BodyFormat
from devices.wire.ota_file import BadImageError, OtaHeader, SubElement, check_sub_elements, sub_elements

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from devices.nodes.image_bank import Download
    from devices.nodes.settings import FirmwareSettings, ImageTrust

_SIGNATURE_BYTES = 64  # GBCS 11.2.2: r and s of ECDSA over P-256
_SIGNED_TAIL_BYTES = 2 + _SIGNATURE_BYTES  # GBCS 11.2.2, 11.2.4: ForceReplace, length, signature
_INTEGRITY_CODE_TAG = 0x0003  # ZCL8 11.4.3
_SIGNATURE_TAGS = {Suite.ONE: 0x0001, Suite.TWO: 0x0005}  # ZCL8 11.4.3
_CERTIFICATE_TAGS = {Suite.ONE: 0x0002, Suite.TWO: 0x0006}  # ZCL8 11.4.3
_SIGNER_BYTES = 8  # ZCL8 11.4.3: an EUI-64 before r and s


def check_image(octets: bytes, download: Download, settings: FirmwareSettings) -> None:
    """Raise BadImageError with the reason unless this device may run `octets`, offered to it as `download`."""
    header = OtaHeader.from_bytes(octets)
    if header.total_bytes != len(octets):
        raise BadImageError(f"the header says {header.total_bytes} bytes, there are {len(octets)}")
    if header.manufacturer != settings.manufacturer_code:
        raise BadImageError(f"manufacturer 0x{header.manufacturer:04X}")
    if header.image_type != settings.image_type:
        raise BadImageError(f"image type 0x{header.image_type:04X}")
    if header.file_version != download.image.file_version:
        raise BadImageError(f"version 0x{header.file_version:08X}, offered as 0x{download.image.file_version:08X}")
    if header.destination is not None and header.destination != settings.eui64:
        raise BadImageError("for another device")
    if header.hardware_versions is not None:
        lowest, highest = header.hardware_versions
        if not lowest <= settings.hardware_version <= highest:
            raise BadImageError(
                f"for hardware 0x{lowest:04X} to 0x{highest:04X}, this is 0x{settings.hardware_version:04X}"
            )
    if settings.image_signer is not None:
        _check_signature(octets, settings.image_signer)
    if settings.image_trust is not None:
        own, suite = settings.credentials, settings.image_trust.suite
        issuer = own.certificate.issuer if own is not None and own.suite is suite else None
        check_trusted(octets, header.header_bytes, settings.image_trust, issuer)
    body = octets[header.header_bytes :]
    if not body:
        raise BadImageError("a header and nothing else")
    # A GBCS body is the maker's own from its first byte (GBCS 11.2.2), so EITHER has nothing left to refuse.
    if settings.body_format is BodyFormat.SUB_ELEMENTS:
        check_sub_elements(body)


def manufacturer_image(octets: bytes) -> bytes:
    """What is hashed and signed of a signed GBCS image: neither the header, nor ForceReplace (GBCS 11.2.2, 11.2.4)."""
    return octets[OtaHeader.from_bytes(octets).header_bytes : -_SIGNED_TAIL_BYTES]


def receipt(octets: bytes, *, verified: bool) -> bytes:
    """What the device has to tell of an image that it has received: the verdict, and the hash of what was judged."""
    try:
        judged = manufacturer_image(octets)
    except BadImageError:
        judged = octets
    return bytes((verified,)) + hashlib.sha256(judged).digest()


def read_receipt(record: bytes) -> tuple[bool, bytes]:
    return bool(record[0]), record[1:]


def _check_signature(octets: bytes, signer: EllipticCurvePublicKey) -> None:
    """The supplier's, over the Manufacturer Image (GBCS 11.2.2): `ForceReplace || 0x40 || r || s` ends the file."""
    body = octets[OtaHeader.from_bytes(octets).header_bytes :]
    tail = body[-_SIGNED_TAIL_BYTES:]
    if len(body) <= _SIGNED_TAIL_BYTES or tail[0] > 1 or tail[1] != _SIGNATURE_BYTES:
        raise BadImageError("no supplier's signature")
    r, s = (
        int.from_bytes(half, "big") for half in (tail[2 : 2 + _SIGNATURE_BYTES // 2], tail[-_SIGNATURE_BYTES // 2 :])
    )
    try:
        signer.verify(encode_dss_signature(r, s), manufacturer_image(octets), ECDSA(SHA256()))
    except InvalidSignature:
        raise BadImageError("the signature is not its supplier's") from None


def check_trusted(octets: bytes, header_bytes: int, trust: ImageTrust, issuer: int | None) -> None:
    """Raise BadImageError with the reason unless one of the trusted signed `octets`.

    `issuer` is that of the device's own certificate, where it has one: the signer's must be of the same.
    """
    elements = tuple(sub_elements(octets, header_bytes))
    for element in elements:
        # What it covers is our reading: the file up to the code.
        if element.tag == _INTEGRITY_CODE_TAG and aes_mmo(octets[: element.data_at]) != element.data:
            raise BadImageError("the integrity code is not that of the file")
    signature, r_s_bytes = _suite_signature(elements, trust)
    certificate = _certificate(elements, trust)
    signer = int.from_bytes(signature.data[:_SIGNER_BYTES], "little")
    if signer != certificate.subject:
        raise BadImageError("the signer is not the subject of the certificate")
    if signer not in trust.signers:
        raise BadImageError(f"signed by {signer:016X}, who may not")
    if issuer is not None and certificate.issuer != issuer:
        raise BadImageError(f"its certificate is by {certificate.issuer:016X}, the device's own by {issuer:016X}")
    curve = trust.suite.curve
    try:
        public = certificate.public_key(curve.decompress(trust.ca_public_key))
    except InvalidPointError as error:
        raise BadImageError(f"the certificate holds no public key: {error}") from None
    if not ecdsa.verifies(curve, public, aes_mmo(octets[:-r_s_bytes]), signature.data[_SIGNER_BYTES:]):
        raise BadImageError("the signature does not hold")


def _suite_signature(elements: tuple[SubElement, ...], trust: ImageTrust) -> tuple[SubElement, int]:
    """The last sub-element, and how much of its end is r and s, which it cannot cover."""
    tag, r_s_bytes = _SIGNATURE_TAGS[trust.suite], 2 * trust.suite.curve.scalar_octets
    found = [element for element in elements if element.tag in _SIGNATURE_TAGS.values()]
    if len(found) != 1 or elements[-1] is not found[0] or found[0].tag != tag:
        raise BadImageError(f"no signature of suite {trust.suite.value} as its one last sub-element")
    if len(found[0].data) != _SIGNER_BYTES + r_s_bytes:
        raise BadImageError(f"a signature of {len(found[0].data)} bytes")
    return found[0], r_s_bytes


def _certificate(elements: tuple[SubElement, ...], trust: ImageTrust) -> Certificate:
    found = [element for element in elements if element.tag in _CERTIFICATE_TAGS.values()]
    if len(found) != 1 or found[0].tag != _CERTIFICATE_TAGS[trust.suite]:
        raise BadImageError(f"not just one certificate, of suite {trust.suite.value}")
    try:
        return Certificate.from_bytes(trust.suite, found[0].data, DIGITAL_SIGNATURE)
    except CertificateError as error:
        raise BadImageError(f"the certificate: {error}") from None
