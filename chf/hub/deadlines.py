"""When the hub acts by itself: one timer for the deadlines of all handlers. After a failure it rests for a second."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from chf.background import note
from chf.clock import Clock, Instant
from chf.hub.batch import Batch
from chf.hub.handler import Handler

RETRY_S: Final = 1.0  # our choice


class Deadlines:
    """`do` carries a batch out, `alarm` tells people."""

    def __init__(
        self, handlers: Collection[Handler], clock: Clock, do: Callable[[Batch], None], alarm: Callable[[str], None]
    ) -> None:
        self._handlers, self._clock, self._do, self._alarm = handlers, clock, do, alarm
        self._timer: asyncio.TimerHandle | None = None
        self._planned = self._not_before = Instant(0.0)
        self._reason = ""  # of the last failure: each is reported once

    def plan(self) -> None:
        """After whatever may have changed one. A timer that fires too early does nothing but plan anew."""
        due = min((due for handler in self._handlers if (due := handler.deadline()) is not None), default=None)
        if due is None:
            return
        due = max(due, self._not_before)
        if self._timer is None or due < self._planned:
            self.close()
            self._planned = due
            delay_s = max(due - self._clock.instant(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._handle)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _handle(self) -> None:
        self.close()
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
        self.plan()
