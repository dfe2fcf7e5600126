"""A network in zigpy's backup format (open coordinator backup), out of one dongle and into another, of any kind."""

from typing import Any

import zigpy.application
import zigpy.backups

from chf.errors import UsageError

COUNTER_INCREMENT = 10_000
"""The frame counters of a restored network begin so much higher: what was sent after the backup is not used again."""


async def take(application: zigpy.application.ControllerApplication) -> dict[str, Any]:
    """With every key. Raises zigpy's NetworkNotFormed."""
    await application.load_network_info(load_devices=True)
    backup = application.backups.from_network_state()
    described: dict[str, Any] = backup.as_open_coordinator_json()
    return described


async def put_back(application: zigpy.application.ControllerApplication, described: dict[str, Any]) -> None:
    """The dongle's own network is replaced."""
    try:
        backup = zigpy.backups.NetworkBackup.from_open_coordinator_json(described)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no backup of a network: {type(error).__name__}") from None
    if not backup.is_complete():
        raise UsageError("this backup of a network is incomplete")
    await application.backups.restore_backup(backup, counter_increment=COUNTER_INCREMENT, create_new=False)
