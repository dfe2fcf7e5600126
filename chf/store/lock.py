"""At most one hub and one DCC side on a store, and a way for others to tell whether there is one.

Each has a `flock` on a file of its own next to the database. The kernel drops it with the process, however that ends,
so there is no stale lock to clean up. Commands of the CLI take none: SQLite's own locks keep their transactions apart.
Two DCC sides would find the same document due at the same time, and both would post it.
"""

import fcntl
import os
import time
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from chf.errors import StoreError, StoreInUseError

_ATTEMPTS = 5  # our choice
_PAUSE_S = 0.02  # our choice


class Only(Enum):
    """What there is one of, for a store; the value is the name of the lock's file."""

    HUB = "hub.lock"
    DCC_SIDE = "dcc.lock"


_NAMES = {Only.HUB: "hub", Only.DCC_SIDE: "DCC side"}


class StoreLock:
    """Held from `acquire` until `release`, or the end of the process. As a context manager, until the block is left."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, home: Path, only: Only) -> Self:
        """Make the home directory if need be. Raises StoreInUseError, naming the process, where another one has it."""
        path = home / only.value
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        # More than one attempt, because `holder_pid` holds the lock for a moment when it looks.
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt < _ATTEMPTS - 1:
                    time.sleep(_PAUSE_S)
                continue
            os.ftruncate(descriptor, 0)  # it may still name a process that had it
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return cls(descriptor)
        pid = _read_pid(descriptor)
        os.close(descriptor)
        who = f"process {pid}" if pid else "another process"
        raise StoreInUseError(f"a {_NAMES[only]} runs on {home} already ({who}): stop it first, or give another --home")

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.release()


def holder_pid(home: Path, only: Only) -> int | None:
    """The process that holds this lock of the home directory; 0 where it cannot be told, None where nobody does."""
    path = home / only.value
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot look at {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def hub_pid(home: Path) -> int | None:
    """The process of the hub that runs on this home directory; 0 where it cannot be told, None where there is none."""
    return holder_pid(home, Only.HUB)


def hub_running(home: Path) -> bool:
    return hub_pid(home) is not None


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0)
    return int(text) if text.isdigit() else 0
