"""What goes wrong with a dongle: its cable, what it tells of messages, and what happens to it ([faults]).

A fault that happens at a moment is one entry of `FAULTS`: its name in scenarios and commands, and what it does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING

from devices.bench.dongles import Cut, Dongle, cut_for, power_on, restart
from devices.bench.toml_section import Section
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.stack.interface import Eui64
from devices.time import EventQueue, Scheduler

if TYPE_CHECKING:
    from devices.bench.ports import Port


REORDER_HOLD_S = 0.05  # our choice: a frame that waits to be overtaken goes by itself after this
_MAX_NOISE_BYTES = 4  # our choice


@dataclass(frozen=True, slots=True)
class Fault:
    """`begin` is told for how many seconds; `end` is called after them. One that does not last is over at once."""

    begin: Callable[["FaultyDongle", float], None]
    end: Callable[["FaultyDongle"], None] | None = None
    lasts: bool = True
    ezsp_only: bool = False


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """`what` of `FAULTS`, at a time or when the host has sent so many frames."""

    what: str
    at_s: float | None = None
    after_frames: int | None = None
    for_s: float = 0.0

    @classmethod
    def read(cls, section: Section) -> "ScheduledFault":
        what = section.choice("do", tuple(FAULTS))
        at_s = section.number("at_s", 0.0) if section.has("at_s") else None
        fault = cls(what, at_s, section.optional_integer("after_frames", minimum=1), duration_s(section, what))
        section.finish()
        if (fault.at_s is None) == (fault.after_frames is None):
            raise section.error("do", "wants a moment: either at_s or after_frames")
        return fault


def duration_s(section: Section, what: str) -> float:
    return section.number("for_s", 1.0, maximum=1e6) if FAULTS[what].lasts else 0.0


@dataclass(frozen=True, slots=True)
class LineFaults:
    """Chances for every frame on the cable, in each direction that is on."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    noise: float = 0.0
    to_host: bool = True
    to_dongle: bool = True
    from_s: float = 0.0

    @property
    def none(self) -> bool:
        return not (self.drop or self.duplicate or self.reorder or self.corrupt or self.noise)


def read_chances(section: Section) -> LineFaults:
    def chance(name: str) -> float:
        return section.number(name, 0.0, maximum=1.0)

    return LineFaults(chance("drop"), chance("duplicate"), chance("reorder"), chance("corrupt"), chance("noise"))


def read_line_faults(section: Section) -> LineFaults:
    direction = section.choice("direction", ("both", "to-host", "to-dongle"), "both")
    return replace(
        read_chances(section),
        to_host=direction != "to-dongle",
        to_dongle=direction != "to-host",
        from_s=section.number("from_s", 0.0),
    )


@dataclass(frozen=True, slots=True)
class ConfirmFaults:
    """What the dongle tells of a message's fate: late, or never. `eui64` None: of messages to any device."""

    eui64: Eui64 | None
    delay_s: float = 0.0
    loss: float = 0.0

    @classmethod
    def read(cls, section: Section, eui64: Eui64 | None) -> "ConfirmFaults":
        return cls(eui64, section.number("delay_s", 0.0, maximum=1e6), section.number("loss", 0.0, maximum=1.0))


@dataclass(frozen=True, slots=True)
class FaultSettings:
    line: LineFaults = field(default_factory=LineFaults)
    confirms: tuple[ConfirmFaults, ...] = ()
    events: tuple[ScheduledFault, ...] = ()


def read_faults(section: Section) -> FaultSettings:
    confirms = []
    for entry in section.tables("confirms"):
        confirms.append(ConfirmFaults.read(entry, entry.eui64("eui64") if entry.has("eui64") else None))
        entry.finish()
    events = tuple(ScheduledFault.read(entry) for entry in section.tables("event"))
    settings = FaultSettings(read_line_faults(section), tuple(confirms), events)
    section.finish()
    return settings


class LateConfirms:
    """Between a co-processor, of any kind, and its host. Later entries win over earlier ones."""

    def __init__(self, faults: tuple[ConfirmFaults, ...], random: Random, scheduler: Scheduler) -> None:
        self.faults = faults
        self._random = random
        self._scheduler = scheduler

    def set(self, faults: ConfirmFaults) -> None:
        """In place of what was there for the same device, or the same for all."""
        self.faults = (*(entry for entry in self.faults if entry.eui64 != faults.eui64), faults)

    def tell(self, device: Eui64 | None, say: Callable[[], None]) -> None:
        """`say` tells the host what became of a message to `device`."""
        for entry in reversed(self.faults):
            if entry.eui64 in {None, device}:
                if self._random.random() >= entry.loss:
                    self._scheduler.call_later(entry.delay_s, say)
                return
        say()


class DisturbedLine:
    """One direction. `late` gets what was held back and overtaken by nothing."""

    def __init__(
        self, faults: LineFaults, cut: Cut, random: Random, scheduler: Scheduler, late: Callable[[bytes], None]
    ) -> None:
        self.faults = faults
        self.frames = 0  # how many came
        self._cut = cut
        self._random = random
        self._scheduler = scheduler
        self._late = late
        self.begun = b""  # of a frame that has not ended
        self._held: bytes | None = None

    def clear(self) -> None:
        """The cable was pulled: what was on it is gone."""
        self.begun, self._held = b"", None

    def carry(self, octets: bytes) -> list[bytes]:
        """What arrives, frame by frame."""
        frames, self.begun = self._cut(self.begun + octets)
        self.frames += len(frames)
        if self.faults.none or self._scheduler.now < self.faults.from_s:
            return frames
        return [piece for frame in frames for piece in self._disturb(frame)]

    def _disturb(self, frame: bytes) -> list[bytes]:
        faults, random = self.faults, self._random
        if random.random() < faults.drop:
            return []
        if random.random() < faults.corrupt:
            at = random.randrange(len(frame))
            frame = frame[:at] + bytes([frame[at] ^ 1 << random.randrange(8)]) + frame[at + 1 :]
        if random.random() < faults.noise:
            frame = random.randbytes(random.randint(1, _MAX_NOISE_BYTES)) + frame
        if self._held is None and random.random() < faults.reorder:
            self._held = frame
            self._scheduler.call_later(REORDER_HOLD_S, lambda: self._release(frame))
            return []
        pieces = [frame, frame] if random.random() < faults.duplicate else [frame]
        if self._held is not None:
            pieces.append(self._held)
            self._held = None
        return pieces

    def _release(self, frame: bytes) -> None:
        if self._held is frame:
            self._held = None
            self._late(frame)


