"""Version reads that a user dated: kept until their time, then made into commands."""

from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, eui64, number, text, utc


@dataclass(frozen=True, slots=True)
class ScheduledRead:
    """`request` is the RequestID of its SR 11.2."""

    id: int
    request: str
    device: Eui64
    due: UtcSeconds


READER: Final = RowReader(
    "scheduled_reads", {"id": number, "request": text, "device": eui64, "due_utc": utc}, ScheduledRead
)


class ScheduledReads:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, utc: UtcSeconds, limit: int = -1) -> Rows[ScheduledRead]:
        """Those whose time has come and that nothing was done about."""
        rows = self._database.read(
            f"select {READER.columns} from scheduled_reads where done_utc is null and due_utc <= ?"
            " order by due_utc, id limit ?",
            (utc, limit),
        )
        return READER.all(rows)

    def dated(self, request: str) -> bool:
        """Whether this request was one of them, done or not."""
        return bool(self._database.read("select 1 from scheduled_reads where request = ?", (request,)))


class ScheduledReadsWriter(ScheduledReads):
    """Reading and writing, within a transaction."""

    def add(self, request: str, device: Eui64, due: UtcSeconds) -> None:
        self._database.write(
            "insert into scheduled_reads (request, device, due_utc) values (?, ?, ?)",
            (request, format_eui64(device), due),
        )

    def done(self, number: int, utc: UtcSeconds) -> bool:
        """False where another process was faster."""
        cursor = self._database.write(
            "update scheduled_reads set done_utc = ? where id = ? and done_utc is null", (utc, number)
        )
        return cursor.rowcount == 1
