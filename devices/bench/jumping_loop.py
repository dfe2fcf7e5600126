"""An event loop whose clock jumps to the next thing that is due: an hour takes seconds, and nothing is waited for.

Sockets are real, over loopback by numeric address, where the kernel has delivered by the time that anybody looks. Not
for terminals, processes or threads, which take time of their own; what is handed to an executor is done on the spot.
A wait for nothing at all is an error.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DeadlockError(Exception):
    """No timer is set, and no octet is under way."""


class _Jumping(selectors.DefaultSelector):
    """What `select` would have waited is added to the clock instead."""

    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError
        self.seconds += max(timeout, 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 whoever waits for it gets it
            done.set_exception(error)
        return done
