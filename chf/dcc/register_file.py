"""A list of records in one file: JSON that commands write, or TOML that people write by hand. Read strictly.

    <name>.json   {"schema": 1, "<section>": [{...}, ...]}
    <name>.toml   schema = 1, then [[<section>]] for each

At most one of the two exists. Commands refuse to rewrite a TOML file, because its comments and its order would be lost.
What the fields of a record mean is decided where they are used.
"""

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chf.config import Table, read_json, read_toml
from chf.errors import StoreError, UsageError
from chf.files import write_whole

SCHEMA: Final = 1  # of the file that this program writes; rises with a change that readers notice

Record = Mapping[str, Any]


class RegisterFile:
    """`path` is without its ending; `key` is the field by which records are told apart."""

    def __init__(self, path: Path, section: str, key: str) -> None:
        self._key = key
        self._json, self._toml, self._section = path.with_suffix(".json"), path.with_suffix(".toml"), section

    def read(self) -> Sequence[Table] | None:
        """The records; None where there is no file. Raises UsageError that names file and fault."""
        found = [path for path in (self._json, self._toml) if path.exists()]
        if not found:
            return None
        if len(found) > 1:
            raise UsageError(f"{self._json} and {self._toml.name} both exist: keep one of them")
        return self._read(found[0])

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes whenever the file does, so that a server knows when to read it again."""
        for path in (self._json, self._toml):
            try:
                status = path.stat()
            except OSError:
                continue
            return status.st_ino, status.st_mtime_ns, status.st_size
        return None

    def put(self, record: Record) -> None:
        """Add it, or replace the one of the same key, in the JSON file. Raises UsageError for a list in TOML."""
        self._change(lambda records: [*(each for each in records if each.get(self._key) != record[self._key]), record])

    def remove(self, key: str) -> None:
        """Raises UsageError where it is not in the file, and for a list in TOML."""

        def edit(records: list[Record]) -> list[Record]:
            left = [record for record in records if record.get(self._key) != key]
            if len(left) == len(records):
                raise UsageError(f"{key!r} is not in {self._json}")
            return left

        self._change(edit)

    def _change(self, edit: Callable[[list[Record]], Sequence[Record]]) -> None:
        """Rewrite the JSON file, whole or not at all; two commands at once wait for each other."""
        if self._toml.exists():
            raise UsageError(f"{self._toml} is kept by hand: edit it there, or move it away")
        try:
            self._json.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(self._json.parent, os.O_RDONLY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
                before = [record.values for record in self._read(self._json)] if self._json.exists() else []
                document = {"schema": SCHEMA, self._section: list(edit(before))}
                write_whole(self._json, f"{json.dumps(document, indent=1)}\n".encode(), mode=0o600, error=StoreError)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreError(f"{self._json} cannot be written: {error.strerror}") from error

    def _read(self, path: Path) -> Sequence[Table]:
        table = read_json(path) if path.suffix == ".json" else read_toml(path)
        if not table.has("schema"):
            raise table.error(f"schema = {SCHEMA} is missing")
        table.number("schema", SCHEMA, minimum=SCHEMA)
        records = table.tables(self._section)
        table.finish()
        return records
