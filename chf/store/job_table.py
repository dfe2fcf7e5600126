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
from chf.store.schema import ACTIVE_JOB
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
    "jobs",
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


class Jobs:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: UpdateId) -> Update | None:
        rows = self._database.read(f"select {_COLUMNS} from jobs where id = ?", (job_id,))
        return READER.first(rows)

    def active_for(self, device: Eui64) -> Update | None:
        rows = self._database.read(
            f"select {_COLUMNS} from jobs where device = ? and {ACTIVE_JOB}", (format_eui64(device),)
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
            conditions[f"{ACTIVE_JOB} and ?"] = 1
        return READER.newest(self._database, last, conditions)

    def last_of_each_device(self) -> Rows[Update]:
        """Of those in the device log."""
        last = "select (select max(id) from jobs where device = eui64) from devices"
        rows = self._database.read(f"select {_COLUMNS} from jobs where id in ({last}) order by id")
        return READER.all(rows)

    def next_id(self) -> UpdateId:
        """The number for a new update, which only the hub makes: one more than the highest."""
        return UpdateId(int(self._database.read("select coalesce(max(id), 0) + 1 from jobs")[0][0]))


class JobsWriter(Jobs):
    """Reading and writing, within a transaction."""

    def add(self, job: Update) -> None:
        """Raises RefusedError where the device has an active job."""
        marks = ", ".join("?" * len(_COLUMNS.split(", ")))
        try:
            self._database.write(f"insert into jobs ({_COLUMNS}) values ({marks})", _parameters(job))
        except sqlite3.IntegrityError as error:
            other = self.active_for(job.device)
            if other is None:
                raise StoreError(f"update {job.id} cannot be written: {error}") from error
            raise RefusedError(f"{format_eui64(job.device)} has update {other.id} in progress") from error

    def update(self, job: Update) -> None:
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", ")[1:])
        parameters = _parameters(job)
        cursor = self._database.write(f"update jobs set {assignments} where id = ?", (*parameters[1:], parameters[0]))
        if cursor.rowcount == 0:
            raise StoreError(f"there is no update {job.id}")


def _parameters(job: Update) -> tuple[Parameter, ...]:
    return (
        job.id,
        format_eui64(job.device),
        job.image,
        job.file_version,
        json.dumps(activation_to_json(job.activation), sort_keys=True),
        job.origin,
        job.created,
        job.deadline,
        job.changed,
        int(job.allow_downgrade),
        job.state.value,
        job.reason,
        job.version_before,
        job.version_seen,
        None if job.transfer is None else job.transfer.value,
        None if job.report is None else int(job.report.success),
        None if job.report is None else job.report.file_version,
        None if job.waiting_for is None else job.waiting_for.value,
        job.waiting_until,
        job.activation_at,
        job.download_started,
        job.download_ended,
        job.ended,
        _record_text(job.record),
        *_codes(job.image_type),
        job.doubt,
        *_codes(job.successor),
    )


def _codes(image_type: ImageType | None) -> tuple[int | None, int | None]:
    return (None, None) if image_type is None else (image_type.manufacturer_code, image_type.number)


def _record_text(record: TransferRecord | DamagedRecord | None) -> str | bytes | None:
    if isinstance(record, DamagedRecord):
        return record.text
    return None if record is None else json.dumps(record.to_json(), sort_keys=True)
