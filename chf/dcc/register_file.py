"""A list of records as one plain file: JSON that commands write, or TOML that people write by hand. Read strictly.

    <name>.json   {"schema": 1, "<section>": [{...}, ...]}
    <name>.toml   schema = 1, then [[<section>]] for each

At most one of the two exists. A TOML file is a person's: commands refuse to rewrite it, because its comments and its
order would be lost. Records are dictionaries here; what their fields mean is said where they are used.
"""

import fcntl
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chf.errors import StoreError, UsageError

SCHEMA: Final = 1
LARGEST_FILE_OCTETS: Final = 64 << 20  # 50,000 devices are 15 MB; what is larger is something else

Record = Mapping[str, Any]


class RegisterFile:
    """`path` is without its ending."""

    def __init__(self, path: Path, section: str) -> None:
        self._json, self._toml, self._section = path.with_suffix(".json"), path.with_suffix(".toml"), section

    def read(self) -> tuple[Path, Sequence[Record]] | None:
        """The file and its records; None where there is no file. Raises UsageError that names file and fault."""
        found = [path for path in (self._json, self._toml) if path.exists()]
        if not found:
            return None
        if len(found) > 1:
            raise UsageError(f"{self._json} and {self._toml.name} both exist: keep one of them")
        return found[0], self._records(found[0])

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes whenever the file does, so that a server knows when to read it again."""
        for path in (self._json, self._toml):
            try:
                status = path.stat()
            except OSError:
                continue
            return status.st_ino, status.st_mtime_ns, status.st_size
        return None

    def change(self, edit: Callable[[list[Record]], Sequence[Record]]) -> None:
        """Rewrite the JSON file, whole or not at all; two commands at once wait for each other.

        Raises UsageError where the list is kept in TOML.
        """
        if self._toml.exists():
            raise UsageError(f"{self._toml} is kept by hand: edit it there, or move it away")
        try:
            self._json.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(self._json.parent, os.O_RDONLY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
                before = list(self._records(self._json)) if self._json.exists() else []
                self._replace({"schema": SCHEMA, self._section: list(edit(before))})
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreError(f"{self._json} cannot be written: {error.strerror}") from error

    def _replace(self, document: Mapping[str, Any]) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{self._json.name}-", dir=self._json.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(self._json)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _records(self, path: Path) -> Sequence[Record]:
        try:
            if path.stat().st_size > LARGEST_FILE_OCTETS:
                raise UsageError(f"{path} is larger than {LARGEST_FILE_OCTETS} bytes")
            text = path.read_text(encoding="utf-8")
            document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not {path.suffix[1:].upper()}: {error}") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise UsageError(f"{path}: schema = {SCHEMA} is missing")
        unknown = sorted(document.keys() - {"schema", self._section})
        if unknown:
            raise UsageError(f"{path}: {unknown[0]!r} is not known; there is only {self._section!r}")
        records = document.get(self._section, [])
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise UsageError(f"{path}: {self._section!r} is not a list of records")
        return records


class Fields:
    """The fields of one record, each taken once and checked; `finish` refuses what is left over."""

    def __init__(self, record: Record, where: str) -> None:
        self._record, self._where, self._known = record, where, set[str]()

    def text(self, name: str, default: str | None = None, *, longest: int = 64) -> str:
        """A printable text. Raises UsageError where it is missing and has no default."""
        self._known.add(name)
        value = self._record.get(name, default)
        if value is None:
            raise UsageError(f"{self._where}: {name} is missing")
        if not isinstance(value, str) or len(value) > longest or not (value.isprintable()):
            raise UsageError(f"{self._where}: {name} is a text of at most {longest} printable characters")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        self._known.add(name)
        value = self._record.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{self._where}: {name} is a list of texts")
        return tuple(value)

    def one_of(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise UsageError(f"{self._where}: {name} is one of {', '.join(choices)}, not {value!r}")
        return value

    def hexadecimal(self, name: str, digits: int) -> int | None:
        """A number in hex, with or without 0x; None where it is missing or empty."""
        text = self.text(name, "").removeprefix("0x")
        if not text:
            return None
        try:
            value = int(text, 16)
        except ValueError:
            value = -1
        if not 0 <= value < 16**digits or len(text) > digits or not text.isalnum():
            raise UsageError(f"{self._where}: {name} is up to {digits} hex digits")
        return value

    def finish(self) -> None:
        unknown = sorted(self._record.keys() - self._known)
        if unknown:
            raise UsageError(f"{self._where}: {unknown[0]!r} is not known")
