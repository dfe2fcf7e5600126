"""The hub's settings: the policies of its cores, read strictly from an optional TOML file. Defaults need no file."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from chf.config import read_toml
from chf.keys import KeyEstablishmentSettings
from chf.store.retention import Retention
from chf.tunnel import TunnelSettings
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy


class SecurityMode(StrEnum):
    LAB = "lab"
    """A device is as trustworthy as its install code: its link key is the one made from that."""
    CBKE = "cbke"
    """A device has proved by certificate who it is, before it gets anything else."""


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """`lab` is the default because key establishment on real dongles is not proven yet (hw-setup.md)."""

    mode: SecurityMode = SecurityMode.LAB
    device_log_alert: bool = True
    """Whether CS14 is raised. It holds a hash of each established link key (docs/security.md)."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Sections of the file are named like the fields: `[ota]`, `[updates]`, `[tunnel]`, `[security]`..."""

    ota: OtaPolicy = field(default_factory=OtaPolicy)
    updates: SchedulePolicy = field(default_factory=SchedulePolicy)
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    key_establishment: KeyEstablishmentSettings = field(default_factory=KeyEstablishmentSettings)
    retention: Retention = field(default_factory=Retention)

    @classmethod
    def load(cls, path: Path) -> "HubSettings":
        """Raises UsageError that names the file, the key and what would do."""
        table = read_toml(path)
        settings = cls(
            ota=table.settings("ota", OtaPolicy),
            updates=table.settings("updates", SchedulePolicy),
            tunnel=table.settings("tunnel", TunnelSettings),
            security=table.settings("security", SecuritySettings),
            key_establishment=table.settings("key_establishment", KeyEstablishmentSettings),
            retention=table.settings("retention", Retention),
        )
        table.finish()
        return settings
