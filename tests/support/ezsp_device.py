"""A device in memory beside the EZSP co-processor, and the commands that let it in."""

import struct
from typing import Any

from devices.stack.interface import Eui64
from tests.support.ezsp_host import EzspHost
from tests.support.heard_device import HeardDevice

DEVICE = Eui64(0x00DB_1234_5678_90A4)
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
SECURED = 0x0160
SL_OK, SL_INVALID_INDEX, SL_NOT_FOUND = 0x00, 0x27, 0x2D


class Device(HeardDevice):
    def __init__(self, host: EzspHost, ieee: Eui64 = DEVICE, key: bytes = KEY, **options: Any) -> None:
        super().__init__(host, ieee, key, 3, **options)


def transient(eui64: int, key: bytes) -> bytes:
    return struct.pack("<Q16sB", eui64, key, 0)


def link_key(index: int, eui64: int, key: bytes) -> bytes:
    return struct.pack("<BQ16s", index, eui64, key)


def sl(octets: bytes) -> int:
    return int.from_bytes(octets, "little")


def let_in(host: EzspHost, **options: Any) -> Device:
    """A device that is in; its key was installed before."""
    host.call(0x0022, bytes([60]))
    device = Device(host, **options)
    device.stack.power_on()
    host.run(8.0)
    assert device.stack.joined
    return device


def joined(host: EzspHost, **options: Any) -> Device:
    """A device that is in, with its key in the table."""
    assert sl(host.call(0x010E, link_key(0, DEVICE, KEY))) == SL_OK
    device = let_in(host, **options)
    host.callbacks.clear()
    return device
