"""Documents on their way to the users of the DCC side: written once, kept until the user has taken them.

A document is final when it is written, its ids included: every attempt sends the same octets. Those of one recipient
about one device keep their order; one that its recipient keeps calling invalid is parked, so that it cannot hold up the
rest for ever. Sending them is the work of chf.dcc.
"""

from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import RefusedError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database, Parameter
from chf.store.rows import RowReader, Rows, eui64, flag, number, octets, optional, text, unsigned, utc


@dataclass(frozen=True, slots=True)
class NewDocument:
    """`alert` is the number of the alert that it was made of, where it was."""

    msg_id: str
    recipient: Eui64
    device: Eui64
    kind: str
    document: bytes
    created: UtcSeconds
    alert: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A document that is the next one for its recipient about a device, without its octets."""

    seq: int
    recipient: Eui64
    next_attempt: UtcSeconds


@dataclass(frozen=True, slots=True)
class Document:
    seq: int
    msg_id: str
    recipient: Eui64
    device: Eui64
    kind: str
    document: bytes
    created: UtcSeconds
    alert: int | None
    attempts: int
    next_attempt: UtcSeconds
    last_error: str
    parked: bool
    delivered: UtcSeconds | None


READER: Final = RowReader(
    "uplink",
    {
        "seq": number,
        "msg_id": text,
        "recipient": eui64,
        "device": eui64,
        "kind": text,
        "document": octets,
        "created_utc": utc,
        "alert": optional(number),
        "attempts": unsigned(32),
        "next_utc": utc,
        "last_error": text,
        "parked": flag,
        "delivered_utc": optional(utc),
    },
    Document,
)
_HEADS: Final = RowReader("uplink", {"seq": number, "recipient": eui64, "next_utc": utc}, Head)
_WRITTEN: Final = "msg_id, recipient, device, kind, document, created_utc, alert"
_OPEN: Final = "delivered_utc is null and parked = 0"


class Uplink:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, seq: int) -> Document | None:
        return READER.first(self._database.read(f"select {READER.columns} from uplink where seq = ?", (seq,)))

    def list(
        self, *, undelivered: bool = False, since: UtcSeconds | None = None, last: int | None = None
    ) -> Rows[Document]:
        """The last so many, or all, oldest first; parked ones count as undelivered."""
        conditions: dict[str, Parameter] = {"created_utc >= ?": since}
        if undelivered:
            conditions["delivered_utc is null and ?"] = 1
        return READER.newest(self._database, last, conditions)

    def heads(self) -> Rows[Head]:
        """Of each recipient and device the oldest open document: the only one that may be sent now."""
        rows = self._database.read(
            f"select {_HEADS.columns} from uplink where seq in"
            f" (select min(seq) from uplink where {_OPEN} group by recipient, device) order by seq"
        )
        return _HEADS.all(rows)

    def waiting(self) -> int:
        return int(self._database.read(f"select count(*) from uplink where {_OPEN}")[0][0])


class UplinkWriter(Uplink):
    """Reading and writing, within a transaction."""

    def add(self, document: NewDocument) -> bool:
        """False, and nothing changed, where one of this id is written already."""
        cursor = self._database.write(
            f"insert into uplink ({_WRITTEN}) values (?, ?, ?, ?, ?, ?, ?) on conflict (msg_id) do nothing",
            (
                document.msg_id,
                format_eui64(document.recipient),
                format_eui64(document.device),
                document.kind,
                document.document,
                document.created,
                document.alert,
            ),
        )
        return cursor.rowcount == 1

    def failed(self, seq: int, error: str, next_attempt: UtcSeconds, *, park: bool = False) -> None:
        """An attempt that did not end in the recipient's word that it has it."""
        self._database.write(
            "update uplink set attempts = attempts + 1, last_error = ?, next_utc = ?, parked = ? where seq = ?",
            (error, next_attempt, int(park), seq),
        )

    def delivered(self, seq: int, utc: UtcSeconds) -> None:
        self._database.write(
            "update uplink set attempts = attempts + 1, last_error = '', delivered_utc = coalesce(delivered_utc, ?)"
            " where seq = ?",
            (utc, seq),
        )

    def retry(self, seq: int) -> None:
        """Send it (again) at the next opportunity. Raises RefusedError where there is nothing to send."""
        cursor = self._database.write(
            "update uplink set parked = 0, next_utc = 0 where seq = ? and delivered_utc is null", (seq,)
        )
        if cursor.rowcount == 0:
            raise RefusedError(f"document {seq} is not waiting: it was delivered, or there is none")

    def resend(self, since: UtcSeconds) -> int:
        """Deliver once more what was taken from then on: its recipient lost it. Returns how many documents go again."""
        cursor = self._database.write(
            "update uplink set delivered_utc = null, next_utc = 0 where delivered_utc >= ?", (since,)
        )
        return cursor.rowcount
