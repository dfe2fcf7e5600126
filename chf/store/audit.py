"""The audit: trace events, append-only, each chained to the one before by SHA-256.

The chain shows an edit, a removal or an insertion to whoever reads it, the triggers of the schema stop an accident.
Neither stops somebody who rewrites the whole chain: for that, keep `head` elsewhere now and then.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chf.errors import MalformedError, StoreCorruptError
from chf.store.database import Database
from chf.trace import Event

_GENESIS: Final = bytes(32)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class AuditRecord:
    seq: int
    event: Event
    hash: bytes


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first record that does not follow from those before it."""

    seq: int
    reason: str


class Audit:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tail(self, after_seq: int = 0, limit: int = 1000) -> tuple[AuditRecord, ...]:
        """The next records after one that is known, oldest first. Raises StoreCorruptError for one that is no event."""
        return tuple(AuditRecord(seq, _event(seq, text), digest) for seq, text, digest in self._page(after_seq, limit))

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last record; (0, zeros) before the first."""
        rows = self._database.read("select seq, hash from audit order by seq desc limit 1")
        return (int(rows[0][0]), bytes(rows[0][1])) if rows else (0, _GENESIS)

    def verify(self) -> BrokenLink | None:
        """Walk the whole chain; None where it holds."""
        expected_seq, previous = 1, _GENESIS
        for seq, text, digest in self._walk():
            if seq != expected_seq:
                return BrokenLink(expected_seq, f"record {expected_seq} is missing: record {seq} comes in its place")
            if digest != _chained(previous, text):
                return BrokenLink(seq, f"record {seq} is not what was written, or does not follow record {seq - 1}")
            expected_seq, previous = seq + 1, digest
        written = self._database.read("select seq from sqlite_sequence where name = 'audit'")
        last = int(written[0][0]) if written else 0
        if last >= expected_seq:
            return BrokenLink(expected_seq, f"records {expected_seq} to {last} are missing at the end")
        return None

    def _walk(self) -> Iterator[tuple[int, str, bytes]]:
        after_seq = 0
        while page := self._page(after_seq, _PAGE):
            yield from page
            after_seq = page[-1][0]

    def _page(self, after_seq: int, limit: int) -> list[tuple[int, str, bytes]]:
        rows = self._database.read(
            "select seq, event, hash from audit where seq > ? order by seq limit ?", (after_seq, limit)
        )
        return [(int(seq), str(text), bytes(digest)) for seq, text, digest in rows]


class AuditWriter(Audit):
    """Reading and appending, within a transaction."""

    def append(self, event: Event) -> int:
        """The number that the event got."""
        text = event.to_json()
        _seq, previous = self.head()
        cursor = self._database.write("insert into audit (event, hash) values (?, ?)", (text, _chained(previous, text)))
        return int(cursor.lastrowid or 0)


def _chained(previous: bytes, text: str) -> bytes:
    return hashlib.sha256(previous + text.encode()).digest()


def _event(seq: int, text: str) -> Event:
    try:
        return Event.from_json(text)
    except MalformedError as error:
        raise StoreCorruptError(f"record {seq} of the audit is damaged: {error}") from error
