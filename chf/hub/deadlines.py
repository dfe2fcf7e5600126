"""When the hub acts by itself: one timer for the deadlines of all handlers, and one that says when to look at them.

After a failure it rests for a second.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from chf.background import note
from chf.clock import Clock, Instant
from chf.hub.batch import Batch
from chf.hub.handler import Handler

RETRY_S: Final = 1.0  # our choice
PLAN_S: Final = 0.005  # our choice: a thousand messages come in a second, hardly any of which moves a deadline


class Deadlines:
    """`do` carries a batch out, `alarm` tells people."""

    def __init__(
        self, handlers: Collection[Handler], clock: Clock, do: Callable[[Batch], object], alarm: Callable[[str], None]
    ) -> None:
        self._handlers, self._clock, self._do, self._alarm = handlers, clock, do, alarm
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._not_before = Instant(0.0)
        self._reason = ""  # of the last failure: each is reported once

    def plan(self) -> None:
        """After whatever may have changed one; they are looked at soon, once for all messages that come until then."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(PLAN_S, self._plan)

    def close(self) -> None:
        for timer in (self._look, self._timer):
            if timer is not None:
                timer.cancel()
        self._look = self._timer = None

    def _plan(self) -> None:
        self.close()
        due = min((due for handler in self._handlers if (due := handler.deadline()) is not None), default=None)
        if due is not None:
            delay_s = max(due, self._not_before) - self._clock.instant()
            self._timer = asyncio.get_running_loop().call_later(max(delay_s, 0.0), self._handle)

    def _handle(self) -> None:
        now = self._clock.now()
        for handler in self._handlers:
            if (due := handler.deadline()) is None or due > now.instant:
                continue
            try:
                self._do(handler.handle_deadline(now))
            except Exception as error:  # noqa: BLE001 the outermost loop: the other handlers' deadlines are due as well
                reason = f"what was due failed, and is tried again: {error or type(error).__name__}"
                if reason != self._reason:
                    self._reason = reason
                    note(reason, error)
                    self._alarm(reason)
                self._not_before = Instant(now.instant + RETRY_S)
        self._plan()
