"""When the hub does what can wait: in the lull after a block, while the device that has it writes it to its flash.

A device asks for its next block as soon as the last one is written, and whatever else the hub is at by then holds it
up. So that is done once a block has arrived, one thing at a time and in order, or a little later where none does. While
nobody downloads, nothing waits.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from chf.clock import Clock, Instant
from chf.eui64 import Eui64
from chf.radio.guarded import tell

PATIENCE_S: Final = 0.01
"""Each thing waits for so long at most once it is its turn: establishing a key takes a dozen of them."""

DOWNLOADING_S: Final = 0.05
"""After a block, the next one is expected for so long."""

MOST: Final = 64
"""So many things wait at once."""


class Lulls:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[tuple[Eui64 | None, Callable[[], None]]] = deque()
        self._last_block = Instant(-math.inf)
        self._in_lull: asyncio.Handle | None = None
        self._without_lull: asyncio.TimerHandle | None = None  # there is one as long as something waits
        self._closed = False

    def begin(self, now: Instant) -> None:
        """A device has its block."""
        self._last_block = now
        if self._waiting and self._in_lull is None:
            self._in_lull = asyncio.get_running_loop().call_soon(self._turn)

    def end(self) -> None:
        """Another block is on its way: what was to be done in this lull is for the one after it."""
        if self._in_lull is not None:
            self._in_lull.cancel()
            self._in_lull = None

    def do(self, work: Callable[[], None], device: Eui64 | None = None) -> None:
        """What the radio told (of this device), and what may wait; in the order of the calls."""
        if self._nothing_is_to_wait():
            work()
            return
        if len(self._waiting) == MOST:
            self._do_one()  # somebody sends more than there are blocks: that comes at their cost, and in order
        self._waiting.append((device, work))
        self._wait_for_lull()

    async def wait(self) -> None:
        """For the turn of the task that calls this; other tasks get theirs before, whether or not anybody downloads."""
        if self._nothing_is_to_wait():
            await asyncio.sleep(0)
            return
        turn = asyncio.get_running_loop().create_future()
        self.do(partial(_give, turn))
        await turn

    def catch_up_with(self, device: Eui64) -> None:
        """Do all that waits where some of it is this device's: for what must not overtake that, and cannot wait."""
        if any(whose == device for whose, _ in self._waiting):
            self._catch_up()

    def _catch_up(self) -> None:
        while self._waiting:
            self._do_one()
        self._wait_no_more()

    def close(self) -> None:
        """From here on nothing waits."""
        self._closed = True
        self._catch_up()

    def _nothing_is_to_wait(self) -> bool:
        return self._closed or (not self._waiting and not self._is_downloading())

    def _is_downloading(self) -> bool:
        return self._clock.instant() - self._last_block < DOWNLOADING_S

    def _do_one(self) -> None:
        _, work = self._waiting.popleft()
        tell(work)

    def _wait_for_lull(self) -> None:
        if self._without_lull is None:
            patience_s = PATIENCE_S if self._is_downloading() else 0.0
            self._without_lull = asyncio.get_running_loop().call_later(patience_s, self._turn)

    def _wait_no_more(self) -> None:
        for handle in (self._in_lull, self._without_lull):
            if handle is not None:
                handle.cancel()
        self._in_lull = self._without_lull = None

    def _turn(self) -> None:
        self._wait_no_more()
        self._do_one()
        if self._waiting:
            self._wait_for_lull()


def _give(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
