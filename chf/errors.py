"""The error tree. The name says whose fault it is, the exit code what a script should conclude.

ChfError (1)
|-- UsageError (2)             the caller asked for something that does not make sense
|   `-- UnusableFileError      a certificate or key file is there and of no use: damaged, unreadable, open to others
|-- MalformedError (1)         bytes that are not what they claim to be: where, what, what to do
|   |-- MalformedFrameError    a frame off the air or the tunnel
|   |-- MalformedImageError    a firmware image
|   |-- MalformedMessageError  a GBCS message
|   `-- MalformedRequestError  a DUIS document
|-- RefusedError (3)           well formed, and refused, with the reason: by us, or by the device
|-- TimedOutError (4)          nobody answered in time
|-- RadioGoneError (5)         the dongle does not answer, or is not one
|   `-- RadioRefusedError      the dongle answered, and refused
|       `-- NoNetworkError     it has no network
`-- StoreError (1)             the store cannot be opened, read or written
    |-- StoreInUseError        another hub, or another DCC side, has it
    |-- StoreUnavailableError  not now: the disk is full or fails, or another process writes; it may pass
    `-- StoreCorruptError      it is not what was written
        `-- DamagedRowError    one row of it is not: which, and why
"""


class ChfError(Exception):
    exit_code = 1


def one_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of those that ended a task group: one of ours where there is one, else the first."""
    inside = [one_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in inside if isinstance(error, ChfError)), inside[0])


class UsageError(ChfError):
    exit_code = 2


class UnusableFileError(UsageError):
    pass


class MalformedError(ChfError):
    """Bytes that cannot be what they claim. `offset` is in bytes from the start of the input, where there is one."""

    def __init__(self, reason: str, *, offset: int | None = None, field: str = "") -> None:
        self.reason, self.offset, self.field = reason, offset, field
        where = ", ".join(part for part in (field, f"offset {offset}" if offset is not None else "") if part)
        super().__init__(f"{reason} ({where})" if where else reason)


class MalformedFrameError(MalformedError):
    pass


class MalformedImageError(MalformedError):
    pass


class MalformedMessageError(MalformedError):
    pass


class MalformedRequestError(MalformedError):
    pass


class RefusedError(ChfError):
    exit_code = 3


class TimedOutError(ChfError):
    exit_code = 4


class RadioGoneError(ChfError):
    exit_code = 5


class RadioRefusedError(RadioGoneError):
    pass


class NoNetworkError(RadioRefusedError):
    pass


class StoreError(ChfError):
    pass


class StoreInUseError(StoreError):
    pass


class StoreUnavailableError(StoreError):
    pass


class StoreCorruptError(StoreError):
    pass


class DamagedRowError(StoreCorruptError):
    """The row of `table` whose key reads as `key`; `because` names the column."""

    def __init__(self, table: str, key: str, because: str) -> None:
        self.table, self.key, self.because = table, key, because
        super().__init__(f"row {key} of {table} is unreadable, because {because}")
