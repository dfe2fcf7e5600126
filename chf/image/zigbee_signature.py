"""The signature and the integrity code that a standard OTA file carries among its sub-elements (ZCL8 11.4.3).

The signature is the last sub-element: the signer's EUI-64, then r || s over the AES-MMO digest of everything before
r || s. The certificate travels in the file; what has to be known beforehand is the public key of its issuer, a CA. The
integrity code is an AES-MMO digest of what stands before it; makers read the standard in three ways (`READINGS`).
`signature` has the other kind of signature, that of GBCS images.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import shake_256
from typing import Final

from chf.crypto import ecdsa
from chf.crypto.binary_curve import InvalidPointError, Point
from chf.crypto.ecqv import DIGITAL_SIGNATURE, Certificate, CertificateAuthority, CertificateError, Credentials, Suite
from chf.crypto.mmo import BLOCK_BYTES, AesMmo, aes_mmo
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64, from_little_endian, to_little_endian
from chf.image.element import HEAD_BYTES, INTEGRITY_CODE, SubElement
from chf.image.image import FirmwareImage

SIGNER_BYTES: Final = 8  # IEEE EUI-64
SIGNATURE_TAGS: Final = {Suite.ONE: 0x0001, Suite.TWO: 0x0005}  # ZCL8 11.4.3
CERTIFICATE_TAGS: Final = {Suite.ONE: 0x0002, Suite.TWO: 0x0006}  # ZCL8 11.4.3
_SUITES: Final = {tag: suite for suite, tag in SIGNATURE_TAGS.items()}
_SEED_DOMAIN: Final = b"chf zigbee image test key\0"  # our choice
_RANDOM_BYTES: Final = 64  # our choice: above the order of either curve
_LABELLED_CA = re.compile(r"^\s*CA Public Key\s*:(.*)$", re.IGNORECASE | re.MULTILINE)


class BadSignatureError(Exception):
    """The file is signed in a way that cannot be right, whoever the CA is; the text says why."""


@dataclass(frozen=True, slots=True)
class ZigbeeAuthority:
    """A CA by its public key, from which the suite follows."""

    suite: Suite
    public_key: Point


@dataclass(frozen=True, slots=True)
class ZigbeeSignature:
    """`signer` is who the signature says made it; it is the subject of the certificate too, or the file is refused."""

    suite: Suite
    signer: Eui64
    issuer: Eui64
    certificate: Certificate
    digest: bytes
    r_s: bytes

    def verifies_under(self, authority: ZigbeeAuthority) -> bool:
        """Whether the certificate under this CA is of the key that signed. Takes two multiplications of points."""
        if authority.suite is not self.suite:
            return False
        try:
            public = self.certificate.public_key(authority.public_key)
        except InvalidPointError:
            return False
        return ecdsa.verifies(self.suite.curve, public, self.digest, self.r_s)


READINGS: Final = (
    "of the file up to the code, its tag and length included",  # 42 public files of NodOn
    "of the file up to the code's tag",  # 90 of Ubisys, Innr and Bosch
    "of the file up to the code's tag, the length padded as in a short message",  # 19 of Develco
)
"""What an integrity code covers, as public files have it. `build` writes the first."""


@dataclass(frozen=True, slots=True)
class IntegrityCode:
    """`computed` goes with `READINGS`."""

    found: bytes
    computed: tuple[bytes, ...]

    @property
    def reading(self) -> str | None:
        """The first that holds; None where none does, and the file is damaged."""
        return next((name for name, code in zip(READINGS, self.computed, strict=True) if code == self.found), None)


def integrity_element(content: bytes) -> bytes:
    """The sub-element that goes behind `content`, which is a file up to there with its final total size."""
    covered = content + SubElement(INTEGRITY_CODE, bytes(BLOCK_BYTES)).to_bytes()[:-BLOCK_BYTES]
    return covered[len(content) :] + aes_mmo(covered)


def signature_elements(content: bytes, credentials: Credentials) -> bytes:
    """Certificate and signature, which end the file: `content` is all of it before them, with its final total size."""
    suite, certificate = credentials.suite, credentials.certificate
    signer = to_little_endian(Eui64(certificate.subject))
    element = SubElement(SIGNATURE_TAGS[suite], signer + bytes(_r_s_bytes(suite))).to_bytes()
    tail = SubElement(CERTIFICATE_TAGS[suite], certificate.octets).to_bytes() + element[: -_r_s_bytes(suite)]
    return tail + ecdsa.sign(suite.curve, credentials.private_key, aes_mmo(content + tail))


def sealed_bytes(suite: Suite | None, *, integrity_code: bool) -> int:
    """How long these sub-elements are going to be: the header has to say it before they can be made."""
    size = SubElement(INTEGRITY_CODE, bytes(BLOCK_BYTES)).length_bytes if integrity_code else 0
    if suite is None:
        return size
    certificate = SubElement(CERTIFICATE_TAGS[suite], bytes(suite.certificate_octets))
    signature = SubElement(SIGNATURE_TAGS[suite], bytes(SIGNER_BYTES + _r_s_bytes(suite)))
    return size + certificate.length_bytes + signature.length_bytes


def read_signature(image: FirmwareImage) -> ZigbeeSignature | None:
    """None for a file without one. Raises BadSignatureError for what no device could take for one."""
    elements = image.sub_elements
    certificates = [each for each in elements if each.tag in CERTIFICATE_TAGS.values()]
    signatures = [each for each in elements if each.tag in _SUITES]
    if not signatures:
        if certificates:
            raise BadSignatureError("a signing certificate without a signature")
        return None
    if len(signatures) > 1 or elements[-1] is not signatures[0]:
        raise BadSignatureError("the signature is not the one last sub-element")
    element, suite = elements[-1], _SUITES[elements[-1].tag]
    if len(element.data) != element.standard_length_bytes:
        raise BadSignatureError(f"the signature has {len(element.data)} bytes, not {element.standard_length_bytes}")
    if len(certificates) != 1 or certificates[0].tag != CERTIFICATE_TAGS[suite]:
        raise BadSignatureError("not just one signing certificate, of the suite of the signature")
    try:
        certificate = Certificate.from_bytes(suite, certificates[0].data, DIGITAL_SIGNATURE)
    except CertificateError as error:
        raise BadSignatureError(f"the signing certificate: {error}") from None
    signer = from_little_endian(element.data[:SIGNER_BYTES])
    if signer != certificate.subject:
        subject = format_eui64(Eui64(certificate.subject))
        raise BadSignatureError(f"the signer is {format_eui64(signer)}, its certificate that of {subject}")
    digest = aes_mmo(image.content[: -_r_s_bytes(suite)])
    return ZigbeeSignature(suite, signer, Eui64(certificate.issuer), certificate, digest, element.data[SIGNER_BYTES:])


def read_integrity_codes(image: FirmwareImage) -> Iterator[IntegrityCode]:
    """Every one that the file carries: one, if it carries any, as files are made."""
    at, hashed, before = image.header.length_bytes, 0, AesMmo()
    for element in image.sub_elements:
        if element.tag == INTEGRITY_CODE:
            before.update(image.content[hashed:at])
            hashed = at
            with_head = before.digest(image.content[at : at + HEAD_BYTES])
            yield IntegrityCode(element.data, (with_head, before.digest(), before.digest(long_form=False)))
        at += element.length_bytes


def seeded_authority(suite: Suite, seed: str, identity: Eui64) -> CertificateAuthority:
    """A CA that anybody can derive from its published seed: for test images, never for a real product."""
    return CertificateAuthority.generate(suite, identity, _derived(suite, seed, b"authority"))


def seeded_credentials(suite: Suite, seed: str, issuer: Eui64, signer: Eui64) -> Credentials:
    """A signer's certificate by that CA, and its key: the same from the same four, always."""
    requester, own = (_derived(suite, seed, role + signer.to_bytes(8, "big")) for role in (b"requester", b"issue"))
    return seeded_authority(suite, seed, issuer).issue(signer, requester, own)


