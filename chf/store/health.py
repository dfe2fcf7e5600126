"""What is wrong with a store, for `chf doctor`: it reads everything there is, and changes nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

from chf.errors import DamagedRowError, StoreError
from chf.store import (
    alerts,
    audit,
    counters,
    device_log,
    device_messages,
    images,
    inbox,
    progress,
    scheduled,
    update_table,
    uplink,
)
from chf.store.database import Database
from chf.store.rows import RowReader
from chf.store.schema import migrate

_READERS: Final = (
    *(alerts.READER, audit.READER, audit.CHECKPOINT, counters.NEXT, counters.VALUE, counters.COUNTER),
    *(device_log.READER, device_log.IMAGES, device_messages.READER, images.READER, inbox.READER, inbox.FOLLOWED),
    *(update_table.READER, scheduled.READER, uplink.READER),
)
_PROGRESS: Final = RowReader("meta", {"key": str, "value": progress.cell}, lambda _key, value: value)
_NAMED: Final = 20  # damaged rows of a table that are told one by one (our choice)


def findings(database: Database, audit_holds: Callable[[], audit.BrokenLink | None]) -> Iterator[str]:
    """What a person should know, worst first; nothing where all is well. A store that cannot be read is a finding."""
    missing = list(_missing(database))
    yield from missing
    yield from _asked(database, "pragma integrity_check(20)", lambda row: None if row[0] == "ok" else str(row[0]))
    yield from _asked(database, "pragma foreign_key_check", lambda row: f"row {row[1]} of {row[0]} belongs to none")
    for reader in _READERS:
        if f"the table {reader.table} is missing" not in missing:
            yield from _damaged(database, reader, "")
    if "the table meta is missing" not in missing:
        yield from _damaged(database, _PROGRESS, f"where key glob '{progress.KEY}*'")
    if "the table audit is missing" not in missing:
        broken = audit_holds()
        if broken is not None:
            yield f"the audit's chain breaks: {broken.reason}"


def _missing(database: Database) -> Iterator[str]:
    """Against a store that is made now."""
    whole = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(whole)
        wanted = whole.execute("select type, name from sqlite_master where name not like 'sqlite_%'").fetchall()
    finally:
        whole.close()
    found = set(database.read("select type, name from sqlite_master"))
    for kind, name in wanted:
        if (kind, name) not in found:
            yield f"the {kind} {name} is missing"


def _asked(database: Database, question: str, told: Callable[[tuple[object, ...]], str | None]) -> Iterator[str]:
    try:
        yield from filter(None, map(told, database.read(question)))
    except StoreError as error:
        yield str(error)


def _damaged(database: Database, reader: RowReader[Any], where: str) -> Iterator[str]:
    count = 0
    try:
        for row in database.rows(f"select {reader.columns} from {reader.table} {where}"):
            try:
                reader.one(row)
            except DamagedRowError as error:
                count += 1
                if count <= _NAMED:
                    yield str(error)
    except StoreError as error:
        yield f"{reader.table}: {error}"
    if count > _NAMED:
        yield f"{count - _NAMED} more rows of {reader.table} are unreadable"
