"""A bad cable: frames of one direction are lost, doubled, swapped, damaged, or come with noise, by chance and seed.

Knows where frames end (a `Cut` for each kind of dongle) and nothing of what is in them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from devices.bench.toml_section import Section
from devices.time import Scheduler

Cut = Callable[[bytes], tuple[list[bytes], bytes]]
"""The whole frames at the front of some octets, each with its delimiters, and the rest."""

REORDER_HOLD_S = 0.05  # our choice: a frame that waits to be overtaken goes by itself after this
_MAX_NOISE_BYTES = 4  # our choice

_ASH_FLAG = b"\x7e"  # UG101 2.1
_MT_START = b"\xfe"  # TI's Monitor and Test API: start of frame
_MT_OVERHEAD_BYTES = 5  # the same: start, length, two of command, FCS


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


def cut_ash(octets: bytes) -> tuple[list[bytes], bytes]:
    """EZSP: a flag ends a frame (UG101 2.1)."""
    *pieces, rest = octets.split(_ASH_FLAG)
    return [piece + _ASH_FLAG for piece in pieces], rest


def cut_mt(octets: bytes) -> tuple[list[bytes], bytes]:
    """Z-Stack: start, length, command, data, FCS. What stands between frames is a piece of its own."""
    frames = []
    while octets:
        start = octets.find(_MT_START)
        if start:
            end = len(octets) if start < 0 else start
        elif len(octets) < 2 or len(octets) < (end := _MT_OVERHEAD_BYTES + octets[1]):
            break
        frames.append(octets[:end])
        octets = octets[end:]
    return frames, octets


class DisturbedLine:
    """One direction. `late` gets what was held back and overtaken by nothing."""

    def __init__(
        self,
        faults: LineFaults,
        cut: Cut,
        random: Random,
        scheduler: Scheduler,
        late: Callable[[bytes], None],
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
        if self.faults.none or self._scheduler.now() < self.faults.from_s:
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
