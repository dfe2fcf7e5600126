"""What a device checks before it will run an image that it has downloaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from devices.nodes.settings import BodyFormat
from devices.wire.ota_file import BadImageError, OtaHeader, check_sub_elements

if TYPE_CHECKING:
    from devices.nodes.image_bank import Download
    from devices.nodes.settings import DeviceSettings


def check_image(octets: bytes, download: Download, settings: DeviceSettings) -> None:
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
    _check_body(octets[header.header_bytes :], settings.body_format)
    if settings.expected_sha256 is not None and hashlib.sha256(octets).digest() != settings.expected_sha256:
        raise BadImageError("its SHA-256 is not the expected one")


def _check_body(body: bytes, body_format: BodyFormat) -> None:
    if not body:
        raise BadImageError("a header and nothing else")
    if body_format is BodyFormat.SUB_ELEMENTS:
        check_sub_elements(body)
    # A GBCS body is the maker's own from its first byte (GBCS 11.2.2), so EITHER has nothing left to refuse.
