"""Rows become objects here. Each cell is looked at, so that a damaged one harms its own row and nothing else.

One row that is asked for by its key raises DamagedRowError. A list has the rows that are good, and says beside them
which are not and why: a list can show and count those, and goes on with the others.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from chf.clock import UtcSeconds
from chf.errors import ChfError, DamagedRowError
from chf.eui64 import Eui64, parse_eui64
from chf.store.database import Database, Parameter, Row

Item = TypeVar("Item")
Read = TypeVar("Read")
Cell: TypeAlias = Callable[[Any], Any]
"""Reads what SQLite holds in one column. Raises ValueError or TypeError for what was never written there."""

_LATEST_UTC: Final = 253_402_214_400.0  # 9999-12-31, the last day that can be printed
_KEY_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is not what was written. `because` names the column."""

    table: str
    key: str
    because: str

    @classmethod
    def of(cls, error: DamagedRowError) -> Self:
        return cls(error.table, error.key, error.because)

    def __str__(self) -> str:
        return f"row {self.key} of {self.table} is unreadable, because {self.because}"


class Rows(tuple[Item, ...]):  # noqa: SLOT001 (a tuple's subclass cannot have slots that hold something)
    """The rows of a list that can be read; beside them, those that cannot.

    `left_out` is how many more there are than were asked for, `through` the number of the last row that was looked at.
    """

    unreadable: tuple[Unreadable, ...]
    left_out: int
    through: int

    def __new__(
        cls, items: Iterable[Item] = (), unreadable: Iterable[Unreadable] = (), *, left_out: int = 0, through: int = 0
    ) -> Self:
        rows = super().__new__(cls, items)
        rows.unreadable, rows.left_out, rows.through = tuple(unreadable), left_out, through
        return rows


class RowReader(Generic[Item]):
    """Of one table: its columns in the order of `build`'s arguments, each with what reads it. The first is the key."""

    def __init__(self, table: str, cells: Mapping[str, Cell], build: Callable[..., Item]) -> None:
        self.table, self.columns = table, ", ".join(cells)
        self._cells, self._build = tuple(cells.items()), build

    def one(self, row: Row) -> Item:
        """Raises DamagedRowError."""
        values: list[Any] = []
        try:
            for (_column, cell), value in zip(self._cells, row, strict=True):
                values.append(cell(value))  # how many there are tells which is damaged
            return self._build(*values)
        except (ValueError, LookupError, TypeError, RecursionError, ChfError) as error:
            where = f"{self._cells[len(values)][0]}: " if len(values) < len(self._cells) else ""
            raise DamagedRowError(self.table, key_text(row[0]), f"{where}{error}") from error

    def first(self, rows: Sequence[Row]) -> Item | None:
        return self.one(rows[0]) if rows else None

    def all(self, rows: Iterable[Row], *, left_out: int = 0, through: int = 0) -> Rows[Item]:
        items, unreadable = [], []
        for row in rows:
            try:
                items.append(self.one(row))
            except DamagedRowError as error:
                unreadable.append(Unreadable.of(error))
        return Rows(items, unreadable, left_out=left_out, through=through)

    def after(self, database: Database, number: int, limit: int) -> Rows[Item]:
        """The next rows of a numbered table after this one, oldest first."""
        key = self._cells[0][0]
        rows = database.read(
            f"select {self.columns} from {self.table} where {key} > ? order by {key} limit ?", (number, limit)
        )
        return self.all(rows, through=rows[-1][0] if rows else number)

    def newest(
        self, database: Database, last: int | None, conditions: Mapping[str, Parameter] = MappingProxyType({})
    ) -> Rows[Item]:
        """Of a numbered table, the last so many that meet every condition, oldest first, and how many more do.

        A condition is written as `{"device = ?": value}`; one whose value is None is none.
        """
        chosen = {clause: value for clause, value in conditions.items() if value is not None}
        where = f"where {' and '.join(chosen)}" if chosen else ""
        parameters = tuple(chosen.values())
        limit = -1 if last is None else last
        rows = database.read(
            f"select {self.columns} from {self.table} {where} order by {self._cells[0][0]} desc limit ?",
            (*parameters, limit),
        )
        left_out = 0
        if last is not None and len(rows) == last:
            count = database.read(f"select count(*) from {self.table} {where}", parameters)
            left_out = int(count[0][0]) - len(rows)
        return self.all(reversed(rows), left_out=left_out)


def key_text(key: object) -> str:
    """As a row is named to people, whatever its key has become."""
    return (key.hex() if isinstance(key, bytes) else str(key))[:_KEY_CHARACTERS]


# Cells


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_kind(value)} where a text belongs")
    return value


def octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{_kind(value)} where octets belong")
    return value


def number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{_kind(value)} where a whole number belongs")
    return value


def unsigned(bits: int) -> Callable[[object], int]:
    def cell(value: object) -> int:
        if not 0 <= number(value) < 1 << bits:
            raise ValueError(f"{value} is no number of {bits} bits")
        return number(value)

    return cell


def flag(value: object) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{_kind(value)} where 0 or 1 belongs")
    return bool(value)


def utc(value: object) -> UtcSeconds:
    if not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value < _LATEST_UTC):
        raise ValueError(f"{_kind(value)} where a time belongs")
    return UtcSeconds(value)


def eui64(value: object) -> Eui64:
    return parse_eui64(text(value))


def u64_text(value: object) -> int:
    """A counter of 64 bits, which an SQLite integer cannot hold, in 16 hex digits."""
    if not len(text(value)) == 16 or not text(value).isalnum():
        raise ValueError(f"{text(value)[:40]!r} is no counter")
    return int(text(value), 16)


def json_object(value: object) -> dict[str, Any]:
    found = json.loads(text(value))
    if not isinstance(found, dict):
        raise TypeError("JSON that is no object")
    return found


def optional(cell: Callable[[Any], Read]) -> Callable[[Any], Read | None]:
    return lambda value: None if value is None else cell(value)


def _kind(value: object) -> str:
    return {bytes: "octets (or a text that is no UTF-8)", str: "a text", int: "a number", float: "a number"}.get(
        type(value), "nothing"
    )