def authority_from_text(text: str) -> ZigbeeAuthority:
    """From a compressed point in hex: alone, or behind `CA Public Key:` among other lines. Raises UsageError."""
    labelled = _LABELLED_CA.search(text)
    try:
        octets = bytes.fromhex(labelled[1] if labelled else text)
    except ValueError:
        raise UsageError("the ZigBee CA's public key is not hex digits") from None
    for suite in Suite:
        if len(octets) == suite.point_octets:
            try:
                return ZigbeeAuthority(suite, suite.curve.decompress(octets))
            except InvalidPointError as error:
                raise UsageError(f"the ZigBee CA's public key: {error}") from None
    lengths = " or ".join(str(suite.point_octets) for suite in Suite)
    raise UsageError(f"a ZigBee CA's public key has {lengths} octets, not {len(octets)}")


def authority_text(authority: CertificateAuthority) -> str:
    """What `authority_from_text` reads."""
    return f"CA Public Key: {authority.public_key.hex()}\n"


def _r_s_bytes(suite: Suite) -> int:
    return 2 * suite.curve.scalar_octets


def _derived(suite: Suite, seed: str, role: bytes) -> int:
    """The seed comes last, behind a role of known beginning, so that no two of them run into each other."""
    material = _SEED_DOMAIN + bytes((suite.value,)) + role + b"\0" + seed.encode()
    return int.from_bytes(shake_256(material).digest(_RANDOM_BYTES), "big") | 1 << (8 * _RANDOM_BYTES - 1)
