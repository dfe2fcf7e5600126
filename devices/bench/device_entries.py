"""The [[device]] tables of a scenario.

A device has the keys of its settings' class and of that class's parents (`_READERS`). Its faults are the fields of
`Faults`, each read as its type says, so that a new one is a field there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from chf.crypto.install_code import CODE_LENGTHS_BYTES, CRC_BYTES, link_key, with_crc
from devices.bench.device_keys import (
    KEY_AGREEMENT_KEY,
    SIGNING_KEY,
    certified_key,
    private_key,
    read_credentials,
    read_image_trust,
    test_key,
)
from devices.bench.toml_section import Section
from devices.nodes.kinds import KINDS
from devices.nodes.personalities import PERSONALITIES
from devices.nodes.settings import (
    TEST_ACCESS_CONTROL_BROKER,
    TEST_SUPPLIER,
    BodyFormat,
    CommandedKind,
    CommandedSettings,
    DeviceSettings,
    Faults,
    FirmwareSettings,
    GbcsSettings,
    PpmidSettings,
)
from devices.stack.interface import HOME_AUTOMATION_PROFILE, SMART_ENERGY_PROFILE, Eui64

_WELL_KNOWN = "well-known"
_WELL_KNOWN_KEY = b"ZigBeeAlliance09"  # Base Device Behaviour 1.0, 5.3.1: default global trust centre link key
_PROFILES = {"smart-energy": SMART_ENERGY_PROFILE, "home-automation": HOME_AUTOMATION_PROFILE}
_MAX_COUNT = 10_000  # our choice
_NAME_BYTES = 32  # ZCL8 3.2.2.2.5, 3.2.2.2.6
_LAST_EUI64 = 0xFFFF_FFFF_FFFF_FFFE  # the next one means everybody
_SLEEPY_POLL_S = 7.5  # our choice

_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device, when it is switched on, where it is, whom it hears (None: all near enough), whether it routes, and
    how late its stack hears what its radio does.
    """

    settings: DeviceSettings
    power_on_s: float = 0.0
    position_m: tuple[float, float] = (0.0, 0.0)
    radio_delay_s: float = 0.0
    hears: frozenset[Eui64] | None = None
    routes: bool = False


def read_devices(sections: list[Section]) -> list[DeviceEntry]:
    """Every device; a table with `count` stands for so many."""
    return [entry for section in sections for entry in _read_device(section)]


def _read_device(section: Section) -> list[DeviceEntry]:
    kind = section.choice("type", tuple(KINDS))
    count = section.integer("count", 1, minimum=1, maximum=_MAX_COUNT)
    power_on_s = section.number("power_on_s", 0.0)
    power_on_step_s = section.number("power_on_step_s", 0.0)
    position_m = (section.number("x_m", 0.0, minimum=-1e6), section.number("y_m", 0.0, minimum=-1e6))
    radio_delay_s = section.number("radio_delay_s", 0.0)
    hears = frozenset(section.eui64s("hears")) if section.has("hears") else None
    routes = section.boolean("router", default=False)
    values: dict[str, Any] = {"kind": kind}
    for settings in reversed(KINDS[kind].settings.__mro__):
        if settings in _READERS:
            values |= _READERS[settings](section, kind)
    first = KINDS[kind].settings(**values)
    if routes and first.poll_interval_s is not None:
        raise section.error("router", "is for a device that does not sleep: remove it, or say sleepy = false")
    credentials = read_credentials(section, count)
    section.finish()
    if first.eui64 + count - 1 > _LAST_EUI64:
        raise section.error("count", "counts beyond the last EUI-64: start at a lower one")
    derived = [name for name in (SIGNING_KEY, KEY_AGREEMENT_KEY) if name in values and not section.has(name)]
    entries = []
    for index in range(count):
        eui64 = Eui64(first.eui64 + index)
        own: dict[str, Any] = {name: test_key(name, eui64) for name in derived}
        one = replace(first, eui64=eui64, credentials=credentials[index], **own)
        entries.append(DeviceEntry(one, power_on_s + index * power_on_step_s, position_m, radio_delay_s, hears, routes))
    return entries


def _device(section: Section, kind: str) -> dict[str, Any]:
    well_known = section.has("install_code") and section.text("install_code") == _WELL_KNOWN
    profile = section.choice("profile", tuple(_PROFILES), "smart-energy")
    if well_known and profile != "home-automation":
        raise section.error("install_code", f'is {_WELL_KNOWN!r} with profile = "home-automation" alone')
    return {
        "eui64": section.eui64("eui64"),
        "link_key": _WELL_KNOWN_KEY if well_known else link_key(_install_code(section)),
        "manufacturer_code": section.integer("manufacturer", maximum=0xFFFF),
        "hardware_version": section.integer("hardware_version", maximum=0xFFFF),
        "profile": _PROFILES[profile],
        "endpoint": section.integer("endpoint", 0x03, minimum=1, maximum=240),
        "aps_security_required": section.boolean("aps_security", default=not well_known),
        "insists_on_link_key": section.boolean("insists_on_link_key", default=profile == "home-automation"),
        "poll_interval_s": _poll_interval(section, kind),
        "fast_poll_interval_s": section.number("fast_poll_interval_s", 0.1, minimum=0.001),
        "manufacturer_name": section.text("manufacturer_name", "Emulated", longest_bytes=_NAME_BYTES),
        "model_identifier": section.text("model_identifier", kind.upper(), longest_bytes=_NAME_BYTES),
        "reboot_s": section.number("reboot_s", 1.0),
    }


