"""Alerts on their way up: the outbox. Each is written once and kept until the receiver has acknowledged it.

An alert's id is made in the transaction that writes it, so that every later attempt carries the same one, and a device
that repeats an alert repeats its id. Delivering them is somebody else's work.
"""

from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import StoreError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database, Parameter
from chf.store.rows import RowReader, Rows, eui64, flag, number, octets, optional, text, unsigned, utc


@dataclass(frozen=True, slots=True)
class NewAlert:
    """An alert to be written. `device` is the device that it is about, `message` the signed octets, untouched."""

    msg_id: str
    device: Eui64
    use_case: str
    alert_code: int
    outcome: str
    message: bytes
    verified: bool
    created: UtcSeconds
    update: int | None = None

    def as_fields(self) -> dict[str, str]:
        """As the trace tells of it."""
        return {
            "use_case": self.use_case,
            "alert_code": f"0x{self.alert_code:04X}",
            "outcome": self.outcome,
            "msg_id": self.msg_id,
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as written, with its place in the queue."""

    seq: int
    msg_id: str
    device: Eui64
    use_case: str
    alert_code: int
    outcome: str
    message: bytes
    verified: bool
    created: UtcSeconds
    update: int | None
    attempts: int
    delivered: UtcSeconds | None


READER: Final = RowReader(
    "alerts",
    {
        "seq": number,
        "msg_id": text,
        "device": eui64,
        "use_case": text,
        "alert_code": unsigned(16),
        "outcome": text,
        "message": octets,
        "verified": flag,
        "created_utc": utc,
        "update_id": optional(number),
        "attempts": unsigned(32),
        "delivered_utc": optional(utc),
    },
    Alert,
)
_WRITTEN: Final = "msg_id, device, use_case, alert_code, outcome, message, verified, created_utc, update_id"


def alert_id(originator: Eui64, originator_counter: int, message_code: int) -> str:
    """The identity of a GBCS alert: who sent it, under which counter, and what it is."""
    return f"{format_eui64(originator)}/{originator_counter}/{message_code:04X}"


class Alerts:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, msg_id: str) -> Alert | None:
        return READER.first(self._database.read(f"select {READER.columns} from alerts where msg_id = ?", (msg_id,)))

    def list(
        self,
        *,
        device: Eui64 | None = None,
        update: int | None = None,
        use_case: str | None = None,
        since: UtcSeconds | None = None,
        last: int | None = None,
    ) -> Rows[Alert]:
        """The last so many that match every filter given, or all, oldest first."""
        conditions: dict[str, Parameter] = {
            "device = ?": None if device is None else format_eui64(device),
            "update_id = ?": update,
            "use_case = ?": use_case,
            "created_utc >= ?": since,
        }
        return READER.newest(self._database, last, conditions)

    def tail(self, after_seq: int, limit: int = 100) -> Rows[Alert]:
        """The next ones after one that is known, oldest first."""
        return READER.after(self._database, after_seq, limit)

    def undelivered(self, limit: int = 100) -> Rows[Alert]:
        """The oldest that are not acknowledged."""
        rows = self._database.read(
            f"select {READER.columns} from alerts where delivered_utc is null order by seq limit ?", (limit,)
        )
        return READER.all(rows)


class AlertsWriter(Alerts):
    """Reading and writing, within a transaction."""

    def add(self, alert: NewAlert) -> bool:
        """Write an alert; False, and nothing changed, where one of this id is written already."""
        cursor = self._database.write(
            f"insert into alerts ({_WRITTEN}) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (msg_id) do nothing",
            (
                alert.msg_id,
                format_eui64(alert.device),
                alert.use_case,
                alert.alert_code,
                alert.outcome,
                alert.message,
                int(alert.verified),
                alert.created,
                alert.update,
            ),
        )
        return cursor.rowcount == 1

    def attempted(self, msg_id: str) -> None:
        self._change("attempts = attempts + 1", (), msg_id)

    def delivered(self, msg_id: str, utc: UtcSeconds) -> None:
        """The receiver has acknowledged it; the first time counts."""
        self._change("delivered_utc = coalesce(delivered_utc, ?)", (utc,), msg_id)

    def _change(self, assignment: str, parameters: tuple[Parameter, ...], msg_id: str) -> None:
        if (
            self._database.write(f"update alerts set {assignment} where msg_id = ?", (*parameters, msg_id)).rowcount
            == 0
        ):
            raise StoreError(f"there is no alert {msg_id}")
