"""GBCS messages from the DCC side to devices: rows of the store that the tunnels carry, octet for octet.

A row waits until its device can be reached or its time is over, through restarts of the hub; its end is written once.
What may be sent is not decided here: a device judges what it is sent.
"""

from dataclasses import dataclass
from functools import partial

from chf.clock import Now, UtcSeconds
from chf.errors import DamagedRowError
from chf.eui64 import Eui64
from chf.hub.batch import Batch
from chf.store import Store
from chf.store.device_messages import DeviceMessage, MessageState
from chf.store.rows import Rows, Unreadable
from chf.store.store import Transaction
from chf.trace import Kind


@dataclass(frozen=True, slots=True)
class _End:
    state: MessageState
    reason: str = ""


class MessagesToDevices:
    """Which rows were handed to a tunnel in this process, and what became of each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handed: set[int] = set()

    def waiting(self) -> Rows[DeviceMessage]:
        """Rows that no tunnel has yet, in their order."""
        rows = self._store.device_messages.waiting()
        return Rows((row for row in rows if row.id not in self._handed), rows.unreadable)

    def handed(self, batch: Batch, row: DeviceMessage) -> None:
        self._handed.add(row.id)
        batch.event(Kind.MESSAGE_QUEUED, row.as_fields(), device=row.device)

    def forget(self, device: Eui64) -> None:
        """No tunnel has the messages of this device any more."""
        self._handed -= {row.id for row in self._store.device_messages.waiting() if row.device == device}

    def unreadable(self, batch: Batch, row: Unreadable) -> None:
        """It is never sent, and the row says so; for its sender it is a message that failed."""
        if row.key.isdecimal():
            batch.write(
                lambda tx: tx.device_messages.change(int(row.key), MessageState.FAILED, batch.now.utc, str(row))
            )

    def delivered(self, batch: Batch, message_id: str) -> None:
        self._end(batch, int(message_id), _End(MessageState.DELIVERED))

    def failed(self, batch: Batch, message_id: str, reason: str, *, expired: bool) -> None:
        self._end(batch, int(message_id), _End(MessageState.EXPIRED if expired else MessageState.FAILED, reason))

    def refused(self, batch: Batch, row: DeviceMessage, reason: str) -> None:
        """It cannot be sent, and never will."""
        self._end(batch, row.id, _End(MessageState.FAILED, reason))

    def expire(self, batch: Batch, row: DeviceMessage) -> None:
        """Its time was over before it was handed to a tunnel."""
        self._end(batch, row.id, _End(MessageState.EXPIRED, "the device was not there in time"))

    def _end(self, batch: Batch, row_id: int, end: _End) -> None:
        self._handed.add(row_id)
        try:
            row = self._store.device_messages.get(row_id)
        except DamagedRowError as error:
            batch.event(Kind.ALARM, {"reason": str(error)})
            self.unreadable(batch, Unreadable.of(error))
            return
        assert row is not None, "retention leaves what is not over"
        batch.write(partial(_change, row_id, end, batch.now.utc), device=row.device)
        kind = Kind.MESSAGE_DELIVERED if end.state is MessageState.DELIVERED else Kind.MESSAGE_FAILED
        fields = row.as_fields()
        if kind is Kind.MESSAGE_FAILED:
            fields |= {"state": end.state.value, "reason": end.reason}
        batch.event(kind, fields, device=row.device)


def lifetime_s(row: DeviceMessage, now: Now) -> float:
    """What is left of it, by the wall clock that it was given by."""
    return row.expires - now.utc


def answered(device: Eui64, counter: int, message_code: int, utc: UtcSeconds, tx: Transaction) -> None:
    """A response of `device` came: the command that it answers needs nothing more."""
    asked = tx.device_messages.asked(device, counter, message_code)
    if asked is not None and asked.state in (MessageState.WAITING, MessageState.DELIVERED):
        tx.device_messages.change(asked.id, MessageState.ANSWERED, utc)


def _change(row_id: int, end: _End, utc: UtcSeconds, tx: Transaction) -> None:
    row = tx.device_messages.get(row_id)
    if row is not None and row.state is MessageState.WAITING:  # an answer may be faster than its receipt
        tx.device_messages.change(row_id, end.state, utc, end.reason)
