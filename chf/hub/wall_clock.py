"""What the hub does about its wall clock: it notices steps, moves what is counted on it, and writes what it saw.

A step, the rows that move with it and the reading by which it was noticed are one transaction: a process that starts
measures from there, and finds the step either in the rows or still to be made.
"""

from functools import partial
from typing import Final

from chf.clock import Instant
from chf.hub.batch import Batch, together
from chf.hub.updates import Updates
from chf.store.store import Transaction
from chf.trace import Kind
from chf.trust import ClockRecord, WatchedClock

RECORD_S: Final = 60.0  # how often the reading is written where nothing happens (our choice)


class WallClock:
    def __init__(self, clock: WatchedClock, updates: Updates) -> None:
        self._clock, self._updates = clock, updates
        self._distrust = clock.distrust  # as the trace has it
        self._record_at = Instant(float("-inf"))

    def look(self) -> Batch | None:
        """What happened to it since the last look; None where that is nothing. To be called a few times a second."""
        now = self._clock.now()
        steps = self._clock.take_steps()
        if not steps and now.distrust == self._distrust and now.instant < self._record_at:
            return None
        batch, moved = Batch(now), list[Batch]()
        for step in steps:
            rows = self._updates.clock_stepped(step, now)
            moved += rows
            batch.write(partial(_postpone_messages, step.seconds))
            batch.event(Kind.CLOCK_STEPPED, {"seconds": round(step.seconds, 3), "updates": len(rows)})
        if now.distrust != self._distrust:
            self._distrust = now.distrust
            if now.trusted:
                batch.event(Kind.CLOCK_TRUSTED, {})
            else:
                batch.event(Kind.CLOCK_DISTRUSTED, {"reason": now.distrust})
        batch.write(partial(note_clock, self._clock.record()), durable=bool(steps))
        self._record_at = Instant(now.instant + RECORD_S)
        return together([batch, *moved], now)


def note_clock(record: ClockRecord, tx: Transaction) -> None:
    tx.meta.note_clock(record)


def _postpone_messages(seconds: float, tx: Transaction) -> None:
    tx.device_messages.postpone(seconds)
