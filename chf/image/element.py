"""Sub-elements (ZigBee OTA 095264r23 6.3.3, ZCL8 11.4.3): the body of a standard OTA file. GBCS images have none."""

import struct
from dataclasses import dataclass, field

from chf.errors import MalformedImageError

_HEAD = struct.Struct("<HI")  # tag, length: ZCL8 11.4.3
HEAD_BYTES = 6  # the same
assert _HEAD.size == HEAD_BYTES

MANUFACTURER_TAGS_FROM = 0xF000  # ZCL8 11.4.3

UPGRADE_IMAGE = 0x0000  # ZCL8 11.4.3
INTEGRITY_CODE = 0x0003  # AES-MMO over the file, ZCL8 11.4.3
_NAMES = {
    UPGRADE_IMAGE: "upgrade image",
    0x0001: "ECDSA signature, crypto suite 1",
    0x0002: "ECDSA signing certificate, crypto suite 1",
    INTEGRITY_CODE: "image integrity code",
    0x0004: "picture data",
    0x0005: "ECDSA signature, crypto suite 2",
    0x0006: "ECDSA signing certificate, crypto suite 2",
}
_LENGTHS_BYTES = {0x0001: 50, 0x0002: 48, INTEGRITY_CODE: 16, 0x0005: 80, 0x0006: 74}  # ZCL8 11.4.3
_FIRST_RESERVED_TAG = 0x0007  # ZCL8 11.4.3


@dataclass(frozen=True, slots=True)
class SubElement:
    tag: int
    data: bytes = field(repr=False)

    @property
    def name(self) -> str:
        if self.tag >= MANUFACTURER_TAGS_FROM:
            return "manufacturer specific"
        return _NAMES.get(self.tag, "reserved tag")

    @property
    def is_reserved(self) -> bool:
        return _FIRST_RESERVED_TAG <= self.tag < MANUFACTURER_TAGS_FROM

    @property
    def standard_length_bytes(self) -> int | None:
        """How long the data of this tag has to be, where the standard says it."""
        return _LENGTHS_BYTES.get(self.tag)

    @property
    def length_bytes(self) -> int:
        return HEAD_BYTES + len(self.data)

    def to_bytes(self) -> bytes:
        return _HEAD.pack(self.tag, len(self.data)) + self.data

    @classmethod
    def from_bytes(cls, raw: bytes, at: int = 0) -> "SubElement":
        """The sub-element at offset `at`; errors (MalformedImageError) count from the start of `raw`."""
        left = len(raw) - at
        if left < HEAD_BYTES:
            reason = f"what is left at the end ({left} of {HEAD_BYTES} bytes) is too short for a tag and a length"
            raise MalformedImageError(reason, field="sub-element tag", offset=at)
        tag, length = _HEAD.unpack_from(raw, at)
        if length > left - HEAD_BYTES:
            reason = f"the sub-element 0x{tag:04X} claims {length} bytes where {left - HEAD_BYTES} are left"
            raise MalformedImageError(reason, field="sub-element length", offset=at + 2)
        return cls(tag, raw[at + HEAD_BYTES : at + HEAD_BYTES + length])


def split_sub_elements(raw: bytes, start: int) -> tuple[SubElement, ...]:
    """The sub-elements from `start` to the end of `raw`, without a gap. Raises MalformedImageError."""
    elements: list[SubElement] = []
    at = start
    while at < len(raw):
        element = SubElement.from_bytes(raw, at)
        elements.append(element)
        at += element.length_bytes
    return tuple(elements)


def opens_like_sub_element(raw: bytes, start: int) -> bool:
    """Whether the bytes at `start` begin as a standard body begins: too well to be a Manufacturer Image by chance.

    An upgrade image of any length but 0, or a tag of fixed length with just that length.
    """
    if len(raw) - start < HEAD_BYTES:
        return False
    tag, length = _HEAD.unpack_from(raw, start)
    return bool(length) if tag == UPGRADE_IMAGE else _LENGTHS_BYTES.get(tag) == length


def first_tag(raw: bytes, start: int) -> int | None:
    """The tag at `start` if a sub-element that is not empty would fit there; of random octets one in 5,000 does so."""
    try:
        element = SubElement.from_bytes(raw, start)
    except MalformedImageError:
        return None
    return element.tag if element.data else None
