"""The OTA header (ZigBee OTA 095264r23 6.3.2, ZCL8 11.4.2) that opens standard files and GBCS images alike.

Reads and writes the header alone, and refuses one that contradicts itself. What follows it, and whether the total image
size is true, is `image`'s business.
"""

import struct
from dataclasses import dataclass

from chf.errors import MalformedImageError
from chf.eui64 import Eui64, from_little_endian, to_little_endian

FILE_IDENTIFIER = 0x0BEEF11E  # ZCL8 11.4.2, as the rest of the header
HEADER_VERSION = 0x0100  # GBCS has no other (HG)
ZIGBEE_PRO = 0x0002  # stack version

SECURITY_CREDENTIAL_PRESENT = 0x0001  # field control, ZCL8 11.4.2.4
DESTINATION_PRESENT = 0x0002
HARDWARE_VERSIONS_PRESENT = 0x0004  # field control, bit 2
RESERVED_BITS = 0xFFF8  # of the field control
_OPTIONAL_BYTES = {SECURITY_CREDENTIAL_PRESENT: 1, DESTINATION_PRESENT: 8, HARDWARE_VERSIONS_PRESENT: 4}  # ZCL8 11.4.2

HEADER_STRING_BYTES = 32  # field 7
_FIXED = struct.Struct("<IHHHHHIH32sI")
MIN_HEADER_BYTES = 56  # without the optional fields
assert _FIXED.size == MIN_HEADER_BYTES
TOTAL_SIZE_OFFSET = 52  # in octets

_FIXED_FIELDS = (
    (0, "file identifier"),
    (4, "header version"),
    (6, "header length"),
    (8, "field control"),
    (10, "manufacturer code"),
    (12, "image type"),
    (14, "file version"),
    (18, "stack version"),
    (20, "header string"),
    (TOTAL_SIZE_OFFSET, "total image size"),
)


@dataclass(frozen=True, slots=True)
class ImageType:
    """What a file is for, of all that a device runs: image types are numbers of each manufacturer's own."""

    manufacturer_code: int
    number: int

    def __str__(self) -> str:
        return f"manufacturer 0x{self.manufacturer_code:04X}, type 0x{self.number:04X}"


@dataclass(frozen=True, slots=True)
class HardwareVersions:
    """The range, both ends included, of the hardware versions that the image is for."""

    minimum: int
    maximum: int

    def __contains__(self, hardware_version: int) -> bool:
        return self.minimum <= hardware_version <= self.maximum


@dataclass(frozen=True, slots=True)
class OtaHeader:
    """Field control and header length follow from which optional fields are there."""

    manufacturer_code: int
    image_type: int
    file_version: int
    header_string: bytes
    total_image_size: int
    stack_version: int = ZIGBEE_PRO
    security_credential_version: int | None = None
    destination: Eui64 | None = None
    hardware_versions: HardwareVersions | None = None

    @property
    def made_for(self) -> ImageType:
        return ImageType(self.manufacturer_code, self.image_type)

    @property
    def field_control(self) -> int:
        optional = (self.security_credential_version, self.destination, self.hardware_versions)
        return sum(bit for bit, value in zip(_OPTIONAL_BYTES, optional, strict=True) if value is not None)

    @property
    def length_bytes(self) -> int:
        return _length_bytes(self.field_control)

    def to_bytes(self) -> bytes:
        frame = FILE_IDENTIFIER, HEADER_VERSION, self.length_bytes, self.field_control
        image = self.manufacturer_code, self.image_type, self.file_version
        octets = _FIXED.pack(*frame, *image, self.stack_version, self.header_string, self.total_image_size)
        if self.security_credential_version is not None:
            octets += bytes([self.security_credential_version])
        if self.destination is not None:
            octets += to_little_endian(self.destination)
        if self.hardware_versions is not None:
            octets += struct.pack("<HH", self.hardware_versions.minimum, self.hardware_versions.maximum)
        return octets

    @classmethod
    def from_bytes(cls, raw: bytes) -> "OtaHeader":
        """Read the header at the start of `raw`; what follows it is left alone. Raises MalformedImageError."""
        length, field_control = _read_frame(raw)
        manufacturer, image_type, version, stack, text, total = _FIXED.unpack_from(raw)[4:]
        at = MIN_HEADER_BYTES
        credential = destination = hardware = None
        if field_control & SECURITY_CREDENTIAL_PRESENT:
            credential, at = raw[at], at + 1
        if field_control & DESTINATION_PRESENT:
            destination, at = from_little_endian(raw[at : at + 8]), at + 8
        if field_control & HARDWARE_VERSIONS_PRESENT:
            hardware = HardwareVersions(*struct.unpack_from("<HH", raw, at))
            if hardware.minimum > hardware.maximum:
                raise MalformedImageError(
                    f"the minimum hardware version 0x{hardware.minimum:04X} is above "
                    f"the maximum 0x{hardware.maximum:04X}: no device would take the image",
                    field="minimum hardware version",
                    offset=at,
                )
        if total < length:
            reason = f"the total image size, {total} bytes, is less than the header's {length}"
            raise MalformedImageError(reason, field="total image size", offset=TOTAL_SIZE_OFFSET)
        return cls(manufacturer, image_type, version, text, total, stack, credential, destination, hardware)


def _length_bytes(field_control: int) -> int:
    return MIN_HEADER_BYTES + sum(size for bit, size in _OPTIONAL_BYTES.items() if field_control & bit)


def _read_frame(raw: bytes) -> tuple[int, int]:
    """The header's length and field control, once everything that says where its fields lie has been checked."""
    if len(raw) >= 4 and raw[:4] != FILE_IDENTIFIER.to_bytes(4, "little"):
        raise MalformedImageError(
            f"the file begins with {raw[:4].hex(' ')}, not with the OTA file identifier 1e f1 ee 0b: "
            "not an OTA file, or one in a maker's wrapping",
            field="file identifier",
            offset=0,
        )
    if len(raw) < MIN_HEADER_BYTES:
        raise _truncated(raw, MIN_HEADER_BYTES)
    _, version, length, field_control = _FIXED.unpack_from(raw)[:4]
    if version != HEADER_VERSION:
        raise MalformedImageError(f"header version 0x{version:04X} is not 0x0100", field="header version", offset=4)
    if field_control & RESERVED_BITS:
        reason = f"field control 0x{field_control:04X} has reserved bits set (0x{field_control & RESERVED_BITS:04X})"
        raise MalformedImageError(reason, field="field control", offset=8)
    implied = _length_bytes(field_control)
    if length != implied:
        reason = f"the header claims {length} bytes, but with field control 0x{field_control:04X} it has {implied}"
        raise MalformedImageError(reason, field="header length", offset=6)
    if len(raw) < length:
        raise _truncated(raw, length)
    return length, field_control


def _truncated(raw: bytes, wanted: int) -> MalformedImageError:
    cut = [name for start, name in _FIXED_FIELDS if start <= len(raw)]
    field = "optional header fields" if len(raw) >= MIN_HEADER_BYTES else cut[-1]
    return MalformedImageError(
        f"the file ends after {len(raw)} of the header's {wanted} bytes", field=field, offset=len(raw)
    )
