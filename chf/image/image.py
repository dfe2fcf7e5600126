"""A firmware image, read strictly: every byte of the file accounted for, or one error that says where and why.

Three kinds share one header. Which one a file is follows from its bytes by the rule in `_kind`, argued in
docs/image-format.md; a caller who knows better states the kind. Makers' wrappings are not unwrapped and no byte is
repaired, so what is hashed is what is served. Signatures are located here and verified by `signature`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import NewType, assert_never

from chf.errors import MalformedImageError
from chf.image.element import UPGRADE_IMAGE, SubElement, first_tag, opens_like_sub_element, split_sub_elements
from chf.image.header import HARDWARE_VERSIONS_PRESENT, TOTAL_SIZE_OFFSET, ZIGBEE_PRO, OtaHeader

ImageId = NewType("ImageId", str)
"""SHA-256 of the whole file, 64 lower-case hex digits: the name by which an image is stored, pinned and served."""

DEFAULT_LIMIT_BYTES = 750 * 1024
"""Our choice: the figure is often quoted for GB images, but we know of no public text that sets it."""

GBCS_HEADER_BYTES = 60  # with hardware versions and nothing else (HG)
SIGNATURE_BYTES = 64  # r || s
_SIGNATURE_LENGTH_OCTET = SIGNATURE_BYTES
SIGNED_TAIL_BYTES = 2 + SIGNATURE_BYTES  # ForceReplace, 0x40, signature: GBCS 11.2.2
_WILDCARDS = (("manufacturer code", 0xFFFF), ("image type", 0xFFFF), ("file version", 0xFFFFFFFF))


class ImageKind(StrEnum):
    STANDARD = "standard"  # header, sub-elements
    GBCS_PPMID = "gbcs-ppmid"  # 60-byte header, Manufacturer Image
    GBCS_SIGNED = "gbcs-signed"  # the same, ForceReplace, 0x40, supplier's signature: ESME, GSME, HCALCS


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """`manufacturer_image` is what is installed: of a standard file, the data of its upgrade image."""

    kind: ImageKind
    header: OtaHeader
    content: bytes = field(repr=False)
    manufacturer_image: bytes = field(repr=False)
    sub_elements: tuple[SubElement, ...]
    force_replace: bool | None
    signature: bytes | None = field(repr=False)
    sha256: ImageId
    manufacturer_image_hash: str

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is allowed, and odd enough that a person wants to know."""
        return tuple(_remarks(self))


def parse_image(
    content: bytes, *, kind: ImageKind | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES
) -> FirmwareImage:
    """Read a whole file. `kind` overrules what the bytes look like. Raises MalformedImageError."""
    if len(content) > limit_bytes:
        raise too_large(limit_bytes)
    header = OtaHeader.from_bytes(content)
    _check_total_size(header, len(content), limit_bytes)
    if kind is None:
        kind = _kind(header, content)
        try:
            return _parse_body(content, header, kind)
        except MalformedImageError as error:
            raise MalformedImageError(
                error.reason + _hint(header, kind), field=error.field, offset=error.offset
            ) from None
    return _parse_body(content, header, kind)


def too_large(limit_bytes: int) -> MalformedImageError:
    return MalformedImageError(
        f"the file is larger than the limit of {limit_bytes} bytes", field="file size", offset=limit_bytes
    )


def _parse_body(content: bytes, header: OtaHeader, kind: ImageKind) -> FirmwareImage:
    start = header.length_bytes
    elements: tuple[SubElement, ...] = ()
    force_replace = signature = None
    match kind:
        case ImageKind.STANDARD:
            elements = split_sub_elements(content, start)
            manufacturer_image = _only_upgrade_image(elements, start)
        case ImageKind.GBCS_PPMID:
            _check_gbcs_header(header)
            manufacturer_image = content[start:]
        case ImageKind.GBCS_SIGNED:
            _check_gbcs_header(header)
            manufacturer_image, force_replace, signature = _split_signed(content, start)
        case _:
            assert_never(kind)
    if not manufacturer_image:
        raise MalformedImageError("the Manufacturer Image is empty", field="Manufacturer Image", offset=start)
    hashes = ImageId(sha256(content).hexdigest()), sha256(manufacturer_image).hexdigest()
    return FirmwareImage(kind, header, content, manufacturer_image, elements, force_replace, signature, *hashes)


def _check_total_size(header: OtaHeader, size: int, limit_bytes: int) -> None:
    claimed = header.total_image_size
    if claimed == size:
        return
    if claimed > limit_bytes:
        reason = f"the header claims {claimed} bytes, more than the limit of {limit_bytes}; the file has {size}"
    elif claimed > size:
        reason = f"the header claims {claimed} bytes, the file ends after {size}: cut short, or the wrong size"
    else:
        reason = f"the file goes on after the {claimed} bytes that the header claims, to {size}"
        raise MalformedImageError(reason, field="total image size", offset=claimed)
    raise MalformedImageError(reason, field="total image size", offset=TOTAL_SIZE_OFFSET)


