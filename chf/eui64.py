"""EUI-64: the one name by which a device is known at every layer (EntityId in GBCS, DeviceID in DUIS)."""

import re
from typing import NewType

from chf.errors import UsageError

Eui64 = NewType("Eui64", int)
"""The 64-bit identifier as an integer; wire order is the codec's business."""

_TEXT = re.compile(r"[0-9A-Fa-f]{2}([-:]?)(?:[0-9A-Fa-f]{2}\1){6}[0-9A-Fa-f]{2}")


def parse_eui64(text: str) -> Eui64:
    """Read `00-DB-12-34-56-78-90-A4`, with hyphens, colons or nothing between the octets.

    Raises UsageError for anything else.
    """
    if not _TEXT.fullmatch(text.strip()):
        raise UsageError(f"{text[:40]!r} is not an EUI-64: write eight octets in hex, such as 00-DB-12-34-56-78-90-A4")
    return Eui64(int(re.sub(r"[-:\s]", "", text), 16))


def format_eui64(eui64: Eui64) -> str:
    """`00-DB-12-34-56-78-90-A4`, the form of DUIS."""
    return eui64.to_bytes(8, "big").hex("-").upper()


def to_little_endian(eui64: Eui64) -> bytes:
    """As ZigBee frames carry it."""
    return eui64.to_bytes(8, "little")


def from_little_endian(octets: bytes) -> Eui64:
    return Eui64(int.from_bytes(octets, "little"))


def to_big_endian(eui64: Eui64) -> bytes:
    """As GBCS messages and certificates carry it (EntityId)."""
    return eui64.to_bytes(8, "big")


def from_big_endian(octets: bytes) -> Eui64:
    return Eui64(int.from_bytes(octets, "big"))
