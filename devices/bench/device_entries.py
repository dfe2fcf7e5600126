"""The [[device]] tables of a scenario."""

from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar

from chf.crypto.install_code import CODE_LENGTHS_BYTES, CRC_BYTES, link_key, with_crc
from devices.bench.device_certificates import read_credentials, read_image_trust
from devices.bench.device_keys import (
    KEY_AGREEMENT_KEY,
    SIGNING_KEY,
    certified_key,
    optional_certified_key,
    private_key,
    test_key,
)
from devices.bench.toml_section import Section
from devices.nodes.personalities import OUT_OF_BAND, PERSONALITIES, SPEC_STRICT
from devices.nodes.settings import (
    TEST_ACCESS_CONTROL_BROKER,
    TEST_SUPPLIER,
    AlertFault,
    BodyFormat,
    CommandedKind,
    CommandedSettings,
    EndFault,
    Faults,
    GbcsSettings,
    PpmidSettings,
)
from devices.stack.interface import HOME_AUTOMATION_PROFILE, SMART_ENERGY_PROFILE, Eui64

_PROFILES = {"smart-energy": SMART_ENERGY_PROFILE, "home-automation": HOME_AUTOMATION_PROFILE}
_BODY_FORMATS = {format_.name.lower().replace("_", "-"): format_ for format_ in BodyFormat}
_MAX_COUNT = 10_000
_LAST_EUI64 = 0xFFFF_FFFF_FFFF_FFFE
_SLEEPY_POLL_S = 7.5
_PPMID = "ppmid"
_COMMANDED = {kind.value: kind for kind in CommandedKind}

Entry = tuple[GbcsSettings, float, tuple[float, float], float]
_Choice = TypeVar("_Choice", bound=Enum)


def read_devices(sections: list[Section]) -> list[Entry]:
    """Settings, seconds until power on, place and radio delay of every device; one with `count` stands for so many."""
    return [entry for section in sections for entry in _read_device(section)]


def _read_device(section: Section) -> list[Entry]:
    kind = section.choice("type", (_PPMID, *_COMMANDED))
    count = section.integer("count", 1, minimum=1, maximum=_MAX_COUNT)
    power_on_s = section.number("power_on_s", 0.0)
    power_on_step_s = section.number("power_on_step_s", 0.0)
    position_m = (section.number("x_m", 0.0, minimum=-1e6), section.number("y_m", 0.0, minimum=-1e6))
    radio_delay_s = section.number("radio_delay_s", 0.0)
    first = _read_settings(section, kind)
    credentials = read_credentials(section, count)
    section.finish()
    if first.eui64 + count - 1 > _LAST_EUI64:
        raise section.error("count", "counts beyond the last EUI-64: start at a lower one")
    derived: list[str] = [name for name in (SIGNING_KEY, KEY_AGREEMENT_KEY) if not section.has(name)]
    return [
        (
            replace(
                first,
                eui64=Eui64(first.eui64 + index),
                credentials=credentials[index],
                **_test_keys(derived, first.eui64 + index),
            ),
            power_on_s + index * power_on_step_s,
            position_m,
            radio_delay_s,
        )
        for index in range(count)
    ]


def _test_keys(names: list[str], eui64: int) -> dict[str, Any]:
    return {name: test_key(name, eui64) for name in names}


def _read_settings(section: Section, kind: str) -> GbcsSettings:
    if kind == _PPMID:
        return PpmidSettings(
            **_common(section, kind, SPEC_STRICT.name), acb_key=optional_certified_key(section, "acb_certificate")
        )
    return CommandedSettings(
        **_common(section, kind, OUT_OF_BAND.name),
        kind=_COMMANDED[kind],
        acb_key=certified_key(section, "acb_certificate"),
        supplier=section.eui64("supplier", TEST_SUPPLIER),
        supplier_key=certified_key(section, "supplier_certificate"),
        supplier_agreement_key=optional_certified_key(section, "supplier_agreement_certificate"),
        mirror_interval_s=section.number("mirror_interval_s", 60.0, minimum=0.1),
    )


