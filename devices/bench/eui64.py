"""EUI-64 as people write it."""

import re

from devices.stack.interface import Eui64

_TEXT = re.compile(r"[0-9A-Fa-f]{2}([-:]?)(?:[0-9A-Fa-f]{2}\1){6}[0-9A-Fa-f]{2}")


def parse_eui64(text: str) -> Eui64 | None:
    """With hyphens, colons or nothing between the octets; None for anything else."""
    return Eui64(int(re.sub(r"[-:]", "", text), 16)) if _TEXT.fullmatch(text) else None


def format_eui64(eui64: int) -> str:
    """`00-DB-12-34-56-78-90-A4`, as the hub prints it."""
    return eui64.to_bytes(8, "big").hex("-").upper()
