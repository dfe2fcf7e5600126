"""What a device checks before it will run an image that it has downloaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from devices.nodes.image_trust import check_trusted
from devices.nodes.settings import BodyFormat
from devices.wire.ota_file import BadImageError, OtaHeader, check_sub_elements

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from devices.nodes.image_bank import Download
    from devices.nodes.settings import FirmwareSettings, ImageTrust

_SIGNATURE_BYTES = 64
_SIGNED_TAIL_BYTES = 2 + _SIGNATURE_BYTES


def check_image(octets: bytes, download: Download, settings: FirmwareSettings) -> None:
    """Raise BadImageError with the reason unless this device may run `octets`, offered to it as `download`."""
    header = OtaHeader.from_bytes(octets)
    if header.total_bytes != len(octets) or header.total_bytes != download.size_bytes:
        raise BadImageError(
            f"the header says {header.total_bytes} bytes, the server {download.size_bytes}, there are {len(octets)}"
        )
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
        check_trusted(octets, header.header_bytes, settings.image_trust, _own_issuer(settings, settings.image_trust))
    _check_body(octets[header.header_bytes :], settings.body_format)
    if settings.expected_sha256 is not None and hashlib.sha256(octets).digest() != settings.expected_sha256:
        raise BadImageError("its SHA-256 is not the expected one")


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


def _own_issuer(settings: FirmwareSettings, trust: ImageTrust) -> int | None:
    own = settings.credentials
    return own.certificate.issuer if own is not None and own.suite is trust.suite else None


def _check_body(body: bytes, body_format: BodyFormat) -> None:
    if not body:
        raise BadImageError("a header and nothing else")
    if body_format is BodyFormat.SUB_ELEMENTS:
        check_sub_elements(body)
    # A GBCS body is the maker's own from its first byte (GBCS 11.2.2), so EITHER has nothing left to refuse.
