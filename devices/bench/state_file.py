"""The file in which a virtual world keeps what its dongle and devices have in flash, over the end of the process.

SQLite: one row for each part of the dongle, for each device's network, and for each flash sector that is written; only
what changed is written again. `save` is one transaction over the whole world, so whatever moment the process dies at,
the file holds the world as it was when its last octets left for the host, or a moment later. A process may be killed at
any time; a host computer that loses its power may cost the last transactions, never the file.

Each row has a CRC, because nobody could tell from the air that a key was damaged. The file is locked while it is in
use. It holds keys: its mode is 0600 from its creation on, and nothing of its content is in a message.
"""

import json
import os
import sqlite3
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from devices.bench.scenario import Scenario
from devices.bench.toml_section import format_eui64
from devices.bench.world import World
from devices.stack.persisted import Persisted

if TYPE_CHECKING:
    from devices.stack.interface import Eui64

APPLICATION_ID = 0x76444E47  # "vDNG", ours
LAYOUT_VERSION = 1  # ours

_DONGLE = "dongle"
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT_VERSION};
BEGIN;
CREATE TABLE world (identity TEXT NOT NULL, starts INTEGER NOT NULL) STRICT;
CREATE TABLE part (owner TEXT, name TEXT, value TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (owner, name)) STRICT;
CREATE TABLE sector (owner TEXT, number INTEGER, octets BLOB NOT NULL, crc INTEGER NOT NULL,
                     PRIMARY KEY (owner, number)) STRICT;
