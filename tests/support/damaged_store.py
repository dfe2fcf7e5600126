"""What a store never does to itself: rows changed behind its back, and a disk that takes no more."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from chf.store import Store


def sql(home: Path, *statements: str, given: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Through a connection of its own; the rows of the last statement, which is given the values."""
    with closing(sqlite3.connect(home / "chf.db", isolation_level=None)) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        return connection.execute(statements[-1], given).fetchall()


def connection_of(store: Store) -> sqlite3.Connection:
    """The store's own: for what SQLite keeps by connection, such as its pragmas and its trace."""
    return store._database._connection


def fill_disk(store: Store) -> None:
    """Not one page more, as SQLite has it when the disk is full."""
    connection_of(store).execute("pragma max_page_count = 1")  # it stops at the present size


def free_disk(store: Store) -> None:
    connection_of(store).execute("pragma max_page_count = 1000000")
