"""What a stack dropped and why, and its outgoing frame counters."""

from collections.abc import Callable
from dataclasses import dataclass

from devices.wire.security import MAX_FRAME_COUNTER

RESERVE = 1024  # how far ahead of use a counter is written: one write for so many frames


@dataclass(slots=True)
class Counters:
    """What was dropped, by reason, and what failed. A MAC retry after a lost ACK counts as a NWK replay."""

    malformed: int = 0
    unexpected: int = 0  # well-formed, but nothing to do with us in this state
    nwk_unsecured: int = 0
    nwk_security_failures: int = 0
    nwk_replays: int = 0
    aps_security_failures: int = 0
    aps_no_link_key: int = 0
    aps_replays: int = 0
    aps_duplicates: int = 0  # acknowledged again, not handed on
    fragments_expired: int = 0  # messages that were never completed
    mac_failures: int = 0  # transmissions without MAC acknowledgement
    aps_retries: int = 0
    aps_failures: int = 0
    indirect_expired: int = 0


class FrameCounter:
    """`FrameCounter(start, store)`: hands out values from `start` on, after `store` was told a value beyond them.

    Whoever restarts from the stored value never uses one twice (Zigbee PRO 4.3.1.1).
    """

    __slots__ = ("_next", "_reserved", "_store")

    def __init__(self, start: int, store: Callable[[int], None]) -> None:
        self._next = start
        self._reserved = start
        self._store = store

    @property
    def next(self) -> int:
        """The value that the next frame will carry."""
        return self._next

    def take(self) -> int | None:
        """The next value; None when the key is used up."""
        value = self._next
        if value > MAX_FRAME_COUNTER:
            return None
        if value >= self._reserved:
            self._reserved = min(value + RESERVE, MAX_FRAME_COUNTER + 1)
            self._store(self._reserved)
        self._next = value + 1
        return value
