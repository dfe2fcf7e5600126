"""Captures that Wireshark and tshark open: classic pcap with IEEE 802.15.4 TAP records (link type 283), and the keys.

A TAP record carries channel and signal strength next to the frame. The writer takes any binary stream; opening,
flushing and closing it is the owner's business.
"""

from pathlib import Path
from struct import Struct
from typing import BinaryIO

LINKTYPE_IEEE802_15_4_TAP = 283  # registry of link types of tcpdump.org
_MAGIC_MICROSECONDS = 0xA1B2C3D4  # pcap-savefile(5)
_FILE = Struct("<IHHiIII")  # pcap-savefile(5)
_RECORD = Struct("<IIII")  # pcap-savefile(5)
# TAP header, then FCS type 1 (16 bit), received signal strength as float, channel and page 0; values padded to 4.
_TAP = Struct("<BBHHHIHHfHHHBx")  # header, then TLVs of FCS type, RSS and channel: IEEE 802.15.4 TAP link type
assert _TAP.size == 28


class PcapWriter:
    """Writes the file header at once; `epoch_s` is the UTC time of simulated 0."""

    def __init__(self, stream: BinaryIO, epoch_s: float = 0.0) -> None:
        self._stream = stream
        self._epoch_s = epoch_s
        stream.write(_FILE.pack(_MAGIC_MICROSECONDS, 2, 4, 0, 0, 0xFFFF, LINKTYPE_IEEE802_15_4_TAP))

    def write(self, time_s: float, channel: int, rssi_dbm: float, octets: bytes) -> None:
        """One frame with its FCS, as it went over the air at simulated `time_s`."""
        seconds, microseconds = divmod(round((self._epoch_s + time_s) * 1_000_000), 1_000_000)
        length = _TAP.size + len(octets)
        self._stream.write(
            _RECORD.pack(seconds, microseconds, length, length)
            + _TAP.pack(0, 0, _TAP.size, 0, 1, 1, 1, 4, rssi_dbm, 3, 3, channel, 0)
            + octets
        )


def zigbee_pc_keys(keys: dict[str, bytes]) -> str:
    """The text of Wireshark's `zigbee_pc_keys` table: a line `"key","Normal","label"` for each label."""
    lines = []
    for label, key in keys.items():
        if not label.isprintable() or '"' in label:
            raise ValueError(f"a key label is plain text without quotes, not {label!r}")
        lines.append(f'"{key.hex(":")}","Normal","{label}"\n')
    return "".join(lines)


def write_zigbee_pc_keys(path: Path, keys: dict[str, bytes]) -> None:
    """Write that table to a file that only its owner can read: it opens every frame of the capture."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(zigbee_pc_keys(keys), encoding="ascii")
