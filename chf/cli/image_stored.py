"""`chf image add`, `list`, `remove`: the images that the hub may send, kept in its store by their SHA-256.

Works while the hub runs and while it is down: the store takes both.
"""

from pathlib import Path
from typing import Any

import click

from chf.cli.image_options import (
    IMAGE_FILE,
    STANDARD_INPUT,
    certificate_option,
    kind_option,
    limit_option,
    load_image,
    load_signer,
)
from chf.cli.options import home_option, json_option, print_json, print_table, rest_record, talk, tell_rest
from chf.clock import SystemClock, isoformat
from chf.errors import RefusedError, UsageError
from chf.image.image import FirmwareImage, ImageKind
from chf.store import ImageRecord, Store
from chf.store.images import record_of
from chf.trace import Event, Kind, Value
from chf.view import printable

_MAX_NAME_CHARACTERS = 120  # our choice
_DIGEST_SHOWN = 12  # enough to tell images apart (our choice)


@click.command()
@click.argument("file", type=IMAGE_FILE)
@click.option("--name", help="What to call it in lists; by default the file's name.")
@certificate_option
@kind_option
@limit_option
@home_option
@json_option
def add(
    *,
    file: Path,
    name: str | None,
    certificate: Path | None,
    kind: ImageKind | None,
    limit_bytes: int,
    home: Path,
    as_json: bool,
) -> None:
    """Check FILE (- for standard input) and store it. With --certificate, refuse it unless the signature verifies."""
    image = load_image(file, kind=kind, limit_bytes=limit_bytes)
    if certificate is not None:
        _insist_on_signature(image, certificate)
    with Store.open(home) as store:
        record, added = keep(store, image, _name(name, file))
    if as_json:
        print_json({"schema": 1, "added": added, "image": _as_json(record)})
        return
    click.echo(record.sha256)
    talk(f"stored as {record.name}" if added else "it is stored already")


def keep(store: Store, image: FirmwareImage, name: str) -> tuple[ImageRecord, bool]:
    """Store an image, with the audit event; False where it is stored already."""
    record = record_of(image, name, SystemClock().now().utc)
    with store.transaction() as tx:
        added = tx.images.add(record, image.content)
        if added:
            version = f"0x{record.file_version:08X}"
            fields: dict[str, Value] = {"sha256": record.sha256, "bytes": record.size_bytes, "file_version": version}
            tx.audit.append(Event(record.added, Kind.IMAGE_ADDED, fields=fields))
    return record, added


@click.command("list")
@home_option
@json_option
def list_images(*, home: Path, as_json: bool) -> None:
    """The stored images, in the order in which they were added."""
    with Store.open(home) as store:
        records = store.images.list()
    if as_json:
        print_json({"schema": 1, "images": [_as_json(record) for record in records], **rest_record(records)})
        return
    rows = [
        (
            record.sha256[:_DIGEST_SHOWN],
            record.kind,
            f"{record.manufacturer:04X}",
            f"{record.image_type:04X}",
            f"{record.file_version:08X}",
            str(record.size_bytes),
            isoformat(record.added),
            record.name,
        )
        for record in records
    ]
    print_table(("SHA-256", "Kind", "Maker", "Type", "Version", "Bytes", "Added", "Name"), rows)
    tell_rest(records)


@click.command()
@click.argument("image")
@home_option
@json_option
def remove(*, image: str, home: Path, as_json: bool) -> None:
    """Forget IMAGE, named by its SHA-256 (the first digits will do) or its name. Refused while an update needs it."""
    with Store.open(home) as store, store.transaction() as tx:
        record = tx.images.find(image)
        tx.images.remove(record.sha256)
        tx.audit.append(Event(SystemClock().now().utc, Kind.IMAGE_REMOVED, fields={"sha256": record.sha256}))
    if as_json:
        print_json({"schema": 1, "removed": _as_json(record)})
    else:
        talk(f"removed {record.name} ({record.sha256})")


def _insist_on_signature(image: FirmwareImage, certificate: Path) -> None:
    from chf.image.checks import signature_check

    check = signature_check(image, load_signer(certificate))
    if check is not None and not check.passed:
        raise RefusedError(f"the image is not stored: {check.detail}")


def file_name(file: Path) -> str:
    return printable(file.name)[:_MAX_NAME_CHARACTERS]


def _name(given: str | None, file: Path) -> str:
    if given is None:
        return "standard input" if file == STANDARD_INPUT else file_name(file)
    if not 0 < len(given) <= _MAX_NAME_CHARACTERS or not given.isprintable():
        raise UsageError(f"a name is 1 to {_MAX_NAME_CHARACTERS} printable characters")
    return given


def _as_json(record: ImageRecord) -> dict[str, Any]:
    return {
        "sha256": record.sha256,
        "name": record.name,
        "kind": record.kind,
        "manufacturer_code": f"0x{record.manufacturer:04X}",
        "image_type": f"0x{record.image_type:04X}",
        "file_version": f"0x{record.file_version:08X}",
        "hardware_versions": None
        if record.hardware_min is None or record.hardware_max is None
        else {"minimum": f"0x{record.hardware_min:04X}", "maximum": f"0x{record.hardware_max:04X}"},
        "bytes": record.size_bytes,
        "added": isoformat(record.added),
    }
