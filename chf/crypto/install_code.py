"""Install codes (ZigBee Smart Energy 5.4.8.1.1): the secret on a device's label, and the link key made from it."""

import re

from chf.crypto.mmo import aes_mmo
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64

CODE_LENGTHS_BYTES = (6, 8, 12, 16)  # SE 5.4.8.1.1
CRC_BYTES = 2  # CRC-16/X-25
# As labels of several makers have it, says zigbee-herdsman, and between bars.
_QR = re.compile(r"(?:Z:|^\|?)(?P<eui64>[0-9A-Fa-f]{16})(?:\$I:|\|)(?P<code>[0-9A-Fa-f]+)")


def crc16_x25(octets: bytes) -> int:
    """CRC-16/X-25: reflected polynomial 0x8408, initial value and final XOR 0xFFFF."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8408 if crc & 1 else crc >> 1
    return crc ^ 0xFFFF


def with_crc(code: bytes) -> bytes:
    """The install code as printed on a label: code and CRC, low octet first."""
    if len(code) not in CODE_LENGTHS_BYTES:
        raise UsageError(f"an install code has 6, 8, 12 or 16 octets before its CRC, not {len(code)}")
    return code + crc16_x25(code).to_bytes(CRC_BYTES, "little")


def parse_install_code(text: str, device: Eui64 | None = None, *, crc: bool = True) -> bytes:
    """Code and CRC of a label, whose CRC is checked, or made where the label has none (`crc=False`).

    Hex, with spaces, hyphens or 0x, or the text of a QR code that names the device as well. Raises UsageError, also
    for the label of another device than `device`. The text is secret: no error repeats it.
    """
    text = text.strip()
    if (both := _QR.search(text)) is not None:
        text = both["code"]
        if device is not None and int(both["eui64"], 16) != device:
            raise UsageError(f"the label is that of {format_eui64(Eui64(int(both['eui64'], 16)))}: compare the two")
    try:
        labelled = bytes.fromhex(text.lower().removeprefix("0x").replace("-", " ").replace(":", " "))
    except ValueError:
        raise UsageError("an install code is written in hex digits") from None
    if not crc:
        return with_crc(labelled)
    if len(labelled) - CRC_BYTES not in CODE_LENGTHS_BYTES:
        raise UsageError(f"an install code with its CRC has 8, 10, 14 or 18 octets, not {len(labelled)}")
    if with_crc(labelled[:-CRC_BYTES]) != labelled:
        raise UsageError("the CRC at the end of the install code does not fit: compare it with the device's label")
    return labelled


def link_key(labelled_code: bytes) -> bytes:
    """The preconfigured trust-centre link key: AES-MMO over code and CRC."""
    return aes_mmo(labelled_code)
