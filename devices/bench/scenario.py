"""A scenario: which dongle, which air, which devices, read from a TOML file (docs/scenario.md has the format).

Reading is strict: an unknown key, a wrong type, a value out of range is one `ScenarioError` that names the file, the
key and what to do. Nothing is built or started here.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from devices.bench.device_entries import DeviceEntry, read_devices
from devices.bench.dongles import NcpSettings, read_ncp
from devices.bench.faults import FaultSettings, read_faults
from devices.bench.toml_section import ScenarioError, Section, format_eui64
from devices.medium.medium import MediumSettings

MAX_SEED = 0xFFFF_FFFF  # our choice
USUAL_BAUDRATE = 115_200  # of most sticks (hw-setup.md)
MIN_BAUDRATE, MAX_BAUDRATE = 1200, 4_000_000  # our choice


@dataclass(frozen=True, slots=True)
class LineSettings:
    """The serial line between host and dongle. `baudrate` None: octets take no time."""

    baudrate: int | None = USUAL_BAUDRATE


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int = 1
    line: LineSettings = field(default_factory=LineSettings)
    ncp: NcpSettings = field(default_factory=NcpSettings)
    faults: FaultSettings = field(default_factory=FaultSettings)
    medium: MediumSettings = field(default_factory=MediumSettings)
    devices: tuple[DeviceEntry, ...] = ()


def load_scenario(path: Path) -> Scenario:
    """Raises ScenarioError for anything that does not make sense."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(path, "", f"cannot be read: {error}") from None
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise ScenarioError(path, "", f"is not TOML: {error}") from None
    except RecursionError:
        raise ScenarioError(path, "", "is not TOML that a person wrote: it is nested too deeply") from None
    return read_scenario(document, path)


def read_scenario(document: dict[str, object], path: Path) -> Scenario:
    """`path` is for messages, and for the files that the scenario names."""
    top = Section(document, path)
    ideal = top.boolean("ideal", default=False)
    scenario = Scenario(
        seed=top.integer("seed", 1, minimum=0, maximum=MAX_SEED),
        line=_read_line(top.table("line"), ideal=ideal),
        ncp=read_ncp(top.table("ncp")),
        faults=read_faults(top.table("faults")),
        medium=_read_medium(top.table("medium"), ideal=ideal),
        devices=tuple(read_devices(top.tables("device"))),
    )
    top.finish()
    _refuse_duplicates(scenario, path)
    return scenario


def _read_medium(section: Section, *, ideal: bool) -> MediumSettings:
    settings = MediumSettings(
        airtime=not ideal,
        loss=section.number("loss", 0.0, maximum=1.0),
        duplication=section.number("duplicate", 0.0, maximum=1.0),
        delay_s=section.number("delay_s", 0.0),
        reordering=section.number("reorder", 0.0, maximum=1.0),
        reordering_hold_s=section.number("reorder_hold_s", 0.05),
    )
    section.finish()
    return settings


def _read_line(section: Section, *, ideal: bool) -> LineSettings:
    baudrate = section.integer("baudrate", USUAL_BAUDRATE, minimum=MIN_BAUDRATE, maximum=MAX_BAUDRATE)
    section.finish()
    return LineSettings(None if ideal else baudrate)


def _refuse_duplicates(scenario: Scenario, path: Path) -> None:
    seen = {scenario.ncp.eui64}
    for device in scenario.devices:
        eui64 = device.settings.eui64
        if eui64 in seen:
            text = format_eui64(eui64)
            raise ScenarioError(
                path, "device.eui64", f"{text} is there twice: give every device (and the dongle) its own"
            )
        seen.add(eui64)
    for device in scenario.devices:
        for eui64 in device.hears or ():
            if eui64 not in seen:
                raise ScenarioError(
                    path, "device.hears", f"{format_eui64(eui64)} is nobody here: name devices, or the dongle's eui64"
                )
