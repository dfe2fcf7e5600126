"""The [[device]] tables of a scenario."""

import hashlib
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chf.crypto.install_code import CODE_LENGTHS_BYTES, CRC_BYTES, link_key, with_crc
from devices.bench.toml_section import Section
from devices.nodes.personalities import PERSONALITIES, SPEC_STRICT
from devices.nodes.settings import TEST_ACCESS_CONTROL_BROKER, AlertFault, BodyFormat, EndFault, Faults, PpmidSettings
from devices.stack.interface import HOME_AUTOMATION_PROFILE, SMART_ENERGY_PROFILE, Eui64

_PROFILES = {"smart-energy": SMART_ENERGY_PROFILE, "home-automation": HOME_AUTOMATION_PROFILE}
_BODY_FORMATS = {format_.name.lower().replace("_", "-"): format_ for format_ in BodyFormat}
_MAX_COUNT = 10_000
_LAST_EUI64 = 0xFFFF_FFFF_FFFF_FFFE
_SLEEPY_POLL_S = 7.5
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Entry = tuple[PpmidSettings, float, tuple[float, float], float]
_Choice = TypeVar("_Choice", bound=Enum)


def read_devices(sections: list[Section]) -> list[Entry]:
    """Settings, seconds until power on, place and radio delay of every device; one with `count` stands for so many."""
    return [entry for section in sections for entry in _read_device(section)]


def _read_device(section: Section) -> list[Entry]:
    section.choice("type", ("ppmid",))
    count = section.integer("count", 1, minimum=1, maximum=_MAX_COUNT)
    power_on_s = section.number("power_on_s", 0.0)
    power_on_step_s = section.number("power_on_step_s", 0.0)
    position_m = (section.number("x_m", 0.0, minimum=-1e6), section.number("y_m", 0.0, minimum=-1e6))
    radio_delay_s = section.number("radio_delay_s", 0.0)
    first = _read_ppmid(section)
    section.finish()
    if first.eui64 + count - 1 > _LAST_EUI64:
        raise section.error("count", "counts beyond the last EUI-64: start at a lower one")
    return [
        (
            replace(
                first,
                eui64=Eui64(first.eui64 + index),
                signing_key=first.signing_key if section.has("signing_key") else _test_key(first.eui64 + index),
            ),
            power_on_s + index * power_on_step_s,
            position_m,
            radio_delay_s,
        )
        for index in range(count)
    ]


def _read_ppmid(section: Section) -> PpmidSettings:
    eui64 = section.eui64("eui64")
    page = section.boolean("page", default=False)
    page_bytes = section.integer("page_bytes", 1024 if page else 0, maximum=0xFFFF)
    return PpmidSettings(
        eui64=eui64,
        link_key=link_key(_install_code(section)),
        signing_key=_signing_key(section, eui64),
        manufacturer_code=section.integer("manufacturer", maximum=0xFFFF),
        image_type=section.integer("image_type", maximum=0xFFFF),
        hardware_version=section.integer("hardware_version", maximum=0xFFFF),
        file_version=section.integer("file_version"),
        access_control_broker=section.eui64("access_control_broker", TEST_ACCESS_CONTROL_BROKER),
        first_counter=section.integer("first_counter", 1, minimum=1, maximum=2**63),
        profile=_PROFILES[section.choice("profile", tuple(_PROFILES), "smart-energy")],
        endpoint=section.integer("endpoint", 0x03, minimum=1, maximum=240),
        aps_security_required=section.boolean("aps_security", default=True),
        poll_interval_s=_poll_interval(section),
        manufacturer_name=section.text("manufacturer_name", "Emulated"),
        model_identifier=section.text("model_identifier", "PPMID"),
        personality=PERSONALITIES[section.choice("personality", tuple(PERSONALITIES), SPEC_STRICT.name)],
        faults=_faults(section.table("faults")),
        block_size=section.integer("block_size", 50, minimum=1, maximum=255),
        page_bytes=page_bytes if page else 0,
        page_spacing_ms=section.integer("page_spacing_ms", 10, maximum=0xFFFF),
        think_time_s=section.number("think_time_s", 0.0),
        query_delay_s=section.number("query_delay_s", 0.5),
        query_interval_s=section.number("query_interval_s", 300.0, minimum=0.1),
        reboot_s=section.number("reboot_s", 1.0),
        body_format=_BODY_FORMATS[section.choice("body_format", tuple(_BODY_FORMATS), "either")],
        alert_retry_s=section.number("alert_retry_s", 10.0, minimum=0.1),
    )


def _poll_interval(section: Section) -> float | None:
    sleepy = section.boolean("sleepy", default=section.has("poll_interval_s"))
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


def _signing_key(section: Section, eui64: Eui64) -> EllipticCurvePrivateKey:
    if not section.has("signing_key"):
        section.text("signing_key", "")
        return _test_key(eui64)
    path = section.path.parent / Path(section.text("signing_key")).expanduser()
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise section.error("signing_key", f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise section.error("signing_key", f"{path} is not an unencrypted PEM private key") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise section.error("signing_key", f"{path} is not a P-256 key: GBCS signs with P-256")
    return key


def _test_key(eui64: int) -> EllipticCurvePrivateKey:
    """A key that anybody can derive, for scenarios that do not care who signed."""
    digest = hashlib.sha256(b"chf emulated device signing key" + eui64.to_bytes(8, "big")).digest()
    return derive_private_key(int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, SECP256R1())
