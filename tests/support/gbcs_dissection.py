"""GBCS messages as Wireshark's own dissector reads them, without the network around them."""

import struct
import subprocess
from pathlib import Path

from tests.support.air_capture import tshark

_USER0 = 147  # DLT_USER0
_USERS = 'uat:user_dlts:"User 0 (DLT=147)","gbcs_message","0","","0",""'


def dissect(messages: list[bytes], directory: Path) -> list[str]:
    """The full text of each message, as tshark prints it."""
    program = tshark()
    pcap = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _USER0)
    for number, message in enumerate(messages):
        pcap += struct.pack("<IIII", number, 0, len(message), len(message)) + message
    path = directory / "messages.pcap"
    path.write_bytes(pcap)
    command = [program, "-r", str(path), "-o", _USERS, "-V"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    packets = ["Frame " + part for part in ("\n" + shown).split("\nFrame ")[1:]]
    assert len(packets) == len(messages)
    return packets
