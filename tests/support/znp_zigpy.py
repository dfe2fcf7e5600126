"""The real zigpy-znp as a host of the virtual dongle, with an ear at what it receives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import zigpy.types as t
from zigpy_znp.zigbee.application import ControllerApplication

from tests.support.virtual_dongle import VirtualDongle

SMART_ENERGY_ENDPOINT = {
    "endpoint": 3,
    "profile": 0x0109,
    "device_type": 0x0500,
    "device_version": 0,
    "input_clusters": [0x0019, 0x000A],
    "output_clusters": [],
}


class Host(ControllerApplication):
    """zigpy-znp, with an ear at what it receives."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.received: list[t.ZigbeePacket] = []
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Wait for something that packets make true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def packet_received(self, packet: t.ZigbeePacket) -> None:
        self.received.append(packet)
        self.changed.set()
        super().packet_received(packet)

    def of_cluster(self, cluster: int) -> list[t.ZigbeePacket]:
        """Application messages, not the device profile's."""
        return [packet for packet in self.received if packet.cluster_id == cluster and packet.dst_ep]


def config(port: str, **network: object) -> dict[str, Any]:
    return {
        "device": {"path": port, "baudrate": 115200, "flow_control": None},
        "use_thread": False,
        "database_path": None,
        "ota": {"enabled": False, "providers": []},
        "topology_scan_enabled": False,
        "backup_enabled": False,
        "watchdog_enabled": False,
        "network": network,
        "znp_config": {"prefer_endpoint_1": False, "skip_bootloader": False},
        "additional_endpoints": [SMART_ENERGY_ENDPOINT],
    }


@asynccontextmanager
async def host(dongle: VirtualDongle, **network: object) -> AsyncIterator[Host]:
    app = Host(config(dongle.port, **network))
    await app.startup(auto_form=True)
    try:
        yield app
    finally:
        await app.shutdown()