class FaultyDongle:
    """The `Dongle` of the runner on a bad cable, and what happens to it; `port` is set before it is unplugged.

    The dongle itself is as it always is. A dead one (crashed, or without power) hears and says nothing.
    """

    def __init__(self, dongle: Dongle, faults: FaultSettings, random: Random, queue: EventQueue) -> None:
        self.dongle = dongle
        self.queue = queue
        self.port: Port | None = None
        self._deaths = 0  # crashes and power cuts that are not over
        self._unplugged = 0
        self._late = bytearray()
        line = replace(faults.line, from_s=queue.now + faults.line.from_s)
        cut = cut_for(dongle)
        self._to_dongle = DisturbedLine(line if line.to_dongle else LineFaults(), cut, random, queue, self._arrive)
        self._to_host = DisturbedLine(line if line.to_host else LineFaults(), cut, random, queue, self._late.extend)
        self._by_frames: list[tuple[int, ScheduledFault]] = []  # at which frame, the next one last
        for event in faults.events:
            self.arm(event)

    # What happens to it

    def arm(self, fault: ScheduledFault) -> None:
        """Let it happen at its moment, counted from now."""
        if fault.after_frames is not None:
            self._by_frames.append((self._to_dongle.frames + fault.after_frames, fault))
            self._by_frames.sort(key=itemgetter(0), reverse=True)
        else:
            self.queue.call_later(fault.at_s or 0.0, lambda: self.happen(fault))

    def happen(self, fault: ScheduledFault) -> None:
        kind = FAULTS[fault.what]
        if kind.ezsp_only and not isinstance(self.dongle, EzspCoprocessor):
            return
        kind.begin(self, fault.for_s)
        end = kind.end
        if end is not None:
            self.queue.call_later(fault.for_s, lambda: end(self))

    def disturb(self, faults: LineFaults) -> None:
        """From now on, both ways."""
        self._to_dongle.faults = self._to_host.faults = faults

    @property
    def dead(self) -> bool:
        return self._deaths > 0

    def restart(self) -> None:
        if not self.dead:
            restart(self.dongle)

    def die(self) -> None:
        """What is on the cable, and in the dongle's output, is lost."""
        self._deaths += 1
        self.dongle.stack.stop()
        self.dongle.data_to_send()
        self._to_dongle.clear()
        self._to_host.clear()
        self._late.clear()

    def revive(self) -> None:
        self._deaths -= 1
        if not self.dead:
            power_on(self.dongle)

    def unplug(self) -> None:
        assert self.port is not None
        self._unplugged += 1
        self.die()
        self.port.unplug()

    def plug_in(self) -> None:
        assert self.port is not None
        self._unplugged -= 1
        self.revive()
        if not self._unplugged:
            self.port.plug_in()

    # What is on the cable

    @property
    def _plain(self) -> bool:
        """Nothing to look at: the usual case, and the fast one."""
        return self._to_dongle.faults.none and self._to_host.faults.none and not self._by_frames

    def receive(self, octets: bytes) -> None:
        if self.dead:
            return
        if self._plain:
            self.dongle.receive(octets)
            return
        for frame in self._to_dongle.carry(octets):
            self._arrive(frame)
        while self._by_frames and self._by_frames[-1][0] <= self._to_dongle.frames:
            self.happen(self._by_frames.pop()[1])

    def _arrive(self, frame: bytes) -> None:
        if not self.dead:
            self.dongle.receive(frame)

    def data_to_send(self) -> bytes:
        octets = self.dongle.data_to_send()
        if self.dead:
            return b""
        if self._plain and not self._late:
            return octets
        carried = b"".join(self._to_host.carry(octets)) if octets else b""
        if self._late:
            carried += bytes(self._late)
            self._late.clear()
        return carried

    def deadline(self) -> float | None:
        return None if self.dead else self.dongle.deadline()

    def handle_deadline(self) -> None:
        self.dongle.handle_deadline()


def _reject(target: FaultyDongle, for_s: float) -> None:
    assert isinstance(target.dongle, EzspCoprocessor), "Z-Stack's line has no word for it"
    target.dongle.ash.reject_until(target.queue.now + for_s)


def _exhaust(target: FaultyDongle, for_s: float) -> None:
    target.dongle.exhausted_until = target.queue.now + for_s


FAULTS = {
    # Its watchdog bites: the host is told unasked.
    "restart_dongle": Fault(lambda target, _: target.restart(), lasts=False),
    # It says and hears nothing, on the line and on the air, and then starts again.
    "crash_dongle": Fault(lambda target, _: target.die(), FaultyDongle.revive),
    # The port is gone for a while; the dongle has lost its power meanwhile.
    "unplug": Fault(lambda target, _: target.unplug(), FaultyDongle.plug_in),
    # Every frame of the host is rejected.
    "nak_storm": Fault(_reject, ezsp_only=True),
    # No buffers: every message is given up at once.
    "exhaust": Fault(_exhaust),
}
