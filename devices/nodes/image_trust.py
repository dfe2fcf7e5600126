"""What a device that believes in signers checks of a standard image: certificate, signature, integrity code.

As devices in the field do: signer and certificate must name the same, who must be on the list; then the certificate
under the CA's key must be that of the key that signed. Its validity dates are not looked at (our choice: a boot loader
has no clock).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chf.crypto import ecdsa
from chf.crypto.binary_curve import InvalidPointError
from chf.crypto.ecqv import DIGITAL_SIGNATURE, Certificate, CertificateError, Suite
from chf.crypto.mmo import aes_mmo
from devices.wire.ota_file import BadImageError, SubElement, sub_elements

if TYPE_CHECKING:
    from devices.nodes.settings import ImageTrust

# ZCL8 11.4.3
_INTEGRITY_CODE_TAG = 0x0003
_SIGNATURE_TAGS = {Suite.ONE: 0x0001, Suite.TWO: 0x0005}
_CERTIFICATE_TAGS = {Suite.ONE: 0x0002, Suite.TWO: 0x0006}
_SIGNER_BYTES = 8


def check_trusted(octets: bytes, header_bytes: int, trust: ImageTrust, issuer: int | None) -> None:
    """Raise BadImageError with the reason unless one of the trusted signed `octets`.

    `issuer` is that of the device's own certificate, where it has one: the signer's must be of the same.
    """
    elements = tuple(sub_elements(octets, header_bytes))
    for element in elements:
        # What it covers is our reading: the file up to the code.
        if element.tag == _INTEGRITY_CODE_TAG and aes_mmo(octets[: element.data_at]) != element.data:
            raise BadImageError("the integrity code is not that of the file")
    signature, r_s_bytes = _signature(elements, trust)
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


def _signature(elements: tuple[SubElement, ...], trust: ImageTrust) -> tuple[SubElement, int]:
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
