"""Commands to the hub whose outcome a user of the DCC side is told: which service request each came from."""

from dataclasses import dataclass

from chf.store.database import Database


@dataclass(frozen=True, slots=True)
class Followed:
    """`request` is the RequestID, `service` the service reference variant, `file_version` that of the image, or 0."""

    command: int
    request: str
    service: str
    file_version: int


class FollowedCommands:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> tuple[Followed, ...]:
        rows = self._database.read("select command, request, service, file_version from followed order by command")
        return tuple(Followed(*row) for row in rows)


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
