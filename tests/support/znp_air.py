"""Devices on the air of the TI co-processor in memory, and what its host says to reach them."""

import struct
from typing import Any

from devices.stack.interface import ApsRequest, ApsStatus, Eui64, NwkAddress
from tests.support.heard_device import HeardDevice
from tests.support.znp_host import DATA_CONFIRM, ZnpHost

DEVICE = Eui64(0x00DB_1234_5678_90A4)
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
ACKNOWLEDGED, SECURED = 0x10, 0x40
NO_KEY, NO_ACK, INVALID_REQUEST, NO_ROUTE, MAC_NO_ACK, EXPIRED = 0xA1, 0xB7, 0xC2, 0xCD, 0xE9, 0xF0


class Device(HeardDevice):
    def __init__(self, host: ZnpHost, ieee: Eui64 = DEVICE, key: bytes = KEY, **options: Any) -> None:
        super().__init__(host, ieee, key, 5, **options)
        self.confirms: list[ApsStatus] = []

    def send(self, payload: bytes, *, secured: bool = True, endpoint: int = 3, cluster: int = 0x0019) -> None:
        request = ApsRequest(NwkAddress(0), 0x0109, cluster, 5, endpoint, payload, secured=secured)
        self.stack.send(request, self.confirms.append)


def add_install_code(host: ZnpHost, ieee: int = DEVICE, key: bytes = KEY) -> None:
    assert host.call(0x2F04, struct.pack("<BQ", 2, ieee) + key) == b"\x00"


def switched_on(host: ZnpHost, seconds: float = 10.0, *, permitted: bool = True, **options: Any) -> Device:
    """A device so long after it was switched on."""
    if permitted:
        host.permit()
    device = Device(host, **options)
    device.stack.power_on()
    host.run(seconds)
    return device


def joined(host: ZnpHost, **options: Any) -> Device:
    """A device that is in."""
    add_install_code(host)
    device = switched_on(host, **options)
    assert device.stack.joined
    return device


def data(
    destination: int,
    payload: bytes,
    *,
    options: int = ACKNOWLEDGED | SECURED,
    source: int = 3,
    endpoint: int = 5,
    sequence: int = 7,
    cluster: int = 0x0019,
) -> bytes:
    """The parameters of AF_DATA_REQUEST."""
    head = struct.pack("<HBBHBBB", destination, endpoint, source, cluster, sequence, options, 30)
    return head + bytes([len(payload)]) + payload


def confirms(host: ZnpHost, request: bytes, seconds: float = 1.0) -> list[bytes]:
    """All that were heard so long after an AF_DATA_REQUEST was taken."""
    assert host.call(0x2401, request) == b"\x00"
    host.run(seconds)
    return host.heard(DATA_CONFIRM)


def data_ext(
    mode: int, address: int, payload: bytes, *, length: int | None = None, options: int = 0x30, endpoint: int = 5
) -> bytes:
    """The parameters of AF_DATA_REQUEST_EXT."""
    head = struct.pack("<BQBHBHBBB", mode, address, endpoint, 0, 3, 0x0019, 9, options, 30)
    return head + struct.pack("<H", len(payload) if length is None else length) + payload
