"""`chf device`: the device log."""

import sys
from pathlib import Path
from typing import Any

import click

from chf.cli.ask import ask
from chf.cli.options import EUI64, home_option, json_option, print_json, print_table, rest_record, talk, tell_rest
from chf.clock import SystemClock, isoformat
from chf.crypto.install_code import link_key, parse_install_code
from chf.errors import DamagedRowError, RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.files import read_secret
from chf.radio.interface import RADIO_NOTE, RadioLimits
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceType
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from chf.update.clients import CLASSES
from chf.update.eligibility import DeviceImage

_MOST_UPDATES = 50
_AUTO = "auto"
_JOIN_WINDOW_S = (1, 3600)  # JoinTimePeriod of SR 8.11


@click.group()
def device() -> None:
    """The device log: who may be on this hub's network. A device that is not in it gets nothing."""


@device.command()
@click.argument("eui64", type=EUI64)
@click.option(
    "--type",
    "device_type",
    type=click.Choice([kind.value for kind in DeviceType], case_sensitive=False),
    default="PPMID",
    show_default=True,
)
@click.option(
    "--install-code",
    help="From the label, with its CRC: hex, or the text of the QR code. Who lists the processes here sees it:"
    " `-` reads it from standard input, and without the option you are asked.",
)
@click.option(
    "--install-code-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the install code, readable by its owner alone.",
)
@click.option("--without-crc", is_flag=True, help="The install code is given without its CRC (as in SR 8.11).")
@home_option
@json_option
def add(
    *,
    eui64: Eui64,
    device_type: str,
    install_code: str | None,
    install_code_file: Path | None,
    without_crc: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Write a device into the device log, with its install code."""
    if eui64 in {0, 0xFFFF_FFFF_FFFF_FFFF}:
        raise UsageError(f"{format_eui64(eui64)} is no device's: it means nobody, or everybody")
    if install_code is not None and install_code_file is not None:
        raise UsageError("--install-code and --install-code-file exclude each other")
    if install_code_file is not None:
        install_code = read_secret(install_code_file).decode("utf-8-sig", errors="replace")
    elif install_code == "-":
        install_code = sys.stdin.readline()
    elif install_code is None:
        if not sys.stdin.isatty():
            raise UsageError("nobody can be asked here: give --install-code-file FILE, or --install-code - and pipe it")
        install_code = click.prompt("Install code", hide_input=True, err=True)
    entry = DeviceEntry(
        eui64,
        DeviceType(device_type.upper()),
        SystemClock().now().utc,
        link_key(parse_install_code(install_code, eui64, crc=not without_crc)),
    )
    with Store.open(home) as store, store.transaction() as tx:
        tx.devices.add(entry)
        tx.audit.append(Event(entry.added, Kind.DEVICE_ADDED, eui64, None, {"device_type": entry.device_type.value}))
        room = _room(store)
    if room:
        talk(room)
    if as_json:
        print_json({"schema": 1, "device": _described(entry)})
    else:
        talk(f"{format_eui64(eui64)} is in the device log; let it join with: chf device permit {format_eui64(eui64)}")


def _room(store: Store) -> str:
    """What the hub's stick has room for, where that is known; it counts devices of the log, which join one by one."""
    try:
        limits = RadioLimits.from_json(store.meta.json(RADIO_NOTE) or {})
    except DamagedRowError:
        return ""
    if limits.devices is None:
        return ""
    count = len(store.devices.list())
    if count > limits.devices:
        return f"of the hub's stick: {limits}, and the log has {count}: forget one first, or this one will not get in"
    return f"of the hub's stick: {limits}, and the log has {count}"


@device.command()
@click.argument("eui64", type=EUI64)
@click.option(
    "--seconds", type=click.IntRange(*_JOIN_WINDOW_S), default=180, show_default=True, help="How long it may join."
)
@home_option
@json_option
def permit(*, eui64: Eui64, seconds: int, home: Path, as_json: bool) -> None:
    """Open the network for one device of the log."""
    with Store.open(home) as store:
        _insist_on_entry(store, eui64)
        answer = ask(store, home, Verb.DEVICE_PERMIT, {"device": format_eui64(eui64), "seconds": seconds})
    answer.say(f"{format_eui64(eui64)} may join for {seconds} s", as_json=as_json)


@device.command()
@click.argument("eui64", type=EUI64)
@home_option
@json_option
def forget(*, eui64: Eui64, home: Path, as_json: bool) -> None:
    """Remove a device: ask it to leave and delete its link key."""
    with Store.open(home) as store:
        _insist_on_entry(store, eui64)
        answer = ask(store, home, Verb.DEVICE_FORGET, {"device": format_eui64(eui64)})
    answer.say(f"{format_eui64(eui64)} is forgotten", as_json=as_json)


@device.command("set-class")
@click.argument("eui64", type=EUI64)
@click.argument("client_class", type=click.Choice([*CLASSES, _AUTO], case_sensitive=False))
@home_option
@json_option
def set_class(*, eui64: Eui64, client_class: str, home: Path, as_json: bool) -> None:
    """Say of which class a device's OTA client is, where you know it: the hub then goes by the limits of that class.

    With `auto` it goes by what the device shows, and no further than with an unknown client. Classes: docs/clients.md.
    """
    name = None if client_class == _AUTO else client_class
    with Store.open(home) as store:
        _insist_on_entry(store, eui64)
        answer = ask(store, home, Verb.DEVICE_SET_CLASS, {"device": format_eui64(eui64), "class": name})
    what = "by what it shows" if name is None else f"as of class {name}"
    answer.say(f"{format_eui64(eui64)} is treated {what}", as_json=as_json)


def _insist_on_entry(store: Store, eui64: Eui64) -> None:
    """A hub that is down would refuse it only when it comes, when nobody looks any more."""
    if store.devices.get(eui64) is None:
        name = format_eui64(eui64)
        raise RefusedError(f"{name} is not in the device log: `chf device add {name}` writes it down")


@device.command("list")
@home_option
@json_option
def list_devices(*, home: Path, as_json: bool) -> None:
    """Every device of the log."""
    with Store.open(home) as store:
        entries = store.devices.list()
    if as_json:
        print_json({"schema": 1, "devices": [_described(entry) for entry in entries], **rest_record(entries)})
        return
    rows = [
        (
            format_eui64(entry.eui64),
            entry.device_type.value,
            entry.status.value,
            _versions(entry),
            "-" if entry.last_seen is None else isoformat(entry.last_seen),
            str(entry.refused_frames),
        )
        for entry in entries
    ]
    print_table(["DEVICE", "TYPE", "STATUS", "VERSION", "LAST SEEN", "REFUSED FRAMES"], rows)
    tell_rest(entries)


@device.command()
@click.argument("eui64", type=EUI64)
@home_option
@json_option
def show(*, eui64: Eui64, home: Path, as_json: bool) -> None:
    """What is known of one device."""
    with Store.open(home) as store:
        entry = store.devices.get(eui64)
        updates = store.updates.list(device=eui64, last=_MOST_UPDATES)
    if entry is None:
        raise UsageError(f"{format_eui64(eui64)} is not in the device log")
    described = _described(entry)
    lines = [{"update": int(update.id), "state": update.state.value, "reason": update.reason} for update in updates]
    if as_json:
        print_json({"schema": 1, "device": described, "updates": lines, **rest_record(updates)})
        return
    rows = [(name.replace("_", " "), _cell(value)) for name, value in described.items() if name != "images"]
    rows += [(f"image of {image.image_type}", _told(image)) for image in entry.images]
    rows += [(f"update {line['update']}", f"{line['state']} {line['reason']}".strip()) for line in lines]
    print_table(["FIELD", "VALUE"], rows)
    tell_rest(updates)


def _described(entry: DeviceEntry) -> dict[str, Any]:
    return {
        "eui64": format_eui64(entry.eui64),
        "device_type": entry.device_type.value,
        "status": entry.status.value,
        "install_code": entry.install_code_link_key is not None,
        "key_suite": entry.key_suite,
        "key_established": None if entry.key_utc is None else isoformat(entry.key_utc),
        "network_address": _hex(entry.network_address, 4),
        "endpoint": entry.endpoint,
        "images": [
            {
                "manufacturer": _hex(image.image_type.manufacturer_code, 4),
                "image_type": _hex(image.image_type.number, 4),
                "file_version": _hex(image.file_version, 8),
                "hardware_version": _hex(image.hardware_version, 4),
                "since": isoformat(image.since),
            }
            for image in entry.images
        ],
        "client_class": entry.client.client.name,
        "client_confidence": entry.client.confidence.value,
        "client_reasons": list(entry.client.reasons),
        "refused_frames": entry.refused_frames,
        "added": isoformat(entry.added),
        "last_seen": None if entry.last_seen is None else isoformat(entry.last_seen),
    }


def _versions(entry: DeviceEntry) -> str:
    """What it runs; with the image type, where it has more than one."""
    told = [(image.image_type.number, _hex(image.file_version, 8) or "unknown") for image in entry.images]
    if len(told) > 1:
        return ", ".join(f"0x{number:04X}: {version}" for number, version in told)
    return told[0][1] if told else "-"


def _told(image: DeviceImage) -> str:
    version = "version unknown" if image.file_version is None else f"version 0x{image.file_version:08X}"
    hardware = "" if image.hardware_version is None else f", hardware version 0x{image.hardware_version:04X}"
    return f"{version}{hardware}, told at {isoformat(image.since)}"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "-" if value is None else str(value)


def _hex(value: int | None, digits: int) -> str | None:
    return None if value is None else f"0x{value:0{digits}X}"
