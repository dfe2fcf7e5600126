"""Carries out what happens to a dongle: for the events of a scenario, and for commands that come while it runs."""

from random import Random
from typing import Protocol, assert_never

from devices.bench.dongles import Dongle, power_on, restart
from devices.bench.faults import FaultEvent, FaultSettings, Happening
from devices.bench.faulty_dongle import FaultyDongle
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.time import EventQueue


class Pluggable(Protocol):
    """A port that can go away, and come back as it was."""

    def unplug(self) -> None: ...
    def plug_in(self) -> None: ...


class Happenings:
    """`line` is the dongle as it is on the cable; `port` is set before anything is unplugged."""

    def __init__(self, queue: EventQueue, dongle: Dongle, faults: FaultSettings, random: Random) -> None:
        self.port: Pluggable | None = None
        self.line = FaultyDongle(dongle, faults, random, queue, self.event)
        self._queue = queue
        self._dongle = dongle
        self._deaths = 0  # crashes and power cuts that are not over
        self._unplugged = 0

    def event(self, event: FaultEvent) -> None:
        self.happen(event.what, event.for_s)

    def happen(self, what: Happening, for_s: float) -> None:
        match what:
            case Happening.RESTART:
                if not self._deaths:
                    restart(self._dongle)
            case Happening.CRASH:
                self._die()
                self._queue.call_later(for_s, self._revive)
            case Happening.UNPLUG:
                self._unplug()
                self._queue.call_later(for_s, self._plug_in)
            case Happening.NAK_STORM:
                if isinstance(self._dongle, EzspCoprocessor):
                    self._dongle.ash.reject_until(self._queue.now() + for_s)
            case Happening.EXHAUST:
                self._dongle.exhausted_until = self._queue.now() + for_s
            case _:
                assert_never(what)

    def _die(self) -> None:
        self._deaths += 1
        self.line.dead = True
        self._dongle.stack.stop()
        self.line.cut_off()

    def _revive(self) -> None:
        self._deaths -= 1
        if not self._deaths:
            self.line.dead = False
            power_on(self._dongle)

    def _unplug(self) -> None:
        assert self.port is not None
        self._unplugged += 1
        self._die()
        self.port.unplug()

    def _plug_in(self) -> None:
        assert self.port is not None
        self._unplugged -= 1
        self._revive()
        if not self._unplugged:
            self.port.plug_in()
