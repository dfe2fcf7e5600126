"""The audit: trace events, append-only, each chained to the one before by SHA-256.

The chain shows an edit, a removal or an insertion when it is read, the triggers of the schema stop an accident.
Neither stops somebody who rewrites the whole chain: for that, keep `head` elsewhere now and then. What retention takes
away goes from the front, and the checkpoint says up to which record, with its hash: the chain goes on from there.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import DamagedRowError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database, Row
from chf.store.rows import RowReader, Rows, number, octets, text, utc
from chf.trace import Event, utc_text

_GENESIS: Final = bytes(32)
_PAGE: Final = 1000  # records read at once (our choice)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    seq: int
    event: Event
    hash: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Records up to `through` were pruned, last at `utc`; `hash` is that of record `through`."""

    through: int
    hash: bytes
    utc: UtcSeconds


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first record that does not follow from those before it."""

    seq: int
    reason: str


READER: Final = RowReader(
    "audit", {"seq": number, "event": lambda value: Event.from_json(text(value)), "hash": octets}, AuditRecord
)
CHECKPOINT: Final = RowReader("audit_checkpoint", {"through": number, "hash": octets, "pruned_utc": utc}, Checkpoint)


class Audit:
    """Reading. A record of another version of the trace is unreadable to this one, and nothing worse."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tail(self, after_seq: int = 0, limit: int = _PAGE) -> Rows[AuditRecord]:
        """The next records after one that is known, oldest first."""
        return READER.after(self._database, after_seq, limit)

    def of_update(self, number: int) -> Rows[AuditRecord]:
        return self._where("update_id = ? order by seq", number)

    def of_device(self, device: Eui64, first: UtcSeconds, last: UtcSeconds) -> Rows[AuditRecord]:
        """What happened to a device in this time, both ends included, and belongs to no update."""
        return self._where(
            "device = ? and utc >= ? and utc <= ? and update_id is null order by seq",
            *(format_eui64(device), utc_text(first), utc_text(last)),
        )

    def refused_requests(self, since: UtcSeconds | None, last: int | None = None) -> Rows[AuditRecord]:
        """The last so many service requests that were refused, wholly or for a device, oldest first."""
        rows = self._where(
            "kind = 'request.refused' and utc >= ? order by seq desc limit ?",
            *("" if since is None else utc_text(since), -1 if last is None else last),
        )
        return Rows(reversed(rows), rows.unreadable)

    def last_of_device(self, device: Eui64) -> AuditRecord | None:
        """None where its last record cannot be read."""
        rows = self._where("device = ? order by utc desc limit 1", format_eui64(device))
        return rows[0] if rows else None

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last record; (0, zeros) before the first."""
        rows = self._database.read("select seq, hash from audit order by seq desc limit 1")
        if rows:
            return int(rows[0][0]), _octets(rows[0][1])
        pruned = self.checkpoint()
        return (0, _GENESIS) if pruned is None else (pruned.through, pruned.hash)

    def checkpoint(self) -> Checkpoint | None:
        """Up to where records were pruned; None where none were."""
        return CHECKPOINT.first(self._database.read(f"select {CHECKPOINT.columns} from audit_checkpoint"))

    def verify(self) -> BrokenLink | None:
        """Walk the whole chain; None where it holds."""
        try:
            pruned = self.checkpoint()
        except DamagedRowError as error:
            return BrokenLink(1, str(error))
        expected_seq, previous = (1, _GENESIS) if pruned is None else (pruned.through + 1, pruned.hash)
        for page in self._pages():
            broken = _first_break(page, expected_seq, previous)
            if broken is not None:
                return broken
            expected_seq, previous = page[-1][0] + 1, page[-1][2]
        written = self._database.read("select seq from sqlite_sequence where name = 'audit'")
        last = int(written[0][0]) if written else 0
        if last >= expected_seq:
            return BrokenLink(expected_seq, f"records {expected_seq} to {last} are missing at the end")
        hidden = self._database.read(
            "select seq from audit where case when json_valid(event) then update_id is not"
            " coalesce(json_extract(event, '$.update'), json_extract(event, '$.job'))"
            " or device is not json_extract(event, '$.device') or kind is not json_extract(event, '$.kind')"
            " or utc is not json_extract(event, '$.utc') end order by seq limit 1"
        )
        return BrokenLink(hidden[0][0], f"record {hidden[0][0]} is filed under something else") if hidden else None

    def _pages(self) -> Iterator[list[Row]]:
        after_seq = 0
        while page := self._database.read(
            "select seq, event, hash from audit where seq > ? order by seq limit ?", (after_seq, _PAGE)
        ):
            yield page
            after_seq = page[-1][0]

    def _where(self, clause: str, *parameters: str | int) -> Rows[AuditRecord]:
        return READER.all(self._database.read(f"select {READER.columns} from audit where {clause}", parameters))


class AuditWriter(Audit):
    """Reading and appending, within a transaction."""

    def append(self, event: Event) -> int:
        """The number that the event got."""
        line = event.to_json()
        _seq, previous = self.head()
        device = None if event.device is None else format_eui64(event.device)
        cursor = self._database.write(
            "insert into audit (event, hash, update_id, device, kind, utc) values (?, ?, ?, ?, ?, ?)",
            (line, _chained(previous, line), event.update, device, event.kind.value, utc_text(event.utc)),
        )
        return int(cursor.lastrowid or 0)

    def prune(self, older_than: UtcSeconds, now: UtcSeconds, most: int) -> int:
        """Take away the oldest records, at most so many, up to the first that is not older. Returns how many went.

        Nothing goes where the chain does not hold, because what is left could not show that any more; the last record
        stays. Those that cannot be read go with the first readable one after them.
        """
        pruned = self.checkpoint()
        after, previous = (0, _GENESIS) if pruned is None else (pruned.through, pruned.hash)
        page = self._database.read(
            "select seq, event, hash, utc from audit where seq < (select max(seq) from audit) order by seq limit ?",
            (most,),
        )
        old = 0
        for at, row in enumerate(page, 1):
            if row[3] is not None and row[3] >= utc_text(older_than):
                break
            if row[3] is not None:
                old = at
        going = [row[:3] for row in page[:old]]
        if not going or _first_break(going, after + 1, previous) is not None:
            return 0
        through, _line, digest = going[-1]
        self._database.write("delete from audit_checkpoint")
        self._database.write(
            "insert into audit_checkpoint (through, hash, pruned_utc) values (?, ?, ?)", (through, digest, now)
        )
        self._database.write("delete from audit where seq <= ?", (through,))  # the trigger lets that go, and no more
        return len(going)


def _first_break(rows: list[Row], expected_seq: int, previous: bytes) -> BrokenLink | None:
    for seq, line, digest in rows:
        if seq != expected_seq:
            return BrokenLink(expected_seq, f"record {expected_seq} is missing: record {seq} comes in its place")
        if not isinstance(line, str) or digest != _chained(previous, line):
            return BrokenLink(seq, f"record {seq} is not what was written, or does not follow record {seq - 1}")
        expected_seq, previous = seq + 1, digest
    return None


def _chained(previous: bytes, line: str) -> bytes:
    return hashlib.sha256(previous + line.encode()).digest()


def _octets(digest: object) -> bytes:
    """A damaged hash does not stop the hub from writing on: `verify` finds it, and all that follows holds."""
    return digest if isinstance(digest, bytes) else str(digest).encode()