def _kind(header: OtaHeader, content: bytes) -> ImageKind:
    """What the bytes say: standard where they are sub-elements or open too much like them to be anything else."""
    if not _is_gbcs_header(header):
        return ImageKind.STANDARD
    start = header.length_bytes
    if len(content) == start:
        return ImageKind.GBCS_PPMID
    if opens_like_sub_element(content, start):
        return ImageKind.STANDARD
    try:
        split_sub_elements(content, start)
    except MalformedImageError:
        tail = content[start:][-SIGNED_TAIL_BYTES:]
        signed = len(tail) == SIGNED_TAIL_BYTES and tail[0] <= 1 and tail[1] == _SIGNATURE_LENGTH_OCTET
        return ImageKind.GBCS_SIGNED if signed else ImageKind.GBCS_PPMID
    return ImageKind.STANDARD


def _hint(header: OtaHeader, kind: ImageKind) -> str:
    """What to do about a refusal that may come of a wrong guess at the kind."""
    if kind is not ImageKind.STANDARD:
        return ""
    if _is_gbcs_header(header):
        return "; read as a standard OTA file: if it is a GBCS image, state its kind"
    return f"; nor can it be a GBCS image, with field control 0x{header.field_control:04X}"


def _is_gbcs_header(header: OtaHeader) -> bool:
    return header.field_control == HARDWARE_VERSIONS_PRESENT  # which makes it 60 bytes long


def _check_gbcs_header(header: OtaHeader) -> None:
    if not _is_gbcs_header(header):
        raise MalformedImageError(
            f"a GBCS image has hardware versions and no other optional field (field control 0x0004, "
            f"{GBCS_HEADER_BYTES}-byte header), not 0x{header.field_control:04X}",
            field="field control",
            offset=8,
        )


def _only_upgrade_image(elements: tuple[SubElement, ...], start: int) -> bytes:
    """The data of the one upgrade image that a standard file must hold."""
    found: bytes | None = None
    at = start
    for element in elements:
        if element.tag == UPGRADE_IMAGE:
            if found is not None:
                raise MalformedImageError("there is a second upgrade image", field="sub-element tag", offset=at)
            if not element.data:
                raise MalformedImageError("the upgrade image is empty", field="sub-element length", offset=at + 2)
            found = element.data
        at += element.length_bytes
    if found is None:
        raise MalformedImageError(
            f"there is no upgrade image among the {len(elements)} sub-elements", field="sub-element tag", offset=start
        )
    return found


def _split_signed(content: bytes, start: int) -> tuple[bytes, bool, bytes]:
    """Manufacturer Image, ForceReplace, signature (GBCS 11.2.2)."""
    tail = len(content) - SIGNED_TAIL_BYTES
    if tail < start:
        raise MalformedImageError(
            f"{len(content) - start} bytes follow the header, too few for ForceReplace and a signature "
            f"({SIGNED_TAIL_BYTES})",
            field="AuthorisingRemotePartySignature",
            offset=start,
        )
    if content[tail] > 1:
        raise MalformedImageError(
            f"ForceReplace is 0x{content[tail]:02X}, neither 0x00 nor 0x01", field="ForceReplace", offset=tail
        )
    if content[tail + 1] != _SIGNATURE_LENGTH_OCTET:
        reason = f"the signature's length octet is 0x{content[tail + 1]:02X}, not 0x40"
        raise MalformedImageError(reason, field="AuthorisingRemotePartySignature", offset=tail + 1)
    return content[start:tail], bool(content[tail]), content[tail + 2 :]


def _remarks(image: FirmwareImage) -> list[str]:
    header = image.header
    remarks = []
    if header.stack_version != ZIGBEE_PRO:
        remarks.append(f"stack version 0x{header.stack_version:04X} is not 0x0002 (ZigBee PRO)")
    values = (header.manufacturer_code, header.image_type, header.file_version)
    remarks += [
        f"{name} 0x{wildcard:X} is the wildcard: no device can ask for it by that value"
        for (name, wildcard), value in zip(_WILDCARDS, values, strict=True)
        if value == wildcard
    ]
    if image.kind is not ImageKind.STANDARD and (tag := first_tag(image.content, header.length_bytes)) is not None:
        remarks.append(
            f"the body opens like a sub-element (tag 0x{tag:04X}) and does not go on like one: if this is a damaged "
            "standard file, its kind is not what it seems"
        )
    for element in image.sub_elements:
        if element.is_reserved:
            remarks.append(f"sub-element tag 0x{element.tag:04X} is reserved by the standard")
        wanted = element.standard_length_bytes
        if wanted is not None and wanted != len(element.data):
            remarks.append(f"sub-element {element.name} has {len(element.data)} bytes, the standard says {wanted}")
    if image.force_replace:
        remarks.append("ForceReplace is set")
    return remarks
