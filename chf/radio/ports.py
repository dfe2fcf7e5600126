"""The serial ports of this machine, by names that outlive a replugging, with what their USB descriptors say."""

from dataclasses import dataclass

import serialx


@dataclass(frozen=True, slots=True)
class SerialPort:
    """`path` is the name to put into a configuration: /dev/serial/by-id/... where the system has one."""

    path: str
    device: str  # /dev/ttyACM0: changes with the order of plugging
    manufacturer: str | None
    product: str | None
    serial_number: str | None
    usb_id: str | None  # "10c4:ea60"


def list_ports() -> tuple[SerialPort, ...]:
    """Every serial port, those on USB first. May touch the disk; not for the event loop of a busy hub."""
    ports = [_described(port) for port in serialx.list_serial_ports()]
    return tuple(sorted(ports, key=lambda port: (port.usb_id is None, port.path)))


def _described(port: serialx.SerialPortInfo) -> SerialPort:
    usb_id = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else None
    return SerialPort(
        path=str(port.device),
        device=str(port.resolved_device),
        manufacturer=port.manufacturer,
        product=port.product,
        serial_number=port.serial_number,
        usb_id=usb_id,
    )
