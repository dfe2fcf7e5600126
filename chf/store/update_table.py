"""Updates, one row each, with the record of the transfer in it.

The schema holds that a device has at most one active update. What an update may become is decided in chf.update.
"""

import json
import sqlite3
from typing import Any, Final

from chf.clock import UtcSeconds
from chf.errors import RefusedError, StoreError
from chf.eui64 import Eui64, format_eui64
from chf.image.header import ImageType
from chf.store.database import Database, Parameter
from chf.store.rows import RowReader, Rows, eui64, flag, json_object, number, optional, text, unsigned, utc
from chf.store.schema import ACTIVE_UPDATE
from chf.update.model import (
    ActivateAt,
    Activation,
    ActivationReport,
    DamagedRecord,
    TransferOutcome,
    TransferRecord,
    Update,
    UpdateId,
    UpdateState,
    WaitReason,
    activation_from_json,
    activation_to_json,
)


def _activation(value: object) -> Activation:
    activation = activation_from_json(json_object(value))
    if isinstance(activation, ActivateAt):
        utc(activation.utc)
    return activation


def _update(*row: Any) -> Update:
    success, version = row[15:17]
    report = None if success is None else ActivationReport(success, version)
    manufacturer, number, doubt, *successor = row[24:]
    return Update(*(*row[:15], report, *row[17:24], _image_type(manufacturer, number), doubt, _image_type(*successor)))


def _image_type(manufacturer: int | None, number: int | None) -> ImageType | None:
    return None if manufacturer is None or number is None else ImageType(manufacturer, number)


def _record(value: Any) -> TransferRecord | DamagedRecord | None:
    """Damage of the transfer is no damage of its update."""
    try:
        return None if value is None else TransferRecord.from_json(json.loads(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return DamagedRecord(value if isinstance(value, str | bytes) else str(value), repr(error))


READER: Final = RowReader(
    "updates",
    {
        "id": number,
        "device": eui64,
        "image": text,
        "file_version": unsigned(32),
        "activation": _activation,
        "origin": text,
        "created_utc": utc,
        "deadline_utc": utc,
        "changed_utc": utc,
        "allow_downgrade": flag,
        "state": UpdateState,
        "reason": text,
        "version_before": optional(unsigned(32)),
        "version_seen": optional(unsigned(32)),
        "transfer": optional(TransferOutcome),
        "report_success": optional(flag),
        "report_version": optional(unsigned(32)),
        "waiting_for": optional(WaitReason),
        "waiting_until_utc": optional(utc),
        "activation_at_utc": optional(utc),
        "download_started_utc": optional(utc),
        "download_ended_utc": optional(utc),
        "ended_utc": optional(utc),
        "ota_session": _record,
        "manufacturer": optional(unsigned(16)),
        "image_type": optional(unsigned(16)),
        "doubt": text,
        "successor_manufacturer": optional(unsigned(16)),
        "successor_image_type": optional(unsigned(16)),
    },
    _update,
)
_COLUMNS: Final = READER.columns


class Updates:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, update_id: UpdateId) -> Update | None:
        rows = self._database.read(f"select {_COLUMNS} from updates where id = ?", (update_id,))
        return READER.first(rows)

    def active_for(self, device: Eui64) -> Update | None:
        rows = self._database.read(
            f"select {_COLUMNS} from updates where device = ? and {ACTIVE_UPDATE}", (format_eui64(device),)
        )
        return READER.first(rows)

    def list(
        self,
        *,
        active_only: bool = False,
        device: Eui64 | None = None,
        since: UtcSeconds | None = None,
        last: int | None = None,
    ) -> Rows[Update]:
        """The last so many, or all, in the order of their making; `since` is the time of that."""
        conditions: dict[str, Parameter] = {
            "device = ?": None if device is None else format_eui64(device),
            "created_utc >= ?": since,
        }
        if active_only:
            conditions[f"{ACTIVE_UPDATE} and ?"] = 1
        return READER.newest(self._database, last, conditions)

    def last_of_each_device(self) -> Rows[Update]:
        """Of those in the device log."""
        last = "select (select max(id) from updates where device = eui64) from devices"
        rows = self._database.read(f"select {_COLUMNS} from updates where id in ({last}) order by id")
        return READER.all(rows)

    def next_id(self) -> UpdateId:
        """The number for a new update, which only the hub makes: one more than the highest."""
        return UpdateId(int(self._database.read("select coalesce(max(id), 0) + 1 from updates")[0][0]))


class UpdatesWriter(Updates):
    """Reading and writing, within a transaction."""

    def add(self, update: Update) -> None:
        """Raises RefusedError where the device has an active update."""
        marks = ", ".join("?" * len(_COLUMNS.split(", ")))
        try:
            self._database.write(f"insert into updates ({_COLUMNS}) values ({marks})", _parameters(update))
        except sqlite3.IntegrityError as error:
            other = self.active_for(update.device)
            if other is None:
                raise StoreError(f"update {update.id} cannot be written: {error}") from error
            raise RefusedError(f"{format_eui64(update.device)} has update {other.id} in progress") from error

    def update(self, update: Update) -> None:
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", ")[1:])
        parameters = _parameters(update)
        cursor = self._database.write(
            f"update updates set {assignments} where id = ?", (*parameters[1:], parameters[0])
        )
        if cursor.rowcount == 0:
            raise StoreError(f"there is no update {update.id}")


def _parameters(update: Update) -> tuple[Parameter, ...]:
    return (
        update.id,
        format_eui64(update.device),
        update.image,
        update.file_version,
        json.dumps(activation_to_json(update.activation), sort_keys=True),
        update.origin,
        update.created,
        update.deadline,
        update.changed,
        int(update.allow_downgrade),
        update.state.value,
        update.reason,
        update.version_before,
        update.version_seen,
        None if update.transfer is None else update.transfer.value,
        None if update.report is None else int(update.report.success),
        None if update.report is None else update.report.file_version,
        None if update.waiting_for is None else update.waiting_for.value,
        update.waiting_until,
        update.activation_at,
        update.download_started,
        update.download_ended,
        update.ended,
        _record_text(update.record),
        *_codes(update.image_type),
        update.doubt,
        *_codes(update.successor),
    )


def _codes(image_type: ImageType | None) -> tuple[int | None, int | None]:
    return (None, None) if image_type is None else (image_type.manufacturer_code, image_type.number)


def _record_text(record: TransferRecord | DamagedRecord | None) -> str | bytes | None:
    if isinstance(record, DamagedRecord):
        return record.text
    return None if record is None else json.dumps(record.to_json(), sort_keys=True)
