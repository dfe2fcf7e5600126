"""A dongle on a bad cable, as the bench's shell sees it: the cable's faults, and the moments at which things happen.

The dongle itself is as it always is. A dead one (crashed, or without power) hears and says nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from random import Random

from devices.bench.dongles import Dongle, cut_for
from devices.bench.faults import FaultEvent, FaultSettings, LineFaults
from devices.bench.line_faults import DisturbedLine
from devices.time import EventQueue


class FaultyDongle:
    """A `Dongle` of devices.bench.runner. `happen` is called at the moments of the events."""

    def __init__(
        self,
        dongle: Dongle,
        faults: FaultSettings,
        random: Random,
        queue: EventQueue,
        happen: Callable[[FaultEvent], None],
    ) -> None:
        self.dead = False
        self._dongle = dongle
        self._queue = queue
        self._happen = happen
        self._late = bytearray()
        line = replace(faults.line, from_s=queue.now() + faults.line.from_s)
        cut = cut_for(dongle)
        self._to_dongle = DisturbedLine(line if line.to_dongle else LineFaults(), cut, random, queue, self._arrive)
        self._to_host = DisturbedLine(line if line.to_host else LineFaults(), cut, random, queue, self._late.extend)
        self._by_frames: list[tuple[int, FaultEvent]] = []  # at which frame, the next one last
        for event in faults.events:
            self.arm(event)

    def arm(self, event: FaultEvent) -> None:
        """Let it happen at its moment, counted from now."""
        if event.after_frames is not None:
            self._by_frames.append((self._to_dongle.frames + event.after_frames, event))
            self._by_frames.sort(key=itemgetter(0), reverse=True)
        else:
            self._queue.call_later(event.at_s or 0.0, lambda: self._happen(event))

    def disturb(self, faults: LineFaults) -> None:
        """From now on, both ways."""
        self._to_dongle.faults = self._to_host.faults = faults

    @property
    def _plain(self) -> bool:
        """Nothing to look at: the usual case, and the fast one."""
        return self._to_dongle.faults.none and self._to_host.faults.none and not self._by_frames

    def receive(self, octets: bytes) -> None:
        if self.dead:
            return
        if self._plain:
            self._dongle.receive(octets)
            return
        for frame in self._to_dongle.carry(octets):
            self._arrive(frame)
        while self._by_frames and self._by_frames[-1][0] <= self._to_dongle.frames:
            self._happen(self._by_frames.pop()[1])

    def _arrive(self, frame: bytes) -> None:
        if not self.dead:
            self._dongle.receive(frame)

    def data_to_send(self) -> bytes:
        octets = self._dongle.data_to_send()
        if self.dead:
            return b""
        if self._plain and not self._late:
            return octets
        carried = b"".join(self._to_host.carry(octets)) if octets else b""
        if self._late:
            carried += bytes(self._late)
            self._late.clear()
        return carried

    def cut_off(self) -> None:
        """What is on the cable, and in the dongle's output, is lost."""
        self._dongle.data_to_send()
        self._to_dongle.clear()
        self._to_host.clear()
        self._late.clear()

    def deadline(self) -> float | None:
        return None if self.dead else self._dongle.deadline()

    def handle_deadline(self) -> None:
        self._dongle.handle_deadline()
