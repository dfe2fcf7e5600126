"""The hub, its libraries and the virtual dongle on `devices.bench.jumping_loop`: an hour takes seconds.

with virtual_time(monkeypatch) as run:
    run(story())
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import bellows.ash
import pytest
import zigpy_znp.api

from chf.clock import Instant, Now, UtcSeconds
from devices.bench.jumping_loop import JumpingLoop

MORNING_UTC_S = UtcSeconds(1_800_000_000.0)


class VirtualClock:
    """The loop's seconds, and a morning in 2027."""

    def now(self) -> Now:
        seconds = asyncio.get_running_loop().time()
        return Now(Instant(seconds), UtcSeconds(MORNING_UTC_S + seconds))

    def instant(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())


async def let_pass(seconds: float) -> None:
    """Only for a claim that something does not happen, or not before its time; it takes no time of ours."""
    assert isinstance(asyncio.get_running_loop(), JumpingLoop)
    await asyncio.sleep(seconds)


@contextmanager
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Both libraries measure how long the dongle takes by `time.monotonic`, which would stand still."""
    loop = JumpingLoop()
    ticking = SimpleNamespace(monotonic=loop.time)
    monkeypatch.setattr(bellows.ash, "time", ticking)
    monkeypatch.setattr(zigpy_znp.api, "time", ticking)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            yield runner.run
    finally:
        loop.close()
