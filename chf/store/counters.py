"""Small durable facts: numbers that are never given out twice, requests that were seen, and settings of the store."""

import json
from typing import Any, Final

from chf.clock import UtcSeconds
from chf.errors import DamagedRowError, StoreError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.store.database import Database
from chf.store.rows import RowReader, eui64, json_object, number, text, u64_text
from chf.trust import ClockRecord

_CLOCK_RECORD: Final = "clock"
_COUNTER_LIMIT: Final = 2**63 - 1  # what an SQLite integer holds
_U64_LIMIT: Final = 2**64


def _value(_key: str, value: Any) -> Any:
    return value


NEXT: Final[RowReader[int]] = RowReader("counters", {"name": text, "next": number}, _value)
VALUE: Final[RowReader[str]] = RowReader("meta", {"key": text, "value": text}, _value)
_JSON: Final[RowReader[dict[str, Any]]] = RowReader("meta", {"key": text, "value": json_object}, _value)
COUNTER: Final[RowReader[int]] = RowReader("requests", {"originator": eui64, "counter": u64_text}, _value)


class Counters:
    """Numbers that only rise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def peek(self, name: str) -> int | None:
        """The number that would be given out next, None before the first."""
        return NEXT.first(self._database.read(f"select {NEXT.columns} from counters where name = ?", (name,)))


class CountersWriter(Counters):
    def take(self, name: str, *, first: int = 1) -> int:
        """The next number, `first` to begin with. It is safe to use once the transaction has committed."""
        number = max(self.peek(name) or first, first)
        if number >= _COUNTER_LIMIT:
            raise StoreError(f"counter {name!r} is used up")
        self._database.write(
            "insert into counters (name, next) values (?, ?) on conflict (name) do update set next = excluded.next",
            (name, number + 1),
        )
        return number


class Requests:
    """Service requests that were taken, so that a replay is known for one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, originator: Eui64, counter: int) -> bool:
        rows = self._database.read(
            "select 1 from requests where originator = ? and counter = ?", (format_eui64(originator), _u64(counter))
        )
        return bool(rows)

    def highest(self, originator: Eui64) -> int | None:
        """The highest counter that was taken of this originator, None before the first."""
        rows = self._database.read(
            f"select {COUNTER.columns} from requests where originator = ? order by counter desc limit 1",
            (format_eui64(originator),),
        )
        return COUNTER.first(rows)


class RequestsWriter(Requests):
    def note(self, originator: Eui64, counter: int, utc: UtcSeconds) -> bool:
        """Write down that this request was taken; False where it was taken before."""
        cursor = self._database.write(
            "insert or ignore into requests (originator, counter, seen_utc) values (?, ?, ?)",
            (format_eui64(originator), _u64(counter), utc),
        )
        return cursor.rowcount == 1


class Meta:
    """Settings that belong to the store, such as the hub's own identity."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        return VALUE.first(self._database.read(f"select {VALUE.columns} from meta where key = ?", (key,)))

    def number(self, key: str) -> int:
        """0 where there is none. Raises DamagedRowError."""
        value = self.get(key)
        if value is None or value.isdecimal():
            return int(value or 0)
        raise DamagedRowError("meta", key, "value: no number")

    def json(self, key: str) -> dict[str, Any] | None:
        """Raises DamagedRowError for what is no JSON object."""
        rows = self._database.read(f"select {_JSON.columns} from meta where key = ?", (key,))
        return _JSON.first(rows)

    def clock_record(self) -> ClockRecord | None:
        """What the last hub saw of its wall clock; a damaged row is worth no more than none."""
        try:
            return ClockRecord.from_json(self.json(_CLOCK_RECORD))
        except DamagedRowError:
            return None


class MetaWriter(Meta):
    def set(self, key: str, value: str) -> None:
        self._database.write(
            "insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value",
            (key, value),
        )

    def note_clock(self, record: ClockRecord) -> None:
        self.set(_CLOCK_RECORD, json.dumps(record.to_json()))


def _u64(counter: int) -> str:
    if not 0 <= counter < _U64_LIMIT:
        raise UsageError(f"{counter} is not a 64-bit counter")
    return f"{counter:016x}"
