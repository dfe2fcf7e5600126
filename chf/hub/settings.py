"""The hub's settings: the policies of its cores, read strictly from an optional TOML file. Defaults need no file."""

import tomllib
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from chf.errors import UsageError
from chf.hub.admission import SecurityMode
from chf.keys import KeyEstablishmentSettings
from chf.tunnel import TunnelSettings
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """`lab` is the default because key establishment on real dongles is not proven yet (hw-setup.md)."""

    mode: SecurityMode = SecurityMode.LAB
    device_log_alert: bool = True
    """Whether CS14 is raised. It holds a hash of each established link key (docs/security.md)."""


Policy = TypeVar("Policy", OtaPolicy, SchedulePolicy, TunnelSettings, SecuritySettings, KeyEstablishmentSettings)


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Sections of the file are named like the fields: `[ota]`, `[jobs]`, `[tunnel]`, `[security]`..."""

    ota: OtaPolicy = field(default_factory=OtaPolicy)
    jobs: SchedulePolicy = field(default_factory=SchedulePolicy)
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    key_establishment: KeyEstablishmentSettings = field(default_factory=KeyEstablishmentSettings)

    @classmethod
    def load(cls, path: Path) -> "HubSettings":
        """Raises UsageError that names the file, the key and what would do."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # ValueError: also of no UTF-8, and of numbers without end
            raise UsageError(f"{path} is not TOML: {error}") from error
        policies = {item.name for item in fields(cls)}
        unknown = sorted(document.keys() - policies)
        if unknown:
            raise UsageError(f"{path}: there is no section [{unknown[0]}]; there are {', '.join(sorted(policies))}")
        return cls(
            ota=_policy(OtaPolicy, document.get("ota", {}), f"{path} [ota]"),
            jobs=_policy(SchedulePolicy, document.get("jobs", {}), f"{path} [jobs]"),
            tunnel=_policy(TunnelSettings, document.get("tunnel", {}), f"{path} [tunnel]"),
            security=_policy(SecuritySettings, document.get("security", {}), f"{path} [security]"),
            key_establishment=_policy(
                KeyEstablishmentSettings, document.get("key_establishment", {}), f"{path} [key_establishment]"
            ),
        )


def _policy(policy: type[Policy], section: Any, where: str) -> Policy:
    if not isinstance(section, dict):
        raise UsageError(f"{where} is not a section")
    # By the declared type: the default of a time in seconds may be written without a fraction.
    defaults = {
        item.name: float(getattr(policy(), item.name)) if item.type is float else getattr(policy(), item.name)
        for item in fields(policy)
    }
    chosen: dict[str, Any] = {}
    for name, value in section.items():
        if name not in defaults:
            raise UsageError(f"{where}: there is no setting {name!r}; there are {', '.join(sorted(defaults))}")
        chosen[name] = _like(defaults[name], value, f"{where} {name}")
    try:
        return policy(**chosen)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _like(default: object, value: object, where: str) -> object:
    """The value, as the type of the default has it."""
    match default, value:
        case bool(), bool():
            return value
        case StrEnum(), str():
            try:
                return type(default)(value)
            except ValueError:
                raise UsageError(f"{where}: one of {', '.join(type(default))}, not {value!r}") from None
        case ((int() | float()), (int() | float())) if not isinstance(default, bool) and not isinstance(value, bool):
            if isinstance(default, int) and not isinstance(value, int):
                raise UsageError(f"{where}: a whole number, not {value!r}")
            return type(default)(value)
        case _:
            raise UsageError(f"{where}: {value!r} does not fit; the default is {default!r}")
