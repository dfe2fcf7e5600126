"""The device log: which devices may be on this network, and what is known of each.

The only list that the hub trusts: a device that is not in it gets nothing. Link keys are in here, which is why the file
is 0600; they are left out of every repr.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, eui64, json_object, octets, optional, text, unsigned, utc
from chf.store.schema import ACTIVE_JOB
from chf.update.clients import CLASSES
from chf.update.eligibility import Candidate, InProgress
from chf.update.recognition import NOTHING_SHOWN, Recognition, Traits, recognise


class DeviceType(StrEnum):
    """The kinds of device that a hub's device log can hold, as DUIS spells them."""

    ESME = "ESME"
    GSME = "GSME"
    PPMID = "PPMID"
    HCALCS = "HCALCS"
    IHD = "IHD"
    CAD = "CAD"


class DeviceStatus(StrEnum):
    PENDING = "pending"  # written down, never seen
    JOINED = "joined"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device. Link keys are 16 octets; `file_version` is what it said last that it runs.

    `link_key` is that of key establishment (of this suite, at this time); a device that has none lives with the key
    from its install code, where the hub lets it. `client_class` is what somebody said that its OTA client is, a name of
    `CLASSES`; `client_traits` is what it has shown.
    """

    eui64: Eui64
    device_type: DeviceType
    added: UtcSeconds
    install_code_link_key: bytes | None = field(default=None, repr=False)
    status: DeviceStatus = DeviceStatus.PENDING
    network_address: int | None = None
    endpoint: int | None = None
    last_seen: UtcSeconds | None = None
    manufacturer: int | None = None
    image_type: int | None = None
    hardware_version: int | None = None
    file_version: int | None = None
    refused_frames: int = 0
    link_key: bytes | None = field(default=None, repr=False)
    key_suite: int | None = None
    key_utc: UtcSeconds | None = None
    client_class: str | None = None
    client_traits: Traits = NOTHING_SHOWN

    def __post_init__(self) -> None:
        if any(key is not None and len(key) != 16 for key in (self.install_code_link_key, self.link_key)):
            raise UsageError(f"the link key of {format_eui64(self.eui64)} is not 16 octets long")

    @property
    def client(self) -> Recognition:
        """Which class its OTA client is of, and how sure that is."""
        return recognise(self.client_traits, self.client_class)

    def candidate(self, in_progress: InProgress | None) -> Candidate:
        """What is known of it where an update is asked for. Joining is all the commissioning that a bench has."""
        return Candidate(
            self.eui64,
            self.device_type.value,
            commissioned=self.status is DeviceStatus.JOINED,
            in_progress=in_progress,
            manufacturer_code=self.manufacturer,
            image_type=self.image_type,
            hardware_version=self.hardware_version,
            file_version=self.file_version,
            client=self.client,
        )


def _class(value: object) -> str:
    if text(value) not in CLASSES:
        raise ValueError(f"{text(value)[:40]!r} is no class of OTA clients")
    return text(value)


def _traits(value: object) -> Traits:
    return NOTHING_SHOWN if value is None else Traits.from_json(json_object(value))


READER: Final = RowReader(
    "devices",
    {
        "eui64": eui64,
        "device_type": DeviceType,
        "added_utc": utc,
        "install_code_link_key": optional(octets),
        "status": DeviceStatus,
        "network_address": optional(unsigned(16)),
        "endpoint": optional(unsigned(8)),
        "last_seen_utc": optional(utc),
        "manufacturer": optional(unsigned(16)),
        "image_type": optional(unsigned(16)),
        "hardware_version": optional(unsigned(16)),
        "file_version": optional(unsigned(32)),
        "refused_frames": unsigned(63),
        "link_key": optional(octets),
        "key_suite": optional(unsigned(8)),
        "key_utc": optional(utc),
        "client_class": optional(_class),
        "client_traits": _traits,
    },
    DeviceEntry,
)
_KEYS: Final = RowReader("devices", {"eui64": eui64, "link_key": optional(octets)}, lambda *row: row)
_COLUMNS: Final = READER.columns


class DeviceLog:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, eui64: Eui64) -> DeviceEntry | None:
        rows = self._database.read(f"select {_COLUMNS} from devices where eui64 = ?", (format_eui64(eui64),))
        return READER.first(rows)

    def list(self) -> Rows[DeviceEntry]:
        """In the order in which they were added."""
        return READER.all(self._database.read(f"select {_COLUMNS} from devices order by added_utc, eui64"))

    def link_keys(self) -> Rows[tuple[Eui64, bytes | None]]:
        """Every device and its key by certificate, in the order in which they were added."""
        return _KEYS.all(self._database.read(f"select {_KEYS.columns} from devices order by added_utc, eui64"))


class DeviceLogWriter(DeviceLog):
    """Reading and writing, within a transaction."""

    def add(self, entry: DeviceEntry) -> None:
        """Raises RefusedError where the device is in the log already."""
        parameters = _parameters(entry)
        try:
            self._database.write(
                f"insert into devices ({_COLUMNS}) values ({', '.join('?' * len(parameters))})", parameters
            )
        except sqlite3.IntegrityError as error:
            raise RefusedError(f"{format_eui64(entry.eui64)} is in the device log already") from error

    def update(self, entry: DeviceEntry) -> None:
        """Replace what is known of a device. Raises RefusedError where it is not in the log."""
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", ")[1:])
        parameters = _parameters(entry)
        cursor = self._database.write(
            f"update devices set {assignments} where eui64 = ?", (*parameters[1:], parameters[0])
        )
        if cursor.rowcount == 0:
            raise RefusedError(f"{format_eui64(entry.eui64)} is not in the device log")

    def remove(self, eui64: Eui64) -> None:
        """Raises RefusedError where it is not in the log, or has an update in progress."""
        text = format_eui64(eui64)
        active = self._database.read(f"select id from jobs where device = ? and {ACTIVE_JOB}", (text,))
        if active:
            raise RefusedError(f"{text} has update {active[0][0]} in progress: cancel that first")
        if self._database.write("delete from devices where eui64 = ?", (text,)).rowcount == 0:
            raise RefusedError(f"{text} is not in the device log")


def _parameters(entry: DeviceEntry) -> tuple[str | bytes | int | float | None, ...]:
    return (
        format_eui64(entry.eui64),
        entry.device_type.value,
        entry.added,
        entry.install_code_link_key,
        entry.status.value,
        entry.network_address,
        entry.endpoint,
        entry.last_seen,
        entry.manufacturer,
        entry.image_type,
        entry.hardware_version,
        entry.file_version,
        entry.refused_frames,
        entry.link_key,
        entry.key_suite,
        entry.key_utc,
        entry.client_class,
        json.dumps(entry.client_traits.to_json(), sort_keys=True) if entry.client_traits != NOTHING_SHOWN else None,
    )
