"""The real zigpy-znp against the virtual TI dongle, over TCP and over a PTY."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t
from zigpy_znp.zigbee.application import ControllerApplication

from tests.support.virtual_dongle import LINK_KEY, VirtualDongle, ppmid, virtual_dongle

DEVICE = t.EUI64.convert("00:db:12:34:56:78:90:a4")
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


@pytest.fixture(params=["tcp://127.0.0.1:0", "pty"])
def dongle(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with virtual_dongle(tmp_path, "seed = 5\n", "--ncp", "znp", listen=request.param) as running:
        yield running


async def test_forms_scans_for_a_channel_and_comes_up_again(dongle: VirtualDongle) -> None:
    assert dongle.ready["version"] == "zstack-3.30"
    async with host(dongle) as app:  # no channel given: zigpy asks for an energy scan on a temporary network first
        formed = app.state.network_info
        assert formed.channel in {11, 15, 20, 25}
        assert str(app.state.node_info.ieee) == "00:db:12:34:56:78:00:01"
        assert set(await app.energy_scan(t.Channels.ALL_CHANNELS, 2, 1)) == set(range(11, 27))
    async with host(dongle) as app:
        again = app.state.network_info
        assert (again.pan_id, again.extended_pan_id, again.channel) == (
            formed.pan_id,
            formed.extended_pan_id,
            formed.channel,
        )
        assert again.network_key.key == formed.network_key.key
        assert again.network_key.tx_counter >= formed.network_key.tx_counter


async def test_a_device_joins_with_its_install_code_and_speaks_under_its_link_key(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        async with host(dongle, channel=15) as app:
            permit = asyncio.create_task(app.permit_with_link_key(DEVICE, t.KeyData(LINK_KEY), 60))
            await app.until(lambda: bool(app.of_cluster(0x0019)))
            permit.cancel()
            assert (await asyncio.to_thread(dongle.wait_for, "server_found"))["endpoint"] == 3
            query = app.of_cluster(0x0019)[0]
            assert (query.profile_id, query.dst_ep) == (0x0109, 3)
            assert t.TransmitOptions.APS_Encryption in query.tx_options
