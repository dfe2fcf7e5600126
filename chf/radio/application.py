"""What is the same of every dongle that zigpy drives: configuration, endpoints, backups.

Of zigpy's application everything is switched off that the hub does itself: the database, periodic backups, topology
scans, zigpy's OTA server with its providers, and its watchdog (which takes minutes to call a dongle dead).
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import zigpy.application
import zigpy.backups
from zigpy.types import EUI64
from zigpy.zdo.types import SimpleDescriptor

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64, from_little_endian, to_little_endian
from chf.radio.backup import differences, read_backup, to_write
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, NetworkInfo, RadioInfo
from chf.radio.link import DongleSettings
from chf.zcl import basic, key_establishment, metering, ota, time, tunneling

ENERGY_SERVICE_INTERFACE = 0x0500  # SE1.4 table 5-14, SE device identifier

_HOME_AUTOMATION_PROFILE = 0x0104  # Zigbee Home Automation, profile identifier
_CONFIGURATION_TOOL = 0x0005  # Zigbee Home Automation, device identifier
App = TypeVar("App", bound="zigpy.application.ControllerApplication")


def zigpy_eui64(device: Eui64) -> Any:
    return EUI64.deserialize(to_little_endian(device))[0]


def eui64_of(eui64: Any) -> Eui64:
    return from_little_endian(eui64.serialize())


def endpoints() -> tuple[SimpleDescriptor, ...]:
    """The hub's endpoint, and the endpoint 1 without which zigpy does not start: it serves nothing."""
    return (
        SimpleDescriptor(
            endpoint=1,
            profile=_HOME_AUTOMATION_PROFILE,
            device_type=_CONFIGURATION_TOOL,
            device_version=0,
            input_clusters=[basic.CLUSTER],
            output_clusters=[],
        ),
        SimpleDescriptor(
            endpoint=HUB_ENDPOINT,
            profile=SMART_ENERGY_PROFILE,
            device_type=ENERGY_SERVICE_INTERFACE,
            device_version=0,
            input_clusters=[
                basic.CLUSTER,
                time.CLUSTER,
                ota.CLUSTER,
                metering.CLUSTER,  # mirrors
                tunneling.CLUSTER,
                key_establishment.CLUSTER,
            ],
            output_clusters=[tunneling.CLUSTER],
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


class ZigpyDongle(ABC, Generic[App]):
    """The part of a `Link` that is its application's, whatever the library below."""

    longest_permit_s = 254  # 255 would be for ever: Zigbee R22 2.4.3.3.7

    def __init__(self, application: App) -> None:
        self._application = application

    def _network(self) -> NetworkInfo:
        """As it was loaded last."""
        network, node = self._application.state.network_info, self._application.state.node_info
        return NetworkInfo(
            channel=int(network.channel),
            pan_id=int(network.pan_id),
            extended_pan_id=eui64_of(network.extended_pan_id),
            coordinator=eui64_of(node.ieee),
        )

    async def connect(self) -> None:
        await self._application.connect()

    @abstractmethod
    async def describe(self) -> RadioInfo: ...

    async def close(self) -> None:
        await self._application.disconnect()  # type: ignore[no-untyped-call]
        await self._application.shutdown(db=False)

    async def backup(self) -> dict[str, Any]:
        """The network in zigpy's format (open coordinator backup), with every key. Raises zigpy's NetworkNotFormed."""
        held = await self._held()
        key = held.network_info.network_key
        # 1 where nothing was sent yet: what was not counted can so be told from what a program did not save
        held.network_info.network_key = key.replace(tx_counter=key.tx_counter or 1)
        return dict(held.as_open_coordinator_json())

    async def _held(self) -> zigpy.backups.NetworkBackup:
        await self._application.load_network_info(load_devices=True)
        held: zigpy.backups.NetworkBackup = self._application.backups.from_network_state()
        return held

    async def check(self, backup: dict[str, Any]) -> None:
        """Whether `restore` can write this network. Changes nothing; raises UsageError, or what refuses it."""
        network = read_backup(backup)
        await self._application.can_write_network_settings(
            network_info=network.network_info, node_info=network.node_info
        )
        async for name, wanted, room in self._room(network):
            if wanted > room:
                raise RadioRefusedError(f"the backup has {wanted} {name}, and this dongle has room for {room}")

    @abstractmethod
    def _room(self, backup: zigpy.backups.NetworkBackup) -> AsyncIterator[tuple[str, int, int]]:
        """(what, how many of it the backup has, how many find room)."""

    async def restore(self, backup: dict[str, Any]) -> RadioInfo:
        """A network of a dongle of any kind becomes this one's; what `check` refuses must not come here."""
        wanted = to_write(zigpy.backups.NetworkBackup.from_dict(backup))
        await self._application.write_network_info(network_info=wanted.network_info, node_info=wanted.node_info)
        if missing := differences(wanted, await self._held()):  # bellows only warns of a key that was not taken
            raise RadioRefusedError(f"the dongle did not keep all that was written to it: {missing}")
        return await self.describe()

    async def permit(self, seconds: int) -> None:
        await self._application.permit(seconds)
