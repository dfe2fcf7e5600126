"""The [faults] of a scenario: what goes wrong with the dongle, its cable and its confirms (docs/scenario.md)."""

from dataclasses import dataclass, field
from enum import Enum

from devices.bench.toml_section import Section
from devices.stack.interface import Eui64


class Happening(Enum):
    """What can happen to a dongle, by the name that scenarios and commands use."""

    RESTART = "restart_dongle"  # its watchdog bites: the host is told unasked
    CRASH = "crash_dongle"  # it says and hears nothing, on the line and on the air, and then starts anew
    UNPLUG = "unplug"  # the port is gone for a while; the dongle has lost its power meanwhile
    NAK_STORM = "nak_storm"  # every frame of the host is rejected (EZSP)
    EXHAUST = "exhaust"  # no buffers: every message is given up at once


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """One happening: at a time, or when the host has sent so many frames."""

    what: Happening
    at_s: float | None = None
    after_frames: int | None = None
    for_s: float = 0.0


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


LINE_CHANCES = ("drop", "duplicate", "reorder", "corrupt", "noise")


@dataclass(frozen=True, slots=True)
class ConfirmFaults:
    """What the dongle tells of a message's fate: late, or never. `eui64` None: of messages to any device."""

    eui64: Eui64 | None
    delay_s: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class FaultSettings:
    line: LineFaults = field(default_factory=LineFaults)
    confirms: tuple[ConfirmFaults, ...] = ()
    events: tuple[FaultEvent, ...] = ()


def read_faults(section: Section) -> FaultSettings:
    direction = section.choice("direction", ("both", "to-host", "to-dongle"), "both")
    settings = FaultSettings(
        LineFaults(
            **{chance: section.number(chance, 0.0, maximum=1.0) for chance in LINE_CHANCES},
            to_host=direction != "to-dongle",
            to_dongle=direction != "to-host",
            from_s=section.number("from_s", 0.0),
        ),
        tuple(_read_confirms(entry) for entry in section.tables("confirms")),
        tuple(_read_event(entry) for entry in section.tables("event")),
    )
    section.finish()
    return settings


def _read_confirms(section: Section) -> ConfirmFaults:
    faults = ConfirmFaults(
        section.eui64("eui64") if section.has("eui64") else None,
        delay_s=section.number("delay_s", 0.0),
        loss=section.number("loss", 0.0, maximum=1.0),
    )
    section.finish()
    return faults


def _read_event(section: Section) -> FaultEvent:
    what = Happening(section.choice("do", tuple(happening.value for happening in Happening)))
    at_s = section.number("at_s", 0.0) if section.has("at_s") else None
    event = FaultEvent(what, at_s, section.optional_integer("after_frames", minimum=1), duration_s(section, what))
    section.finish()
    if (event.at_s is None) == (event.after_frames is None):
        raise section.error("do", "wants a moment: either at_s or after_frames")
    return event


def duration_s(section: Section, what: Happening) -> float:
    if what is Happening.RESTART:
        return 0.0
    return section.number("for_s", 1.0, maximum=1e6)
