"""What can be asked of an image beyond being well formed, each question answered with what was wanted and found."""

from collections.abc import Iterator
from dataclasses import dataclass

from chf.crypto import p256
from chf.eui64 import format_eui64
from chf.image.image import FirmwareImage
from chf.image.signature import Signer
from chf.image.zigbee_signature import (
    BadSignatureError,
    ZigbeeAuthority,
    ZigbeeSignature,
    read_integrity_codes,
    read_signature,
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the caller knows of the image; None is not asked."""

    sha256: str | None = None
    manufacturer_image_hash: str | None = None
    file_version: int | None = None
    hardware_version: int | None = None
    signer: Signer | None = None
    zigbee_authority: ZigbeeAuthority | None = None


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool | None  # None: could not be asked, for want of something that `detail` names
    detail: str


def check_image(image: FirmwareImage, expected: Expectation) -> tuple[Check, ...]:
    structure = f"{image.kind.value}, {len(image.content)} bytes, every one accounted for"
    return (Check("structure", passed=True, detail=structure), *_checks(image, expected))


def signature_check(image: FirmwareImage, signer: Signer | None) -> Check | None:
    """None where there is neither a signature nor somebody who should have made one."""
    if image.signature is None:
        if signer is None:
            return None
        return Check("signature", passed=False, detail="the image carries no supplier signature")
    if signer is None:
        return Check("signature", passed=None, detail="there is one; name a certificate to verify it")
    who = signer.subject or "the public key"
    if p256.verifies(image.manufacturer_image, image.signature, signer.public_key):
        return Check("signature", passed=True, detail=f"made by {who}")
    return Check("signature", passed=False, detail=f"not made by {who} over this Manufacturer Image")


def zigbee_checks(image: FirmwareImage, authority: ZigbeeAuthority | None) -> Iterator[Check]:
    """Of the integrity code and the signature among the sub-elements, for those that there are or should be."""
    for code in read_integrity_codes(image):
        detail = code.reading or f"{code.found.hex()} is not what any known reading computes of this file"
        yield Check("integrity code", passed=code.reading is not None, detail=detail)
    try:
        signature = read_signature(image)
    except BadSignatureError as error:
        yield Check("ZigBee signature", passed=False, detail=str(error))
        return
    if signature is not None:
        yield _zigbee_signature(signature, authority)
    elif authority is not None:
        yield Check("ZigBee signature", passed=False, detail="the image carries no signature among its sub-elements")


def _zigbee_signature(signature: ZigbeeSignature, authority: ZigbeeAuthority | None) -> Check:
    signer, issuer = format_eui64(signature.signer), format_eui64(signature.issuer)
    who = f"{signer}, certified by {issuer}, suite {signature.suite.value}"
    if authority is None:
        return Check("ZigBee signature", passed=None, detail=f"says {who}; name the CA's public key to verify it")
    if authority.suite is not signature.suite:
        detail = f"says {who}; the CA's key is of suite {authority.suite.value}"
        return Check("ZigBee signature", passed=False, detail=detail)
    if signature.verifies_under(authority):
        return Check("ZigBee signature", passed=True, detail=f"made by {who}")
    detail = f"says {who}, which under this CA did not sign this file"
    return Check("ZigBee signature", passed=False, detail=detail)


def _checks(image: FirmwareImage, expected: Expectation) -> Iterator[Check]:
    if expected.sha256 is not None:
        yield _equal("sha256", expected.sha256.lower(), image.sha256)
    if expected.manufacturer_image_hash is not None:
        found = image.manufacturer_image_hash
        yield _equal("manufacturer image hash", expected.manufacturer_image_hash.lower(), found)
    if expected.file_version is not None:
        yield _equal("file version", f"{expected.file_version:08X}", f"{image.header.file_version:08X}")
    if expected.hardware_version is not None:
        yield _hardware(image, expected.hardware_version)
    signature = signature_check(image, expected.signer)
    if signature is not None:
        yield signature
    yield from zigbee_checks(image, expected.zigbee_authority)


def _equal(name: str, wanted: str, found: str) -> Check:
    return Check(name, passed=wanted == found, detail=found if wanted == found else f"is {found}, not {wanted}")


def _hardware(image: FirmwareImage, wanted: int) -> Check:
    versions = image.header.hardware_versions
    if versions is None:
        return Check("hardware version", passed=True, detail="the image names none: it is for all")
    inside = wanted in versions
    where = f"0x{wanted:04X} is {'in' if inside else 'outside'} 0x{versions.minimum:04X} to 0x{versions.maximum:04X}"
    return Check("hardware version", passed=inside, detail=where)
