"""The device log: which devices may be on this network, and what is known of each.

The only list that the hub trusts: a device that is not in it gets nothing. Link keys are in here, which is why the file
is 0600; they are left out of every repr.
"""

import json
import sqlite3
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.image.header import ImageType
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, eui64, json_object, octets, optional, text, unsigned, utc
from chf.store.schema import ACTIVE_UPDATE
from chf.update.clients import CLASSES
from chf.update.eligibility import Candidate, DeviceImage, InProgress
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
    """One device. Link keys are 16 octets; `images` is what it told of each of its images.

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
    refused_frames: int = 0
    link_key: bytes | None = field(default=None, repr=False)
    key_suite: int | None = None
    key_utc: UtcSeconds | None = None
    client_class: str | None = None
    client_traits: Traits = NOTHING_SHOWN
    images: tuple[DeviceImage, ...] = ()

    def __post_init__(self) -> None:
        if any(key is not None and len(key) != 16 for key in (self.install_code_link_key, self.link_key)):
            raise UsageError(f"the link key of {format_eui64(self.eui64)} is not 16 octets long")

    def image(self, image_type: ImageType) -> DeviceImage | None:
        return next((image for image in self.images if image.image_type == image_type), None)

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
            images=self.images,
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
        "refused_frames": unsigned(63),
        "link_key": optional(octets),
        "key_suite": optional(unsigned(8)),
        "key_utc": optional(utc),
        "client_class": optional(_class),
        "client_traits": _traits,
    },
    DeviceEntry,
)
IMAGES: Final = RowReader(
    "device_images",
    {
        "device": eui64,
        "manufacturer": unsigned(16),
        "image_type": unsigned(16),
        "since_utc": utc,
        "file_version": optional(unsigned(32)),
        "hardware_version": optional(unsigned(16)),
    },
    lambda device, manufacturer, number, *told: (device, DeviceImage(ImageType(manufacturer, number), *told)),
)
_KEYS: Final = RowReader("devices", {"eui64": eui64, "link_key": optional(octets)}, lambda *row: row)
_COLUMNS: Final = READER.columns


class DeviceLog:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, eui64: Eui64) -> DeviceEntry | None:
        """What cannot be read of its images is not known, and stands beside the list."""
        key = (format_eui64(eui64),)
        entry = READER.first(self._database.read(f"select {_COLUMNS} from devices where eui64 = ?", key))
        if entry is None:
            return None
        images = self._images("where device = ?", key)
        return replace(entry, images=tuple(image for _device, image in images))

    def list(self) -> Rows[DeviceEntry]:
        """In the order in which they were added."""
        rows = READER.all(self._database.read(f"select {_COLUMNS} from devices order by added_utc, eui64"))
        images = self._images()
        told: dict[Eui64, list[DeviceImage]] = {}
        for device, image in images:
            told.setdefault(device, []).append(image)
        entries = (replace(row, images=tuple(told[row.eui64])) if row.eui64 in told else row for row in rows)
        return Rows(entries, (*rows.unreadable, *images.unreadable))

    def _images(self, where: str = "", parameters: tuple[str, ...] = ()) -> Rows[tuple[Eui64, DeviceImage]]:
        sql = f"select {IMAGES.columns} from device_images {where} order by manufacturer, image_type"
        return IMAGES.all(self._database.read(sql, parameters))

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
        for image in entry.images:
            self.note_image(entry.eui64, image)

    def note_image(self, eui64: Eui64, image: DeviceImage) -> None:
        """What a device of the log told of one of its images, in place of what it told before."""
        row = (*_key(eui64, image.image_type), image.since, image.file_version, image.hardware_version)
        self._database.write(f"insert or replace into device_images ({IMAGES.columns}) values (?, ?, ?, ?, ?, ?)", row)

    def drop_image(self, eui64: Eui64, image_type: ImageType) -> None:
        """It does not go by this image type any more."""
        self._database.write(
            "delete from device_images where device = ? and manufacturer = ? and image_type = ?",
            _key(eui64, image_type),
        )

    def update(self, entry: DeviceEntry) -> None:
        """Replace what is known of a device, but for its images. Raises RefusedError where it is not in the log."""
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
        active = self._database.read(f"select id from updates where device = ? and {ACTIVE_UPDATE}", (text,))
        if active:
            raise RefusedError(f"{text} has update {active[0][0]} in progress: cancel that first")
        if self._database.write("delete from devices where eui64 = ?", (text,)).rowcount == 0:
            raise RefusedError(f"{text} is not in the device log")
        self._database.write("delete from device_images where device = ?", (text,))


def _key(device: Eui64, image_type: ImageType) -> tuple[str, int, int]:
    return format_eui64(device), image_type.manufacturer_code, image_type.number


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
        entry.refused_frames,
        entry.link_key,
        entry.key_suite,
        entry.key_utc,
        entry.client_class,
        json.dumps(entry.client_traits.to_json(), sort_keys=True) if entry.client_traits != NOTHING_SHOWN else None,
    )
