"""Ties simulated time to the event loop: the one place where the virtual world's seconds become real ones.

There is one timer and no task per frame. A chip does not keep its host waiting until the air is quiet again: a command
is answered before the world goes on, and what the clock lets happen is told as soon as the dongle has heard it. `pump`
runs what is due in the world until the host speaks, and then writes the rest of what the dongle has to say with a
single write; what is still due comes in the next turn of the loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from selectors import SelectSelector
from typing import Protocol

from devices.time import EventQueue

_TIMER_SLACK = Path("/proc/self/timerslack_ns")  # Linux only

TURN_S = 0.002  # our choice
"""The world goes on for so long at a time and no longer than until its host speaks: air and line do not wait for each
other, however much there is to compute."""


def punctual_loop() -> asyncio.AbstractEventLoop:
    """An event loop for the main thread, whose timers are late by as little as the system allows.

    epoll_wait counts in whole milliseconds, and Python rounds up. select counts in microseconds; what it has against
    it, many files, a dongle does not have. Linux lets a process oversleep by 50 us so that it can wake several at once,
    unless it is asked not to (PR_SET_TIMERSLACK).
    """
    with suppress(OSError):
        _TIMER_SLACK.write_text("1", encoding="ascii")
    return asyncio.SelectorEventLoop(SelectSelector())


class Dongle(Protocol):
    """A network co-processor as the shell sees it: octets in, octets out, a timer of its own."""

    def receive(self, octets: bytes) -> None: ...
    def data_to_send(self) -> bytes: ...
    def deadline(self) -> float | None: ...
    def handle_deadline(self) -> None: ...


class Line(Protocol):
    """Where the dongle's octets go; nobody at the other end means they are lost, as on a serial cable."""

    def write(self, octets: bytes) -> None: ...
    def host_spoke(self) -> bool:
        """Whether there are octets to be read."""
        ...


class Runner:
    """`queue` must have been made with `loop.time()` as its start. `after_turn` is called when all that was due ran.

    `keep` puts away what must outlive this process: before octets leave for the host, and at the end of each turn.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: EventQueue,
        dongle: Dongle,
        after_turn: Callable[[], None] | None = None,
        keep: Callable[[], None] | None = None,
    ) -> None:
        self.line: Line | None = None
        self._loop = loop
        self._queue = queue
        self._dongle = dongle
        self._after_turn = after_turn
        self._keep = keep
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def octets_received(self, octets: bytes) -> None:
        """The host wrote something: what is due in the world waits for it, and is that much later."""
        self._queue.pass_until(self._loop.time())
        self._dongle.receive(octets)
        self._write()
        self.pump()

    def pump(self) -> None:
        """Run what is due, write what is ready, and come back when the next thing is due."""
        self._turn(telling=False)

    def _turn(self, *, telling: bool) -> None:
        if self._stopped:
            return
        self._go_on(telling=telling)
        deadline = self._dongle.deadline()
        if deadline is not None and deadline <= self._queue.now:
            self._dongle.handle_deadline()
        if not self._write() and self._keep is not None:
            self._keep()
        if self._after_turn is not None:
            self._after_turn()
        self._set_timer()

    def _go_on(self, *, telling: bool) -> None:
        """Let happen what is due, for one turn at most. `telling`: the host is told of each thing as it happens."""
        queue, clock, line = self._queue, self._loop.time, self.line
        now = clock()
        end_of_turn = now + TURN_S
        while queue.run_next(now):
            if telling:
                self._write()
            if (line is not None and line.host_spoke()) or clock() >= end_of_turn or self._stopped:
                break
        due = queue.next_due()
        if due is None or due > now:
            queue.pass_until(now)

    def _set_timer(self) -> None:
        due = self._queue.next_due()
        deadline = self._dongle.deadline()
        if due is None or (deadline is not None and deadline < due):
            due = deadline
        if due is None:
            return
        if self._timer is not None:
            if self._timer.when() <= due:
                return  # it will look again
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._turn(telling=True)

    def _write(self) -> bool:
        octets = self._dongle.data_to_send()
        if not octets or self.line is None:
            return False
        if self._keep is not None:
            self._keep()
        self.line.write(octets)
        return True

    def stop(self) -> None:
        """Simulated time stands still from here on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