def _common(section: Section, kind: str, personality: str) -> dict[str, Any]:
    """What all kinds of device have, by the names of the settings."""
    eui64 = section.eui64("eui64")
    page = section.boolean("page", default=False)
    page_bytes = section.integer("page_bytes", 1024 if page else 0, maximum=0xFFFF)
    return {
        "eui64": eui64,
        "link_key": link_key(_install_code(section)),
        "signing_key": private_key(section, SIGNING_KEY, eui64),
        "key_agreement_key": private_key(section, KEY_AGREEMENT_KEY, eui64),
        "manufacturer_code": section.integer("manufacturer", maximum=0xFFFF),
        "image_type": section.integer("image_type", maximum=0xFFFF),
        "hardware_version": section.integer("hardware_version", maximum=0xFFFF),
        "file_version": section.integer("file_version"),
        "access_control_broker": section.eui64("access_control_broker", TEST_ACCESS_CONTROL_BROKER),
        "first_counter": section.optional_integer("first_counter", minimum=1, maximum=2**63),
        "profile": _PROFILES[section.choice("profile", tuple(_PROFILES), "smart-energy")],
        "endpoint": section.integer("endpoint", 0x03, minimum=1, maximum=240),
        "aps_security_required": section.boolean("aps_security", default=True),
        "poll_interval_s": _poll_interval(section, kind),
        "fast_poll_interval_s": section.number("fast_poll_interval_s", 0.1, minimum=0.001),
        "manufacturer_name": section.text("manufacturer_name", "Emulated"),
        "model_identifier": section.text("model_identifier", kind.upper()),
        "personality": PERSONALITIES[section.choice("personality", tuple(PERSONALITIES), personality)],
        "faults": _faults(section.table("faults")),
        "block_size": section.integer("block_size", 50, minimum=1, maximum=255),
        "page_bytes": page_bytes if page else 0,
        "page_spacing_ms": section.integer("page_spacing_ms", 10, maximum=0xFFFF),
        "think_time_s": section.number("think_time_s", 0.0),
        "query_delay_s": section.number("query_delay_s", 0.5),
        "query_interval_s": section.number("query_interval_s", 300.0, minimum=0.1),
        "reboot_s": section.number("reboot_s", 1.0),
        "body_format": _BODY_FORMATS[section.choice("body_format", tuple(_BODY_FORMATS), "either")],
        "image_trust": read_image_trust(section),
        "alert_retry_s": section.number("alert_retry_s", 10.0, minimum=0.1),
    }


def _poll_interval(section: Section, kind: str) -> float | None:
    sleepy = section.boolean("sleepy", default=section.has("poll_interval_s") or kind == CommandedKind.GSME.value)
    interval_s = section.number("poll_interval_s", _SLEEPY_POLL_S, minimum=0.01)
    if not sleepy and section.has("poll_interval_s"):
        raise section.error("poll_interval_s", "only a sleepy device polls: remove it, or say sleepy = true")
    return interval_s if sleepy else None


def _faults(section: Section) -> Faults:
    faults = Faults(
        end=_enum(section, "end", EndFault),
        alert=_enum(section, "alert", AlertFault),
        firmware_does_not_boot=section.boolean("firmware_does_not_boot", default=False),
        reverts_after_activation=section.boolean("reverts_after_activation", default=False),
        ignores_upgrade_time=section.boolean("ignores_upgrade_time", default=False),
        stalls_at_offset=section.optional_integer("stalls_at_offset"),
    )
    section.finish()
    return faults


def _enum(section: Section, key: str, kind: type[_Choice]) -> _Choice | None:
    """Members are written in lower case with hyphens; "none" or nothing is None."""
    options = {member.name.lower().replace("_", "-"): member for member in kind}
    return options.get(section.choice(key, ("none", *options), "none"))


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