def _firmware(section: Section, kind: str) -> dict[str, Any]:
    page = section.boolean("page", default=False)
    personality = PERSONALITIES[section.choice("personality", tuple(PERSONALITIES), KINDS[kind].personality.name)]
    page_bytes = section.integer("page_bytes", personality.page_bytes, minimum=1, maximum=0xFFFF)
    return {
        "image_type": section.integer("image_type", maximum=0xFFFF),
        "file_version": section.integer("file_version"),
        "personality": personality,
        "faults": _faults(section.table("faults")),
        "block_size": section.optional_integer("block_size", minimum=1, maximum=255),
        "page_bytes": page_bytes if page else 0,
        "page_spacing_ms": section.optional_integer("page_spacing_ms", maximum=0xFFFF),
        "think_time_s": section.number("think_time_s", 0.0),
        "query_delay_s": section.optional_number("query_delay_s"),
        "query_interval_s": section.optional_number("query_interval_s", minimum=0.1),
        "body_format": _member(section, "body_format", BodyFormat, "either"),
        "image_trust": read_image_trust(section),
    }


def _gbcs(section: Section, kind: str) -> dict[str, Any]:
    del kind
    eui64 = section.eui64("eui64")
    return {
        "signing_key": private_key(section, SIGNING_KEY, eui64),
        "key_agreement_key": private_key(section, KEY_AGREEMENT_KEY, eui64),
        "access_control_broker": section.eui64("access_control_broker", TEST_ACCESS_CONTROL_BROKER),
        "first_counter": section.optional_integer("first_counter", minimum=1, maximum=2**63),
        "alert_retry_s": section.number("alert_retry_s", 10.0, minimum=0.1),
    }


def _ppmid(section: Section, kind: str) -> dict[str, Any]:
    del kind
    return {"acb_key": certified_key(section, "acb_certificate", optional=True)}


def _commanded(section: Section, kind: str) -> dict[str, Any]:
    return {
        "kind": CommandedKind(kind),
        "acb_key": certified_key(section, "acb_certificate"),
        "supplier": section.eui64("supplier", TEST_SUPPLIER),
        "supplier_key": certified_key(section, "supplier_certificate"),
        "supplier_agreement_key": certified_key(section, "supplier_agreement_certificate", optional=True),
        "mirror_interval_s": section.number("mirror_interval_s", 60.0, minimum=0.1),
    }


_READERS: dict[type, Callable[[Section, str], dict[str, Any]]] = {
    DeviceSettings: _device,
    FirmwareSettings: _firmware,
    GbcsSettings: _gbcs,
    PpmidSettings: _ppmid,
    CommandedSettings: _commanded,
}


def _poll_interval(section: Section, kind: str) -> float | None:
    sleepy = section.boolean("sleepy", default=section.has("poll_interval_s") or KINDS[kind].sleepy)
    interval_s = section.number("poll_interval_s", _SLEEPY_POLL_S, minimum=0.01)
    if not sleepy and section.has("poll_interval_s"):
        raise section.error("poll_interval_s", "only a sleepy device polls: remove it, or say sleepy = true")
    return interval_s if sleepy else None


def _faults(section: Section) -> Faults:
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(Faults).items():
        kind = next((each for each in get_args(hint) if each is not NoneType), hint)
        if kind is bool:
            values[name] = section.boolean(name, default=False)
        elif kind is int:
            values[name] = section.optional_integer(name)
        else:
            values[name] = _member(section, name, kind, "none")
    section.finish()
    return Faults(**values)


def _member(section: Section, key: str, kind: type[_Choice], default: str) -> _Choice | None:
    """Members are written in lower case with hyphens. A default that is none of them is None."""
    options = {member.name.lower().replace("_", "-"): member for member in kind}
    return options.get(section.choice(key, tuple(dict.fromkeys((default, *options))), default))


def _install_code(section: Section) -> bytes:
    """With its CRC. The text is a secret and never part of a message."""
    try:
        octets = bytes.fromhex(section.text("install_code").replace("-", " ").replace(":", " "))
    except ValueError:
        raise section.error("install_code", "is written in hex digits") from None
    if len(octets) - CRC_BYTES in CODE_LENGTHS_BYTES and with_crc(octets[:-CRC_BYTES]) == octets:
        return octets
    if len(octets) in CODE_LENGTHS_BYTES:
        return with_crc(octets)
    if len(octets) - CRC_BYTES in CODE_LENGTHS_BYTES:
        raise section.error(
            "install_code", "ends in a CRC that does not fit: correct it, or leave the last two octets out"
        )
    raise section.error("install_code", f"has 6, 8, 12 or 16 octets, or two more with its CRC, not {len(octets)}")
