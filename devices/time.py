"""Simulated time: the one queue of what is to happen next in the virtual world.

Everything in devices waits through a `Scheduler`; whoever runs the world owns the `EventQueue` behind it and says how
far time has come, either in jumps (`run_until(next_due())`, a whole day in a moment) or by passing the real clock. It
reads no clock itself. It is on the path of every frame, so it is a plain heap and nothing else.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

_COMPACT_FROM = 256  # cancelled entries; below this they cost less than rebuilding the heap


class Timer:
    """A callback with a time. Cancelling is cheap: a husk stays in the heap until its time or the next rebuild."""

    __slots__ = ("_callback", "_queue", "when")

    def __init__(self, when: float, callback: Callable[[], None], queue: "EventQueue") -> None:
        self.when = when
        self._callback: Callable[[], None] | None = callback
        self._queue = queue

    @property
    def pending(self) -> bool:
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the callback; harmless when it has run or was cancelled before."""
        if self._callback is not None:
            self._callback = None
            self._queue._count_husk()  # noqa: SLF001 one module

    def _take(self) -> Callable[[], None] | None:
        callback, self._callback = self._callback, None
        return callback


class Scheduler(Protocol):
    """Simulated seconds. Callbacks run in order of their time, then of their making; never from within `call_*`."""

    @property
    def now(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...


class EventQueue:
    """The `Scheduler` as a value that its owner drives.

    `EventQueue(now=0.0)`: `now` is any monotonic reading in seconds. Events run in the order of their time, then of
    their making. An event in the past runs at once in the next `run_until`; time never goes back. Whoever cannot run
    all that is due lets time `pass_until`: the rest is late then. `now` is read at every frame, and written only here.
    """

    __slots__ = ("_heap", "_husks", "_sequence", "now")

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._husks = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        when = max(when, self.now)
        call = Timer(when, callback, self)
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, call))
        return call

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now + delay_s, callback)

    def next_due(self) -> float | None:
        """The time of the next event, None when nothing is to come."""
        heap = self._heap
        while heap and not heap[0][2].pending:
            heappop(heap)
            self._husks -= 1
        return heap[0][0] if heap else None

    def run_until(self, until: float) -> int:
        """Run every event due up to `until`, each at its own time, and set the time to `until`.

        Returns how many callbacks ran. What a callback schedules for a time up to `until` runs too. A `until` that is
        behind (a real clock that was read before the last call) runs what is due now and leaves the time alone.
        """
        until = max(until, self.now)
        ran = 0
        while self.run_next(until):
            ran += 1
        self.now = until
        return ran

    def pass_until(self, when: float) -> None:
        """It is that late, whatever has not run yet."""
        self.now = max(self.now, when)

    def run_next(self, until: float) -> bool:
        """Run the next event where it is due by `until`; False where none is, and the time is as it was."""
        due = self.next_due()
        if due is None or due > until:
            return False
        _, _, call = heappop(self._heap)
        callback = call._take()  # noqa: SLF001 one module
        assert callback is not None, "next_due leaves an event that is pending at the front"
        self.now = max(self.now, due)
        callback()
        return True

    def _count_husk(self) -> None:
        """Rebuild the heap once most of it is husks, in place: somebody may be running its events."""
        self._husks += 1
        heap = self._heap
        if self._husks > _COMPACT_FROM and self._husks * 2 > len(heap):
            heap[:] = [entry for entry in heap if entry[2].pending]
            heapify(heap)
            self._husks = 0
