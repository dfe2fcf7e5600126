"""Commands to the hub. The CLI writes a row, the hub takes it when it runs: a command survives a hub that is down.

What a verb means is the hub's business; bodies and results are JSON objects. Beside them, which of the commands a user
of the DCC side is to be told the outcome of.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chf.clock import UtcSeconds
from chf.errors import StoreError
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, json_object, number, optional, text, unsigned, utc


class Verb(StrEnum):
    """The commands that a hub knows; chf.hub.commands says what each does."""

    CLOCK_TRUST = "clock.trust"
    DEVICE_PERMIT = "device.permit"
    DEVICE_FORGET = "device.forget"
    DEVICE_SET_CLASS = "device.set-class"
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


READER: Final = RowReader(
    "inbox",
    {
        "id": number,
        "verb": text,
        "body": json_object,
        "state": CommandState,
        "result": optional(json_object),
        "submitted_utc": utc,
        "finished_utc": optional(utc),
    },
    Command,
)
_COLUMNS: Final = READER.columns


class Inbox:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self) -> Rows[Command]:
        """In the order in which they were submitted."""
        rows = self._database.read(f"select {_COLUMNS} from inbox where state = 'pending' order by id")
        return READER.all(rows)

    def get(self, command_id: int) -> Command | None:
        rows = self._database.read(f"select {_COLUMNS} from inbox where id = ?", (command_id,))
        return READER.first(rows)


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


@dataclass(frozen=True, slots=True)
class Followed:
    """A command whose outcome a user is told.

    `request` is the RequestID that it came from, `service` the service reference variant, `file_version` that of the
    image, or 0.
    """

    command: int
    request: str
    service: str
    file_version: int


FOLLOWED: Final = RowReader(
    "followed", {"command": number, "request": text, "service": text, "file_version": unsigned(32)}, Followed
)


class FollowedCommands:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> Rows[Followed]:
        return FOLLOWED.all(self._database.read(f"select {FOLLOWED.columns} from followed order by command"))

    def ended(self, limit: int) -> Rows[Followed]:
        """Those whose command the hub has done or refused, or lost."""
        rows = self._database.read(
            f"select {FOLLOWED.columns} from followed where not exists"
            " (select 1 from inbox where id = followed.command and state = 'pending') order by command limit ?",
            (limit,),
        )
        return FOLLOWED.all(rows)


class FollowedCommandsWriter(FollowedCommands):
    """Reading and writing, within a transaction."""

    def add(self, followed: Followed) -> None:
        self._database.write(
            "insert into followed (command, request, service, file_version) values (?, ?, ?, ?)",
            (followed.command, followed.request, followed.service, followed.file_version),
        )

    def remove(self, command: int) -> None:
        """Its outcome was written for the user."""
        self._database.write("delete from followed where command = ?", (command,))