"""
_PUT_PART = "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?)"
_PUT_SECTOR = "INSERT OR REPLACE INTO sector VALUES (?, ?, ?, ?)"


class StateFileError(Exception):
    """The file cannot be used. What to do is part of the message."""


class _DamageError(Exception):
    """What the file holds is not what was written."""


class StateFile:
    """`StateFile.open(path, scenario, ncp)`, then `restore`, `save` as often as need be, and `close`."""

    def __init__(self, path: Path, database: sqlite3.Connection, starts: int) -> None:
        self.starts = starts
        """How often it was opened before."""
        self._path = path
        self._database = database
        self._parts: dict[str, dict[str, Persisted]] = {}
        self._owners: dict[Eui64, str] = {}

    @classmethod
    def open(cls, path: Path, scenario: Scenario, ncp: str) -> Self:
        """Make the file where there is none. Raises StateFileError, and then has changed nothing."""
        identity = _identity(scenario, ncp)
        try:
            if not path.exists():
                _create(path, identity)
            database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise StateFileError(f"{path} cannot be opened: {error}: choose another --state") from None
        try:
            return cls(path, database, _begin(database, identity))
        except _DamageError as error:
            database.close()
            raise StateFileError(f"{path} {error}") from None
        except sqlite3.Error as error:
            database.close()
            raise _refusal(path, error) from None

    def restore(self, world: World) -> None:
        """Give the dongle and the devices back what they had. In a new file there is nothing yet, and nothing changes.

        Before time runs in `world`.
        """
        try:
            self._read_parts()
            if not self._parts:
                return
            world.dongle.restore(self._parts[_DONGLE])
            for eui64, device in world.devices.items():
                owner = format_eui64(eui64)
                device.stack.restore(self._parts[owner]["network"])
                if device.firmware is not None:
                    device.firmware.flash.restore(self._sectors(owner))
        except sqlite3.Error as error:
            raise _refusal(self._path, error) from None
        except (_DamageError, KeyError, TypeError, ValueError, OverflowError):
            raise _damaged(self._path) from None

    def _read_parts(self) -> None:
        for owner, name, value, crc in self._database.execute("SELECT owner, name, value, crc FROM part"):
            if zlib.crc32(value.encode()) != crc:
                raise _DamageError
            self._parts.setdefault(owner, {})[name] = json.loads(value)

    def _sectors(self, owner: str) -> dict[int, bytes]:
        sectors = {}
        rows = self._database.execute("SELECT number, octets, crc FROM sector WHERE owner = ?", (owner,))
        for number, octets, crc in rows:
            if zlib.crc32(octets) != crc:
                raise _DamageError
            sectors[number] = octets
        return sectors

    def save(self, world: World) -> None:
        """Write what changed since the last time. Afterwards it outlives the process."""
        put: list[tuple[str, tuple[object, ...]]] = self._changes(_DONGLE, world.dongle.retained())
        for eui64, device in world.devices.items():
            owner = self._owners.get(eui64)
            if owner is None:
                owner = self._owners[eui64] = format_eui64(eui64)
            put += self._changes(owner, {"network": device.stack.retained()})
            flash = None if device.firmware is None else device.firmware.flash
            for number, octets in {} if flash is None else flash.take_changes().items():
                if octets is None:
                    put.append(("DELETE FROM sector WHERE owner = ? AND number = ?", (owner, number)))
                else:
                    put.append((_PUT_SECTOR, (owner, number, octets, zlib.crc32(octets))))
        if not put:
            return
        try:
            self._database.execute("BEGIN")
            for statement, values in put:
                self._database.execute(statement, values)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise StateFileError(f"{self._path} cannot be written: {error}") from None

    def _changes(self, owner: str, parts: dict[str, Persisted]) -> list[tuple[str, tuple[object, ...]]]:
        before = self._parts.get(owner, {})
        if parts is before:
            return []
        changes: list[tuple[str, tuple[object, ...]]] = []
        for name, kept in parts.items():
            if before.get(name) != kept:
                value = json.dumps(kept, separators=(",", ":"))
                changes.append((_PUT_PART, (owner, name, value, zlib.crc32(value.encode()))))
        gone = before.keys() - parts.keys()
        changes += [("DELETE FROM part WHERE owner = ? AND name = ?", (owner, name)) for name in sorted(gone)]
        self._parts[owner] = parts
        return changes

    def close(self) -> None:
        self._database.close()


def _identity(scenario: Scenario, ncp: str) -> str:
    """Whose state it is: the kind of dongle, its address and tables, and who the devices are."""
    devices = [[format_eui64(entry.settings.eui64), entry.settings.kind] for entry in scenario.devices]
    dongle = [ncp, format_eui64(scenario.ncp.eui64), scenario.ncp.table_size]
    return json.dumps({"dongle": dongle, "devices": sorted(devices)})


def _create(path: Path, identity: str) -> None:
    """Whole, or not at all: it is made beside its place."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # of a start that was killed
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        database = sqlite3.connect(beside, isolation_level=None)
        try:
            database.executescript(_SCHEMA)
            database.execute("INSERT INTO world VALUES (?, -1)", (identity,))
            database.execute("COMMIT")
        finally:
            database.close()
        os.link(beside, path)
    finally:
        beside.unlink()


def _begin(database: sqlite3.Connection, identity: str) -> int:
    """Look whether it is ours, lock it, and count the start."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    if _pragma(database, "application_id") != APPLICATION_ID:
        raise _DamageError("is no state of a virtual dongle, or it is damaged: choose another --state, or remove it")
    version = _pragma(database, "user_version")
    if version != LAYOUT_VERSION:
        raise _DamageError(f"has layout {version}, and this program knows {LAYOUT_VERSION}: choose another --state")
    if _pragma(database, "quick_check") != "ok":
        raise sqlite3.DatabaseError
    row = database.execute("SELECT identity, starts FROM world").fetchone()
    if row is None:
        raise sqlite3.DatabaseError
    if row[0] != identity:
        raise _DamageError(
            "is the state of another scenario or another --ncp: choose another --state, or remove it to begin again"
        )
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("UPDATE world SET starts = starts + 1")
    return int(row[1]) + 1


def _pragma(database: sqlite3.Connection, name: str) -> object:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def _refusal(path: Path, error: sqlite3.Error) -> StateFileError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StateFileError(f"{path} is in use by another process: end that one, or choose another --state")
    unusable = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
    if code is not None and code & 0xFF in unusable:
        return StateFileError(f"{path} cannot be used: {error}: choose another --state")
    return _damaged(path)


def _damaged(path: Path) -> StateFileError:
    return StateFileError(f"{path} is damaged: choose another --state, or remove it to begin again")
