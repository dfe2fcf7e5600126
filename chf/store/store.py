"""The hub's only truth: one SQLite file in the home directory, read through tables, written through transactions.

    with Store.open(home) as store:
        store.updates.list()
        with store.transaction() as tx:
            tx.updates.update(update)
            tx.alerts.add(alert)        # both or neither, and on disk when the block is left

The hub opens it with `hub=True` and is the only one that may; commands of the CLI open it beside the hub for as long as
they take. It holds rows and hands out rows: what they mean is decided elsewhere.

`chf.db-wal` next to the file is part of it. What cannot be noticed is somebody deleting that after a crash: the store
is then whole, and older by the transactions that were only there. Copy both, or copy with the hub stopped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from chf.clock import Clock, UtcSeconds
from chf.eui64 import Eui64
from chf.store.alerts import Alerts, AlertsWriter
from chf.store.audit import Audit, AuditWriter
from chf.store.counters import Counters, CountersWriter, Meta, MetaWriter, Requests, RequestsWriter
from chf.store.database import Database
from chf.store.device_log import DeviceLog, DeviceLogWriter
from chf.store.device_messages import DeviceMessages, DeviceMessagesWriter
from chf.store.health import findings
from chf.store.images import Images, ImagesWriter
from chf.store.inbox import FollowedCommands, FollowedCommandsWriter, Inbox, InboxWriter
from chf.store.lock import Only, StoreLock
from chf.store.retention import TABLES, Pruner, Pruning
from chf.store.scheduled import ScheduledReads, ScheduledReadsWriter
from chf.store.update_table import Updates, UpdatesWriter
from chf.store.uplink import Uplink, UplinkWriter
from chf.trust import WatchedClock
from chf.update.eligibility import Candidate, InProgress


class Transaction:
    """The tables, writable, until the block is left."""

    def __init__(self, database: Database) -> None:
        self.devices = DeviceLogWriter(database)
        self.images = ImagesWriter(database)
        self.updates = UpdatesWriter(database)
        self.audit = AuditWriter(database)
        self.inbox = InboxWriter(database)
        self.alerts = AlertsWriter(database)
        self.requests = RequestsWriter(database)
        self.counters = CountersWriter(database)
        self.meta = MetaWriter(database)
        self.uplink = UplinkWriter(database)
        self.followed = FollowedCommandsWriter(database)
        self.device_messages = DeviceMessagesWriter(database)
        self.scheduled = ScheduledReadsWriter(database)
        self.pruner = Pruner(database, self.audit)


class Store:
    """The tables, readable. Errors: StoreError and its children, for every way in which a file can fail."""

    def __init__(self, home: Path, database: Database, lock: StoreLock | None) -> None:
        self.home = home
        self._database, self._lock = database, lock
        self.devices = DeviceLog(database)
        self.images = Images(database)
        self.updates = Updates(database)
        self.audit = Audit(database)
        self.inbox = Inbox(database)
        self.alerts = Alerts(database)
        self.requests = Requests(database)
        self.counters = Counters(database)
        self.meta = Meta(database)
        self.uplink = Uplink(database)
        self.followed = FollowedCommands(database)
        self.device_messages = DeviceMessages(database)
        self.scheduled = ScheduledReads(database)
        self.pruning = Pruning(database)
        self._transaction = Transaction(database)

    @classmethod
    def open(cls, home: Path, *, hub: bool = False) -> Self:
        """Open the store in `home`, making both where they are missing.

        As the hub: take the lock (StoreInUseError where another hub has it). It calls `check` before it serves anybody.
        """
        if not hub:
            return cls(home, Database.open(home), None)
        lock = StoreLock.acquire(home, Only.HUB)
        try:
            return cls(home, Database.open(home, hub=True), lock)
        except BaseException:
            lock.release()
            raise

    def check(self) -> None:
        """Read the whole file once. Raises StoreCorruptError where it does not hang together.

        Half a second for a store of years, so the hub does it in a thread, while its dongle starts.
        """
        self._database.check()

    def candidate(self, device: Eui64) -> Candidate | None:
        """What the store knows of a device that is to be updated, None where it is not in the device log."""
        entry, update = self.devices.get(device), self.updates.active_for(device)
        return None if entry is None else entry.candidate(None if update is None else InProgress.of(update))

    def watched(self, clock: Clock) -> WatchedClock:
        """The wall clock, judged by what the last hub saw of it."""
        return WatchedClock(clock, self.meta.clock_record())

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Transaction]:
        """All or nothing, on disk when the block is left without an exception.

        Not `durable`: a power cut within seconds may undo it. For what is worth little, and must not hold up the radio.
        """
        with self._database.transaction(durable=durable):
            yield self._transaction

    def findings(self) -> Iterator[str]:
        """What is wrong with it, worst first: everything is read once."""
        return findings(self._database, self.audit.verify)

    def prune(self, older_than: UtcSeconds, now: UtcSeconds) -> dict[str, int]:
        """One portion of what retention lets go: how many rows of each table went. Call again until there are none.

        A power cut may undo it, which does no harm.
        """
        with self.transaction(durable=False) as tx:
            gone = {table: tx.pruner.prune(table, older_than, now) for table in TABLES}
        return {table: count for table, count in gone.items() if count}

    def sync(self) -> None:
        """Wait until all that was committed without waiting is on disk. May be called in another thread."""
        self._database.sync()

    def checkpoint(self) -> None:
        """Move SQLite's log into the file, so that no commit has to. May be called in another thread."""
        self._database.checkpoint()

    def changed_by_others(self) -> bool:
        """Whether somebody else has written since the last call (True the first time): for the hub's poll."""
        return self._database.changed_by_others()

    def version_of_others(self) -> int:
        """Another number whenever somebody else has written: for who decides first and writes later."""
        return self._database.version_of_others()

    def close(self) -> None:
        self._database.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()
