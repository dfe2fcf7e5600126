"""Commands to the hub. The CLI writes a row, the hub takes it when it runs: a command survives a hub that is down.

What a verb means is the hub's business; bodies and results are JSON objects.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chf.clock import UtcSeconds
from chf.errors import StoreError
from chf.store.database import Database, Row


class Verb(StrEnum):
    """The commands that a hub knows; chf.hub.commands says what each does."""

    DEVICE_PERMIT = "device.permit"
    DEVICE_FORGET = "device.forget"
    UPDATE_START = "update.start"
    UPDATE_CANCEL = "update.cancel"
    UPDATE_ACTIVATE = "update.activate"


class CommandState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `result` is None while it is pending."""

    id: int
    verb: str
    body: Mapping[str, Any]
    state: CommandState
    result: Mapping[str, Any] | None
    submitted: UtcSeconds
    finished: UtcSeconds | None


_COLUMNS: Final = "id, verb, body, state, result, submitted_utc, finished_utc"


class Inbox:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self) -> tuple[Command, ...]:
        """In the order in which they were submitted."""
        rows = self._database.read(f"select {_COLUMNS} from inbox where state = 'pending' order by id")
        return tuple(map(_command, rows))

    def get(self, command_id: int) -> Command | None:
        rows = self._database.read(f"select {_COLUMNS} from inbox where id = ?", (command_id,))
        return _command(rows[0]) if rows else None


class InboxWriter(Inbox):
    """Reading and writing, within a transaction."""

    def submit(self, verb: str, body: Mapping[str, Any], utc: UtcSeconds) -> int:
        """The number under which to ask for the result."""
        cursor = self._database.write(
            "insert into inbox (verb, body, state, submitted_utc) values (?, ?, 'pending', ?)",
            (verb, json.dumps(body, sort_keys=True), utc),
        )
        return int(cursor.lastrowid or 0)

    def finish(self, command_id: int, result: Mapping[str, Any], utc: UtcSeconds) -> None:
        self._close(command_id, CommandState.DONE, result, utc)

    def refuse(self, command_id: int, reason: str, utc: UtcSeconds) -> None:
        self._close(command_id, CommandState.REFUSED, {"reason": reason}, utc)

    def _close(self, command_id: int, state: CommandState, result: Mapping[str, Any], utc: UtcSeconds) -> None:
        cursor = self._database.write(
            "update inbox set state = ?, result = ?, finished_utc = ? where id = ? and state = 'pending'",
            (state.value, json.dumps(result, sort_keys=True), utc, command_id),
        )
        if cursor.rowcount == 0:
            raise StoreError(f"command {command_id} is not pending")


def _command(row: Row) -> Command:
    command_id, verb, body, state, result, submitted, finished = row
    return Command(
        id=command_id,
        verb=verb,
        body=json.loads(body),
        state=CommandState(state),
        result=None if result is None else json.loads(result),
        submitted=submitted,
        finished=finished,
    )
