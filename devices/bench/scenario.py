"""A scenario: which dongle, which air, which devices, read from a TOML file (docs/scenario.md has the format).

Reading is strict: an unknown key, a wrong type, a value out of range is one `ScenarioError` that names the file, the
key and what to do. Nothing is built or started here.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from devices.bench.device_entries import read_devices
from devices.bench.eui64 import format_eui64
from devices.bench.faults import FaultSettings, read_faults
from devices.bench.toml_section import ScenarioError, Section
from devices.medium.medium import MediumSettings
from devices.ncp.ezsp.personality import PERSONALITIES, V13
from devices.nodes.settings import GbcsSettings
from devices.stack.interface import Eui64

MAX_SEED = 0xFFFF_FFFF
DEFAULT_DONGLE = Eui64(0x00DB_1234_5678_0001)


@dataclass(frozen=True, slots=True)
class NcpSettings:
    """The dongle, of either kind; what only one kind has is None where the file says nothing."""

    eui64: Eui64 = DEFAULT_DONGLE
    version: str = V13.name
    endpoints_survive_reset: bool = True
    scan_takes_time: bool = False
    aps_unicast_message_count: int | None = None
    callback_buffers: int = V13.callback_buffers
    table_size: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device, when it is switched on, where it is, and how late its stack hears what its radio does."""

    settings: GbcsSettings
    power_on_s: float = 0.0
    position_m: tuple[float, float] = (0.0, 0.0)
    radio_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int = 1
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
    scenario = Scenario(
        seed=top.integer("seed", 1, minimum=0, maximum=MAX_SEED),
        ncp=_read_ncp(top.table("ncp")),
        faults=read_faults(top.table("faults")),
        medium=_read_medium(top.table("medium")),
        devices=tuple(DeviceEntry(*entry) for entry in read_devices(top.tables("device"))),
    )
    top.finish()
    _refuse_duplicates(scenario, path)
    return scenario


def _read_ncp(section: Section) -> NcpSettings:
    settings = NcpSettings(
        eui64=section.eui64("eui64", DEFAULT_DONGLE),
        version=section.choice("version", tuple(PERSONALITIES), V13.name),
        endpoints_survive_reset=section.boolean("endpoints_survive_reset", default=True),
        scan_takes_time=section.boolean("scan_takes_time", default=False),
        aps_unicast_message_count=section.optional_integer("aps_unicast_message_count", minimum=1, maximum=255),
        callback_buffers=section.integer("callback_buffers", V13.callback_buffers, minimum=1, maximum=65_535),
        table_size=section.optional_integer("table_size", minimum=1, maximum=1024),
    )
    section.finish()
    return settings


def _read_medium(section: Section) -> MediumSettings:
    settings = MediumSettings(
        airtime=section.boolean("airtime", default=False),
        loss=section.number("loss", 0.0, maximum=1.0),
        duplication=section.number("duplicate", 0.0, maximum=1.0),
        delay_s=section.number("delay_s", 0.0),
        reordering=section.number("reorder", 0.0, maximum=1.0),
        reordering_hold_s=section.number("reorder_hold_s", 0.05),
    )
    section.finish()
    return settings


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
