"""What the hub wants of zigpy's applications, whatever the dongle: its endpoints, and everything else switched off.

Switched off: the database, periodic backups, topology scans, zigpy's OTA server with its providers, and its watchdog
(which takes minutes to call a dongle dead).
"""

import secrets
from typing import Any

from zigpy.zdo.types import SimpleDescriptor

from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE
from chf.radio.settings import DongleSettings

ENERGY_SERVICE_INTERFACE = 0x0500  # SE device identifier, SE1.4 table 5-14
_ZHA_PROFILE = 0x0104
_CONFIGURATION_TOOL = 0x0005  # ZHA device identifier
_BASIC, _TIME, _OTA_UPGRADE, _METERING, _TUNNELING, _KEY_ESTABLISHMENT = 0x0000, 0x000A, 0x0019, 0x0702, 0x0704, 0x0800


def endpoints() -> tuple[SimpleDescriptor, ...]:
    """The hub's endpoint, and the endpoint 1 without which zigpy does not start: it serves nothing."""
    return (
        SimpleDescriptor(
            endpoint=1,
            profile=_ZHA_PROFILE,
            device_type=_CONFIGURATION_TOOL,
            device_version=0,
            input_clusters=[_BASIC],
            output_clusters=[],
        ),
        SimpleDescriptor(
            endpoint=HUB_ENDPOINT,
            profile=SMART_ENERGY_PROFILE,
            device_type=ENERGY_SERVICE_INTERFACE,
            device_version=0,
            input_clusters=[_BASIC, _TIME, _OTA_UPGRADE, _METERING, _TUNNELING, _KEY_ESTABLISHMENT],  # 0702: mirrors
            output_clusters=[_TUNNELING],
        ),
    )


def configuration(settings: DongleSettings) -> dict[str, Any]:
    """For zigpy. `pan_id` None picks one here: zigpy's own choice may be 0xFFFF, which is the broadcast PAN."""
    pan_id = secrets.randbelow(0xFFFE) + 1 if settings.pan_id is None else settings.pan_id
    return {
        "database_path": None,
        "backup_enabled": False,
        "topology_scan_enabled": False,
        "watchdog_enabled": False,
        "source_routing": False,
        "ota": {"enabled": False, "broadcast_enabled": False, "providers": [], "disable_default_providers": []},
        "device": {"path": settings.port, "baudrate": settings.baudrate, "flow_control": settings.flow_control},
        "network": {"channel": settings.channel, "pan_id": pan_id},
    }
