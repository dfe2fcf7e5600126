"""The indirect queue of a parent: frames that wait until a sleepy child polls (IEEE 802.15.4 5.1.6.3)."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from devices.stack.interface import ApsStatus
from devices.stack.nwk_layer import Counters, Done
from devices.time import Scheduler, Timer

PERSISTENCE_S = 7.68  # macTransactionPersistenceTime with ZigBee's and EmberZNet's usual 7680 ms

Emit = Callable[[bool, Done], None]
"""Send now: whether more is pending behind it, and whom to tell."""


@dataclass(slots=True, eq=False)
class _Held:
    emit: Emit
    done: Done | None
    timer: Timer
    under_way: bool = False


class IndirectQueue:
    """By the address of the child, in the order of arrival. Frames are protected only when they go out."""

    def __init__(self, scheduler: Scheduler, counters: Counters) -> None:
        self.persistence_s = PERSISTENCE_S
        self._scheduler = scheduler
        self._counters = counters
        self._held: dict[int, deque[_Held]] = {}

    def put(self, address: int, emit: Emit, done: Done | None) -> None:
        held = _Held(emit, done, self._scheduler.call_later(self.persistence_s, lambda: self._expire(address, held)))
        self._held.setdefault(address, deque()).append(held)

    def waits_for(self, address: int) -> bool:
        return address in self._held

    def polled(self, address: int) -> bool:
        """Send the first frame that waits; False when there is none."""
        queue = self._held.get(address)
        if not queue:
            return False
        held = queue[0]
        if held.under_way:
            return True
        held.under_way = True
        held.emit(len(queue) > 1, lambda status: self._sent(address, held, status))
        return True

    def drop(self, address: int, status: ApsStatus) -> None:
        """The child is gone: everything that waits for it ends with this status."""
        for held in self._held.pop(address, ()):
            held.timer.cancel()
            if held.done is not None:
                held.done(status)

    def silence(self) -> None:
        """Forget everything, as a reset does."""
        for queue in self._held.values():
            for held in queue:
                held.timer.cancel()
        self._held.clear()

    def _sent(self, address: int, held: _Held, status: ApsStatus) -> None:
        held.under_way = False
        if status is ApsStatus.NO_ACK:
            return  # the child fell asleep too early: the frame waits for the next poll, until it expires
        if self._take(address, held) and held.done is not None:
            held.done(status)

    def _expire(self, address: int, held: _Held) -> None:
        if self._take(address, held):
            self._counters.indirect_expired += 1
            if held.done is not None:
                held.done(ApsStatus.EXPIRED)

    def _take(self, address: int, held: _Held) -> bool:
        queue = self._held.get(address)
        if not queue or held not in queue:
            return False
        held.timer.cancel()
        queue.remove(held)
        if not queue:
            del self._held[address]
        return True
