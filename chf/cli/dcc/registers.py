"""`chf dcc device` and `chf dcc product`: the bench's inventory (SMI) and product list (CPL)."""

from pathlib import Path

import click

from chf.cli.image_options import limit_option, load_image
from chf.cli.options import EUI64, home_option, json_option, print_json, print_table, talk
from chf.config import Table
from chf.dcc.products import Cpl, Product, ProductStatus
from chf.dcc.smi import Smi, SmiDevice, SmiStatus
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.store.device_log import DeviceType

TYPES = click.Choice([kind.value for kind in DeviceType], case_sensitive=False)
SMI_STATUS = click.Choice([*(status.value for status in SmiStatus), "follow"], case_sensitive=False)
PRODUCT_STATUS = click.Choice([status.value for status in ProductStatus], case_sensitive=False)


@click.group()
def device() -> None:
    """The inventory: what the DCC knows of devices. Without one, the hub's device log is the inventory."""


@device.command("set")
@click.argument("eui64", type=EUI64)
@click.option("--type", "device_type", type=TYPES, help="Wanted for a device that is not in it yet.")
@click.option("--status", type=SMI_STATUS, help="follow: whatever the hub's device log says.")
@click.option("--manufacturer", help="As the product list has it, such as 1234.")
@click.option("--model", help="As the product list has it.")
@click.option("--firmware-version", help="In hex; what the device tells the hub goes before it.")
@click.option("--gbcs-version", help="Such as 4.1.")
@click.option("--supplier", type=EUI64, help="Who is told what concerns it and no request.")
@home_option
def set_device(
    *, eui64: Eui64, device_type: str | None, status: str | None, home: Path, **told: str | Eui64 | None
) -> None:
    """Write a device into the inventory, or change what is said of it."""
    smi = Smi(home)
    known = (smi.devices() or {}).get(eui64)
    record = {} if known is None else dict(known.to_record())
    record["device"] = format_eui64(eui64)
    if device_type is not None:
        record["device_type"] = device_type
    if status is not None:
        record["status"] = "" if status == "follow" else status
    for name, value in told.items():
        if value is not None:
            record[name] = value if isinstance(value, str) else format_eui64(value)
    if "device_type" not in record:
        raise UsageError(f"{format_eui64(eui64)} is not in the inventory yet: say its --type")
    smi.put(SmiDevice.read(Table(record, format_eui64(eui64))))
    talk(f"{format_eui64(eui64)} is in the inventory")


@device.command("remove")
@click.argument("eui64", type=EUI64)
@home_option
def remove_device(*, eui64: Eui64, home: Path) -> None:
    """Remove a device from the inventory."""
    Smi(home).remove(eui64)
    talk(f"{format_eui64(eui64)} is out of the inventory")


@device.command("list")
@home_option
@json_option
def list_devices(*, home: Path, as_json: bool) -> None:
    """Every device of the inventory."""
    devices = Smi(home).devices()
    records = [known.to_record() for known in (devices or {}).values()]
    if as_json:
        print_json({"schema": 1, "inventory": devices is not None, "devices": records})
        return
    if devices is None:
        talk("there is no inventory: the hub's device log is used (chf device list)")
    columns = ("device", "device_type", "status", "manufacturer", "model", "firmware_version", "gbcs_version")
    rows = [[str(record.get(name, "-")) for name in columns] for record in records]
    print_table([name.replace("_", " ").upper() for name in columns], rows)


@click.group()
def product() -> None:
    """The product list: which firmware may go to which model. Where there is a list, it is enforced."""


@product.command("add")
@click.argument("entry")
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@limit_option
@click.option("--type", "device_type", type=TYPES, required=True)
@click.option("--manufacturer", required=True)
@click.option("--model", required=True)
@click.option("--status", type=PRODUCT_STATUS, default=ProductStatus.ACTIVE.value, show_default=True)
@click.option("--upgrade-from", multiple=True, help="An entry from which one may come. Default: from any.")
@home_option
def add_product(
    *,
    entry: str,
    image: Path,
    limit_bytes: int,
    device_type: str,
    manufacturer: str,
    model: str,
    status: str,
    upgrade_from: tuple[str, ...],
    home: Path,
) -> None:
    """Write the ENTRY of an image into the product list; hash and version are the file's."""
    parsed = load_image(image, limit_bytes=limit_bytes)
    made = Product(
        entry,
        DeviceType(device_type.upper()),
        manufacturer,
        model,
        parsed.header.file_version,
        parsed.manufacturer_image_hash,
        ProductStatus(status),
        upgrade_from,
    )
    Cpl(home).put(Product.read(Table(made.to_record(), entry)))
    talk(f"{entry}: version {parsed.header.file_version:08X}, hash {parsed.manufacturer_image_hash}, {status}")


@product.command("status")
@click.argument("entry")
@click.argument("status", type=PRODUCT_STATUS)
@home_option
def product_status(*, entry: str, status: str, home: Path) -> None:
    """Change the STATUS of an ENTRY."""
    cpl = Cpl(home)
    products = cpl.products()
    known = next((item for item in products.products if item.id == entry), None) if products is not None else None
    if known is None:
        raise UsageError(f"{entry!r} is not in the product list")
    cpl.put(Product.read(Table({**known.to_record(), "status": status}, entry)))
    talk(f"{entry} is {status}")


@product.command("remove")
@click.argument("entry")
@home_option
def remove_product(*, entry: str, home: Path) -> None:
    """Strike an ENTRY from the product list."""
    Cpl(home).remove(entry)
    talk(f"{entry} is out of the product list")


@product.command("list")
@home_option
@json_option
def list_products(*, home: Path, as_json: bool) -> None:
    """Every entry of the product list."""
    products = Cpl(home).products()
    entries = () if products is None else products.products
    if as_json:
        records = [entry.to_record() for entry in entries]
        print_json({"schema": 1, "enforced": products is not None, "products": records})
        return
    if products is None:
        talk("there is no product list: none is enforced")
    rows = [
        [
            entry.id,
            entry.device_type.value,
            f"{entry.manufacturer} {entry.model}",
            f"{entry.firmware_version:08X}",
            entry.status.value,
            ", ".join(entry.upgrade_from) or "any",
            entry.image_hash[:16],
        ]
        for entry in entries
    ]
    print_table(["ENTRY", "TYPE", "MODEL", "VERSION", "STATUS", "FROM", "HASH"], rows)
