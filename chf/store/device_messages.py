"""GBCS messages for devices: from the DCC side, through the hub, until the device has them or their time is over.

The DCC side adds a row and the hub takes it when the device can be reached, which for a sleepy or absent device may be
much later. The octets are relayed untouched. An answer is found again by the device, the counter and the message code
of the command, because a GBCS response repeats them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import StoreError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, eui64, number, octets, text, u64_text, unsigned, utc


class MessageState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"  # the device has it
    ANSWERED = "answered"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class NewDeviceMessage:
    """`request` is the RequestID that the message serves; `message` the octets for the device."""

    device: Eui64
    request: str
    message_code: int
    counter: int
    message: bytes
    created: UtcSeconds
    expires: UtcSeconds


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    id: int
    device: Eui64
    request: str
    message_code: int
    counter: int
    message: bytes
    state: MessageState
    reason: str
    created: UtcSeconds
    expires: UtcSeconds
    changed: UtcSeconds

    def as_fields(self) -> dict[str, str | int]:
        """As the trace tells of it."""
        return {"message": self.id, "message_code": f"0x{self.message_code:04X}", "request": self.request}


READER: Final = RowReader(
    "device_messages",
    {
        "id": number,
        "device": eui64,
        "request": text,
        "message_code": unsigned(16),
        "counter": u64_text,
        "message": octets,
        "state": MessageState,
        "reason": text,
        "created_utc": utc,
        "expires_utc": utc,
        "changed_utc": utc,
    },
    DeviceMessage,
)


class DeviceMessages:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, device: Eui64 | None = None) -> Rows[DeviceMessage]:
        """In the order in which they are to be sent; of every device, or of this one."""
        which, parameters = ("and device = ?", (format_eui64(device),)) if device is not None else ("", ())
        rows = self._database.read(
            f"select {READER.columns} from device_messages where state = 'waiting' {which} order by id", parameters
        )
        return READER.all(rows)

    def asked(self, device: Eui64, counter: int, message_code: int) -> DeviceMessage | None:
        """The command that a response of this device, counter and message code answers."""
        rows = self._database.read(
            f"select {READER.columns} from device_messages where device = ? and counter = ? and message_code = ?"
            " order by id desc limit 1",
            (format_eui64(device), f"{counter:016x}", message_code),
        )
        return READER.first(rows)

    def list(self, *, since: UtcSeconds | None = None, last: int | None = None) -> Rows[DeviceMessage]:
        """The last so many, or all, the newest first."""
        rows = READER.newest(self._database, last, {"created_utc >= ?": since})
        return Rows(reversed(rows), rows.unreadable, left_out=rows.left_out)

    def unanswered(self, overdue_since: UtcSeconds, silent_since: UtcSeconds, limit: int = -1) -> Rows[DeviceMessage]:
        """Those that came to nothing and of which nobody was told.

        They failed or expired, or wait on though their time was over by `overdue_since`, or were delivered by
        `silent_since` and have no answer.
        """
        rows = self._database.read(
            f"select {READER.columns} from device_messages where told_utc is null and state <> 'answered'"
            " and (state in ('failed', 'expired') or (state = 'waiting' and expires_utc <= ?)"
            " or (state = 'delivered' and changed_utc <= ?)) order by id limit ?",
            (overdue_since, silent_since, limit),
        )
        return READER.all(rows)

    def without_outcome(self, utc: UtcSeconds, limit: int = -1) -> Rows[DeviceMessage]:
        """Those that were accepted for later, whose outcome is overdue, and of which nobody was told."""
        rows = self._database.read(
            f"select {READER.columns} from device_messages where told_utc is null and outcome_due_utc is not null"
            " and outcome_due_utc <= ? order by id limit ?",
            (utc, limit),
        )
        return READER.all(rows)

    def get(self, message_id: int) -> DeviceMessage | None:
        rows = self._database.read(f"select {READER.columns} from device_messages where id = ?", (message_id,))
        return READER.first(rows)


class DeviceMessagesWriter(DeviceMessages):
    """Reading and writing, within a transaction."""

    def add(self, message: NewDeviceMessage) -> int:
        cursor = self._database.write(
            "insert into device_messages (device, request, message_code, counter, message, state, created_utc,"
            " expires_utc, changed_utc) values (?, ?, ?, ?, ?, 'waiting', ?, ?, ?)",
            (
                format_eui64(message.device),
                message.request,
                message.message_code,
                f"{message.counter:016x}",
                message.message,
                message.created,
                message.expires,
                message.created,
            ),
        )
        return int(cursor.lastrowid or 0)

    def change(self, message_id: int, state: MessageState, utc: UtcSeconds, reason: str = "") -> None:
        cursor = self._database.write(
            "update device_messages set state = ?, reason = ?, changed_utc = ? where id = ?",
            (state.value, reason, utc, message_id),
        )
        if cursor.rowcount == 0:
            raise StoreError(f"there is no message {message_id} for a device")

    def postpone(self, seconds: float) -> None:
        """The wall clock was set by so much: what waits, or is waited for, has as long left as before."""
        for column, state in (("expires_utc", "waiting"), ("changed_utc", "delivered")):
            self._database.write(
                f"update device_messages set {column} = max({column} + ?, 0.0) where state = '{state}'", (seconds,)
            )

    def expect_outcome(self, message_id: int, due: UtcSeconds | None) -> None:
        """Of a message that was accepted for later; None once it has come."""
        self._database.write("update device_messages set outcome_due_utc = ? where id = ?", (due, message_id))

    def supersede(self, device: Eui64, message_id: int) -> None:
        """This message took the place of all before it: their outcomes will not come."""
        self._database.write(
            "update device_messages set outcome_due_utc = null where device = ? and id < ?",
            (format_eui64(device), message_id),
        )

    def told(self, message_id: int, utc: UtcSeconds) -> bool:
        """Its sender is told that it came to nothing; False where he was told before."""
        cursor = self._database.write(
            "update device_messages set told_utc = ? where id = ? and told_utc is null", (utc, message_id)
        )
        return cursor.rowcount == 1
