"""The Smart Metering Inventory of the bench: what the DCC knows of a device beside the hub's own device log.

Without a file the hub's device log is the inventory, and who has joined counts as commissioned. With one, a device must
be in it, and its status decides; a record without a status follows the hub's log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from chf.config import Table
from chf.dcc.register_file import Record, RegisterFile
from chf.eui64 import Eui64, format_eui64
from chf.store.device_log import DeviceType

FILE_NAME: Final = "smi"


class SmiStatus(StrEnum):
    """As the schema spells them."""

    PENDING = "Pending"
    WHITELISTED = "Whitelisted"
    INSTALLED_NOT_COMMISSIONED = "InstalledNotCommissioned"
    COMMISSIONED = "Commissioned"
    DECOMMISSIONED = "Decommissioned"
    WITHDRAWN = "Withdrawn"
    SUSPENDED = "Suspended"
    RECOVERY = "Recovery"
    RECOVERED = "Recovered"


@dataclass(frozen=True, slots=True)
class SmiDevice:
    """`manufacturer` and `model` are the keys of the product list, "" where they are not known."""

    eui64: Eui64
    device_type: DeviceType
    status: SmiStatus | None = None
    manufacturer: str = ""
    model: str = ""
    firmware_version: int | None = None
    gbcs_version: str = ""
    supplier: Eui64 | None = None
    """Who is told what concerns the device and no request."""

    def to_record(self) -> Record:
        told = {
            "device": format_eui64(self.eui64),
            "device_type": self.device_type.value,
            "status": "" if self.status is None else self.status.value,
            "manufacturer": self.manufacturer,
            "model": self.model,
            "firmware_version": "" if self.firmware_version is None else f"{self.firmware_version:08X}",
            "gbcs_version": self.gbcs_version,
            "supplier": "" if self.supplier is None else format_eui64(self.supplier),
        }
        return {name: value for name, value in told.items() if value}

    @classmethod
    def read(cls, table: Table) -> "SmiDevice":
        device = cls(
            table.eui64("device"),
            table.choice("device_type", DeviceType),
            table.choice("status", SmiStatus) if table.text("status", "") else None,
            table.word("manufacturer", "", longest=30),  # XSD
            table.word("model", "", longest=30),  # XSD
            table.hexadecimal("firmware_version", 8),
            table.word("gbcs_version", "", longest=8),
            table.optional_eui64("supplier"),
        )
        table.finish()
        return device


class Smi:
    """The file `smi.json` or `smi.toml` in the home directory."""

    def __init__(self, home: Path) -> None:
        self.file = RegisterFile(home / FILE_NAME, "devices", "device")

    def devices(self) -> Mapping[Eui64, SmiDevice] | None:
        """None where there is no inventory. Raises UsageError for a file that is wrong."""
        records = self.file.read()
        if records is None:
            return None
        devices: dict[Eui64, SmiDevice] = {}
        for record in records:
            device = SmiDevice.read(record)
            if device.eui64 in devices:
                raise record.error(f"{format_eui64(device.eui64)} is in it twice")
            devices[device.eui64] = device
        return devices

    def put(self, device: SmiDevice) -> None:
        self.file.put(device.to_record())

    def remove(self, eui64: Eui64) -> None:
        self.file.remove(format_eui64(eui64))
