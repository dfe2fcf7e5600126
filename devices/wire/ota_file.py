"""The OTA file as a device reads it from its flash (ZCL8 11.4): the header, and the sub-elements where there are any.

It checks what a device must check before it runs an image, not everything that a publisher should; what the signatures
among the sub-elements are worth is judged elsewhere. A GBCS image has no sub-elements: its body is the maker's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = 0x0BEE_F11E  # ZCL8 11.4, OTA header
HEADER_VERSION = 0x0100  # ZCL8 11.4, OTA header
UPGRADE_IMAGE_TAG = 0x0000  # ZCL8 11.4, sub-element tags

_FIXED = struct.Struct("<IHHHHHIH32sI")  # ZCL8 11.4, OTA header without its optional fields
_ELEMENT = struct.Struct("<HI")  # tag and length, ZCL8 11.4
assert _FIXED.size == 56

_CREDENTIAL = 0x0001  # field control, ZCL8 11.4
_DESTINATION = 0x0002  # field control, ZCL8 11.4
_HARDWARE = 0x0004  # field control, ZCL8 11.4
MAXIMUM_HEADER_BYTES = _FIXED.size + 1 + 8 + 4


class BadImageError(Exception):
    """The image must not run; the text says why."""


@dataclass(frozen=True, slots=True)
class OtaHeader:
    manufacturer: int
    image_type: int
    file_version: int
    total_bytes: int
    header_bytes: int = 60
    stack_version: int = 2  # ZigBee PRO
    text: bytes = b""
    credential: int | None = None
    destination: int | None = None
    hardware_versions: tuple[int, int] | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> OtaHeader:
        """Read the header at the start of a file. Raises BadImageError."""
        if len(octets) < _FIXED.size:
            raise BadImageError(f"{len(octets)} bytes are no OTA header")
        magic, version, length, control, manufacturer, image_type, file_version, stack, text, total = (
            _FIXED.unpack_from(octets)
        )
        if magic != MAGIC:
            raise BadImageError(f"file identifier 0x{magic:08X}")
        if version != HEADER_VERSION:
            raise BadImageError(f"header version 0x{version:04X}")
        at = _FIXED.size
        credential = destination = hardware = None
        needed = at + bool(control & _CREDENTIAL) + 8 * bool(control & _DESTINATION) + 4 * bool(control & _HARDWARE)
        if length < needed or len(octets) < needed:
            raise BadImageError(f"header length {length}, but its fields take {needed}")
        if control & _CREDENTIAL:
            credential = octets[at]
            at += 1
        if control & _DESTINATION:
            destination = int.from_bytes(octets[at : at + 8], "little")
            at += 8
        if control & _HARDWARE:
            hardware = struct.unpack_from("<HH", octets, at)
        image, optional = (manufacturer, image_type, file_version), (credential, destination, hardware)
        return cls(*image, total, length, stack, text.rstrip(b"\0"), *optional)

    def to_bytes(self) -> bytes:
        optional, control = b"", 0
        if self.credential is not None:
            control |= _CREDENTIAL
            optional += bytes((self.credential,))
        if self.destination is not None:
            control |= _DESTINATION
            optional += self.destination.to_bytes(8, "little")
        if self.hardware_versions is not None:
            control |= _HARDWARE
            optional += struct.pack("<HH", *self.hardware_versions)
        image = self.manufacturer, self.image_type, self.file_version
        about = self.stack_version, self.text, self.total_bytes
        fixed = _FIXED.pack(MAGIC, HEADER_VERSION, self.header_bytes, control, *image, *about)
        return (fixed + optional).ljust(self.header_bytes, b"\0")


@dataclass(frozen=True, slots=True)
class SubElement:
    """`data_at` counts from the start of the file."""

    tag: int
    data_at: int
    data: bytes


def sub_elements(octets: bytes, header_bytes: int) -> Iterator[SubElement]:
    """Those of a whole file, to its very end. Raises BadImageError."""
    at = header_bytes
    while at < len(octets):
        if len(octets) - at < _ELEMENT.size:
            raise BadImageError(f"{len(octets) - at} bytes after the last sub-element")
        tag, length = _ELEMENT.unpack_from(octets, at)
        at += _ELEMENT.size
        if length > len(octets) - at:
            raise BadImageError(f"sub-element 0x{tag:04X} runs past the end")
        yield SubElement(tag, at, octets[at : at + length])
        at += length


def check_sub_elements(body: bytes) -> None:
    """Walk the sub-elements to the very end and find one upgrade image with something in it, or raise BadImageError."""
    found = False
    for element in sub_elements(body, 0):
        if element.tag == UPGRADE_IMAGE_TAG:
            if found or not element.data:
                raise BadImageError("two upgrade images" if found else "an empty upgrade image")
            found = True
    if not found:
        raise BadImageError("no upgrade image")
