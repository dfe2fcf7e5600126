"""An event loop whose clock jumps to the next thing that is due: an hour takes seconds, and nothing is waited for.

    with virtual_time(monkeypatch) as run:
        run(story())

Sockets are real, over loopback by numeric address, where the kernel has delivered by the time that anybody looks. Not
for terminals, processes or threads, which take time of their own; what is handed to an executor is done on the spot.
A wait for nothing at all is an error.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import bellows.ash
import pytest
import zigpy_znp.api

from chf.clock import Instant, Now, UtcSeconds

MORNING_UTC_S = UtcSeconds(1_800_000_000.0)


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


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        del executor
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 whoever waits for it gets it
            done.set_exception(error)
        return done


class VirtualClock:
    """The loop's seconds, and a morning in 2027."""

    def now(self) -> Now:
        seconds = asyncio.get_running_loop().time()
        return Now(Instant(seconds), UtcSeconds(MORNING_UTC_S + seconds))

    def instant(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())


async def let_pass(seconds: float) -> None:
    """Only for a claim that something does not happen, or not before its time; it takes no time of ours."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    await asyncio.sleep(seconds)


@contextmanager
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Both libraries measure how long the dongle takes by `time.monotonic`, which would stand still."""
    loop = VirtualLoop()
    ticking = SimpleNamespace(monotonic=loop.time)
    monkeypatch.setattr(bellows.ash, "time", ticking)
    monkeypatch.setattr(zigpy_znp.api, "time", ticking)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            yield runner.run
    finally:
        loop.close()
