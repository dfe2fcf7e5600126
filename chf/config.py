"""TOML (and JSON) files read strictly into dataclasses: every key is known, every value has its type and range.

A mistake is a UsageError of one shape, `FILE: section.key: what is wrong, and what is allowed`. Lists count from 1, as
in `cpl.toml: products[2].hash: ...`. A byte order mark is accepted, as editors on Windows write one.

Our own, because msgspec and cattrs would be one more dependency, and neither says in one sentence which file, which key
and which values are allowed; that sentence is most of what is here.

table = read_toml(path)
ota = table.settings("ota", OtaPolicy)          # a dataclass that has a default for every field
table.finish()                                  # refuses what nobody asked for
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar

from chf.errors import UsageError
from chf.eui64 import Eui64, parse_eui64

if TYPE_CHECKING:
    from dataclasses import Field

LARGEST_FILE_OCTETS: Final = 64 << 20  # our choice: an inventory of 50,000 devices is 15 MB
_LARGEST_SETTING: Final = 10**9  # our choice: 31 years in seconds
_LONGEST_WORD: Final = 30  # our choice


class _Settings(Protocol):
    __dataclass_fields__: ClassVar[dict[str, "Field[Any]"]]


Settings = TypeVar("Settings", bound=_Settings)
Choice = TypeVar("Choice", bound=StrEnum)


class Table:
    """One table of a file. A value is asked for once; `finish` refuses those that nobody asked for.

    A getter without a default raises UsageError where the key is missing.
    """

    def __init__(self, values: object, source: str, path: str = "") -> None:
        self._source, self._path = source, path
        if not isinstance(values, dict):
            raise self.error("is not a table")
        self.values: Mapping[str, Any] = values
        self._known: set[str] = set()

    def error(self, what: str, key: str = "") -> UsageError:
        """What is wrong with a key, or with the table as a whole."""
        return UsageError(": ".join(part for part in (self._source, self._below(key) or self._path, what) if part))

    @contextmanager
    def located(self, key: str = "") -> Iterator[None]:
        """Says where the value is whose meaning is refused within the block."""
        try:
            yield
        except UsageError as error:
            raise self.error(str(error), key) from None

    def has(self, key: str) -> bool:
        """For a key that may be missing; it is known then."""
        self._known.add(key)
        return key in self.values

    def number(self, key: str, maximum: int, default: int | None = None, *, minimum: int = 0) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            most = f"0x{maximum:X}" if maximum & (maximum + 1) == 0 else str(maximum)
            raise self.error(f"is a whole number from {minimum} to {most}, not {_shown(value)}", key)
        return value

    def optional_number(self, key: str, maximum: int) -> int | None:
        return self.number(key, maximum) if self.has(key) else None

    def real(self, key: str, default: float | None = None) -> float:
        value = self._take(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not isfinite(value) or not 0 <= value <= _LARGEST_SETTING:
            raise self.error(f"is a number from 0 to {_LARGEST_SETTING}, not {_shown(value)}", key)
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(f"is a text, not {_shown(value)}", key)
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def word(self, key: str, default: str | None = None, *, longest: int = 64) -> str:
        """A text that may stand in a line or a document: printable."""
        value = self.text(key, default)
        if len(value) > longest or not value.isprintable():
            raise self.error(f"is a text of at most {longest} printable characters", key)
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """An array of texts; empty where it is missing."""
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error("is an array of texts", key)
        return tuple(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(f"is true or false, not {_shown(value)}", key)
        return value

    def choice(self, key: str, kind: type[Choice], default: Choice | None = None) -> Choice:
        value = self.text(key, default)
        if value not in list(kind):
            raise self.error(f"is one of {', '.join(kind)}, not {_shown(value)}", key)
        return kind(value)

    def octets(self, key: str, default: str | None = None) -> bytes:
        try:
            return bytes.fromhex(self.text(key, default))
        except ValueError:
            raise self.error("is written in hex digits, two for each octet", key) from None

    def hexadecimal(self, key: str, digits: int) -> int | None:
        """A number that is written as a text in hex, with or without 0x; None where it is missing or empty."""
        text = self.word(key, "").removeprefix("0x")
        if not text:
            return None
        if len(text) > digits or any(digit not in "0123456789abcdefABCDEF" for digit in text):
            raise self.error(f"is up to {digits} hex digits", key)
        return int(text, 16)

    def eui64(self, key: str) -> Eui64:
        text = self.text(key)
        with self.located(key):
            return parse_eui64(text)

    def optional_eui64(self, key: str) -> Eui64 | None:
        """None where it is missing or empty."""
        return self.eui64(key) if self.text(key, "") else None

    def table(self, key: str) -> "Table":
        """An empty one where it is missing."""
        return Table(self._take(key, {}), self._source, self._below(key))

    def optional_table(self, key: str) -> "Table | None":
        return self.table(key) if self.has(key) else None

    def tables(self, key: str) -> "list[Table]":
        """An array of tables; empty where it is missing."""
        values = self._take(key, [])
        if not isinstance(values, list):
            raise self.error(f"is an array of tables, written [[{self._below(key)}]]", key)
        return [
            Table(value, self._source, f"{self._below(key)}[{number}]") for number, value in enumerate(values, start=1)
        ]

    def settings(self, key: str, kind: type[Settings]) -> Settings:
        """A table whose keys are the fields of `kind`, a dataclass with defaults; what it refuses itself is located."""
        make: Callable[..., Settings] = kind
        table, defaults = self.table(key), make()
        given = {item.name: table.setting(item.name, item.type, getattr(defaults, item.name)) for item in fields(kind)}
        table.finish()
        with table.located():
            return make(**given)

    def finish(self) -> None:
        for key in sorted(self.values.keys() - self._known):
            raise self.error(f"is not known: use one of {', '.join(sorted(self._known))}, or remove it", key)

    def setting(self, key: str, declared: object, default: object) -> object:
        """By the declared type: the default of a time in seconds may be written without a fraction."""
        match default:
            case bool():
                return self.flag(key, default=default)
            case StrEnum():
                return self.choice(key, type(default), default)
            case str():
                value = self.word(key, default, longest=_LONGEST_WORD)
                if not value.isascii():  # such texts end up in documents
                    raise self.error("is a text in ASCII", key)
                return value
            case int() if declared is not float:
                return self.number(key, _LARGEST_SETTING, default)
            case int() | float():
                return self.real(key, default)
            case _:
                raise TypeError(f"settings of type {type(default).__name__} cannot be read")

    def _take(self, key: str, default: object) -> Any:
        self._known.add(key)
        value = self.values.get(key, default)
        if value is None:
            raise self.error("is missing", key)
        return value

    def _below(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path and key else key


def read_toml(path: Path) -> Table:
    return Table(_read(path, "TOML"), str(path))


def parse_toml(text: str, source: str) -> Table:
    return Table(_parse(text, "TOML", source), source)


def read_json(path: Path) -> Table:
    return Table(_read(path, "JSON"), str(path))


def _read(path: Path, form: str) -> object:
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST_FILE_OCTETS + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(octets) > LARGEST_FILE_OCTETS:
        raise UsageError(f"{path}: is larger than {LARGEST_FILE_OCTETS} octets")
    try:
        text = octets.decode("utf-8-sig")
    except ValueError as error:
        raise UsageError(f"{path}: is not {form}: {error}") from None
    return _parse(text, form, str(path))


def _parse(text: str, form: str, source: str) -> object:
    try:
        return tomllib.loads(text) if form == "TOML" else json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
        raise UsageError(f"{source}: is not {form}: {error}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
