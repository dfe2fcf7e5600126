"""`chf dcc cs06`, `cs08`, `ecs52`, `gcs38`: a supplier's commands about firmware, for people without a DUIS client."""

from pathlib import Path
from typing import Any

import click

from chf.cli.dcc.pki import pki_path
from chf.cli.image_options import limit_option, load_image
from chf.cli.options import EUI64, UTC_TIME, home_option, json_option, print_json, talk
from chf.clock import SystemClock, UtcSeconds, isoformat
from chf.dcc.firmware_commands import SUPPLIER_COUNTER, next_counter, read_version, row
from chf.dcc.firmware_commands import cs06 as make_cs06
from chf.errors import RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.gbcs import CANCELLED_UTC_S, MessageCode
from chf.image.image import FirmwareImage, ImageKind
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.device_log import DeviceType
from chf.store.lock import hub_running
from chf.trust import insist_on_trust

_CS06_DEVICES = (DeviceType.ESME, DeviceType.GSME, DeviceType.HCALCS)

_device_option = click.option("--device", type=EUI64, required=True, help="An EUI-64 of the device log.")


@click.command()
@_device_option
@click.option("--image", required=True, help="A file, or a stored image by its SHA-256 (or its beginning) or name.")
@click.option(
    "--at",
    type=UTC_TIME,
    help="Activate then: 2026-11-23T18:00:00Z, 18:00Z, '18:00 Europe/London', +8h. Default: at once.",
)
@limit_option
@click.option("--cancel", is_flag=True, help="Take a future-dated activation back.")
@home_option
@json_option
def cs06(
    *, device: Eui64, image: str, at: UtcSeconds | None, limit_bytes: int, cancel: bool, home: Path, as_json: bool
) -> None:
    """Activate Firmware: sign with the test supplier's key, add the ACB's MAC, send.

    The command waits for its device for a day. The device's response is an entry of `chf alert`.
    """
    if at is not None and cancel:
        raise UsageError("--at and --cancel exclude each other")
    if at is not None and at <= SystemClock().now().utc:
        raise UsageError(f"{isoformat(at)} has passed; without --at the device activates at once")
    when = UtcSeconds(CANCELLED_UTC_S) if cancel else at
    pki = Pki.open(pki_path(home))
    with Store.open(home) as store:
        image_hash = bytes.fromhex(_image(store, image, limit_bytes).manufacturer_image_hash)
        _insist_on(store, device, _CS06_DEVICES, "CS06")
        now = store.watched(SystemClock()).now()
        if at is not None:
            insist_on_trust(now)
        with store.transaction() as tx:
            counter = next_counter(tx, SUPPLIER_COUNTER, now)
            message = make_cs06(pki, device, counter, image_hash, when)
            number = tx.device_messages.add(row(device, MessageCode.ACTIVATE_FIRMWARE, counter, message, now))
    told = "to cancel" if cancel else "at once" if at is None else isoformat(at)
    _say(home, number, "CS06", device, counter, message, {"hash": image_hash.hex(), "at": told}, as_json=as_json)


def _reader(use_case: str, types: tuple[DeviceType, ...]) -> click.Command:
    names = " or ".join(kind.value for kind in types)

    @click.command(
        use_case.lower(),
        help=f"Read the firmware version of a device of type {names}. The response is an entry of `chf alert`.",
    )
    @_device_option
    @home_option
    @json_option
    def read(*, device: Eui64, home: Path, as_json: bool) -> None:
        pki = Pki.open(pki_path(home))
        with Store.open(home) as store:
            device_type = _insist_on(store, device, types, use_case)
            now = SystemClock().now()
            with store.transaction() as tx:
                asked = read_version(tx, pki, device, device_type, now)
                number = tx.device_messages.add(asked)
        _say(home, number, use_case, device, asked.counter, asked.message, {}, as_json=as_json)

    return read


cs08 = _reader("CS08", (DeviceType.PPMID, DeviceType.HCALCS))
ecs52 = _reader("ECS52", (DeviceType.ESME,))
gcs38 = _reader("GCS38", (DeviceType.GSME,))


def _image(store: Store, text: str, limit_bytes: int) -> FirmwareImage:
    path = Path(text)
    if path.is_file():
        image = load_image(path, limit_bytes=limit_bytes)
    else:
        image = store.images.load(store.images.find(text).sha256)
    if image.kind is not ImageKind.GBCS_SIGNED:
        raise UsageError(f"CS06 activates signed GBCS images, and this is of kind {image.kind.value}")
    return image


def _insist_on(store: Store, device: Eui64, types: tuple[DeviceType, ...], use_case: str) -> DeviceType:
    entry = store.devices.get(device)
    if entry is None:
        raise RefusedError(f"{format_eui64(device)} is not in the device log")
    if entry.device_type not in types:
        names = " and ".join(kind.value for kind in types)
        raise RefusedError(f"{format_eui64(device)} is a {entry.device_type.value}: {use_case} is for {names}")
    return entry.device_type


def _say(
    home: Path,
    number: int,
    use_case: str,
    device: Eui64,
    counter: int,
    message: bytes,
    more: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    running = hub_running(home)
    if as_json:
        described = {"message": number, "use_case": use_case, "device": format_eui64(device), "counter": counter}
        print_json({"schema": 1, **described, **more, "octets": message.hex(), "queued": not running})
        return
    talk(f"{use_case} with counter {counter} waits for {format_eui64(device)} as message {number}")
    if not running:
        talk("no hub runs on this home directory: `chf run` will send it")
