"""One SQLite connection: how it is opened, how its transactions run, and how its failures read.

Everything that SQLite raises leaves here as an error of ours. It knows nothing of what is in the tables.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from chf.errors import StoreCorruptError, StoreError, StoreUnavailableError, UsageError
from chf.store.schema import APPLICATION_ID, migrate

FILE_NAME: Final = "chf.db"

PATIENCE_S: Final = 5.0
"""How long a command waits for another writer; transactions take milliseconds: more means that something hangs."""

HUB_PATIENCE_S: Final = 0.25
"""The same of the hub, whose devices wait with it: it is told sooner, keeps what it has, and tries again."""

HUB_LOG_PAGES: Final = 8192
"""The hub's log is moved into the file beside its event loop (`checkpoint`). Should that fail, a commit of its own does
it at 32 MB; one of any other process, as SQLite has it, at 4 MB."""

Row: TypeAlias = tuple[Any, ...]
Parameter: TypeAlias = str | bytes | int | float | None

_NO_UTF8: Final = "Could not decode to UTF-8"  # sqlite3 has no code for it
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL),
}


class Database:
    """An open store file. All calls are synchronous and belong to one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self._data_version: int | None = None

    @classmethod
    def open(cls, home: Path, *, hub: bool = False) -> "Database":
        """Open the store in `home`, making both where they are missing, and bring its schema up to date.

        Raises StoreCorruptError for a file that is not a whole store of ours (it is left as it is), StoreError where
        the file system refuses.
        """
        path = home / FILE_NAME
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                if path.with_name(FILE_NAME + "-wal").exists():
                    raise StoreCorruptError(f"{path} is gone, and its log is still there: restore the file")
                _create(home, path)
            status = path.stat()
            for part in (path, *(path.with_name(FILE_NAME + ending) for ending in ("-wal", "-shm"))):
                if part.exists() and part.stat().st_mode & 0o077:
                    part.chmod(0o600)  # it holds link keys
        except OSError as error:
            raise StoreError(f"cannot open the store in {home}: {error.strerror}") from error
        if status.st_size == 0:
            raise StoreCorruptError(f"{path} is empty: a store is never made empty, so its content was lost")
        with translated(path):
            connection = _connect(path, HUB_PATIENCE_S if hub else PATIENCE_S)
        try:
            with translated(path):
                _set_up(connection, path)
                if hub:
                    connection.execute(f"pragma wal_autocheckpoint = {HUB_LOG_PAGES}")
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def check(self) -> None:
        """Read the whole file once. May be made in another thread.

        Raises StoreCorruptError where it does not hang together.
        """
        with translated(self._path), closing(_connect(self._path, PATIENCE_S)) as beside:
            findings = [str(row[0]) for row in beside.execute("pragma quick_check(1)")]
        if findings != ["ok"]:
            raise StoreCorruptError(f"{self._path} is damaged: {findings[0] if findings else 'no answer'}")

    def read(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """A text that is no UTF-8 comes as octets: the reader of the row says that it is damaged."""
        with translated(self._path):
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if not str(error).startswith(_NO_UTF8):
                    raise
            self._connection.text_factory = _text_or_octets  # seven times slower than SQLite's own, so only now
            try:
                return self._connection.execute(sql, parameters).fetchall()
            finally:
                self._connection.text_factory = str

    def rows(self, sql: str) -> Iterator[Row]:
        """As `read`, one after the other: for more of them than memory holds."""
        with translated(self._path), closing(_connect(self._path, PATIENCE_S)) as beside:
            beside.text_factory = _text_or_octets
            yield from beside.execute(sql)

    def write(self, sql: str, parameters: Sequence[Parameter] = ()) -> sqlite3.Cursor:
        """For use within `transaction` only."""
        if not self._connection.in_transaction:
            raise StoreError("a write outside of a transaction")
        with translated(self._path):
            return self._connection.execute(sql, parameters)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """All or nothing, on disk when it is left. Whatever is raised inside undoes it; they do not nest.

        Not `durable` is without the wait for the disk (2 ms, and now and then 100): a power cut within seconds may undo
        it, whole; a process that dies does not.
        """
        if self._connection.in_transaction:
            raise StoreError("a transaction within a transaction")
        with translated(self._path):
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._connection.execute("begin immediate")
        try:
            yield
            with translated(self._path):
                self._connection.execute("commit")
        except sqlite3.IntegrityError as error:
            self._undo()
            raise StoreError(f"a write that breaks a rule of the schema: {error}") from error
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        if self._connection.in_transaction:  # after some failures SQLite has undone it by itself
            self._connection.execute("rollback")

    def sync(self) -> None:
        """Wait for the disk to have all that was committed. May be made in another thread.

        Raises StoreError. What is committed lies in the log, or was moved from there into the file, which SQLite does
        only after a sync of its own.
        """
        try:
            log = os.open(self._path.with_name(FILE_NAME + "-wal"), os.O_RDONLY)
            try:
                os.fsync(log)
            finally:
                os.close(log)  # SQLite holds its locks on other files
        except OSError as error:
            raise StoreError(f"cannot use {self._path}: {error.strerror}") from error

    def checkpoint(self) -> None:
        """Move what is in the log into the file, as far as nobody reads it there. May be made in another thread.

        Raises StoreError. Otherwise the commit that finds the log long does it, and waits for the disk twice.
        """
        with translated(self._path), closing(_connect(self._path, PATIENCE_S)) as beside:
            beside.execute("pragma wal_checkpoint(passive)").fetchall()

    def changed_by_others(self) -> bool:
        """Whether another connection has committed since the last call; True the first time. Cheap enough to poll."""
        version = self.version_of_others()
        changed = version != self._data_version
        self._data_version = version
        return changed

    def version_of_others(self) -> int:
        """Another number whenever another connection has committed since."""
        return int(self.read("pragma data_version")[0][0])

    def close(self) -> None:
        with translated(self._path):
            self._connection.close()


def _text_or_octets(octets: bytes) -> str | bytes:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into the error tree, with the file and what to do about it."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:
        raise UsageError(f"a value that the store cannot hold: {error}") from error
    except sqlite3.IntegrityError:
        raise  # a broken rule of the schema: the table's own code says what that means
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the extended ones only refine it
        if code in _CORRUPT:
            raise StoreCorruptError(
                f"{path} is not a whole store ({error}): nothing was changed; restore a copy, or use another --home"
            ) from error
        match code:
            case sqlite3.SQLITE_FULL:
                reason = "the disk is full; nothing is lost, and it goes on when there is space"
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                reason = "another process is writing, and takes too long"
            case sqlite3.SQLITE_READONLY:
                reason = "it is read-only"
            case _:
                reason = str(error)
        kind = StoreUnavailableError if code in _PASSING else StoreError
        raise kind(f"cannot use {path}: {reason}") from error


def _connect(path: Path, patience_s: float) -> sqlite3.Connection:
    uri = path.absolute().as_uri() + "?mode=rw"  # never made by opening it
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience_s)


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreCorruptError(f"{path} is a database, but not a store of this program; nothing was changed")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma trusted_schema = off")
    _log_ahead(connection, path)
    migrate(connection)


def _log_ahead(connection: sqlite3.Connection, path: Path) -> None:
    """Have the file kept with a write-ahead log, once and for all.

    The change needs the file to itself and is refused, without waiting, while anybody writes; so a new file is made so.
    """
    if connection.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
        raise StoreError(f"{path} is on a file system that cannot share memory: choose a local --home")


def _create(home: Path, path: Path) -> None:
    """Make the file under another name, and give it its own once it is whole: there is never half a store."""
    directory = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if path.exists():
            return
        draft = path.with_suffix(".new")
        for ending in ("", "-wal", "-shm"):  # left by a process that was killed here
            draft.with_name(draft.name + ending).unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with translated(path):
            connection = sqlite3.connect(draft, isolation_level=None)
            try:
                connection.execute(f"pragma application_id = {APPLICATION_ID}")
                connection.execute("pragma synchronous = full")
                _log_ahead(connection, path)
                migrate(connection)
            finally:
                connection.close()
        draft.rename(path)
        os.fsync(directory)
    finally:
        os.close(directory)
