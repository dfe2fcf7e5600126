"""The Central Products List of the bench: which firmware may go to which model, and from which version.

Without a file nothing is checked. With one, a device gets an image only where an Active entry has the image's hash, its
version and the device's model, and the upgrade path allows the step.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from chf.config import Table
from chf.dcc.register_file import Record, RegisterFile
from chf.store.device_log import DeviceType

FILE_NAME: Final = "cpl"


class ProductStatus(StrEnum):
    """As the schema spells them (CPLStatus)."""

    ACTIVE = "Active"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    WITHDRAWN = "Withdrawn"


@dataclass(frozen=True, slots=True)
class Product:
    """One entry. `upgrade_from` names the entries from which one may come, none for any (MP231)."""

    id: str
    device_type: DeviceType
    manufacturer: str
    model: str
    firmware_version: int
    image_hash: str
    """SHA-256 of the Manufacturer Image, lower-case hex."""
    status: ProductStatus = ProductStatus.ACTIVE
    upgrade_from: tuple[str, ...] = ()

    def to_record(self) -> Record:
        record: dict[str, object] = {
            "id": self.id,
            "device_type": self.device_type.value,
            "manufacturer": self.manufacturer,
            "model": self.model,
            "firmware_version": f"{self.firmware_version:08X}",
            "hash": self.image_hash,
            "status": self.status.value,
        }
        if self.upgrade_from:
            record["upgrade_from"] = list(self.upgrade_from)
        return record

    @classmethod
    def read(cls, table: Table) -> "Product":
        version = table.hexadecimal("firmware_version", 8)
        if version is None:
            raise table.error("is missing", "firmware_version")
        image_hash = table.octets("hash")
        if len(image_hash) != hashlib.sha256().digest_size:
            raise table.error("is 64 hex digits", "hash")
        product = cls(
            table.word("id"),
            table.choice("device_type", DeviceType),
            table.word("manufacturer", longest=30),  # XSD
            table.word("model", longest=30),  # XSD
            version,
            image_hash.hex(),
            table.choice("status", ProductStatus, ProductStatus.ACTIVE),
            table.words("upgrade_from"),
        )
        table.finish()
        return product


class ProductList:
    """The entries, and the one question that intake has. What `upgrade_from` names is among them."""

    def __init__(self, products: Iterable[Product]) -> None:
        self.products = tuple(products)
        self._by_id = {product.id: product for product in self.products}

    def objection(
        self, image_hash: str, file_version: int, device_type: str, model: tuple[str, str] | None, running: int | None
    ) -> str | None:
        """Why a device may not have this image; None where it may.

        `model` is manufacturer and model, None where the inventory does not have them: then any model of the list that
        has this image will do.
        """
        same_hash = [product for product in self.products if product.image_hash == image_hash]
        if not same_hash:
            return f"the product list has no entry with hash {image_hash}"
        same_version = [product for product in same_hash if product.firmware_version == file_version]
        if not same_version:
            listed = f"{same_hash[0].firmware_version:08X}"
            return f"the product list has version {listed} for this hash, the image says {file_version:08X}"
        fitting = [
            product
            for product in same_version
            if product.device_type == device_type and model in (None, (product.manufacturer, product.model))
        ]
        if not fitting:
            who = device_type if model is None else f"{device_type} {' '.join(model)}"
            return f"the product list has this image for other models, not for {who}"
        active = [product for product in fitting if product.status is ProductStatus.ACTIVE]
        if not active:
            return f"the product list entry {fitting[0].id} is {fitting[0].status.value}"
        return None if any(self._reaches(product, running) for product in active) else _no_path(active[0], running)

    def _reaches(self, product: Product, running: int | None) -> bool:
        if not product.upgrade_from:
            return True
        return any(self._by_id[entry].firmware_version == running for entry in product.upgrade_from)


def _no_path(product: Product, running: int | None) -> str:
    found = "its running version is not known" if running is None else f"it runs {running:08X}"
    return f"{found}, and entry {product.id} may only be reached from {', '.join(product.upgrade_from)}"


class Cpl:
    """The file `cpl.json` or `cpl.toml` in the home directory."""

    def __init__(self, home: Path) -> None:
        self.file = RegisterFile(home / FILE_NAME, "products", "id")

    def products(self) -> ProductList | None:
        """None where there is no list. Raises UsageError for a file that is wrong."""
        records = self.file.read()
        if records is None:
            return None
        products: dict[str, Product] = {}
        for record in records:
            product = Product.read(record)
            if product.id in products:
                raise record.error(f"product {product.id} is in it twice")
            products[product.id] = product
        for product, record in zip(products.values(), records, strict=True):
            for entry in product.upgrade_from:
                if entry not in products:
                    raise record.error(f"names {entry!r}, which is not in the list", "upgrade_from")
        return ProductList(products.values())

    def put(self, product: Product) -> None:
        self.file.put(product.to_record())

    def remove(self, entry: str) -> None:
        self.file.remove(entry)
