"""The serial ports of this machine, by names that outlive a replugging, with what their USB descriptors say.

And what to do where one, or one on the network, cannot be opened.
"""

import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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


def on_a_network(port: str) -> bool:
    """tcp://host:port and the like: an adapter, for which no udev rule and no group is of use."""
    return "://" in port


def holders(port: str) -> str:
    """Who has a local port open, as "name (process 12)", as far as /proc shows it; "" where it does not.

    Of processes of other users it shows nothing, but to root.
    """
    device, found = os.path.realpath(port), set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parts[2]
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if int(process) != os.getpid() and str(link.readlink()) == device:
                name = (link.parents[1] / "comm").read_text(encoding="utf-8", errors="replace").strip()
                found.add(f"{name} (process {process})")
    return ", ".join(sorted(found))


def rival(port: str) -> str:
    """The likely cause where a link is lost again and again, or a port is taken."""
    if on_a_network(port):
        return "another program on this or another machine connects to the adapter, which has room for one"
    its = holders(port)
    return f"{its} has {port} open: stop it first" if its else f"another program may have {port} (`fuser -v {port}`)"


def trouble_with(port: str, error: Exception) -> str:
    """What an error means that came of opening a port, or of using it, and what to do."""
    if on_a_network(port):
        return _trouble_on_a_network(port, error)
    match error:
        case FileNotFoundError():
            return f"there is no port {port}: is the dongle plugged in? `chf radio probe` lists the ports"
        case PermissionError(errno=errno.EACCES | errno.EPERM):
            return f"you may not open {port}: `chf doctor` says which group may"
        case PermissionError() | OSError(errno=errno.EBUSY):  # serialx says so without a number
            its = holders(port)
            return f"another program has {port}: stop {its or 'it'} first (`fuser -v {port}` names it)"
        case OSError(errno=errno.ENOTTY | errno.EISDIR | errno.EINVAL):
            return f"{port} is no serial port: `chf radio probe` lists them"
        case ConnectionError() | OSError(errno=errno.EIO | errno.ENODEV | errno.ENXIO):
            return f"the link to the dongle at {port} was lost: was it unplugged, or has another program taken it?"
        case TimeoutError():
            return f"{port} does not open: replug the dongle"
        case _:
            return f"the dongle at {port}: {str(error) or repr(error)}"


def _trouble_on_a_network(port: str, error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return f"nobody listens at {port}: is the adapter on, and are address and port right?"
        case socket.gaierror():
            return f"nobody knows the address in {port}: is it spelt right?"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return f"no way leads to {port}: is the adapter on this network?"
        case ConnectionError():
            return (
                f"the adapter at {port} closed the connection: has another program taken it, which has room for one,"
                " or does its access list leave this machine out?"
            )
        case TimeoutError():
            return f"{port} does not take the connection: is the adapter on?"
        case _:
            return f"the adapter at {port}: {str(error) or repr(error)}"
