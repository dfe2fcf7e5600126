"""Updates, one row each, with the record of the transfer in it.

The schema holds that a device has at most one active update. What an update may become is decided in chf.update.
"""

import json
import sqlite3
from typing import Any, Final

from chf.errors import RefusedError, StoreCorruptError, StoreError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.store.database import Database, Parameter, Row
from chf.store.schema import ACTIVE_JOB
from chf.update.model import (
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

_COLUMNS: Final = (
    "id, device, image, file_version, activation, origin, created_utc, deadline_utc, changed_utc, allow_downgrade, "
    "state, reason, version_before, version_seen, transfer, report_success, report_version, waiting_for, "
    "waiting_until_utc, activation_at_utc, download_started_utc, download_ended_utc, ended_utc, ota_session"
)


class Jobs:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: UpdateId) -> Update | None:
        rows = self._database.read(f"select {_COLUMNS} from jobs where id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def active_for(self, device: Eui64) -> Update | None:
        rows = self._database.read(
            f"select {_COLUMNS} from jobs where device = ? and {ACTIVE_JOB}", (format_eui64(device),)
        )
        return _job(rows[0]) if rows else None

    def list(self, *, active_only: bool = False) -> tuple[Update, ...]:
        """In the order of their making."""
        where = f"where {ACTIVE_JOB}" if active_only else ""
        return tuple(map(_job, self._database.read(f"select {_COLUMNS} from jobs {where} order by id")))

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
    )


def _record_text(record: TransferRecord | DamagedRecord | None) -> str | bytes | None:
    if isinstance(record, DamagedRecord):
        return record.text
    return None if record is None else json.dumps(record.to_json(), sort_keys=True)


def _record(value: Any) -> TransferRecord | DamagedRecord | None:
    """Damage of the transfer is no damage of its update."""
    try:
        return None if value is None else TransferRecord.from_json(json.loads(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return DamagedRecord(value if isinstance(value, str | bytes) else str(value), repr(error))


def _job(row: Row) -> Update:
    named = dict(zip(_COLUMNS.split(", "), row, strict=True))
    try:
        return _job_of(named)
    except (KeyError, ValueError, UsageError) as error:
        raise StoreCorruptError(f"the row of update {named['id']} is damaged: {error}") from error


def _job_of(named: dict[str, Any]) -> Update:
    return Update(
        id=UpdateId(named["id"]),
        device=parse_eui64(named["device"]),
        image=named["image"],
        file_version=named["file_version"],
        activation=activation_from_json(json.loads(named["activation"])),
        origin=named["origin"],
        created=named["created_utc"],
        deadline=named["deadline_utc"],
        changed=named["changed_utc"],
        allow_downgrade=bool(named["allow_downgrade"]),
        state=UpdateState(named["state"]),
        reason=named["reason"],
        version_before=named["version_before"],
        version_seen=named["version_seen"],
        transfer=None if named["transfer"] is None else TransferOutcome(named["transfer"]),
        report=None
        if named["report_success"] is None
        else ActivationReport(bool(named["report_success"]), named["report_version"]),
        waiting_for=None if named["waiting_for"] is None else WaitReason(named["waiting_for"]),
        waiting_until=named["waiting_until_utc"],
        activation_at=named["activation_at_utc"],
        download_started=named["download_started_utc"],
        download_ended=named["download_ended_utc"],
        ended=named["ended_utc"],
        record=_record(named["ota_session"]),
    )
